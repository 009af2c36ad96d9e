"""Vectors and the scores between them: unit length, and similarity in blocks that are never all held at once."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.errors import VectorError

BLOCK_ELEMENTS = 1 << 23
"""Scores held at once: 64 MiB of float64."""


def unit(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Return the vectors at length 1; their lengths are taken in float64.

    Raises:
        VectorError: a vector is zero or not finite.

    Example:
        >>> unit(np.array([[3, 4]], np.float32))
        array([[0.6, 0.8]], dtype=float32)
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise VectorError(f"vector {bad[0]} has length {lengths[bad[0]]}: expected a finite one above 0")
    return (vectors / lengths[:, None]).astype(np.float32)


def score_blocks(
    queries: Float32[np.ndarray, "n_queries dim"], gallery: Float32[np.ndarray, "n_gallery dim"]
) -> Iterator[tuple[slice, Float32[np.ndarray, "block n_gallery"]]]:
    """Yield blocks of query rows with their dot products to the whole gallery.

    The products are summed in float64 and rounded to float32 once. So a score does not depend on the block that it
    was computed in, nor on the threads or the kernel, and equal pairs of vectors give equal scores: ties are real.
    """
    columns = np.ascontiguousarray(gallery.T, dtype=np.float64)
    step = max(1, BLOCK_ELEMENTS // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        yield rows, (queries[rows].astype(np.float64) @ columns).astype(np.float32)


def pair_scores(
    left: Float32[np.ndarray, "n dim"], right: Float32[np.ndarray, "n dim"]
) -> Float32[np.ndarray, " n"]:
    """Return the dot product of each row with the same row of the other, equal to ``score_blocks``' entry."""
    out: Float64[np.ndarray, " n"] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return out.astype(np.float32)

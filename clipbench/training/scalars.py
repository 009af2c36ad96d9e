"""What is watched while a model trains: one number each for gap, cones, recall, rank and copies. Pure numpy."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.metrics import cross_ranks, effective_rank, pair_geometry, recall_at_k
from clipbench.metrics.similarity import dot_blocks, unit

SAME = 1 - 1e-6
"""Cosine from which two vectors are one: float32 tells them apart no longer once both towers' rounding has gone in."""

Number = int | float
"""As JSON has it: a count stays whole."""

Scalars = dict[str, Number | None]
"""By name; None where a number is undefined."""


def pair_scalars(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    *,
    same_images: Sequence[int] | None = None,
    same_texts: Sequence[int] | None = None,
) -> Scalars:
    """Return gap, cones, mean cosine of pairs, recall@1 both ways, effective ranks, and shares of what has collapsed.

    Names and definitions are those of the tasks ``modality-gap`` and ``retrieval``; equal captions have equal vectors,
    and their ties get the credit that a coin would give. ``image_duplicates`` and ``text_duplicates`` are the shares of
    different inputs whose vector has a cosine of ``SAME`` or more with that of another one; ``n_distinct_images`` and
    ``n_distinct_texts`` count different inputs, and ranks are below that; ``non_finite`` is the share of vectors that
    are not finite or zero, and if there is one, all else is None but ``n_pairs``.

    Args:
        images: raw vectors, of any length.
        texts: likewise, row by row of the same pairs.
        same_images: a number for each input, equal for equal ones, whose vectors cannot differ. None where nothing is
            known of the inputs: all count as different for duplicates, and those of one vector as one for
            ``n_distinct_images``.
        same_texts: likewise.

    Example:
        >>> x, y = np.eye(2, dtype=np.float32)
        >>> found = pair_scalars(np.stack([x, y]), np.stack([x, x]))
        >>> found["pair_cosine"], found["text_cone"], found["image_duplicates"], found["text_duplicates"]
        (0.5, 1.0, 0.0, 1.0)
    """
    share = (_n_bad(images) + _n_bad(texts)) / max(1, 2 * len(images))
    if share:
        return {**dict.fromkeys(_NAMES), "n_pairs": len(images), "non_finite": share}
    images, texts = unit(images), unit(texts)
    geometry = pair_geometry(images, texts)
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    image_copies, text_copies = _copies(images, same_images), _copies(texts, same_texts)
    values = (
        geometry.modality_gap.value,
        geometry.image_cone.value,
        geometry.text_cone.value,
        float(geometry.pair_cosine.mean()),
        float(recall_at_k(by_text, 1).mean()),
        float(recall_at_k(by_image, 1).mean()),
        effective_rank(images).value,
        effective_rank(texts).value,
        image_copies.share,
        text_copies.share,
        image_copies.n_distinct,
        text_copies.n_distinct,
    )
    found = {name: defined(value) for name, value in zip(_NAMES, values, strict=True)}
    return {**found, "n_pairs": len(images), "non_finite": 0.0}


def defined(value: Number) -> Number | None:
    """Return a number, or None for one that is not finite, which JSON has not."""
    return value if math.isfinite(value) else None


_NAMES = (
    "gap",
    "image_cone",
    "text_cone",
    "pair_cosine",
    "image_retrieval_recall@1",
    "text_retrieval_recall@1",
    "image_effective_rank",
    "text_effective_rank",
    "image_duplicates",
    "text_duplicates",
    "n_distinct_images",
    "n_distinct_texts",
)


class _Copies(NamedTuple):
    """What of a modality is there more than once."""

    share: float
    """Of different inputs, those whose vector another one has too."""
    n_distinct: int
    """Different inputs; where nothing is known of them, different vectors."""


def _n_bad(vectors: Float32[np.ndarray, "n dim"]) -> int:
    return int((~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)).sum())


def _copies(vectors: Float32[np.ndarray, "n dim"], same: Sequence[int] | None) -> _Copies:
    """Return what unit vectors have more than once, of one vector for each distinct input."""
    if same is not None:
        vectors = vectors[np.unique(same, return_index=True)[1]]
    counts = np.empty(len(vectors))
    for rows, dots in dot_blocks(vectors, vectors):
        dots[np.arange(len(dots)), np.arange(rows.start, rows.stop)] = 1
        counts[rows] = (dots >= SAME).sum(axis=1)
    # Each of k equal vectors is a k-th of one.
    n_distinct = len(vectors) if same is not None else round(float((1 / counts).sum()))
    return _Copies(float((counts > 1).sum()) / max(1, len(vectors)), n_distinct)

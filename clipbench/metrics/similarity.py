"""Vectors, at length 1 or not, and the scores between them, in blocks, so that the whole matrix is never in memory.

Ties must be real: equal pairs of vectors have equal scores, whichever block, thread or kernel computed them. Floating
sums depend on their order, so ``unit`` rounds components to multiples of 2**-26. A product of two is then a multiple of
2**-52, and any partial sum of a dot product of unit vectors is such a multiple below 2: float64 represents it exactly,
in any order. The rounding changes a cosine by about 4e-9, less than the rounding of scores to float32.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.errors import VectorError

Vectors = Float32[np.ndarray, "n dim"]
Images = Float32[np.ndarray, "n_images dim"]
Texts = Float32[np.ndarray, "n_texts dim"]
Queries = Float32[np.ndarray, "n_queries dim"]
Items = Float32[np.ndarray, "n_items dim"]
Vector = Float64[np.ndarray, " dim"]
"""One vector, such as a mean."""
Values = Float64[np.ndarray, " n"]
"""A number of each sample."""
Labels = Int64[np.ndarray, " n"]
"""The class of each sample, as a row, or another integer."""
Mask = Bool[np.ndarray, " n"]
"""True for some of the samples."""
Pairs = tuple[Int64[np.ndarray, " n_pairs"], Int64[np.ndarray, " n_pairs"]]
"""Rows of the queries and of the items."""

BLOCK_ELEMENTS = 1 << 23
"""Scores in memory at once: 64 MiB of float64."""
BLOCK_QUERIES = 256
"""Queries at once: more take no less time, and of small galleries more, as their scores leave the processor's cache."""
BLOCK_COMPONENTS = 1 << 17
"""Components of vectors processed at once: 1 MiB of float64, which fits into the cache of a processor core."""
FEW_QUERIES = 16
"""Queries whose products with all items are in memory at once: items beyond memory are read once per block of them."""
PAIRS_AT_ONCE = 1 << 12
"""Pairs whose vectors are copied at once."""
_STEPS = 2.0**26
"""Steps of a component in [0, 1]."""


def unit(vectors: Vectors, out: Vectors | None = None) -> Vectors:
    """Return the vectors at length 1, in multiples of 2**-26 that make their dot products exact in float64.

    Lengths are taken in float64. The result's length differs from 1 by less than 1e-7.

    Args:
        vectors: one vector per row, (n, dim), of any length above 0.
        out: array of the same shape that is written to and returned. None (the default) makes a new array.

    Raises:
        VectorError: a vector is zero or not finite.

    Example:
        >>> unit(np.array([[3, 4]], np.float32))
        array([[0.6, 0.8]], dtype=float32)

    See Also:
        pair_scores: cosines of such vectors.
    """
    return _rounded(vectors, _STEPS / _lengths(vectors), np.array(1 / _STEPS), out)


def unscaled(vectors: Vectors, out: Vectors | None = None) -> Vectors:
    """Return the vectors as long as they are, in multiples of 2**-26 of the power of 2 above the length of each.

    So dot products are exact in float64, as they are for ``unit``: all partial sums of two vectors are multiples of one
    step, and less than 2**52 of them. A component changes by at most 2**-27 of that power. ``unit`` describes the
    arguments and errors.

    Example:
        >>> unscaled(np.array([[3, 4], [0.1, 0]], np.float32))
        array([[3. , 4. ],
               [0.1, 0. ]], dtype=float32)
    """
    _, exponents = np.frexp(_lengths(vectors))
    steps = np.ldexp(_STEPS, -exponents)
    return _rounded(vectors, steps, (1 / steps)[:, None], out)


def squared_lengths(vectors: Vectors) -> Values:
    """Return the squared lengths of vectors, summed in float64."""
    return np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)


def _lengths(vectors: Vectors) -> Values:
    lengths = np.sqrt(squared_lengths(vectors))
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise VectorError(f"vector {bad[0]} has length {lengths[bad[0]]}: expected a finite one above 0")
    return lengths


def _rounded(vectors: Vectors, per_unit: Values, step: Float64[np.ndarray, "..."], out: Vectors | None) -> Vectors:
    """Return the vectors times ``per_unit``, rounded to integers, times ``step``, a power of 2."""
    vectors = np.asarray(vectors)  # a slice of a memmap costs more than one of an array
    out = np.empty(vectors.shape, np.float32) if out is None else out
    for rows in row_blocks(vectors):
        steps = vectors[rows] * per_unit[rows, None]
        np.rint(steps, out=steps)
        steps *= step[rows] if step.ndim else step  # as exact as division, and faster
        out[rows] = steps
    return out


def round_to_steps(vectors: Float64[np.ndarray, "n dim"], steps: float) -> Vectors:
    """Return vectors of any length in multiples of 1 / ``steps``, a power of 2, so that dot products are exact."""
    return (np.rint(vectors * steps) / steps).astype(np.float32)


def row_blocks(vectors: Vectors) -> Iterator[slice]:
    """Yield the rows of blocks that hold ``BLOCK_COMPONENTS`` components, and one row at least.

    Example:
        >>> [(rows.start, rows.stop) for rows in row_blocks(np.empty((300, BLOCK_COMPONENTS // 200), np.float32))]
        [(0, 200), (200, 300)]
    """
    yield from row_slices(len(vectors), max(1, BLOCK_COMPONENTS // max(1, vectors.shape[1])))


def row_slices(end: int, step: int, start: int = 0) -> Iterator[slice]:
    """Yield the rows from a start to an end, a number of them at a time.

    Example:
        >>> list(row_slices(5, 3))
        [slice(0, 3, None), slice(3, 5, None)]
    """
    for first in range(start, end, step):
        yield slice(first, min(first + step, end))


def dot_blocks(queries: Queries, gallery: Items) -> Iterator[tuple[slice, Float64[np.ndarray, "block n_items"]]]:
    """Yield blocks of query rows with their dot products to the whole gallery: exact for vectors from ``unit``.

    The caller may write into a block.
    """
    columns = gallery.astype(np.float64).T
    step = min(BLOCK_QUERIES, max(1, BLOCK_ELEMENTS // max(1, len(gallery))))
    for rows in row_slices(len(queries), step):
        yield rows, queries[rows].astype(np.float64) @ columns


def score_blocks(queries: Queries, gallery: Items) -> Iterator[tuple[slice, Float32[np.ndarray, "block n_items"]]]:
    """Yield blocks of query rows with their scores to the whole gallery: dot products, rounded to float32 once.

    The caller may write into a block.

    Example:
        >>> vectors = unit(np.array([[1, 0], [3, 4]], np.float32))
        >>> [(rows.start, rows.stop, scores.tolist()) for rows, scores in score_blocks(vectors, vectors[:1])]
        [(0, 2, [[1.0], [0.6000000238418579]])]
    """
    for rows, dots in dot_blocks(queries, gallery):
        yield rows, dots.astype(np.float32)


def product_error(queries: Queries, items: Items) -> float:
    """Return the most by which a product in float32 can differ from the score of its pair.

    A sum of d products in float32, in whatever order, is wrong by at most d u / (1 - d u) times the two lengths, with
    u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). Sixteen u more are
    for the rounding of the score, and of a threshold that the error is added to.
    """
    u, dim = 2.0**-24, queries.shape[1]
    squares = [squared_lengths(vectors).max(initial=0) for vectors in (queries, items)]
    return float((dim * u / (1 - dim * u) + 16 * u) * np.sqrt(squares[0] * squares[1]))


def scores_of_pairs(queries: Queries, items: Items, pairs: Pairs) -> Float32[np.ndarray, " n_pairs"]:
    """Return the scores of pairs of rows of both sides."""
    out = np.empty(len(pairs[0]), np.float32)
    for part in row_slices(len(out), PAIRS_AT_ONCE):
        left, right = (rows[part] for rows in pairs)
        out[part] = pair_scores(queries[left], items[right])
    return out


def pair_scores(left: Vectors, right: Vectors) -> Float32[np.ndarray, " n"]:
    """Return the scores of vectors paired by row, equal to the scores of ``score_blocks`` for unit vectors.

    Args:
        left: one vector per row, (n, dim). The scores of vectors of length 1 are cosines, [-1, 1].
        right: the partner of each row of ``left``, (n, dim).

    Example:
        >>> pair_scores(np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 0]], np.float32))
        array([1., 0.], dtype=float32)

    See Also:
        unit: vectors at length 1.
    """
    return np.asarray(np.einsum("ij,ij->i", left, right, dtype=np.float64), np.float32)


def nearest(
    queries: Queries, items: Items, k: int, *, without: Sequence[Int64[np.ndarray, " _"]] | None = None
) -> tuple[Int64[np.ndarray, "n_queries n_nearest"], Float32[np.ndarray, "n_queries n_nearest"]]:
    """Return the rows of the k items with the highest scores of each query, and the scores, the highest first.

    Meant for few queries: all products of ``FEW_QUERIES`` are in memory at a time.

    Args:
        queries, items: unit vectors (``metrics.similarity.unit``).
        k: fewer are returned where there are fewer items.
        without: rows of the items that are left out for each query, such as itself.

    Example:
        >>> rows, scores = nearest(
        ...     np.array([[1, 0]], np.float32), np.array([[0, 1], [0.6, 0.8], [1, 0]], np.float32), 2
        ... )
        >>> rows.tolist(), scores.tolist()
        ([[2, 1]], [[1.0, 0.6000000238418579]])
    """
    k = min(k, len(items) - max(map(len, without or ()), default=0))
    rows = np.zeros((len(queries), max(k, 0)), np.int64)
    scores = np.zeros(rows.shape, np.float32)
    if k > 0:
        for query_row, (open_items, exact) in enumerate(nearest_candidates(queries, items, k, without=without)):
            rows[query_row], scores[query_row] = open_items[:k], exact[:k]
    return rows, scores


def nearest_candidates(
    queries: Queries, items: Items, k: int, *, without: Sequence[Int64[np.ndarray, " _"]] | None = None
) -> Iterator[tuple[Int64[np.ndarray, " n_open"], Float32[np.ndarray, " n_open"]]]:
    """Yield, for each query, the items that may be among its first k and their scores, the highest first.

    All items that score as the k-th does are there, in the order of the data. Arguments are the same as in ``nearest``.
    """
    error = np.float32(product_error(queries, items))
    for query_row in range(len(queries)):
        if query_row % FEW_QUERIES == 0:
            block = queries[query_row : query_row + FEW_QUERIES] @ items.T
        products = block[query_row % FEW_QUERIES]
        n_left = len(items)
        if without is not None:
            products[without[query_row]] = -np.inf
            n_left -= len(without[query_row])
        last = len(items) - min(k, n_left)
        threshold = np.partition(products, last)[last] - 2 * error if n_left else np.inf
        open_items = np.flatnonzero(products >= threshold)
        exact = scores_of_pairs(queries, items, (np.full(len(open_items), query_row), open_items))
        order = np.argsort(-exact, kind="stable")
        yield open_items[order], exact[order]


def top_k_probabilities(scores: Float32[np.ndarray, "block n_items"], k: int) -> Float64[np.ndarray, "block n_items"]:
    """Return the probability that each item is among the first k of each row, ties in random order."""
    last = np.partition(scores, -k, axis=1)[:, -k, None]
    above, level = scores > last, scores == last
    share = (k - above.sum(axis=1)) / level.sum(axis=1)
    return above + level * share[:, None]

"""Neighbours and kernels: hubs that many queries retrieve, and the shared structure of two spaces, whatever the gap.

NaN means undefined.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.metrics.geometry import Estimate, check_paired, undefined_estimate
from clipbench.metrics.similarity import Queries, Values, Vectors, score_blocks, top_k_probabilities

Kernel = Float64[np.ndarray, "n n"]
"""Dot products of the centred vectors of all samples, 0 on the diagonal."""


class Hubness(NamedTuple):
    """Inequality in the number of queries that have each gallery item among their first k."""

    skewness: float
    """Skewness of the number of queries that retrieve an item, above 0 with hubs, NaN when all are equal."""
    largest_hub: float
    """Fraction of the queries that retrieve the most retrieved item."""
    never_retrieved: float
    """Fraction of the gallery that no query retrieves."""


def hubness(queries: Queries, gallery: Float32[np.ndarray, "n_gallery dim"], k: int = 10) -> Hubness:
    """Return the inequality of the gallery items in how many queries have them among their k nearest neighbours.

    Source: Radovanović et al., Hubs in Space, JMLR 11 (2010), eq. 1. Ties at place k are broken at random: the counts
    and ``never_retrieved`` are expectations. NaN when the gallery has fewer than k items, or there are no queries.

    Args:
        queries, gallery: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        k: places that count as retrieved.

    Example:
        >>> gallery = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
        >>> result = hubness(np.array([[1, 0], [0.8, 0.6]], np.float32), gallery, k=1)
        >>> result.largest_hub, round(result.never_retrieved, 4)  # both queries retrieve the first item
        (1.0, 0.6667)
    """
    if len(gallery) < k or not len(queries):
        return Hubness(float("nan"), float("nan"), float("nan"))
    counts, missed = np.zeros(len(gallery)), np.ones(len(gallery))
    for _, scores in score_blocks(queries, gallery):
        chances = top_k_probabilities(scores, k)
        counts += chances.sum(axis=0)
        missed *= (1 - chances).prod(axis=0)
    return Hubness(_skewness(counts), float(counts.max() / len(queries)), float(missed.mean()))


def mutual_neighbours(first: Vectors, second: Float32[np.ndarray, "n_second other_dim"], k: int = 10) -> float:
    """Return the mean fraction of a sample's k nearest that are the same in both spaces, in [0, 1]. Chance is k / (n -
    1).

    A sample's neighbours are of its own space: images near an image, and texts near its text. So a shift of one space
    changes nothing. Source: mutual k-NN of Huh et al., The Platonic Representation Hypothesis, ICML 2024. Ties at place
    k are broken at random in each space: equal vectors score chance. NaN for k samples or fewer.

    Args:
        first, second: unit vectors, row by row of the same sample.
        k: neighbours.

    Raises:
        DataError: the numbers of vectors differ.

    Example:
        >>> line = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], np.float32)
        >>> mutual_neighbours(line, line[:, ::-1].copy(), k=1)  # a mirror keeps all neighbours
        1.0
    """
    check_paired(first, second)
    n = len(first)
    if n <= k:
        return math.nan
    total = 0.0
    for (rows, scores), (_, second_scores) in zip(
        score_blocks(first, first), score_blocks(second, second), strict=True
    ):
        columns = np.arange(rows.start, rows.start + len(scores))
        for space_scores in (scores, second_scores):
            space_scores[np.arange(len(columns)), columns] = -np.inf  # a sample is not its own neighbour
        shares = [top_k_probabilities(space_scores, k) for space_scores in (scores, second_scores)]
        total += float((shares[0] * shares[1]).sum())
    return total / (k * n)


def shared_neighbours(first: Vectors, second: Float32[np.ndarray, "n_second other_dim"], k: int = 10) -> Estimate:
    """Return the mutual k-NN of two models of the same samples, in [0, 1], with the jackknife influence of each sample.

    As ``mutual_neighbours``, except that ties at position k go to the lower row in both spaces, so that a model shares
    all neighbours with itself. If there are many ties, rows should be in random order.
    The variance from the influences is too large rather than too small (Efron and Stein, Annals of Statistics 9
    (1981)). Takes n² bytes. NaN for fewer than k + 2 samples, of which all are neighbours.

    Args:
        first, second: unit vectors of both models, row by row of the same sample.
        k: neighbours.

    Raises:
        DataError: the numbers of vectors differ.

    Example:
        >>> line = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], np.float32)
        >>> shared_neighbours(line, line[[0, 2, 1, 3]], k=1).value  # 1 and 2 have changed places
        0.0
    """
    check_paired(first, second)
    n = len(first)
    if n < k + 2:
        return undefined_estimate(n)
    (in_first, next_first), (in_second, next_second) = _nearest(first, k), _nearest(second, k)
    in_both = in_first & in_second
    shared = in_both.sum(axis=1)
    # A list that a left-out sample is in takes its next one, which may be in the other list, or the next of that list
    # too.
    rows = np.arange(n)
    found_in_second, found_in_first = (
        side[rows, following].astype(np.float64)
        for side, following in ((in_second, next_first), (in_first, next_second))
    )
    changes = found_in_second @ in_first + found_in_first @ in_second + ((next_first == next_second) - 1.0) @ in_both
    without_each = (shared.sum() - shared + changes) / (k * (n - 1))
    return Estimate(float(shared.sum()) / (k * n), (n - 1) * (without_each.mean() - without_each))


def cka(first: Vectors, second: Float32[np.ndarray, "n_second other_dim"]) -> Estimate:
    """Return the linear centred kernel alignment of two spaces, at most 1: 1 for the same up to rotation and scale.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the matrices K and L of dot products, each HSIC by its unbiased
    estimator: it is 0 on average for independent spaces, and may be below, where the biased one is far above 0 for
    fewer samples than dimensions.
    Sources: Kornblith et al., ICML 2019; Song et al., JMLR 13 (2012), equation 5. NaN for fewer than four samples, or
    vectors that are all equal, or all but one.

    Influences are the jackknife's, which leaves out each sample in turn. They are NaN for four samples, or if all
    vectors but two are equal. Shuffled samples have a mean of exactly 0 and a standard deviation of exactly
    sqrt(2 / (n (n - 3))), whatever the vectors: the kernels, centred for the unbiased estimator, have rows that sum to
    0, as in the bias-corrected distance correlation of Székely and Rizzo, Journal of Multivariate Analysis 117 (2013).

    Raises:
        DataError: the numbers of vectors differ.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
        >>> value, influence = cka(x, 2 * x[:, ::-1] + 5)
        >>> round(value, 6), bool(np.abs(influence).max() < 1e-5)  # without any sample it is 1 too
        (1.0, True)
    """
    check_paired(first, second)
    n = len(first)
    if n < 4:
        return undefined_estimate(n)
    one, other = (_kernel(vectors) for vectors in (first, second))
    self_hsics, tolerances = (_hsic(one, one), _hsic(other, other)), (_rounding_bound(one), _rounding_bound(other))
    if self_hsics[0] <= tolerances[0] or self_hsics[1] <= tolerances[1]:
        return undefined_estimate(n)
    value = _hsic(one, other) / math.sqrt(self_hsics[0] * self_hsics[1])
    if n < 5:
        return undefined_estimate(n)._replace(value=value)
    self_hsics_without_each = _hsics_without_each(one, one), _hsics_without_each(other, other)
    if self_hsics_without_each[0].min() <= tolerances[0] or self_hsics_without_each[1].min() <= tolerances[1]:
        return undefined_estimate(n)._replace(value=value)
    without_each = _hsics_without_each(one, other) / np.sqrt(self_hsics_without_each[0] * self_hsics_without_each[1])
    return Estimate(value, (n - 1) * (without_each.mean() - without_each))


def _skewness(counts: Float64[np.ndarray, " n_gallery"]) -> float:
    if np.ptp(counts) < 1e-9:  # equal up to the rounding of shares
        return float("nan")
    deviations = counts - counts.mean()
    return float((deviations**3).mean() / (deviations**2).mean() ** 1.5)


def _nearest(vectors: Vectors, k: int) -> tuple[Bool[np.ndarray, "n n"], Int64[np.ndarray, " n"]]:
    """Return which samples are among the k nearest of each (row), and the one that comes next, with ties by row."""
    n = len(vectors)
    is_near, following = np.zeros((n, n), np.bool_), np.empty(n, np.int64)
    for rows, scores in score_blocks(vectors, vectors):
        block_rows = np.arange(len(scores))
        scores[block_rows, rows.start + block_rows] = -np.inf  # a sample is not its own neighbour
        bits = (np.float32(0) - scores).view(np.int32)  # from 0, so that no zero has a sign
        in_order = bits ^ (bits >> 31 & 0x7FFFFFFF)  # integers in the order of the floats
        nearest = np.argpartition(in_order * np.int64(n) + np.arange(n), k, axis=1)[:, : k + 1]
        np.put_along_axis(is_near[rows], nearest[:, :k], True, axis=1)
        following[rows] = nearest[:, k]
    return is_near, following


def _kernel(vectors: Vectors) -> Kernel:
    # Centring changes no HSIC, and loses fewer digits.
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    kernel = centred @ centred.T
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _rounding_bound(kernel: Kernel) -> float:
    """Return a bound of the rounding error of a kernel's ``_hsic`` with itself where its true value is 0."""
    return max(1e-18, 1e-9 * float(np.einsum("ij,ij->", kernel, kernel)) / kernel.size)


def _hsic(first: Kernel, second: Kernel) -> float:
    n = len(first)
    rows = first.sum(axis=1), second.sum(axis=1)
    total = float((first * second).sum()) + rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
    return float(total - 2 * (rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3))


def _hsics_without_each(first: Kernel, second: Kernel) -> Values:
    """Return ``_hsic`` without each sample in turn: all of them in the time of a few."""
    n = len(first) - 1
    rows = first.sum(axis=1), second.sum(axis=1)
    products = np.einsum("ij,ij->i", first, second)
    sums = products.sum() - 2 * products
    totals = (rows[0].sum() - 2 * rows[0]) * (rows[1].sum() - 2 * rows[1])
    dots = rows[0] @ rows[1] - rows[0] * rows[1] - first @ rows[1] - second @ rows[0] + products
    return np.asarray((sums + totals / ((n - 1) * (n - 2)) - 2 * dots / (n - 2)) / (n * (n - 3)))

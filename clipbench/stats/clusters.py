"""Samples that are not independent: codes and sums of their clusters, and the standard error that allows for them."""

from math import sqrt

import numpy as np
from jaxtyping import Float64, Int64, Shaped

Values = Float64[np.ndarray, " n"]
"""A number of each sample."""
Clusters = Shaped[np.ndarray, " n"] | None
"""The cluster of each sample, by any name, None when every sample is its own."""
Units = Int64[np.ndarray, " n"]
"""The cluster of each sample, or the sample itself, as 0, 1, ..."""
Codes = Units | None
"""Clusters as 0, 1, ..., None when every sample is its own."""
NEGLIGIBLE = 1e-12
"""Sums below it are rounding errors of zero: values are credits, cosines, distances or counts."""


_ROWS_AT_ONCE = 256
"""Rows whose features are compared with the features of all rows at once."""


def snap_to_integers(values: Values) -> Values:
    """Return values, rounded to an integer if they differ from it by a rounding error only.

    A hit computed as 1 - 1e-10 is a hit: tests and intervals of zeros and ones hold for it.

    Example:
        >>> snap_to_integers(np.array([1 - 1e-10, 0.25])).tolist()
        [1.0, 0.25]
    """
    integers = np.round(values)
    return np.where(np.abs(values - integers) < 1e-9, integers, values)


def cluster_codes(clusters: Clusters) -> Codes:
    """Return each sample's cluster as 0, 1, ..., or None when every sample is its own cluster."""
    if clusters is None:
        return None
    distinct, codes = np.unique(clusters, return_inverse=True)
    return None if len(distinct) == len(clusters) else codes.astype(np.int64)


def clusters_by_links(one: Shaped[np.ndarray, " links"], other: Shaped[np.ndarray, " links"], n: int) -> Units:
    """Return, for each of n rows, the lowest row that links connect to it, directly or through other rows.

    Images that search among images are often each other's best right answer: they are found, or missed, together.

    Args:
        one: row at one end of each link.
        other: row at its other end.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, group = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(n, n)), directed=False)
    _, lowest = np.unique(group, return_index=True)
    return lowest[group].astype(np.int64)


def clusters_by_shared_item(rows: Int64[np.ndarray, " pairs"], features: Shaped[np.ndarray, " pairs"], n: int) -> Units:
    """Return, for each of n rows, the lowest row that shares a feature with it, directly or through other rows.

    Args:
        rows: row of each pair of a row and a feature, such as a question and its image.
        features: the other part of each pair.

    Example:
        >>> clusters_by_shared_item(np.array([0, 1, 1, 2]), np.array(["sea", "sea", "wood", "hill"]), 3)
        array([0, 0, 2])
    """
    distinct, codes = np.unique(features, return_inverse=True)
    return clusters_by_links(rows, n + codes, n + len(distinct))[:n]


def clusters_by_half_overlap(rows: Int64[np.ndarray, " pairs"], features: Int64[np.ndarray, " pairs"], n: int) -> Units:
    """Return, for each of n rows, the lowest row that shares half of its features, directly or through other rows.

    Two rows are linked if they share half of the features of each. For example, captions of one image look for the same
    documents and succeed or fail together, while two queries with a few of many documents in common do not.

    Args:
        rows: row of each pair of a row and a feature, such as a query and a relevant document, each pair once.
        features: the other part of each pair.
    """
    from scipy.sparse import coo_array

    distinct, codes = np.unique(features, return_inverse=True)
    incidence = coo_array((np.ones(len(rows)), (rows, codes)), shape=(n, len(distinct))).tocsr()
    sizes = np.bincount(rows, minlength=n)
    links = [np.zeros((2, 0), np.int64)]
    for start in range(0, n, _ROWS_AT_ONCE):
        shared = (incidence[start : start + _ROWS_AT_ONCE] @ incidence.T).tocoo()
        one, other = shared.row + start, shared.col
        is_link = (one < other) & (2 * shared.data >= np.maximum(sizes[one], sizes[other]))
        links.append(np.stack([one[is_link], other[is_link]]).astype(np.int64))
    one, other = np.concatenate(links, axis=1)
    return clusters_by_links(one, other, n)


def n_equal_clusters(clusters: Shaped[np.ndarray, " n"]) -> float:
    """Return how many clusters of one size would know as much of a mean, each being all right or all wrong.

    Source: Kish, Survey Sampling (1965): the square of the number of samples over the sum of the clusters' squared
        sizes.

    Example:
        >>> n_equal_clusters(np.array(["a", "a", "b", "b"])), round(n_equal_clusters(np.array(["a", "a", "a", "b"])), 4)
        (2.0, 1.6)
    """
    sizes = np.unique(clusters, return_counts=True)[1]
    return len(clusters) ** 2 / float((sizes**2).sum())


def cluster_sums(values: Values, clusters: Clusters) -> Float64[np.ndarray, " n_clusters"]:
    """Return the sum of each cluster, or the values themselves when every sample is its own cluster."""
    codes = cluster_codes(clusters)
    return values if codes is None else np.bincount(codes, values)


def sums_of_squares(values: Values, codes: Codes) -> tuple[float, float]:
    """Return the sum of the squares of all values, and of the sums of all clusters."""
    sums = cluster_sums(values, codes)
    return float(values @ values), float(sums @ sums)


def design_effect(values: Values, codes: Codes, *, largest: float) -> float:
    """Return by how much clusters make the variance of a sum of values larger, at least 1.

    Args:
        largest: its size if all samples of a cluster are alike, which is returned if no value differs from 0.
    """
    alone, together = sums_of_squares(values, codes)
    return min(max(together / alone, 1.0), largest) if alone > NEGLIGIBLE**2 else largest


def standard_error(influence: Values, clusters: Clusters = None, *, times: float = 1.0) -> float | None:
    """Return the standard error of a mean from the deviations from it, or of a smooth value from its influences.

    The square root of the sum of squares, over n, times sqrt(G / (G - 1)); deviations are first summed within each of
    the G clusters (Liang and Zeger, Biometrika 73 (1986)).

    Args:
        times: a factor of the result, such as the quantile that makes it half an interval.

    Returns:
        None for fewer than two clusters, or if no sample deviates.
    """
    sums = cluster_sums(influence, clusters)
    if len(sums) < 2 or np.abs(sums).max() < NEGLIGIBLE:
        return None
    return times * float(np.linalg.norm(sums)) / len(influence) * sqrt(len(sums) / (len(sums) - 1))


def student(probability: float, n_units: int | float) -> float:  # noqa: PYI041 (beartype checks int and float apart)
    """Return the quantile of Student's t with one degree of freedom less than there are samples, or clusters.

    Example:
        >>> round(student(0.975, 11), 4), round(student(0.975, 100_000), 4)
        (2.2281, 1.96)
    """
    from scipy.special import stdtrit

    return float(stdtrit(n_units - 1, probability))

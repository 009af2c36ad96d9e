"""Clusters of vectors by k-means, and how well they agree with labels: V-measure and adjusted Rand index."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from clipbench.errors import UsageError

MOST_STEPS = 300
FEW_CLUSTERS, STARTS = 10, 10
"""Up to so many clusters, the best of so many starts is taken; of more, one start, as scikit-learn does."""


def k_means(vectors: Float32[np.ndarray, "n dim"], k: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Return the cluster of each vector: Lloyd's algorithm from centres that k-means++ draws.

    Source: Arthur and Vassilvitskii, SODA 2007. The result depends on the draws where clusters are not apart.

    Args:
        vectors: any vectors; squared distances are Euclidean.
        k: clusters, at least 1; of fewer distinct vectors, some clusters are empty.
        rng: draws the first centres.

    Raises:
        UsageError: k is below 1, or there are fewer vectors.

    Example:
        >>> apart = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)
        >>> labels = k_means(apart, 2, np.random.default_rng(0))
        >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
        True
    """
    if not 1 <= k <= len(vectors):
        raise UsageError(f"{k} clusters of {len(vectors)} vectors: expected 1 to {len(vectors)}")
    points = vectors.astype(np.float64)
    found = [_lloyd(points, _first_centres(points, k, rng)) for _ in range(STARTS if k <= FEW_CLUSTERS else 1)]
    return min(found, key=lambda each: each.inertia).labels


def v_measure(labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"]) -> float:
    """Return the harmonic mean of homogeneity and completeness, in [0, 1]; 1 where clusters and labels are the same.

    Homogeneity is 1 - H(label | cluster) / H(label), completeness the same with the two exchanged; each is 1 where there
    is a single label, or cluster. It is not corrected for chance, and grows with the number of clusters. Source: Rosenberg
    and Hirschberg, EMNLP 2007.

    Example:
        >>> v_measure(np.array([0, 0, 1, 1]), np.array([5, 5, 7, 7])), v_measure(np.array([0, 0, 1, 1]), np.array([5, 7, 5, 7]))
        (1.0, 0.0)
    """
    counts = _contingency(labels, clusters)
    joint, of_labels, of_clusters = (_entropy(each) for each in (counts, counts.sum(axis=1), counts.sum(axis=0)))
    shared = of_labels + of_clusters - joint
    homogeneity = shared / of_labels if of_labels else 1.0
    completeness = shared / of_clusters if of_clusters else 1.0
    total = homogeneity + completeness
    return max(0.0, 2 * homogeneity * completeness / total) if total else 0.0


def adjusted_rand_index(labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"]) -> float:
    """Return the share of pairs on which labels and clusters agree, corrected for chance: 1 for the same, 0 by chance.

    It may be below 0. Source: Hubert and Arabie, Journal of Classification 2 (1985).

    Example:
        >>> round(adjusted_rand_index(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1])), 4)
        0.5714
    """
    counts = _contingency(labels, clusters)
    pairs, by_label, by_cluster = (_pairs(each) for each in (counts, counts.sum(axis=1), counts.sum(axis=0)))
    n = float(counts.sum())
    expected = by_label * by_cluster / max(n * (n - 1) / 2, 1.0)
    most = (by_label + by_cluster) / 2
    return (pairs - expected) / (most - expected) if most != expected else 1.0


class _Clusters(NamedTuple):
    labels: Int64[np.ndarray, " n"]
    inertia: float


def _first_centres(
    points: Float64[np.ndarray, "n dim"], k: int, rng: np.random.Generator
) -> Float64[np.ndarray, "k dim"]:
    """Return k points, each drawn with a probability in proportion to its squared distance from the nearest before it."""
    chosen = [int(rng.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen])[:, 0]
    while len(chosen) < k:
        total = nearest.sum()
        row = int(rng.choice(len(points), p=nearest / total)) if total > 0 else int(rng.integers(len(points)))
        chosen.append(row)
        nearest = np.minimum(nearest, _squared_distances(points, points[[row]])[:, 0])
    return points[chosen]


def _lloyd(points: Float64[np.ndarray, "n dim"], centres: Float64[np.ndarray, "k dim"]) -> _Clusters:
    """Return the clusters at which assigning and averaging come to rest."""
    labels = np.full(len(points), -1)
    for _ in range(MOST_STEPS):
        distances = _squared_distances(points, centres)
        before, labels = labels, distances.argmin(axis=1)
        if np.array_equal(before, labels):
            break
        sizes = np.bincount(labels, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points)
        # A centre that lost all its points stays where it is.
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return _Clusters(labels, float(distances[np.arange(len(points)), labels].sum()))


def _squared_distances(
    points: Float64[np.ndarray, "n dim"], centres: Float64[np.ndarray, "k dim"]
) -> Float64[np.ndarray, "n k"]:
    lengths = np.einsum("ij,ij->i", points, points)[:, None] + np.einsum("ij,ij->i", centres, centres)
    return np.maximum(lengths - 2 * points @ centres.T, 0.0)


def _contingency(labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"]) -> Float64[np.ndarray, "a b"]:
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(clusters, return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1.0)
    return counts


def _entropy(counts: Float64[np.ndarray, "..."]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def _pairs(counts: Float64[np.ndarray, "..."]) -> float:
    return float((counts * (counts - 1) / 2).sum())

"""Approximate nearest items by an inverted file of faiss: most of the exact nearest, from a part of the products.

faiss is an extra, imported when a search begins.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.metrics.nearest import nearest
from clipbench.metrics.threads import n_threads

LISTS = 4
"""Lists for each square root of the number of items; one list for each would be twice as slow and find less."""
N_PROBES = 64
"""Lists that a query looks through."""
_SEED, _ITERATIONS, _MOST_POINTS = 0, 10, 64
"""Of the k-means that makes the lists: it looks at so many items a list."""


def approximate_nearest(
    queries: Float32[np.ndarray, "n_queries dim"],
    items: Float32[np.ndarray, "n_items dim"],
    k: int,
    *,
    n_probes: int = N_PROBES,
) -> Int64[np.ndarray, "n_queries k"]:
    """Return the rows of about the k items with the highest scores of each query, the highest first.

    Seeded k-means, in one thread, puts the items into lists; each query is scored with the items of the lists whose
    centres are nearest to it. Items that tie stand in the order in which faiss finds them. The rows are a copy of the
    items in memory while the search lasts.

    Args:
        queries: unit vectors.
        items: unit vectors, at least 16: no fewer items than lists.
        n_probes: lists that a query looks through; with all of them the search is exact, ties and rounding apart.

    Returns:
        -1 in the last places where the lists hold fewer than k items.
    """
    import faiss

    n_lists, dim = LISTS * math.isqrt(len(items)), items.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = _SEED, _ITERATIONS
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = (
        1,
        _MOST_POINTS,
    )  # fewer would only be warned of
    index.nprobe = min(n_probes, n_lists)
    threads_before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)  # sums of k-means, and so the lists, are the same on every machine of a kind
        index.train(items)
        faiss.omp_set_num_threads(n_threads())  # each query is searched by itself
        index.add(items)
        _, rows = index.search(queries, k)
    finally:
        faiss.omp_set_num_threads(threads_before)
    return rows


def search_recall(
    found: Int64[np.ndarray, "n_queries k"],
    queries: Float32[np.ndarray, "n_queries dim"],
    items: Float32[np.ndarray, "n_items dim"],
) -> Float64[np.ndarray, " n_queries"]:
    """Return the share of the exact k nearest items of each query that a search has found, in [0, 1].

    Of items that tie for the last place, the first in the order of the data are the nearest. Meant for few queries.

    Args:
        found: rows of items, -1 for none.

    Example:
        >>> axes = np.eye(3, dtype=np.float32)
        >>> search_recall(np.array([[0, 2]]), np.array([[0.8, 0.6, 0]], np.float32), axes)
        array([0.5])
    """
    exact, _ = nearest(queries, items, found.shape[1])
    return (exact[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)

"""The nearest items of a few queries, exact and with ties in the order of the data."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from clipbench.metrics.similarity import product_error, scores_of


def nearest(
    queries: Float32[np.ndarray, "n_queries dim"],
    items: Float32[np.ndarray, "n_items dim"],
    k: int,
    *,
    without: Sequence[Int64[np.ndarray, " _"]] | None = None,
) -> tuple[Int64[np.ndarray, "n_queries n_nearest"], Float32[np.ndarray, "n_queries n_nearest"]]:
    """Return the rows of the k items with the highest scores of each query, and the scores, the highest first.

    Meant for few queries: all products of one are in memory at a time.

    Args:
        queries: unit vectors (``metrics.similarity.unit``).
        items: unit vectors.
        k: fewer are returned where there are fewer items.
        without: rows of the items that are left out for each query, such as itself.

    Example:
        >>> rows, scores = nearest(np.array([[1, 0]], np.float32), np.array([[0, 1], [0.6, 0.8], [1, 0]], np.float32), 2)
        >>> rows.tolist(), scores.tolist()
        ([[2, 1]], [[1.0, 0.6000000238418579]])
    """
    k = min(k, len(items) - max(map(len, without or ()), default=0))
    rows = np.zeros((len(queries), max(k, 0)), np.int64)
    scores = np.zeros(rows.shape, np.float32)
    error = np.float32(product_error(queries, items))
    for place in range(len(queries) if k > 0 else 0):
        products = items @ queries[place]
        if without is not None:
            products[without[place]] = -np.inf
        least = np.partition(products, -k)[-k] - 2 * error
        open_items = np.flatnonzero(products >= least)
        exact = scores_of(queries, items, (np.full(len(open_items), place), open_items))
        order = np.argsort(-exact, kind="stable")[:k]
        rows[place], scores[place] = open_items[order], exact[order]
    return rows, scores

"""The nearest items to the failures that a report lists: a table of a few rows, made from vectors that are there already."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.metrics.nearest import nearest
from clipbench.results.failures import NEAREST, worst

IsRight = Callable[[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]], Bool[np.ndarray, " pairs"]]
"""Returns whether items are right for queries, from the rows of both."""


class Asked(NamedTuple):
    """Queries."""

    ids: Sequence[str]
    vectors: Float32[np.ndarray, "n dim"]
    """Unit vectors."""
    groups: Int64[np.ndarray, " n"]
    """Group of each: what is right has the same."""
    left_out: Sequence[Int64[np.ndarray, " _"]] | None = None
    """The rows of the items that each does not look for, such as itself."""


class Items(NamedTuple):
    """Those that were looked for."""

    vectors: Float32[np.ndarray, "n dim"]
    """Unit vectors."""
    groups: Int64[np.ndarray, " n"]
    texts: Sequence[str]
    """A class, a caption, or that of an image; empty where it has none."""
    images: Int64[np.ndarray, " n"] | None = None
    """Rows of the images that they are."""


def neighbours(
    asked: Asked,
    items: Items,
    *,
    margin: Float64[np.ndarray, " n"],
    is_failure: Bool[np.ndarray, " n"],
    is_right: IsRight | None = None,
) -> dict[str, np.ndarray]:
    """Return ``Evaluation.neighbours`` of the worst failures: a row for each of the nearest items of each, the nearest first.

    Args:
        is_right: in place of equal groups.

    Example:
        >>> vectors, rows = np.eye(2, dtype=np.float32), np.arange(2)
        >>> asked, items = Asked(["a", "b"], vectors[::-1].copy(), rows), Items(vectors, rows, ["cat", "dog"])
        >>> table = neighbours(asked, items, margin=np.array([-1.0, 0.5]), is_failure=np.array([True, False]))
        >>> [table[name].tolist() for name in ("sample_id", "text", "cosine", "is_right")]
        [['a', 'a'], ['dog', 'cat'], [1.0, 0.0], [False, True]]
    """
    rows = worst(margin, is_failure)
    left_out = None if asked.left_out is None else [asked.left_out[row] for row in rows.tolist()]
    found, scores = nearest(asked.vectors[rows], items.vectors, NEAREST, without=left_out)
    item, query = found.ravel(), np.repeat(rows, found.shape[1])
    return {
        "sample_id": np.array([asked.ids[row] for row in query.tolist()], object),
        "place": np.tile(np.arange(1, found.shape[1] + 1), len(rows)),
        "text": np.array([items.texts[row] for row in item.tolist()], object),
        "image": np.full(len(item), -1) if items.images is None else items.images[item],
        "cosine": scores.ravel().astype(np.float64),
        "is_right": items.groups[item] == asked.groups[query] if is_right is None else is_right(query, item),
    }

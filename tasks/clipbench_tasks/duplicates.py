"""The highest recall that any model can reach where captions, or images, are the same.

A model gives equal items equal vectors. So of two images with one caption, a search by that caption finds only one first; and of
two equal images that tie, a search finds the right one first in half of the orders.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from clipbench.results.numbers import counted, listed
from clipbench_tasks.tables import Rows, Vectors


class Duplicates(NamedTuple):
    """The queries and items of a search, by which of them are equal."""

    query: Rows
    """A code per query; equal queries share one."""
    item: Rows
    """A code per item that is searched."""
    pairs: tuple[Rows, Rows]
    """Query and item of each right answer."""
    words: str
    """What is equal, such as ``122 images share a caption``."""

    def highest_recall_at_k(self, k: int) -> float:
        """Return a recall@k that no model exceeds, the mean over the queries.

        Equal queries share one ranking of items, and equal items are at neighbouring places in random order. So a place that
        holds one of n equal items is right for as many of the queries as have these items for an answer, divided by n.
        """
        query, item = (codes[rows] for codes, rows in zip((self.query, self.item), self.pairs, strict=True))
        (of_query, of_item), n_right = np.unique(np.stack([query, item]), axis=1, return_counts=True)
        n_equal = np.bincount(self.item)[of_item]
        per_place = n_right / n_equal
        order = np.lexsort((-per_place, of_query))
        of_query, per_place, n_equal = of_query[order], per_place[order], n_equal[order]
        before = np.cumsum(n_equal) - n_equal
        before -= before[np.searchsorted(of_query, of_query)]
        hits = np.bincount(of_query, per_place * np.clip(k - before, 0, n_equal), minlength=int(self.query.max()) + 1)
        return float(np.minimum(hits, np.bincount(self.query)).sum() / len(self.query))


def codes_of_equal(contents: Sequence[str], vectors: Vectors) -> Rows:
    """Return a code per item: items of equal content and vector share one.

    Example:
        >>> codes_of_equal(["a", "b", "a"], np.ones((3, 2), np.float32))
        array([0, 1, 0])
    """
    codes = _codes(contents)
    is_alone = np.bincount(codes)[codes] == 1
    return _codes((code, b"" if is_alone[row] else vectors[row].tobytes()) for row, code in enumerate(codes.tolist()))


def duplicates_in_words(caption: Rows, image: Rows, owner: Rows) -> str:
    """Return how many images share a caption, and how many are equal; empty if none does.

    Args:
        caption: a code per caption.
        image: a code per image.
        owner: the image of each caption.
    """
    of_caption, of_image = np.unique(np.stack([caption, owner]), axis=1)
    n_sharing = len(np.unique(of_image[np.bincount(of_caption)[of_caption] > 1]))
    n_equal = int((np.bincount(image)[image] > 1).sum())
    parts = [f"{counted(n_sharing, 'image')} share a caption"] if n_sharing else []
    parts += [f"{counted(n_equal, 'image')} are equal to another"] if n_equal else []
    return listed(parts) if parts else ""


def _codes(keys: Iterable[Hashable]) -> Rows:
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)

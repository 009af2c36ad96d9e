"""Which images are trained on and which are tested: a cut of the data, and seeded draws of a few images of each class.

Nothing depends on the model or on the order of the images: two models, and two orders, have the same cut and draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

Rows = Int64[np.ndarray, " n"]


class Cut(NamedTuple):
    """Rows of a data set to train on, and rows to test; a class has its share of both."""

    training: Rows
    test: Rows


def halves(labels: Rows, ids: Sequence[str], rng: np.random.Generator) -> Cut:
    """Return each class cut at random into two halves; the larger one is trained on, so that every class has an image there.

    Example:
        >>> cut = halves(np.array([0, 0, 0, 1]), ["a", "b", "c", "d"], np.random.default_rng(0))
        >>> len(cut.training), len(cut.test), 3 in cut.training
        (3, 1, True)
    """
    order = _shuffled(ids, rng)
    place, size = _place_in_class(labels[order]), np.bincount(labels)[labels[order]]
    trains = 2 * place < size
    return Cut(np.sort(order[trains]), np.sort(order[~trains]))


class Draws:
    """Seeded draws from the training images, and the share of the test images that each draw is tested on.

    A draw is an order of the training images: its first k of each class are its k shots, so that more shots hold the fewer.
    Each test image is tested by one draw alone. So the draws' shares are independent, each with its own images and its own
    training set, and an interval over them holds for other draws and other images.
    """

    def __init__(self, labels: Rows, ids: Sequence[str], cut: Cut, *, n: int, rng: np.random.Generator) -> None:
        names = np.array(ids, object)
        of_test = cut.test[_shuffled(names[cut.test].tolist(), rng)]
        by_class = of_test[np.argsort(labels[of_test], kind="stable")]  # so that each share has its part of every class
        self.n = min(n, len(by_class))
        self.of_test = np.empty(len(by_class), np.int64)
        """The draw that each test image, in the order of ``cut.test``, is tested by."""
        self.of_test[np.searchsorted(cut.test, by_class)] = np.arange(len(by_class)) % self.n
        self._orders = [cut.training[_shuffled(names[cut.training].tolist(), rng)] for _ in range(self.n)]
        self._labels = labels

    def rows(self, draw: int, shots: int) -> Rows:
        """Return the training images of a draw: so many of each class, or all that a class has."""
        order = self._orders[draw]
        return order[_place_in_class(self._labels[order]) < shots]


def _shuffled(ids: Sequence[str], rng: np.random.Generator) -> Rows:
    """Return the rows of some images in a random order that depends on their ids alone."""
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    return by_id[rng.permutation(len(by_id))]


def _place_in_class(labels: Rows) -> Rows:
    """Return, for each row, how many rows of its class come before it.

    Example:
        >>> _place_in_class(np.array([1, 0, 1, 1])).tolist()
        [0, 0, 1, 2]
    """
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - starts[labels[order]]
    return place

"""Recall, F1 and chance where an image has several right classes, and a prediction is right if it is one of them.

An image counts once for the predicted class if that is right, otherwise for each of its classes in equal parts. So the
classes that a model never had to name do not lower its recall, and each image has the same weight. The first place of
an image may be tied: then its parts are the expectation under random tie-breaking, and the recall of a class is the
ratio of the expected hits to the expected size.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipbench.metrics.classification import RightClasses, any_drawn
from clipbench.metrics.similarity import Labels, Values

ByClass = Float64[np.ndarray, " n_classes"]


class ClassParts(NamedTuple):
    """The parts of images that count for classes: one entry for each image and right class of it."""

    image: Int64[np.ndarray, " n_parts"]
    label: Int64[np.ndarray, " n_parts"]
    """The class that the part counts for."""
    size: Float64[np.ndarray, " n_parts"]
    """In [0, 1]. The parts of an image add up to 1."""
    hits: Float64[np.ndarray, " n_parts"]
    """How much of the part is right."""

    def by_class(self, values: Float64[np.ndarray, " n_parts"]) -> ByClass:
        """Return the sum of each class."""
        return np.bincount(self.label, values)


class MeanOverClasses(NamedTuple):
    """A score of each class that images count for, and the mean of these scores."""

    value: float
    """NaN without images."""
    by_class: Float64[np.ndarray, " n_present"]
    sizes: Float64[np.ndarray, " n_present"]
    """The sum of the parts that count for each class."""
    influence: Values
    """Influence of each image on the value: its derivative by the image's weight, times n."""


def class_parts(right: RightClasses, is_first: Bool[np.ndarray, "n_images n_most"], n_first: Labels) -> ClassParts:
    """Return the parts of images that count for classes.

    Args:
        right: one or more right classes of each image.
        is_first: True for the right classes that have the first place, also if it is tied.
        n_first: classes that share the first place, at least 1.

    Example:
        >>> right = np.array([[0, 1], [0, 1]])
        >>> parts = class_parts(right, np.array([[True, False], [False, False]]), np.array([1, 1]))
        >>> parts.size, parts.hits
        (array([1. , 0. , 0.5, 0.5]), array([1., 0., 0., 0.]))
    """
    hits = is_first / n_first[:, None]
    missed = 1 - hits.sum(axis=1)
    size = hits + (missed / (right >= 0).sum(axis=1))[:, None]
    image, column = np.nonzero(right >= 0)
    return ClassParts(image, right[image, column], size[image, column], hits[image, column])


def mean_recall(parts: ClassParts, n_images: int) -> MeanOverClasses:
    """Return the mean over classes of hits by size, as ``mean_per_class_recall`` for images of one class.

    Example:
        >>> parts = class_parts(np.array([[0, 1], [0, 1]]), np.array([[True, False], [False, False]]), np.array([1, 1]))
        >>> mean_recall(parts, 2).value  # (1 / 1.5 + 0 / 0.5) / 2
        0.3333333333333333
    """
    sizes, hits = parts.by_class(parts.size), parts.by_class(parts.hits)
    is_present = sizes > 0
    recall = np.divide(hits, sizes, out=np.zeros(len(sizes)), where=is_present)
    n_present = max(1, int(np.count_nonzero(is_present)))
    # As in ``recall_influence``: a class's own few images are too near to its recall, and a single image has no
    # distance from it, so that it is compared with the mean of the other classes.
    n_counted = parts.by_class((parts.size > 0).astype(np.float64))
    others = (recall.sum() - recall) / max(1, n_present - 1)
    centre = np.where(n_counted > 1, recall, others)
    correction = np.sqrt(n_counted / np.maximum(n_counted - 1, 1))
    weight = np.divide(n_images * correction, n_present * sizes, out=np.zeros(len(sizes)), where=is_present)
    change = (parts.hits - centre[parts.label] * parts.size) * weight[parts.label]
    return _mean_over_classes(recall, sizes, np.bincount(parts.image, change, minlength=n_images))


def macro_f1_of_several(predicted: Labels, right: RightClasses) -> MeanOverClasses:
    """Return the mean F1 score of the classes that images count for, as ``macro_f1`` for images of one class.

    F1 of a class is twice its hits over the sum of the parts that count for it and of its predictions.

    Example:
        >>> macro_f1_of_several(np.array([0, 1, 1]), np.array([[0, 1], [0, -1], [1, -1]])).value  # 2 / 3, and 2 / 3
        0.6666666666666666
    """
    n = len(predicted)
    parts = class_parts(right, right == predicted[:, None], np.ones(n, np.int64))
    n_classes = int(max(predicted.max(initial=-1), right.max(initial=-1))) + 1
    sizes, hits = (np.bincount(parts.label, values, minlength=n_classes) for values in (parts.size, parts.hits))
    is_present = sizes > 0
    n_present = max(1, int(np.count_nonzero(is_present)))
    totals = sizes + np.bincount(predicted, minlength=n_classes)
    f1 = np.divide(2 * hits, totals, out=np.zeros(n_classes), where=is_present)
    weight = np.divide(n / n_present, totals, out=np.zeros(n_classes), where=is_present)
    change = (2 * parts.hits - f1[parts.label] * parts.size) * weight[parts.label]
    influence = np.bincount(parts.image, change, minlength=n) - (f1 * weight)[predicted]
    return _mean_over_classes(f1, sizes, influence)


def _mean_over_classes(by_class: ByClass, sizes: ByClass, influence: Values) -> MeanOverClasses:
    is_present = sizes > 0
    present = by_class[is_present]
    return MeanOverClasses(float(present.mean()) if len(present) else np.nan, present, sizes[is_present], influence)


def chance_of_hit(right: RightClasses, n_classes: int, k: int = 1) -> float:
    """Return the mean probability that k classes drawn at random hold a right one of an image.

    A constant model, whose classes are all tied, scores it. With k = 1 it is the mean fraction of right classes.

    Example:
        >>> chance_of_hit(np.array([[0, -1, -1], [1, 2, 3]]), 4)  # 1/4 and 3/4
        0.5
    """
    n_right = (right >= 0).sum(axis=1)
    return float(any_drawn(np.full(len(right), n_classes), n_right, np.full(len(right), k)).mean())


def chance_of_recall(right: RightClasses, n_classes: int) -> float:
    """Return ``mean_recall`` of a constant model.

    Example:
        >>> chance_of_recall(np.array([[0, 1], [0, -1]]), 4)  # of class 0: 1/4 + 1/4 of 1/2 + 1, of class 1: 1/4 of 1/2
        0.41666666666666663
    """
    parts = class_parts(right, right >= 0, np.full(len(right), n_classes))
    return mean_recall(parts, len(right)).value


def most_frequent_share(right: RightClasses) -> float:
    """Return the largest fraction of images that one class is right for: the accuracy of always naming it.

    Example:
        >>> most_frequent_share(np.array([[0, 1], [1, -1], [2, -1]]))
        0.6666666666666666
    """
    return float(np.bincount(right[right >= 0]).max() / len(right))

"""Mean average precision for images with several true classes, with each image's influence on it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.metrics.classification import average_precision, chance_average_precision
from clipbench.metrics.similarity import score_blocks


class MeanAveragePrecision(NamedTuple):
    """mAP over the classes that have positives; NaN when none has."""

    value: float
    chance: float
    """Score of a constant model."""
    influence: Float64[np.ndarray, " n_images"]
    """n - 1 times the fall of the value without the image, less the mean of these (jackknife)."""
    by_class: Float64[np.ndarray, " n_scored"]
    """Average precision of each class that has positives."""
    spreads: Float64[np.ndarray, " n_scored"]
    """Variance of the precisions of which that of a class is the mean."""
    n_positives: Int64[np.ndarray, " n_scored"]


def mean_average_precision(
    images: Float32[np.ndarray, "n_images dim"],
    classes: Float32[np.ndarray, "n_classes dim"],
    positives: Bool[np.ndarray, "n_images n_classes"],
) -> MeanAveragePrecision:
    """Return the mean over classes of the average precision of the images, ranked by their score with the class.

    Args:
        images: unit vectors.
        classes: unit vectors, one a class.
        positives: True for each class that is true of the image.
    """
    n = len(images)
    values, spreads, chances, changes, alone = [], [], [], np.zeros(n), []
    for rows, scores in score_blocks(classes, images):
        for line, column in zip(scores, positives[:, rows].T, strict=True):
            if column.any():
                values.append(average_precision(line, column))
                chances.append(chance_average_precision(int(column.sum()), n))
                spreads.append(precision_spread(line, column))
                changes += precision_changes(line, column)
                alone += [(values[-1], column)] if column.sum() == 1 else []
    if not values:
        none = np.empty(0)
        return MeanAveragePrecision(np.nan, np.nan, np.full(n, np.nan), none, none, none.astype(np.int64))
    # Without its only positive, a class is no part of the mean.
    for value, column in alone if len(values) > 1 else []:
        changes[column] += value - (sum(values) - value) / (len(values) - 1)
    influence = (n - 1) * (changes - changes.mean()) / len(values)
    return MeanAveragePrecision(
        float(np.mean(values)),
        float(np.mean(chances)),
        influence,
        np.array(values),
        np.array(spreads),
        positives.sum(axis=0)[positives.any(axis=0)],
    )


def precision_spread(scores: Float32[np.ndarray, " n"], positives: Bool[np.ndarray, " n"]) -> float:
    """Return the variance over positives of the precision at their place; ties are taken in order.

    Example:
        >>> round(precision_spread(np.array([3, 2, 1], np.float32), np.array([True, False, True])), 4)  # of 1 and 2/3
        0.0278
    """
    (places,) = np.nonzero(positives[np.argsort(-scores, kind="stable")])
    return float((np.arange(1, len(places) + 1) / (places + 1)).var())


def precision_changes(
    scores: Float32[np.ndarray, " n"], positives: Bool[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return how far the average precision falls when each item is left out; 0 for an only positive.

    Ties are taken in order. With few positives the derivative by an item's weight is too small: a positive left out of
    three weighs half as much again.

    Example:
        >>> precision_changes(np.array([3, 2, 1], np.float32), np.array([True, False, True]))  # 5/6 less 1/2, 1 and 1
        array([ 0.33333333, -0.16666667, -0.16666667])
    """
    order = np.argsort(-scores, kind="stable")
    hit = positives[order].astype(np.float64)
    rank, hits = np.arange(1, len(hit) + 1), np.cumsum(hit)
    n_positives = hits[-1]
    value = (hit * hits / rank).sum() / n_positives
    above = np.cumsum(hit * hits / rank) - hit * hits / rank
    # Items further down are a rank higher without one of those before them, and have a hit less if it was one.
    without_other, without_hit = (hit * each / np.maximum(rank - 1, 1) for each in (hits, hits - 1))
    below_other, below_hit = (each.sum() - np.cumsum(each) for each in (without_other, without_hit))
    left = np.where(hit == 1, (above + below_hit) / max(n_positives - 1, 1), (above + below_other) / n_positives)
    changes = np.empty(len(hit))
    changes[order] = np.where((hit == 1) & (n_positives == 1), 0.0, value - left)
    return changes

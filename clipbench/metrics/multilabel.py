"""Mean average precision for images with several true classes, with each image's influence on it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from clipbench.metrics.classification import average_precision, chance_average_precision
from clipbench.metrics.similarity import score_blocks


class MeanAveragePrecision(NamedTuple):
    """mAP over the classes that have positives; NaN when none has."""

    value: float
    chance: float
    """Score of a constant model."""
    influence: Float64[np.ndarray, " n_images"]
    """Derivative of the value by each image's weight, times n; sums to about 0."""


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
    values, chances, influence = [], [], np.zeros(n)
    for rows, scores in score_blocks(classes, images):
        for line, column in zip(scores, positives[:, rows].T, strict=True):
            if column.any():
                values.append(average_precision(line, column))
                chances.append(chance_average_precision(int(column.sum()), n))
                influence += average_precision_influence(line, column)
    if not values:
        return MeanAveragePrecision(float("nan"), float("nan"), np.full(n, np.nan))
    return MeanAveragePrecision(float(np.mean(values)), float(np.mean(chances)), influence / len(values))


def average_precision_influence(
    scores: Float32[np.ndarray, " n"], positives: Bool[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return the influence of each item on the average precision; ties are taken in order.

    With weights w, AP = sum_i w_i y_i P_i / sum_i w_i y_i, where P_i is the weighted share of positives down to item i.
    Its derivative at equal weights, times n, is n / p (y_j (P_j - AP) + sum over positives i from j down of
    (y_j - P_i) / rank_i), p being the number of positives.
    """
    order = np.argsort(-scores, kind="stable")
    hit = positives[order].astype(np.float64)
    rank = np.arange(1, len(hit) + 1)
    precision = np.cumsum(hit) / rank
    value = (hit * precision).sum() / hit.sum()
    from_here_down = np.cumsum((hit / rank)[::-1])[::-1]
    weighed_down = np.cumsum((hit * precision / rank)[::-1])[::-1]
    slopes = hit * (precision - value) + hit * from_here_down - weighed_down
    out = np.empty(len(hit))
    out[order] = slopes * len(hit) / hit.sum()
    return out

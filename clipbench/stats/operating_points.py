"""How sure a precision at a threshold is, and the threshold for a precision that is wanted."""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.metrics.operating_points import Accepted
from clipbench.stats.clusters import NEGLIGIBLE
from clipbench.stats.intervals import Interval, share_interval


class PrecisionRecall(NamedTuple):
    """Precision and recall at each threshold, with their bounds; NaN where nothing is accepted."""

    precision: Float64[np.ndarray, " n_thresholds"]
    low: Float64[np.ndarray, " n_thresholds"]
    high: Float64[np.ndarray, " n_thresholds"]
    recall: Float64[np.ndarray, " n_thresholds"]
    recall_low: Float64[np.ndarray, " n_thresholds"]
    recall_high: Float64[np.ndarray, " n_thresholds"]


class OperatingPoint(NamedTuple):
    """The lowest threshold with a precision, and the recall there."""

    threshold: float
    interval: Interval
    """Of the threshold."""
    recall: float
    recall_interval: Interval
    influence: Float64[np.ndarray, " n_images"]
    """Influence of each image on the recall, by way of the threshold too."""


def precision_recall(accepted: Accepted) -> PrecisionRecall:
    """Return precision and recall with Wilson's bounds over images, by the influence of each image (delta method).

    Where nothing wrong is accepted, no image shows how sure that is. The precision is then known as well as by as many
    independent things, all of them right, as are accepted; or by the bound of what was wrongly accepted at the threshold below.

    Example:
        >>> found = precision_recall(Accepted(np.array([-1.0, 0.5]), np.ones((4, 2)), np.array([[1.0, 0.0]] * 4)))
        >>> found.precision, found.low.round(2), found.recall
        (array([0.5, 1. ]), array([0.1 , 0.51]), array([1., 1.]))
    """
    n, n_thresholds = accepted.right.shape
    right, wrong = accepted.right.mean(axis=0), np.maximum(0.0, accepted.wrong.mean(axis=0))
    with np.errstate(invalid="ignore"):
        precision = right / (right + wrong)
    bounds, most_wrong = np.full((4, n_thresholds), np.nan), np.inf
    for k in np.flatnonzero(right + wrong > 0).tolist():
        deviations = accepted.right[:, k] - right[k], accepted.wrong[:, k] - wrong[k]
        influence = (wrong[k] * deviations[0] - right[k] * deviations[1]) / (right[k] + wrong[k]) ** 2
        at_most = None if wrong[k] > NEGLIGIBLE else max(1.0, n * float(right[k]))
        low, high, _ = share_interval(float(precision[k]), influence, None, at_most=at_most)
        assert low is not None
        if at_most is None:
            most_wrong = right[k] * (1 - low) / low if low > 0 else np.inf
        else:  # a higher threshold accepts no more that is wrong
            low = max(low, float(right[k] / (right[k] + most_wrong)))
        of_recall = share_interval(float(right[k]), deviations[0], None, at_most=float(n))
        bounds[:, k] = [low, high, *of_recall[:2]]
    return PrecisionRecall(precision, bounds[0], bounds[1], right, bounds[2], bounds[3])


def operating_point(accepted: Accepted, found: PrecisionRecall, wanted: float) -> OperatingPoint | None:
    """Return the lowest threshold at which precision is at least the wanted one; None where none is sure to have it.

    Sure is a threshold at which the lower bound of precision is as high: of a few pairs that are right by luck, none is. The
    interval reaches from the lowest threshold at which the upper bound is as high to the lowest from which on the lower bound is.
    That of the recall has the bounds of recall at both of these ends.

    Args:
        wanted: in (0, 1).
    """
    is_met = [(each >= wanted) & (found.recall > 0) for each in (found.high, found.precision, found.low)]
    if not is_met[2].any():
        return None
    first, k = (int(np.flatnonzero(each)[0]) for each in is_met[:2])
    # The lower bound may be as high by luck already: it has to stay so up to where it is highest.
    peak = int(np.nanargmax(found.low))
    sure = int(np.flatnonzero(~is_met[2][:peak]).max(initial=-1)) + 1
    threshold = float(accepted.thresholds[k])
    lowest, highest = min(k, first), max(k, sure)
    low, high = (float(accepted.thresholds[row]) for row in (lowest, highest))
    return OperatingPoint(
        threshold,
        Interval(low, high, "bounds of precision, by Wilson over images"),
        float(found.recall[k]),
        Interval(
            float(found.recall_low[highest]),
            float(found.recall_high[lowest]),
            "bounds of recall, by Wilson over images, at both ends of the threshold's interval",
        ),
        _influence(accepted, k, wanted),
    )


def _influence(accepted: Accepted, k: int, wanted: float) -> Float64[np.ndarray, " n_images"]:
    """Return the influence of each image on the recall at the threshold where (1 - p) right = p wrong.

    An image moves the recall at a fixed threshold, and it moves the threshold, which moves the recall by the slopes of both.
    """
    n, n_thresholds = accepted.right.shape
    lead = (1 - wanted) * accepted.right - wanted * accepted.wrong
    step = max(1, ceil(n_thresholds * n ** (-1 / 3) / 2))
    before, after = max(0, k - step), min(n_thresholds - 1, k + step)
    right, leads = accepted.right.mean(axis=0), lead.mean(axis=0)
    rise = leads[after] - leads[before]
    slope = (right[before] - right[after]) / rise if rise > 1e-12 else 0.0
    return accepted.right[:, k] - right[k] + slope * (lead[:, k] - leads[k])

"""Uncertainty of a precision at a threshold, and the threshold for a target precision."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from clipbench.metrics.operating_points import (
    AcceptanceRates,
    JudgedTrials,
    PerThreshold,
    acceptance_rates,
    precision_at_all,
)
from clipbench.stats.clusters import NEGLIGIBLE, Values
from clipbench.stats.intervals import CONFIDENCE, Interval, share_interval

SURE = 0.98
"""Confidence of the bounds behind a threshold. It has a value only in samples that show the precision, which are lucky
ones where few do: with bounds at 95 %, intervals held in .20 of the samples with a value where one in forty had one.
"""
LOOKS = 9
"""Thresholds at which bounds are computed at once while a crossing is looked for."""


class PrecisionRecall(NamedTuple):
    """Precision and recall at each threshold, with their bounds, NaN if nothing is accepted."""

    precision: PerThreshold
    low: PerThreshold
    high: PerThreshold
    recall: PerThreshold
    recall_low: PerThreshold
    recall_high: PerThreshold


class OperatingPoint(NamedTuple):
    """The lowest threshold with a precision, and the recall there."""

    threshold: float
    interval: Interval
    """Interval of the threshold."""
    recall: float
    recall_interval: Interval
    influence: Values
    """Influence of each image on the recall, by way of the threshold too."""


def precision_recall(
    acceptance: AcceptanceRates, prevalence: float = 0.5, *, confidence: float = CONFIDENCE
) -> PrecisionRecall:
    """Return precision and recall with Wilson's bounds over images, by the influence of each image (delta method).

    Where nothing wrong is accepted, no image shows how sure that is. In an even stream, the precision is then at least
    the bound of independent trials that are all right, with the number of accepted trials. At another prevalence, the
    odds of this bound are weighted. The bound of wrong trials at the threshold below holds as well: the higher one is
    used.

    Args:
        acceptance: shares that the thresholds accept.
        prevalence: fraction of the trials that should be accepted, in (0, 1).
        confidence: of the bounds.

    Example:
        >>> rates = AcceptanceRates(np.array([-1.0, 0.5]), np.ones((4, 2)), np.array([[1.0, 0.0]] * 4))
        >>> curve = precision_recall(rates)
        >>> curve.precision, curve.low.round(2), curve.recall
        (array([0.5, 1. ]), array([0.1 , 0.51]), array([1., 1.]))
    """
    n, n_thresholds = acceptance.right.shape
    of_right, of_wrong = prevalence * acceptance.right, (1 - prevalence) * acceptance.wrong
    right, wrong, recall = of_right.mean(axis=0), np.maximum(0.0, of_wrong.mean(axis=0)), acceptance.right.mean(axis=0)
    with np.errstate(invalid="ignore"):
        precision = right / (right + wrong)
    bounds, most_wrong = np.full((4, n_thresholds), np.nan), np.inf
    for k in np.flatnonzero(right + wrong > 0).tolist():
        deviations = of_right[:, k] - right[k], of_wrong[:, k] - wrong[k]
        influence = (wrong[k] * deviations[0] - right[k] * deviations[1]) / (right[k] + wrong[k]) ** 2
        at_most = None if wrong[k] > NEGLIGIBLE else max(1.0, n * float(recall[k]))
        low, high, _ = share_interval(float(precision[k]), influence, None, at_most=at_most, confidence=confidence)
        assert low is not None
        if at_most is None:
            most_wrong = right[k] * (1 - low) / low if low > 0 else np.inf
        else:  # the accepted trials bound an even stream: the prevalence changes the odds
            odds = (1 - low) / low * (1 - prevalence) / prevalence
            # a higher threshold accepts no more that is wrong
            low = max(1 / (1 + odds), float(right[k] / (right[k] + most_wrong)))
        of_recall = share_interval(
            float(recall[k]), acceptance.right[:, k] - recall[k], None, at_most=float(n), confidence=confidence
        )
        bounds[:, k] = [low, high, *of_recall[:2]]
    return PrecisionRecall(precision, bounds[0], bounds[1], recall, bounds[2], bounds[3])


def operating_point(
    judged: JudgedTrials, coarse: AcceptanceRates, bounds: PrecisionRecall, target: float, prevalence: float = 0.5
) -> OperatingPoint | None:
    """Return the lowest threshold at which precision reaches a target, or None if no threshold is sure to reach it.

    The threshold is the lowest judged cosine with the precision. It is sure if the lower bound of precision is as high,
    which a few pairs that are right by luck do not reach. The interval is from the lowest judged cosine at which the
    upper bound is as high to the lowest one from which the lower bound stays as high. The recall has its bounds at
    these two ends.

    Args:
        coarse: shares that some thresholds accept, ascending from -1.
        bounds: ``precision_recall`` of these thresholds at the prevalence, with the confidence ``SURE``.
        target: in (0, 1).
    """
    low, high = (np.nan_to_num(bound, nan=-1.0) for bound in (bounds.low, bounds.high))
    cosines, precision = precision_at_all(judged, prevalence)
    if not (low >= target).any() or not (precision >= target).any():
        return None
    threshold = float(cosines[int(np.argmax(precision >= target))])
    thresholds, peak = coarse.thresholds, int(np.argmax(low))

    def first_from(k: int, is_met: Callable[[PrecisionRecall], np.ndarray]) -> float:
        """Return the first judged cosine above threshold k - 1 that meets a condition, as threshold k does."""
        if k == 0:
            return float(thresholds[0])
        start, end = float(thresholds[k - 1]), float(thresholds[k])
        while len(inside := cosines[np.searchsorted(cosines, start, "right") : np.searchsorted(cosines, end)]):
            looks = inside[np.unique(np.linspace(0, len(inside) - 1, min(LOOKS, len(inside))).round().astype(int))]
            met = np.flatnonzero(is_met(precision_recall(acceptance_rates(judged, looks), prevalence, confidence=SURE)))
            at = int(met[0]) if len(met) else len(looks)
            start, end = float(looks[at - 1]) if at else start, float(looks[at]) if at < len(looks) else end
        return end

    # The lower bound may be as high by luck already: it has to stay so up to where it is highest.
    sure = int(np.flatnonzero(low[:peak] < target).max(initial=-1)) + 1
    ends = [
        min(threshold, first_from(int(np.argmax(high >= target)), lambda curve: curve.high >= target)),
        max(threshold, first_from(sure, lambda curve: curve.low >= target)),
    ]
    at_ends = precision_recall(acceptance_rates(judged, np.array(ends)), prevalence, confidence=SURE)
    return OperatingPoint(
        threshold,
        Interval(ends[0], ends[1], "bounds of precision, by Wilson over images"),
        float(acceptance_rates(judged, np.array([threshold])).right.mean()),
        Interval(
            float(at_ends.recall_low[1]),
            float(at_ends.recall_high[0]),
            "bounds of recall, by Wilson over images, at both ends of the threshold's interval",
        ),
        _influence(coarse, threshold, target, prevalence),
    )


def _influence(coarse: AcceptanceRates, threshold: float, target: float, prevalence: float) -> Values:
    """Return the influence of each image on the recall at the threshold where (1 - p) π right = p (1 - π) wrong.

    An image moves the recall at a fixed threshold, and it moves the threshold, which moves the recall by the slopes of
    both.
    """
    n, n_thresholds = coarse.right.shape
    k = min(n_thresholds - 1, int(np.searchsorted(coarse.thresholds, threshold)))
    lead = (1 - target) * prevalence * coarse.right - target * (1 - prevalence) * coarse.wrong
    step = max(1, ceil(n_thresholds * n ** (-1 / 3) / 2))
    before, after = max(0, k - step), min(n_thresholds - 1, k + step)
    right, leads = coarse.right.mean(axis=0), lead.mean(axis=0)
    rise = leads[after] - leads[before]
    slope = (right[before] - right[after]) / rise if rise > 1e-12 else 0.0
    return coarse.right[:, k] - right[k] + slope * (lead[:, k] - leads[k])

"""Intervals of a distance and of the difference of two, which hold near 0 too, where the delta method fails."""

import math
from math import isnan, sqrt

from clipbench.stats.clusters import Codes, Values, student
from clipbench.stats.intervals import CONFIDENCE, Interval, influence_interval


def distance_interval(value: float, squared: float, standard_error: float, n: int) -> Interval:
    """Return the interval of a distance from the unbiased estimate of its square, which holds where the distance is 0.

    The delta method fails there: the distance of two sample means has no derivative, and is never 0.

    Args:
        value: the distance of the sample means, biased upwards. The interval contains it.
        squared: unbiased estimate of the squared distance, which may be below 0.
        standard_error: of ``squared``, NaN if there are too few samples.
        n: number of samples, one more than the degrees of freedom of Student's t.

    Example:
        >>> low, high, _ = distance_interval(0.5, 0.0, 0.1, 1000)
        >>> low, round(high, 4)  # sqrt(1.96 × 0.1) is less than the distance
        (0.0, 0.5)
    """
    if isnan(standard_error):
        return Interval(None, None, "fewer than three pairs")
    if standard_error == 0:
        return Interval(None, None, "all pairs differ alike")
    half = student((1 + CONFIDENCE) / 2, n) * standard_error
    low, high = (sqrt(max(0.0, squared + side * half)) for side in (-1, 1))
    return Interval(min(low, value), max(high, value), "Student's t of the unbiased squared distance")


def distance_difference_interval(
    values: tuple[float, float],
    squares: tuple[float, float],
    influence: Values,
    codes: Codes,
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the interval of the difference of two distances from the interval of their squares' difference.

    The difference d of two distances follows from the difference D of their squares: d = D / (sum of the distances),
    and |d| is at most sqrt |D|. The smaller of the two is the bound, so that distances that may both be 0 have an
    interval too.

    Args:
        values: both distances, biased upwards. The interval contains their difference, the second minus the first.
        squares: unbiased estimates of their squares, which may be below 0.
        influence: of each sample on the difference of the squares.
        codes: clusters of the samples.
        confidence: of the interval. Each bound is missed with half of the rest.

    Example:
        >>> import numpy as np
        >>> spread = np.array([-1.0, 1.0] * 50)
        >>> low, high, _ = distance_difference_interval((0.5, 1.0), (0.25, 1.0), spread / 10, None)
        >>> round(low, 4), round(high, 4)  # (0.75 ± 1.984 × 0.1 / sqrt(99)) / 1.5
        (0.4867, 0.5133)
    """
    low, high, method = influence_interval(squares[1] - squares[0], influence, clusters=codes, confidence=confidence)
    if low is None or high is None:
        return Interval(None, None, method)
    total = sum(sqrt(max(0.0, square)) for square in squares)

    def distance(difference: float) -> float:
        size = sqrt(abs(difference))
        return math.copysign(min(size, abs(difference) / total) if total else size, difference)

    value = values[1] - values[0]
    return Interval(
        min(distance(low), value), max(distance(high), value), f"{method} of the unbiased squared distances"
    )

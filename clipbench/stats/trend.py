"""The trend of accuracies on shifted data against accuracies on the original data, and a model's distance above it.

Accuracies of many models are near a line once both axes are logits (Taori et al., NeurIPS 2020; Miller et al., ICML
2021, take probits, which differ little). A model's distance from the line, in accuracy, is its effective robustness.
"""

from math import hypot, log, sqrt, tanh
from typing import NamedTuple

import numpy as np

from clipbench.errors import DataError
from clipbench.stats.clusters import Values, student
from clipbench.stats.intervals import CONFIDENCE, Bounds, Interval


class Bounded(NamedTuple):
    """A share with the bounds of its interval."""

    value: float
    low: float
    high: float


class Trend(NamedTuple):
    """A least-squares line of logits."""

    intercept: float
    slope: float
    scatter: float
    """Standard deviation of the models around the line, in logits."""
    n: int
    """Models that it was fitted to."""
    centre: float
    """Mean of their logits on the original data."""
    spread: float
    """Sum of squares of the distances from it."""

    @classmethod
    def fit(cls, original: Values, shifted: Values) -> "Trend":
        """Return the line of three or more different accuracies, without those that are 0, 1 or NaN."""
        is_there = np.all([(share > 0) & (share < 1) for share in (original, shifted)], axis=0)
        x, y = (np.log(share[is_there] / (1 - share[is_there])) for share in (original, shifted))
        centre, spread = float(x.mean()), float(((x - x.mean()) ** 2).sum())
        slope = float(((x - centre) * y).sum() / spread)
        intercept = float(y.mean()) - slope * centre
        residual = y - intercept - slope * x
        scatter = sqrt(float((residual**2).sum()) / (len(x) - 2))
        return cls(intercept, slope, scatter, len(x), centre, spread)

    def expected(self, original: float) -> float:
        """Return the accuracy on the shifted data that a model on the line has."""
        return expit(self.intercept + self.slope * logit(original))

    def band(self, original: float) -> Bounds:
        """Return the bounds of the expected accuracy, by the uncertainty of the line only."""
        centre, half = self.intercept + self.slope * logit(original), self._half(logit(original))
        return expit(centre - half), expit(centre + half)

    def _half(self, x: float) -> float:
        """Return half the width of the interval of the line at a logit."""
        error = self.scatter * sqrt(1 / self.n + (x - self.centre) ** 2 / self.spread)
        return student((1 + CONFIDENCE) / 2, self.n - 1) * error  # of n - 2 degrees of freedom

    def residual(self, original: Bounded, shifted: Bounded) -> tuple[float, Interval]:
        """Return how much higher a model's accuracy is than the line's, and its interval.

        The doubts of both accuracies and of the line are taken to be independent, and added as standard errors are
        (MOVER). The uncertainty of the line is the uncertainty of its mean here, not of a further model, as a model is
        compared with the line.

        Raises:
            DataError: an accuracy on the original data is 0 or 1, which has no logit.
        """
        x, expected = logit(original.value), self.expected(original.value)
        half = self._half(x)
        position = self.intercept + self.slope * x
        # Where the line rises, a lower accuracy on the original data means a lower expectation.
        steps = sorted(self.slope * (logit(bound) - x) for bound in (original.low, original.high))
        lowest, highest = (
            expit(position - hypot(half, min(steps[0], 0.0))),
            expit(position + hypot(half, max(steps[1], 0.0))),
        )
        value = shifted.value - expected
        low = value - hypot(shifted.value - shifted.low, highest - expected)
        high = value + hypot(shifted.high - shifted.value, expected - lowest)
        return value, Interval(low, high, f"bounds of both accuracies and of a line of {self.n} models (MOVER)")


def logit(share: float) -> float:
    """Return the logarithm of the odds.

    Raises:
        DataError: the share is 0 or 1.
    """
    if not 0 < share < 1:
        raise DataError(f"an accuracy of {share:g} has no logit: expected one between 0 and 1")
    return log(share / (1 - share))


def expit(value: float) -> float:
    """Return the fraction of a logit."""
    return (1 + tanh(value / 2)) / 2  # which never overflows

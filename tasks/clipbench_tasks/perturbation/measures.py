"""Measures of disturbed samples: the largest of several losses, and the severity at which half is lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from clipbench.results.record import Metric
from clipbench.stats.crossings import crossing_interval
from clipbench.stats.estimators import Samples, first_position_reaching
from clipbench.stats.intervals import CONFIDENCE, DIFFERENCES, mean_interval
from clipbench.stats.measures import Definition, defined_values
from clipbench_tasks.perturbation.disturbances import TEMPLATE
from clipbench_tasks.tables import CERTAIN, Column

SEVERITIES = (0, 1, 2, 3, 4, 5)
"""0 is the clean sample."""
SEVERITY = "severity"
"""Unit of a severity, and figure of the scores by severity."""


def template_differences(samples: Samples) -> list[Column]:
    """Return the difference of each ordered pair of templates, NaN for samples without templates."""
    is_template = samples["condition"] == TEMPLATE
    credits = [np.where(is_template, samples[f"severity_{severity}"], np.nan) for severity in SEVERITIES[1:]]
    return [one - other for one, other in permutations(credits, 2)]


@dataclass(frozen=True, kw_only=True)
class LargestMean(Definition):
    """The largest of several mean differences, with an interval that holds whichever is the largest."""

    columns: Callable[[Samples], Sequence[Column]]
    """Returns the differences, each NaN for the samples that it is not of."""
    n_tests: int
    """Intervals that have to hold together; the two signs of a difference have one."""
    lower_limit: float = -1.0
    """The smallest value that the largest may have."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the largest mean; its bounds are the largest lower and the largest upper bound."""
        confidence = 1 - (1 - CONFIDENCE) / self.n_tests
        means, intervals = [], []
        for column in self.columns(samples):
            values, clusters = defined_values({**samples, "": column}, "")
            if len(values):
                means.append(float(values.mean()))
                intervals.append(mean_interval(values, clusters=clusters, within=DIFFERENCES, confidence=confidence))
        metric = Metric(
            value=max(means, default=None),
            n=len(np.unique(samples["image"])),
            unit="difference",
            higher_is_better=False,
            reason="no interval: got one sample, expected two or more",
        )
        if intervals and all(interval.low is not None for interval in intervals):
            lows, highs = zip(*(interval.bounds for interval in intervals), strict=True)
            method = f"largest of {self.n_tests} intervals that hold together (Bonferroni)"
            metric = replace(metric, low=max(self.lower_limit, *lows), high=max(highs), method=method, reason=None)
        return self.define(metric)


@dataclass(frozen=True, kw_only=True)
class HalfLoss(Definition):
    """The severity at which half of what the clean score has above chance is lost."""

    name: str
    """The disturbance."""
    chance: float

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the severity; None if the clean score is not above chance, or half of it is never lost."""
        rows = np.flatnonzero(samples["condition"] == self.name)
        credits = np.stack([samples[f"severity_{severity}"][rows] for severity in SEVERITIES], axis=1)
        clusters = samples["cluster"][rows]
        undefined = Metric(value=None, unit=SEVERITY, n=len(rows), higher_is_better=True)
        clean = mean_interval(credits[:, 0], clusters=clusters)
        if clean.low is None or clean.low <= self.chance + 1 - CERTAIN:
            return self.define(replace(undefined, reason="no test shows that the clean score is above chance"))
        half_of_clean = (credits[:, :1] + self.chance) / 2
        excess = half_of_clean - credits  # above 0 where more than half is lost
        mean_excess = excess.mean(axis=0)
        if mean_excess.max() < 0:
            return self.define(replace(undefined, reason=f"less than half is lost at severity {SEVERITIES[-1]}"))
        positions = np.array(SEVERITIES, np.float64)
        crossing = first_position_reaching(mean_excess[None], np.zeros(1), positions)
        interval = crossing_interval(excess, positions.tolist(), excess_name="half the clean score", clusters=clusters)
        metric = replace(undefined, value=float(crossing[0]), low=interval.low, high=interval.high)
        return self.define(replace(metric, method=interval.method))

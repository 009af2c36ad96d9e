"""The record of one metric's difference: its paired interval, its test, its verdict and the samples that changed."""

from dataclasses import dataclass
from typing import Literal

from clipbench.results.metric_name import subset_of
from clipbench.results.record import Metric
from clipbench.results.titles import full_title
from clipbench.stats.mean_law import Power

Verdict = Literal["better", "worse", "different", "not shown", "not tested", "equivalent"]
"""``different`` is a significant difference of a metric of which neither direction is better. ``not tested`` means that
the metric has no test (``Difference.test`` says why), which says less than ``not shown``. The interval of an
``equivalent`` one is within the equivalence margin.
"""


@dataclass(frozen=True)
class Flips:
    """Samples that changed, by id: those that changed most come first, equal ones in the order of their ids.

    By value, not by merit: where less is better (``attack_success``), what is gained is worse.
    """

    gained: tuple[str, ...]
    """Samples that turn from 0 to 1: of a hit, wrong in the base and right in the candidate."""
    lost: tuple[str, ...]
    """Samples that turn from 1 to 0."""
    part_gained: tuple[str, ...] = ()
    """Samples that gain less than a whole hit: one of the models has part of the credit, as a tie does."""
    part_lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two models on the same samples, as the candidate's value minus the base's."""

    evaluation: str
    """``task@data``; of a slice ``task@data{grouping=group}``."""
    name: str
    grouping: str = ""
    """The name by which the data is grouped, such as ``language``, empty for the whole."""
    group: str = ""
    """The group of a slice, empty for the whole."""
    subset: str = ""
    """The title of the subset that the name begins with, empty if none was recorded."""
    base: Metric
    candidate: Metric
    value: float
    low: float | None
    high: float | None
    """Bounds of the difference, paired by sample, None if ``method`` says why there are none."""
    lower_bound: float | None = None
    """The difference is above it with a confidence of 95 %: a one-sided bound, None if ``method`` says why."""
    upper_bound: float | None = None
    """The difference is below it with a confidence of 95 %."""
    n: int
    method: str
    test: str
    """Name of the test behind the p-value, or the reason why there is none."""
    p_value: float | None = None
    p_adjusted: float | None = None
    """After Holm's correction over its family. It decides the verdict."""
    is_headline: bool = False
    """True of the first headline metric of each evaluation, as the task names it before data is seen: these are one
    family of tests. All other metrics are a second family, explored: what is found there wants to be confirmed by
    another run.
    """
    detectable: float | None = None
    """The smallest true difference that a test of only this metric would have found at alpha with 80 % power, by the
    standard error of the paired difference and by the number of changes that the test needs. None if the samples cannot
    show any."""
    verdict: Verdict = "not tested"
    flips: Flips | None = None
    """Samples that changed, for columns of zeros and ones, or of credits between them."""
    is_identical: bool = False
    """True if all samples have the same values in both runs."""
    power: Power | None = None
    """What the test can show at any level, None without a test."""

    def is_within(self, margin: float) -> bool:
        """Return whether the whole interval is between minus and plus a margin, in the metric's unit.

        An interval without width does not count: these samples do not differ, and others may.

        Args:
            margin: half the width of what counts as equal, above 0, in the metric's unit (0.005 for 0.5 points).
        """
        return self.low is not None and self.high is not None and -margin <= self.low < self.high <= margin

    @property
    def title(self) -> str:
        """The metric's title with the title of its subset. Results of other tools have no titles."""
        metric = self.candidate if self.candidate.title else self.base
        return full_title(self.name, metric, {subset_of(self.name): self.subset})

    @property
    def label(self) -> str:
        """Evaluation and metric for a reader: the title if one was recorded, the name otherwise."""
        has_title = self.base.title or self.candidate.title
        return f"{self.evaluation}: {self.title}" if has_title else f"{self.evaluation}/{self.name}"

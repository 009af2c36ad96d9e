"""The record of a comparison: each metric's difference with its paired interval, test and verdict."""

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

from clipbench.comparison.gate_rules import LEAST_ALPHA, MOST_ALPHA, Tolerance
from clipbench.errors import UsageError, option
from clipbench.results.frames import typed_frame
from clipbench.results.grouping import group_values
from clipbench.results.numbers import change, change_interval, counted, p_value, quantity
from clipbench.results.record import Metric
from clipbench.results.table import Row, Table, as_html, as_text, columns
from clipbench.results.titles import full_title
from clipbench.stats.significance import ALPHA
from clipbench.untrusted.terminal import printable

if TYPE_CHECKING:
    import pandas

Verdict = Literal["better", "worse", "different", "no evidence", "not tested", "too small to matter"]
"""``different`` is a significant difference of a metric of which neither direction is better. ``not tested`` means that
the metric has no test (``Difference.test`` says why), which is less than no evidence.
"""


Shift = Literal["loss", "gain", "none"]
"""The result of a metric's test: it got worse, it got better, or neither."""

Status = Literal["pass", "regression", "unmet", "acknowledged", "untested", "missing", "not gated"]

ANY_SIZE = Tolerance(text="0", amount=0.0, kind="absolute")
"""No difference is too small to matter."""


@dataclass(frozen=True)
class CompareOptions:
    """Significance level of the verdicts, and the smallest difference that matters."""

    alpha: float = ALPHA
    smallest: Tolerance = ANY_SIZE
    """A difference is too small to matter if its whole interval is between minus and plus this amount."""

    def __post_init__(self) -> None:
        if not LEAST_ALPHA <= self.alpha <= MOST_ALPHA:
            raise UsageError(f"{option('alpha', self.alpha)}: expected {LEAST_ALPHA:g} to {MOST_ALPHA:g}, such as 0.05")

    def smallest_of(self, unit: str) -> float:
        """Return the smallest difference that matters of metrics of a unit, or 0 if it has another unit."""
        return self.smallest.amount if self.smallest.fits(unit) else 0.0


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
    standard error of the paired difference. None if the samples cannot show it."""
    verdict: Verdict = "not tested"
    flips: Flips | None = None
    """Samples that changed, for columns of zeros and ones, or of credits between them."""
    is_identical: bool = False
    """True if all samples have the same values in both runs."""
    least_p: float = 0.0
    """The smallest p-value that this test can reach with this number of samples or clusters."""

    @property
    def title(self) -> str:
        """The metric's title with the title of its subset. Results of other tools have no titles."""
        metric = self.candidate if self.candidate.title else self.base
        return full_title(self.name, metric, {self.name.rpartition("/")[0]: self.subset})

    @property
    def label(self) -> str:
        """Evaluation and metric for a reader: the title if one was recorded, the name otherwise."""
        has_title = self.base.title or self.candidate.title
        return f"{self.evaluation}: {self.title}" if has_title else f"{self.evaluation}/{self.name}"


@dataclass(frozen=True)
class Refusal:
    """An evaluation that must not be compared, or a metric or slices of one."""

    evaluation: str
    reason: str
    """The facts that differ, with both values."""
    is_part: bool = False
    """True if the candidate lacks it or only its slices cannot be compared: the rest is compared."""

    def __str__(self) -> str:
        return f"{self.evaluation} is not comparable: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class RepresentationalSimilarity:
    """Similarity of two models on the same images or texts. Alike is not better: it has no part in a verdict."""

    evaluation: str
    """``task@data`` whose run kept the vectors."""
    modality: Literal["image", "text"]
    mutual_knn: Metric
    """Mean share of an item's 10 nearest that are the same in both models. Chance is 10 / (n - 1)."""
    cka: Metric
    """Linear centred kernel alignment, debiased, at most 1. Chance is 0."""

    @property
    def measures(self) -> dict[str, Metric]:
        """Both by name."""
        return {"mutual_knn": self.mutual_knn, "cka": self.cka}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The gate's result for one metric."""

    metric: str
    """``task@data/metric``, or the pattern that matches none."""
    rule: str
    """The rule that applies, such as ``max drop 0.5pp`` or ``>= 0.63``."""
    status: Status
    """The status of a metric or requirement.

    - ``regression``: a significant loss beyond the limit
    - ``unmet``: a requirement is not met
    - ``acknowledged``: a known regression
    - ``untested``: a loss beyond the limit that this data does not allow to test
    - ``missing``: a gated metric that was not compared
    - ``not gated``: a pattern matches it, and its limit cannot apply to it
    """
    message: str
    """The numbers behind the status, in one line."""
    reason: str = ""
    """The reason for a status that the numbers do not explain, such as why there is no test."""
    evaluation: str = ""
    """``task@data``, of a slice ``task@data{grouping=group}``, empty for a pattern that matches no metric."""
    allowed: float | None = None
    """The largest loss that the limit allows, in the metric's unit, None for a requirement, and if nothing was
    compared.
    """
    shift: Shift = "none"
    """The result of the test after its correction over the gated metrics."""
    is_within_limit: bool = False
    """True if the whole interval is within the limit on both sides, or all samples are identical."""
    difference: Difference | None = None
    """The gated difference, None for a requirement, and if nothing was compared."""
    base: Metric | None = None
    """The metric in the base, None if the base has none of this name."""
    candidate: Metric | None = None

    @property
    def limit(self) -> str:
        """The limit or requirement as the user wrote it, such as ``0.5pp`` or ``>= 0.63``."""
        return self.rule.removeprefix("max drop ")

    @property
    def title(self) -> str:
        """The metric's title, or its name if no title was recorded."""
        if self.difference is not None:
            return self.difference.title
        metric = self.candidate if self.base is None else self.base
        return (
            self.metric if metric is None else full_title(self.metric.removeprefix(f"{self.evaluation}/"), metric, {})
        )


def verdict_line(word: str, reason: str, subject: str = "") -> str:
    """Return the line in which a comparison ends: its word, its reason, and whom it is about if there are several.

    Example:
        >>> verdict_line("equal", "all samples are identical"), verdict_line("worse", "R@1 -2 pp", "runs/b")
        ('verdict: equal (all samples are identical)', 'verdict: worse (runs/b: R@1 -2 pp)')
    """
    return f"verdict: {word} ({': '.join(filter(None, (subject, reason)))})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """The metrics that two runs have in common, and a line for all that was not compared."""

    base: str
    """The run's folder, or the label of another tool's results."""
    candidate: str
    differences: list[Difference]
    refused: list[Refusal] = field(default_factory=list)
    slices: list[Difference] = field(default_factory=list)
    """Differences within the groups of the data, ``task@data{grouping=group}``. They are explored, and Holm's
    correction is over these differences only.
    """
    representational_similarity: list[RepresentationalSimilarity] = field(default_factory=list)
    """Similarity on images, then on texts, where both runs kept the vectors of the same pairs."""
    notes: list[str] = field(default_factory=list)
    """Metrics and evaluations that were not compared, and conditions that are not the same."""
    is_of_values: bool = False
    """True if one side is another tool's results, which hold values without samples."""
    verdict: str = "undecided"
    """The word for the whole, by the headline metrics: ``worse``, ``better``, ``mixed``, ``equal`` or ``undecided``."""
    reason: str = "nothing was compared"
    """The numbers behind the word, in one line."""

    def __repr__(self) -> str:
        """Return both names, and the word with its reason."""
        return f"<comparison of {self.base} and {self.candidate}: {self.verdict} ({self.reason})>"

    def __str__(self) -> str:
        lines = [
            verdict_line(self.verdict, self.reason),
            "",
            *as_text(self._table(), width=100).splitlines(),
            *map(str, self.refused),
        ]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        return f"<p><b>{self.verdict.capitalize()}.</b> {escape(self.reason)}</p>\n{as_html(self._table())}"

    def _table(self) -> Table:
        """Return the headline metrics and all that got worse. ``frame`` has every metric."""
        metrics = [metric for metric in self.differences if metric.is_headline or metric.verdict == "worse"]
        rows = group_values((metric.evaluation, _table_row(metric)) for metric in metrics)
        n_more = len(self.differences) - len(metrics)
        return Table(
            title=f"{self.candidate} against {self.base}",
            facts=f"({counted(n_more, 'more metric')} in frame())" if n_more else "",
            columns=columns("metric", numbers=TABLE_NUMBERS) + columns("verdict"),
            rows=[row for evaluation, metric_rows in rows.items() for row in (evaluation, *metric_rows)],
        )

    def frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each metric: values, difference, bounds, p-values and verdict.

        Values, differences and bounds are in the metric's unit (``fraction`` is in [0, 1]). Undefined values are NaN.
        """
        return typed_frame([_row(self, metric) for metric in self.differences], FRAME)

    def slices_frame(self) -> "pandas.DataFrame":
        """Return the same for the slices of the data. The column ``data`` ends with the slice, ``{language=de}``."""
        return typed_frame([_row(self, metric) for metric in self.slices], FRAME)

    def similarity_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each modality and measure of the representational similarity: ``base``,
        ``candidate``, ``data``, ``modality``, ``metric``, ``value``, ``low``, ``high``, ``chance``, ``n``.
        """
        rows = [
            {
                "base": self.base,
                "candidate": self.candidate,
                "data": similarity.evaluation.partition("@")[2],
                "modality": similarity.modality,
                "metric": name,
                **{key: getattr(metric, key) for key in ("value", "low", "high", "chance", "n")},
            }
            for similarity in self.representational_similarity
            for name, metric in similarity.measures.items()
        ]
        return typed_frame(rows, SIMILARITY_FRAME)


TABLE_NUMBERS = ("base", "candidate", "difference", "95 % interval", "p (Holm)")
FRAME = {
    **dict.fromkeys(("base", "candidate", "task", "data", "metric", "unit"), "str"),
    **dict.fromkeys(("base_value", "candidate_value", "difference", "low", "high"), "float64"),
    "n": "int64",
    **dict.fromkeys(("p_value", "p_adjusted", "detectable"), "float64"),
    "is_headline": "bool",
    **dict.fromkeys(("verdict", "test", "title"), "str"),
}
"""Columns of ``Comparison.frame`` and their types."""
SIMILARITY_FRAME = {
    **dict.fromkeys(("base", "candidate", "data", "modality", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high", "chance"), "float64"),
    "n": "int64",
}
"""Columns of ``Comparison.similarity_frame`` and their types."""


def _table_row(metric: Difference) -> Row:
    unit = metric.base.unit
    return [
        metric.title,
        quantity(metric.base.value, unit),
        quantity(metric.candidate.value, unit),
        change(metric.value, unit),
        change_interval(metric.low, metric.high, unit),
        p_value(metric.p_adjusted),
        metric.verdict,
    ]


def _row(comparison: Comparison, metric: Difference) -> dict[str, object]:
    task, _, data = metric.evaluation.partition("@")
    return {
        **vars(metric),
        "base": comparison.base,
        "candidate": comparison.candidate,
        "task": task,
        "data": data,
        "metric": metric.name,
        "unit": metric.base.unit,
        "base_value": metric.base.value,
        "candidate_value": metric.candidate.value,
        "difference": metric.value,
        "title": metric.title,
    }

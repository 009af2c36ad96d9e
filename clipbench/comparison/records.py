"""The record of a comparison: each metric's difference with its paired interval, test and verdict."""

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

from clipbench.comparison.gate_outcomes import PASSED, UNDECIDED, GateResult
from clipbench.comparison.gate_rules import LEAST_ALPHA, MOST_ALPHA, Tolerance
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.relabelled import Relabelled
from clipbench.errors import UsageError, option
from clipbench.results.frames import typed_frame
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import split_evaluation
from clipbench.results.numbers import change, change_interval, counted, p_value, quantity
from clipbench.results.record import Metric
from clipbench.results.table import Row, Table, as_html, as_text, columns
from clipbench.stats.significance import ALPHA
from clipbench.untrusted.terminal import printable

if TYPE_CHECKING:
    import pandas

Word = Literal["worse", "mixed", "undecided", "equal", "better"]
WORDS: tuple[Word, ...] = ("worse", "mixed", "undecided", "equal", "better")
"""The words for a whole comparison, the gravest first."""
NO_MARGIN = Tolerance(text="0", amount=0.0, kind="absolute")
"""Without a margin, no two values are equivalent."""


@dataclass(frozen=True)
class CompareOptions:
    """Significance level of the verdicts, and the equivalence margin."""

    alpha: float = ALPHA
    equivalence_margin: Tolerance = NO_MARGIN
    """Two values are equivalent if the whole interval of their difference is between minus and plus this amount."""

    def __post_init__(self) -> None:
        if not LEAST_ALPHA <= self.alpha <= MOST_ALPHA:
            raise UsageError(f"{option('alpha', self.alpha)}: expected {LEAST_ALPHA:g} to {MOST_ALPHA:g}, such as 0.05")

    def margin_of(self, base: Metric) -> float:
        """Return the equivalence margin of a metric of the base, in its unit, or 0 if the margin has another unit."""
        margin = self.equivalence_margin
        return margin.allowed(base.value or 0.0) if margin.fits(base.unit) else 0.0


@dataclass(frozen=True)
class Refusal:
    """An evaluation that must not be compared, or a metric or slices of one."""

    evaluation: str
    """Empty for a whole run, which the reason names."""
    reason: str
    """The facts that differ, with both values."""
    is_part: bool = False
    """True if the candidate lacks it or only its slices cannot be compared: the rest is compared."""

    def __str__(self) -> str:
        return f"{self.evaluation} is not comparable: {self.reason}" if self.evaluation else self.reason


@dataclass(frozen=True, kw_only=True)
class RepresentationalSimilarity:
    """Similarity of two models on the same images or texts. Alike is not better: it has no part in a verdict."""

    evaluation: str
    """``task@data`` whose run kept the vectors."""
    modality: Literal["image", "text"]
    mutual_knn: Metric
    """Mean fraction of an item's 10 nearest that are the same in both models. Chance is 10 / (n - 1)."""
    cka: Metric
    """Linear centred kernel alignment, debiased, at most 1. Chance is 0."""

    @property
    def measures(self) -> dict[str, Metric]:
        """Both by name."""
        return {"mutual_knn": self.mutual_knn, "cka": self.cka}


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
    relabelled: list[Relabelled] = field(default_factory=list)
    """Top-1 accuracy by other labels, where they were given."""
    notes: list[str] = field(default_factory=list)
    """Metrics and evaluations that were not compared, and conditions that are not the same."""
    is_of_values: bool = False
    """True if one side is another tool's results, which hold values without samples."""
    warnings: list[str] = field(default_factory=list)
    """Warnings of the checks that were made before either run, each with the run's name."""
    gate: GateResult = field(default_factory=GateResult)
    verdict: Word = "undecided"
    """The word for the whole: ``worse``, ``better``, ``mixed``, ``equal`` or ``undecided``, by the gated metrics, or by
    the headline metrics if nothing is gated.
    """
    reason: str = "nothing was compared"
    """The numbers behind the word, in one line."""

    @property
    def exit_status(self) -> int:
        """The exit status of ``clipbench compare``: the gate's, and 3 if an evaluation could not be compared."""
        is_refused = any(not refusal.is_part for refusal in self.refused)
        return UNDECIDED if is_refused and self.gate.exit_status == PASSED else self.gate.exit_status

    def __repr__(self) -> str:
        """Return both names, and the word with its reason."""
        return f"<comparison of {self.base} and {self.candidate}: {self.verdict} ({self.reason})>"

    def __str__(self) -> str:
        lines = [
            verdict_line(self.verdict, self.reason),
            "",
            *as_text(self._table(), width=100).splitlines(),
            *(f"{part.sentence} ({part.counts})" for part in self.relabelled),
            *map(str, self.refused),
            *(f"warning: {warning}" for warning in self.warnings),
            *([f"gate: {self.gate.counts}"] if self.gate.counts else []),
        ]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{self.verdict.capitalize()}.</b> {escape(self.reason)}</p>", as_html(self._table())]
        parts += [f"<p>{escape(part.sentence)} ({escape(part.counts)})</p>" for part in self.relabelled]
        parts += [f"<p><b>Warning.</b> {escape(warning)}</p>" for warning in self.warnings]
        if self.gate.counts:
            parts.append(f"<p><b>Gate.</b> {escape(self.gate.counts)}</p>")
        return "\n".join(parts)

    def _table(self) -> Table:
        """Return the headline metrics and all that got worse. ``frame`` has every metric."""
        metrics = [metric for metric in self.differences if metric.is_headline or metric.verdict == "worse"]
        rows = group_values((metric.evaluation, table_row(metric.title, metric)) for metric in metrics)
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
        rows = []
        for similarity in self.representational_similarity:
            facts = {
                "base": self.base,
                "candidate": self.candidate,
                "data": split_evaluation(similarity.evaluation).data,
                "modality": similarity.modality,
            }
            for name, metric in similarity.measures.items():
                values = {key: getattr(metric, key) for key in ("value", "low", "high", "chance", "n")}
                rows.append({**facts, "metric": name, **values})
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


def table_row(name: str, metric: Difference) -> Row:
    """Return a row of a table of differences: name, both values, change, interval, p-value and verdict."""
    unit = metric.base.unit
    return [
        name,
        quantity(metric.base.value, unit),
        quantity(metric.candidate.value, unit),
        change(metric.value, unit),
        change_interval(metric.low, metric.high, unit),
        p_value(metric.p_adjusted),
        metric.verdict,
    ]


def _row(comparison: Comparison, metric: Difference) -> dict[str, object]:
    task, data = split_evaluation(metric.evaluation)
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

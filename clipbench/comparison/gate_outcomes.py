"""The record of what a gate decided: an outcome per metric, and the exit status."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipbench.comparison.metric_difference import Difference
from clipbench.results.frames import typed_frame
from clipbench.results.metric_name import metric_of
from clipbench.results.numbers import SYMBOLS, counted, rough_change
from clipbench.results.record import Metric
from clipbench.results.titles import full_title

if TYPE_CHECKING:
    import pandas

Shift = Literal["loss", "gain", "none"]
"""The result of a metric's test: it got worse, it got better, or neither."""

Status = Literal[
    "pass", "within", "not decided", "regression", "unmet", "acknowledged", "untested", "missing", "not gated"
]
REPORTED: tuple[Status, ...] = ("regression", "unmet", "missing", "untested", "acknowledged")
"""Statuses that a reader has to know of, the gravest first."""
QUIET: tuple[Status, ...] = ("not decided", "within", "pass")
"""Statuses of gated metrics that a reader may look up."""
PASSED, FAILED, UNDECIDED = 0, 1, 3
"""Exit statuses of a comparison."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The gate's result for one metric."""

    metric: str
    """``task@data/metric``, or the pattern that matches none."""
    rule: str
    """The rule that applies, such as ``max drop 0.5pp`` or ``>= 0.63``."""
    status: Status
    """The status of a metric or requirement.

    - ``within``: the one-sided 95 % bound of its change is within the limit
    - ``not decided``: that bound is beyond the limit, and no test shows a loss beyond it
    - ``pass``: a requirement is met, or with a limit of 0 no test shows a loss
    - ``regression``: the observed loss is beyond the limit, and a test shows that it is a loss
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
    """True if the whole interval is within the limit on both sides."""
    detectable: float | None = None
    """The smallest true loss, in the metric's unit, that a test at alpha divided by the number of gated metrics finds
    with 80 % power. None if the samples cannot show any, and for a requirement.
    """
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
        return self.metric if metric is None else full_title(metric_of(self.evaluation, self.metric), metric, {})


NOUNS: Mapping[Status, tuple[str, str]] = {
    "regression": ("regression", "regressions"),
    "unmet": ("requirement not met", "requirements not met"),
    "missing": ("gated metric missing", "gated metrics missing"),
    "untested": ("untested loss", "untested losses"),
    "acknowledged": ("known regression", "known regressions"),
    "within": ("within the limit", "within the limit"),
    "pass": ("passed", "passed"),
    "not decided": ("not decided", "not decided"),
}
"""Each outcome of a gated metric as it is counted, singular and plural."""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The outcomes of a gate, without any if nothing gates the comparison."""

    outcomes: Sequence[Outcome] = ()
    """One per metric that a rule matches, then one per metric that a requirement matches."""
    is_conclusive: bool = False
    """True if a metric that is not decided has status 3."""

    def with_status(self, *statuses: Status) -> list[Outcome]:
        """Return the outcomes with these statuses, in the order of the statuses."""
        outcomes: list[Outcome] = []
        for status in statuses:
            outcomes += [outcome for outcome in self.outcomes if outcome.status == status]
        return outcomes

    @property
    def exit_status(self) -> int:
        """1 if a metric regressed or a requirement is not met, 3 if that cannot be decided, 0 otherwise."""
        if self.with_status("regression", "unmet"):
            return FAILED
        open_statuses: tuple[Status, ...] = ("missing", "untested", "not decided")
        if not self.is_conclusive:
            open_statuses = open_statuses[:2]
        return UNDECIDED if self.with_status(*open_statuses) else PASSED

    @property
    def counts(self) -> str:
        """How many metrics have which outcome, and which loss the samples can show if some metrics are not decided.

        Empty if nothing is gated.
        """
        parts = []
        for status, (noun, plural) in NOUNS.items():
            n = len(self.with_status(status))
            if n:
                parts.append(counted(n, noun, plural))
        visible = _visible_loss(self.with_status("not decided"))
        return ": ".join(filter(None, (", ".join(parts), visible)))

    def frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each outcome: metric, rule, status, change, allowed loss and message.

        Changes and losses are in the metric's unit (``fraction`` is in [0, 1]). Undefined values are NaN.
        """
        return typed_frame([_outcome_row(outcome) for outcome in self.outcomes], OUTCOME_FRAME)


def _visible_loss(undecided: Sequence[Outcome]) -> str:
    """Return the largest of the losses that the samples of some metrics would show: ``120 samples show a loss from
    about 8 pp``.
    """
    tested = [
        (outcome, outcome.difference)
        for outcome in undecided
        if outcome.difference is not None and outcome.difference.p_value is not None
    ]
    if not tested:
        return undecided[0].reason if undecided else ""
    losses = [(outcome.detectable, difference) for outcome, difference in tested if outcome.detectable is not None]
    if not losses:
        return f"{counted(tested[0][1].n, 'sample')} cannot show a loss"
    # Losses of different units are not on one scale: fractions come first.
    in_points = [(loss, difference) for loss, difference in losses if difference.base.unit in SYMBOLS]
    loss, difference = max(in_points or losses, key=operator.itemgetter(0))
    unit = difference.base.unit
    words = rough_change(loss, unit) + ("" if unit in SYMBOLS else f" of {difference.name}")
    return f"{counted(difference.n, 'sample')} show a loss from about {words}"


OUTCOME_FRAME = {
    **dict.fromkeys(("metric", "rule", "status"), "str"),
    **dict.fromkeys(("change", "lower_bound", "upper_bound", "allowed"), "float64"),
    "message": "str",
}
"""Columns of ``GateResult.frame`` and their types."""


def _outcome_row(outcome: Outcome) -> dict[str, object]:
    difference = outcome.difference
    return {
        **{name: getattr(outcome, name) for name in ("metric", "rule", "status", "allowed", "message")},
        "change": None if difference is None else difference.value,
        "lower_bound": None if difference is None else difference.lower_bound,
        "upper_bound": None if difference is None else difference.upper_bound,
    }

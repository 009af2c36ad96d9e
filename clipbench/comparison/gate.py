"""A comparison held against a gate: metrics that regressed, and those that are known to, are missing or have no test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Literal

from clipbench.comparison.gate_rules import COMPARISONS, Gate, GateRule, Requirement, matches
from clipbench.comparison.records import Comparison, Difference
from clipbench.errors import UsageError, did_you_mean
from clipbench.results.numbers import change, p_value, quantity
from clipbench.results.record import SUMMARIES, Metric, MetricName
from clipbench.stats.significance import holm

Status = Literal["pass", "regression", "unmet", "acknowledged", "untested", "missing", "not gated"]
REPORTED: tuple[Status, ...] = ("regression", "unmet", "missing", "untested", "acknowledged")
"""Statuses that a reader has to know of, the gravest first."""

ROUNDING = 1e-12
"""Rounding error of a subtraction: a loss beyond the tolerance by less is within it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The gate's result for one metric."""

    metric: str
    """``task@data/metric``, or the pattern that matches none."""
    rule: str
    """The rule that applies, such as ``max drop 0.5pp`` or ``>= 0.63``."""
    status: Status
    """``regression``: a significant loss beyond the tolerance; ``unmet``: a requirement is not met; ``acknowledged``: a
    known regression; ``untested``: a loss beyond the tolerance of a metric that has no test; ``missing``: a gated metric
    that was not compared; ``not gated``: a pattern matches it, and its tolerance does not apply to it."""
    message: str
    """The numbers behind the status, in one line."""
    evaluation: str = ""
    """``task@data``, of a slice ``task@data{grouping=group}``; empty where a pattern matches no metric."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A comparison with the outcomes of a gate."""

    comparison: Comparison
    outcomes: Sequence[Outcome] = ()

    def of(self, *statuses: Status) -> list[Outcome]:
        """Return the outcomes of some statuses, those of the first status first."""
        return [each for status in statuses for each in self.outcomes if each.status == status]

    @property
    def is_worse(self) -> bool:
        """True when a metric regressed or a requirement is not met."""
        return bool(self.of("regression", "unmet"))

    @property
    def is_whole(self) -> bool:
        """True when all that was asked for could be compared."""
        return not self.comparison.refused and not self.of("missing")


def check_gate(gate: Gate, metrics: Mapping[MetricName, Metric]) -> None:
    """Raise UsageError for a pattern that matches no metric of any run, or a rule that applies to none that it matches.

    Args:
        metrics: of all runs, by name.
    """
    for pattern in gate.patterns:
        if not any(matches(pattern, name) for name in metrics):
            raise UsageError(f"gate: '{pattern}' matches no metric of any run: {did_you_mean(pattern, metrics)}")
    for rule in gate.rules:
        reasons = {name: _misfit(rule, name, metric) for name, metric in metrics.items() if matches(rule.pattern, name)}
        if all(reasons.values()):
            name, reason = next(iter(reasons.items()))
            raise UsageError(f"gate: '{rule.pattern}' gates nothing: {name} {reason}")


def judge(
    comparison: Comparison,
    gate: Gate,
    *,
    base: Mapping[MetricName, Metric],
    candidate: Mapping[MetricName, Metric],
    alpha: float,
    today: date | None = None,
) -> list[Outcome]:
    """Return the outcome of each metric that a rule or requirement of a gate matches.

    A regression is a loss beyond the tolerance that is significant at alpha, by its p-value after Holm's correction over
    the gated metrics; in a strict gate the loss is enough. A metric whose unit a rule does not fit is a regression too where the
    comparison shows it worse: a limit in the wrong unit lets nothing pass. A requirement applies to the candidate's value alone.

    Args:
        base: all its metrics, of which the comparison holds those that both have; likewise ``candidate``.
        alpha: for rules without one of their own.
        today: for acknowledgements that expire; None is today in UTC.
    """
    compared: dict[str, list[Difference]] = {}  # a task may have been asked twice on the same data, in two ways
    for each in (*comparison.differences, *comparison.slices):
        compared.setdefault(f"{each.evaluation}/{each.name}", []).append(each)
    names = list(dict.fromkeys([*base, *candidate]))
    own = [replace(rule, alpha=alpha if rule.alpha is None else rule.alpha) for rule in gate.rules]
    rules = {name: rule for name in names for rule in own if matches(rule.pattern, name)}  # the last one applies
    misfits = {name: _misfit(rule, name, base.get(name) or candidate[name]) for name, rule in rules.items()}
    gated = [(name, each) for name in rules if not misfits[name] for each in compared.get(name, [])]
    tested = [each for _, each in gated if each.p_value is not None]
    adjusted = holm([each.p_value for each in tested])
    p_values = {id(each): p for each, p in zip(tested, adjusted, strict=True)}
    today = today or datetime.now(UTC).date()
    outcomes = []
    for name, rule in rules.items():
        found = [] if misfits[name] else compared.get(name, [])
        if misfits[name]:
            worse = [each for each in compared.get(name, []) if each.verdict == "worse"]
            no_limit = f"no limit: it {misfits[name]}"
            answers: list[tuple[Status, str]] = [
                _regression(name, f"shown worse by {change(each.value, each.base.unit)}, and {no_limit}", gate, today)
                for each in worse
            ] or [("not gated", f"it {misfits[name]}")]
        elif found:
            answers = [_by_loss(name, rule, each, p_values.get(id(each)), gate, today) for each in found]
        else:
            answers = [_not_compared(name, rule, comparison, base.get(name), candidate.get(name))]
        outcomes += [_outcome(name, f"max drop {rule.tolerance.text}", *answer) for answer in answers]
    for one in gate.requirements:
        required = [name for name in names if matches(one.pattern, name)]
        outcomes += [_requirement_outcome(name, one, candidate.get(name), comparison.candidate) for name in required]
        if not required:
            message = _no_value(comparison.candidate, None)
            outcomes.append(Outcome(metric=one.pattern, rule=one.rule, status="missing", message=message))
    return outcomes


def _not_compared(
    name: MetricName, rule: GateRule, comparison: Comparison, base: Metric | None, candidate: Metric | None
) -> tuple[Status, str]:
    """Return the status of a metric that has no difference."""
    if base is None or base.value is None:
        # A pattern asks for whatever there is, a name for the metric itself.
        return "not gated" if rule.is_pattern else "missing", _no_value(comparison.base, base)
    refused = [each.reason for each in comparison.refused if each.evaluation == name.evaluation]
    return "missing", f"not compared: {refused[0]}" if refused else _no_value(comparison.candidate, candidate)


def _by_loss(
    name: MetricName, rule: GateRule, difference: Difference, p: float | None, gate: Gate, today: date
) -> tuple[Status, str]:
    """Return the status of a metric by its loss and the significance of it."""
    assert difference.base.value is not None, difference
    loss = difference.value if difference.base.higher_is_better is False else -difference.value
    allowed = rule.tolerance.allowed(difference.base.value)
    message = _message(difference, loss, allowed)
    if loss <= allowed + ROUNDING:
        return "pass", message
    if p is not None:
        message += f", p {p_value(p)}"
    if not gate.is_strict:
        if p is None:
            return "untested", f"{message}; {difference.test}: --strict fails on the loss alone"
        if rule.alpha is not None and p > rule.alpha:
            return "pass", f"{message}: not significant at {rule.alpha:g}"
    return _regression(name, message, gate, today)


def _regression(name: MetricName, message: str, gate: Gate, today: date) -> tuple[Status, str]:
    """Return the status of a metric that regressed, which may be known."""
    known = [each for each in gate.acknowledged if matches(each.pattern, name)]
    if valid := [each for each in known if today <= each.expires]:
        return "acknowledged", f"{message}; known until {valid[-1].expires}: {valid[-1].reason}"
    if known:
        return "regression", f"{message}; its acknowledgement expired on {known[-1].expires}: {known[-1].reason}"
    return "regression", message


def _requirement_outcome(name: MetricName, requirement: Requirement, metric: Metric | None, candidate: str) -> Outcome:
    if metric is None or metric.value is None:
        return _outcome(name, requirement.rule, "missing", _no_value(candidate, metric))
    value, bound = (quantity(each, metric.unit) for each in (metric.value, requirement.bound))
    status: Status = "pass" if COMPARISONS[requirement.sign](metric.value, requirement.bound) else "unmet"
    return _outcome(name, requirement.rule, status, f"{value}, required {requirement.sign} {bound}")


def _outcome(name: MetricName, rule: str, status: Status, message: str) -> Outcome:
    evaluation = f"{name.evaluation}{name.slice}"
    return Outcome(metric=str(name), rule=rule, status=status, message=message, evaluation=evaluation)


def _no_value(label: str, metric: Metric | None) -> str:
    reason = "" if metric is None or metric.reason is None else f": {metric.reason}"
    return f"{label} has no value{reason}"


def _message(difference: Difference, loss: float, allowed: float) -> str:
    """Return both values, the loss, and the loss that is allowed."""
    unit = difference.base.unit
    values = f"{quantity(difference.base.value, unit)} to {quantity(difference.candidate.value, unit)}"
    if loss <= 0:
        return f"{values}: no loss"
    return f"{values}: loss {change(loss, unit, is_signed=False)}, allowed {change(allowed, unit, is_signed=False)}"


def _misfit(rule: GateRule, name: MetricName, metric: Metric) -> str:
    """Return why a rule cannot apply to a metric; empty where it does."""
    if name.group in SUMMARIES:
        return "is a number over slices, which no samples pair: gate the slices, or require a value of it"
    if metric.higher_is_better is None:
        return "has no direction: neither more nor less of it is worse"
    if not rule.tolerance.suits(metric.unit):
        other = "0.5pp or 1%" if rule.tolerance.kind == "absolute" else "a bare number or 1%"
        return f"is in the unit {metric.unit}, which max_drop {rule.tolerance.text} does not fit: {other} would"
    return ""

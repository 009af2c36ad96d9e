"""A comparison held against a gate: which metrics regressed, and which are known to, are missing or cannot be tested.

A metric is gated if it has a direction, the limit fits its unit, and a test of it exists; one that no data allows to
test is gated only by its name in a gate file. What is not gated decides nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial

from clipbench.comparison.gate_rules import COMPARISONS, Gate, GateRule, Requirement, matches
from clipbench.comparison.overall import OverallVerdict, overall_verdict
from clipbench.comparison.records import Comparison, Difference, Outcome, Shift, Status
from clipbench.errors import UsageError, did_you_mean
from clipbench.results.grouping import group_values
from clipbench.results.numbers import change, p_value, quantity
from clipbench.results.other_tools import BARE_METRIC
from clipbench.results.record import SUMMARIES, Metric, MetricName
from clipbench.stats.significance import holm

REPORTED: tuple[Status, ...] = ("regression", "unmet", "missing", "untested", "acknowledged")
"""Statuses that a reader has to know of, the gravest first."""

ROUNDING = 1e-12
"""Rounding error of a subtraction: a loss beyond the limit by less is within it."""

PASSED, FAILED, UNDECIDED = 0, 1, 3
"""Exit statuses of a gate."""


@dataclass(frozen=True, kw_only=True)
class GatedComparison:
    """A comparison with the outcomes of a gate, without any if nothing gates it."""

    comparison: Comparison
    outcomes: Sequence[Outcome] = ()

    def with_status(self, *statuses: Status) -> list[Outcome]:
        """Return the outcomes with these statuses, in the order of the statuses."""
        return [outcome for status in statuses for outcome in self.outcomes if outcome.status == status]

    @property
    def exit_status(self) -> int:
        """1 if a metric regressed or a requirement is not met, 3 if that cannot be decided, 0 otherwise."""
        if self.with_status("regression", "unmet"):
            return FAILED
        is_refused = any(not refusal.is_part for refusal in self.comparison.refused)
        return UNDECIDED if is_refused or self.with_status("missing", "untested") else PASSED

    @property
    def verdict(self) -> OverallVerdict:
        """The word of the comparison, by the gated metrics if there are any, and its reason."""
        return overall_verdict(self.comparison, self.outcomes)


def check_gate(gate: Gate, metrics: Mapping[MetricName, Metric]) -> None:
    """Raise UsageError for a pattern that matches no metric of any run, or a rule that applies to none that it matches.

    Args:
        metrics: metrics of all runs, by name.
    """
    for pattern in gate.patterns:
        if not any(matches(pattern, name) for name in metrics):
            raise UsageError(
                f"gate: '{pattern}' matches no metric of any run: {did_you_mean(pattern, metrics)}"
                " (clipbench show RUN --all)"
            )
    for rule in gate.rules:
        reasons = {
            name: _ungated_reason(rule, name, [metric])
            for name, metric in metrics.items()
            if matches(rule.pattern, name)
        }
        if all(reasons.values()):
            name, reason = next(iter(reasons.items()))
            raise UsageError(f"gate: '{rule.pattern}' gates nothing: {name}: {reason}")


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

    A regression is a loss beyond the limit whose p-value, after Holm's correction over the gated metrics, is at most
    alpha; in a strict gate the loss is enough. A requirement applies only to the candidate's value.

    Args:
        base: all metrics of the base. The comparison holds only the metrics that both runs have.
        candidate: all metrics of the candidate.
        alpha: for rules without one of their own.
        today: for acknowledgements that expire, None for today in UTC.
    """
    today = today or datetime.now(UTC).date()
    differences = group_values(  # a task may have been asked twice on the same data, in two ways
        (f"{difference.evaluation}/{difference.name}", difference)
        for difference in (*comparison.differences, *comparison.slices)
    )
    names = list(dict.fromkeys([*base, *candidate]))
    with_alpha = [replace(rule, alpha=alpha if rule.alpha is None else rule.alpha) for rule in gate.rules]
    rules = {name: rule for name in names for rule in with_alpha if matches(rule.pattern, name)}  # the last one counts
    sides = {name: [side[name] for side in (base, candidate) if name in side] for name in rules}
    reasons = {name: _ungated_reason(rule, name, sides[name]) for name, rule in rules.items()}
    gated = [(name, difference) for name in rules if not reasons[name] for difference in differences.get(name, [])]
    p_values = holm([difference.p_value for _, difference in gated])
    outcomes = [
        _loss_outcome(name, rules[name], difference, p, gate=gate, today=today)
        for (name, difference), p in zip(gated, p_values, strict=True)
    ]
    for name, rule in rules.items():
        if reasons[name]:
            outcomes.append(_outcome(name, rule)(status="not gated", message=reasons[name]))
        elif name not in differences:
            outcomes.append(_missing_outcome(name, rule, comparison, base.get(name), candidate.get(name)))
    for requirement in gate.requirements:
        matched = [name for name in names if matches(requirement.pattern, name)]
        outcomes += [_requirement_outcome(name, requirement, candidate.get(name), comparison) for name in matched]
        if not matched:
            reason = _no_value(comparison.candidate, None)
            outcomes.append(
                Outcome(metric=requirement.pattern, rule=requirement.rule, status="missing", message=reason)
            )
    return outcomes


def _ungated_reason(rule: GateRule, name: MetricName, metrics: Sequence[Metric]) -> str:
    """Return why a rule cannot gate a metric, given as base and candidate have it, empty if it can."""
    metric = metrics[0]
    if name.group in SUMMARIES:
        return "a summary over slices: gate the slices, or require a value of it"
    if metric.higher_is_better is None:
        return "no direction"
    if not rule.tolerance.fits(metric.unit):
        return f"unit {metric.unit}: {rule.tolerance.text} does not fit, 1% does"
    # Of another tool's metric, and of one without a value, it is not known whether a test exists.
    recorded = [metric for metric in metrics if metric.value is not None and metric.reason != BARE_METRIC]
    if recorded and not any(metric.is_testable for metric in recorded) and not rule.names_its_metric:
        return "no test exists"
    return ""


def _loss_outcome(
    name: MetricName, rule: GateRule, difference: Difference, p: float | None, *, gate: Gate, today: date
) -> Outcome:
    """Return the outcome of a gated metric by its loss and its p-value, corrected over the gated metrics."""
    assert difference.base.value is not None and rule.alpha is not None, difference
    loss = difference.value if difference.base.higher_is_better is False else -difference.value
    allowed = rule.tolerance.allowed(difference.base.value)
    is_shown = p is not None and p <= rule.alpha
    is_untestable = p is None or difference.least_p > rule.alpha
    numbers = _loss_text(difference, loss, allowed)
    status: Status = "pass"
    reason = ""
    if loss > allowed + ROUNDING:
        numbers += "" if p is None or is_untestable else f", p {p_value(p)}"
        if is_shown or gate.is_strict:
            status, reason = _regression(name, gate, today)
        elif is_untestable:
            too_few = f"no test: {difference.test} cannot reach p {rule.alpha:g}"
            status, reason = "untested", difference.test if p is None else too_few
        else:
            reason = f"not significant at {rule.alpha:g}"
    is_small = difference.verdict == "too small to matter"
    shift: Shift = "none" if is_small or not is_shown else "loss" if loss > 0 else "gain"
    low, high = difference.low, difference.high
    is_inside = low is not None and high is not None and -allowed <= low and high <= allowed
    return _outcome(name, rule)(
        status=status,
        message=": ".join(filter(None, (numbers, reason))),
        reason=reason,
        allowed=allowed,
        shift=shift,
        is_within_limit=is_inside or is_small or difference.is_identical,
        difference=difference,
        base=difference.base,
        candidate=difference.candidate,
    )


def _regression(name: MetricName, gate: Gate, today: date) -> tuple[Status, str]:
    """Return the status of a metric that regressed, which may be known, and the reason."""
    matching = [acknowledged for acknowledged in gate.acknowledged if matches(acknowledged.pattern, name)]
    if valid := [acknowledged for acknowledged in matching if today <= acknowledged.expires]:
        return "acknowledged", f"known until {valid[-1].expires}: {valid[-1].reason}"
    if matching:
        return "regression", f"its acknowledgement expired on {matching[-1].expires}: {matching[-1].reason}"
    return "regression", ""


def _missing_outcome(
    name: MetricName, rule: GateRule, comparison: Comparison, base: Metric | None, candidate: Metric | None
) -> Outcome:
    """Return the outcome of a metric that was not compared.

    A pattern asks only for what the base has, and of another tool's results for what both have.
    """
    outcome = _outcome(name, rule)
    optional: Status = "not gated" if rule.is_pattern else "missing"
    if base is None or base.value is None:
        return outcome(status=optional, message=_no_value(comparison.base, base))
    if candidate is None and comparison.is_of_values:
        return outcome(status=optional, message="no value in the results of another tool")
    refused = [refusal.reason for refusal in comparison.refused if refusal.evaluation == name.evaluation]
    reason = f"not compared: {refused[0]}" if refused else _no_value(comparison.candidate, candidate)
    return outcome(status="missing", message=reason, reason=reason, base=base, candidate=candidate)


def _requirement_outcome(
    name: MetricName, requirement: Requirement, metric: Metric | None, comparison: Comparison
) -> Outcome:
    outcome = _outcome(name, requirement)
    if metric is None or metric.value is None:
        reason = _no_value(comparison.candidate, metric)
        return outcome(status="missing", message=reason, reason=reason)
    value, bound = (quantity(number, metric.unit) for number in (metric.value, requirement.bound))
    is_met = COMPARISONS[requirement.sign](metric.value, requirement.bound)
    message = f"{value}, required {requirement.sign} {bound}"
    return outcome(status="pass" if is_met else "unmet", message=message, candidate=metric)


def _outcome(name: MetricName, rule: GateRule | Requirement) -> Callable[..., Outcome]:
    """Return a function that makes the outcome of a metric from its status, message and numbers."""
    evaluation = f"{name.evaluation}{name.slice}"
    return partial(Outcome, metric=str(name), rule=rule.rule, evaluation=evaluation)


def _no_value(label: str, metric: Metric | None) -> str:
    reason = "" if metric is None or metric.reason is None else f": {metric.reason}"
    return f"{label} has no value{reason}"


def _loss_text(difference: Difference, loss: float, allowed: float) -> str:
    """Return both values, the loss, and the loss that is allowed."""
    unit = difference.base.unit
    values = f"{quantity(difference.base.value, unit)} to {quantity(difference.candidate.value, unit)}"
    if loss <= 0:
        return f"{values}: no loss"
    return f"{values}: loss {change(loss, unit, is_signed=False)}, allowed {change(allowed, unit, is_signed=False)}"

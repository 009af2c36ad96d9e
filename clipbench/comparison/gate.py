"""A comparison held against a gate: which metrics regressed, and which are known to, are missing or cannot be tested.

A metric is gated if it has a direction, the limit fits its unit, and a test of it exists; one that no data allows to
test is gated only by its name in a gate file. What is not gated decides nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

from clipbench.comparison.families_of_tests import GatedFamily
from clipbench.comparison.gate_outcomes import GateResult, Outcome, Shift, Status
from clipbench.comparison.gate_rules import COMPARISONS, Gate, GateRule, Requirement, matches
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.records import Comparison
from clipbench.errors import UsageError, did_you_mean
from clipbench.results.metric_name import MetricName
from clipbench.results.numbers import change, p_value, quantity
from clipbench.results.other_tools import BARE_METRIC
from clipbench.results.record import SUMMARIES, UNDEFINED_BY_LISTS, Metric
from clipbench.stats.significance import is_significant

ROUNDING = 1e-12
"""Rounding error of a subtraction: a loss beyond the limit by less is within it."""
OTHER_UNIT = "the limit has another unit than the metric"
"""Reason of metrics that another limit would gate."""


def check_gate(gate: Gate, metrics: Mapping[MetricName, Metric]) -> None:
    """Raise UsageError for a rule or requirement that cannot be what was meant.

    It matches no metric of any run, applies to none that it matches, or its number has another unit than a metric.

    Args:
        metrics: metrics of all runs, by name.
    """
    for pattern in gate.patterns:
        if not any(matches(pattern, name) for name in metrics):
            raise UsageError(
                f"gate: '{pattern}' matches no metric of any run: {did_you_mean(pattern, metrics)}"
                " (clipbench show RUN --all)"
            )
    parts: Sequence[GateRule | Requirement] = (*gate.rules, *gate.requirements)
    for part in parts:
        for name, metric in metrics.items():
            error = part.unit_error(name, metric.unit) if matches(part.pattern, name) else ""
            if error:
                raise UsageError(f"gate: {error}")
    for rule in gate.rules:
        reasons = {
            name: _ungated_reason(rule, name, [metric])
            for name, metric in metrics.items()
            if matches(rule.pattern, name)
        }
        if all(reasons.values()):
            name, reason = next(iter(reasons.items()))
            if reason == OTHER_UNIT:
                reason = (
                    f"got the limit {rule.tolerance.text} for the unit {metrics[name].unit}, expected one such as 1%"
                )
            raise UsageError(f"gate: '{rule.pattern}' gates nothing: {name}: {reason}")


def apply_gate(
    comparison: Comparison,
    gate: Gate,
    *,
    base: Mapping[MetricName, Metric],
    candidate: Mapping[MetricName, Metric],
    alpha: float,
) -> Comparison:
    """Return a comparison with the outcomes of a gate, and with the word and the reason that follow from them.

    ``judge`` has the arguments.
    """
    outcomes = judge(comparison, gate, base=base, candidate=candidate, alpha=alpha)
    return with_verdict(replace(comparison, gate=GateResult(outcomes=outcomes, is_conclusive=gate.is_conclusive)))


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

    A metric regressed if the observed loss is beyond the limit, and the paired test shows that it is a loss: the
    p-value, after Holm's correction over the gated metrics, is at most alpha. In a strict gate the loss is enough. A
    loss beyond the limit is untested if these data cannot reach alpha. All other metrics are within the limit or not
    decided, by the one-sided 95 % bound of their change. With a limit of 0 they pass. A requirement applies only to
    the candidate's value.

    Args:
        base: all metrics of the base. The comparison holds only the metrics that both runs have.
        candidate: all metrics of the candidate.
        alpha: for rules without one of their own.
        today: for acknowledgements that expire, None for today in UTC.
    """
    today = today or datetime.now(UTC).date()
    differences = _differences_by_name(comparison)
    names = list(dict.fromkeys([*base, *candidate]))
    gated: list[tuple[MetricName, GateRule, Difference]] = []
    others: list[Outcome] = []
    for name, rule in _rules_by_name(gate, names, alpha).items():
        sides = [side[name] for side in (base, candidate) if name in side]
        reason = _ungated_reason(rule, name, sides)
        if reason:
            others.append(_ungated_outcome(name, rule, sides[0].unit, reason))
        elif name in differences:
            gated += [(name, rule, difference) for difference in differences[name]]
        else:
            others.append(_missing_outcome(name, rule, comparison, base.get(name), candidate.get(name)))
    family = GatedFamily([difference for _, _, difference in gated])
    outcomes = []
    for index, (name, rule, _) in enumerate(gated):
        outcomes.append(_loss_outcome(name, rule, family, index, gate=gate, today=today))
    outcomes += others
    for requirement in gate.requirements:
        matched = [name for name in names if matches(requirement.pattern, name)]
        outcomes += [_requirement_outcome(name, requirement, candidate.get(name), comparison) for name in matched]
        if not matched:
            reason = _no_value(comparison.candidate, None)
            outcomes.append(
                Outcome(metric=requirement.pattern, rule=requirement.rule, status="missing", message=reason)
            )
    return outcomes


def _differences_by_name(comparison: Comparison) -> dict[str, list[Difference]]:
    """Return the differences of metrics and slices by full name.

    Several have one name if a task was asked twice on the same data, in two ways.
    """
    differences: dict[str, list[Difference]] = {}
    for difference in (*comparison.differences, *comparison.slices):
        differences.setdefault(f"{difference.evaluation}/{difference.name}", []).append(difference)
    return differences


def _rules_by_name(gate: Gate, names: Sequence[MetricName], alpha: float) -> dict[MetricName, GateRule]:
    """Return the rule of each metric, the last one that matches it, with an alpha of its own or the given one."""
    rules = {}
    for name in names:
        matching_rules = [rule for rule in gate.rules if matches(rule.pattern, name)]
        if matching_rules:
            rule = matching_rules[-1]
            rules[name] = replace(rule, alpha=alpha) if rule.alpha is None else rule
    return rules


def _ungated_outcome(name: MetricName, rule: GateRule, unit: str, reason: str) -> Outcome:
    message = f"the limit {rule.tolerance.text} has no meaning for the unit {unit}" if reason == OTHER_UNIT else ""
    return _outcome(name, rule)(status="not gated", message=message or reason, reason=reason)


def _ungated_reason(rule: GateRule, name: MetricName, metrics: Sequence[Metric]) -> str:
    """Return why a rule cannot gate a metric, given as base and candidate have it, empty if it can."""
    metric = metrics[0]
    if name.group in SUMMARIES:
        return "a summary over slices: gate the slices, or require a value of it"
    if metric.higher_is_better is None:
        return "no direction"
    if not rule.tolerance.fits(metric.unit):
        return OTHER_UNIT
    if not rule.names_its_metric and any((metric.reason or "").startswith(UNDEFINED_BY_LISTS) for metric in metrics):
        return UNDEFINED_BY_LISTS
    # Of another tool's metric, and of one without a value, it is not known whether a test exists.
    recorded = [metric for metric in metrics if metric.value is not None and metric.reason != BARE_METRIC]
    if recorded and not any(metric.is_testable for metric in recorded) and not rule.names_its_metric:
        return "no test exists"
    return ""


def _loss_outcome(
    name: MetricName, rule: GateRule, family: GatedFamily, index: int, *, gate: Gate, today: date
) -> Outcome:
    """Return the outcome of a gated metric by its loss and its p-value, corrected over the gated metrics.

    Args:
        index: of the metric's difference in the family.
    """
    difference, p = family.differences[index], family.adjusted[index]
    assert difference.base.value is not None and rule.alpha is not None, difference
    sign = 1 if difference.base.higher_is_better is False else -1
    loss = sign * difference.value
    allowed = rule.tolerance.allowed(difference.base.value)
    is_shown = is_significant(p, rule.alpha)
    is_beyond = loss > allowed + ROUNDING
    is_untestable = is_beyond and not is_shown and not family.can_show(index, rule.alpha)
    numbers = _loss_text(difference, loss, allowed)
    reason = ""
    if is_beyond and p is not None and not is_untestable:
        numbers += f", p {p_value(p)}"
    if is_beyond and (is_shown or gate.is_strict):
        status, reason = _regression(name, gate, today)
    elif is_untestable:
        status = "untested"
        reason = difference.test if p is None else _unreachable_text(difference, rule.alpha, family.n_tests)
    elif rule.tolerance.amount:
        status, reason = _limit_status(difference, sign, allowed)
    else:
        status = "pass"
        reason = f"not significant at {rule.alpha:g}" if is_beyond else ""
    is_small = difference.verdict == "equivalent"
    shift: Shift = "none"
    if is_shown and not is_small:
        shift = "loss" if loss > 0 else "gain"
    return _outcome(name, rule)(
        status=status,
        message=": ".join(filter(None, (numbers, reason))),
        reason=reason,
        allowed=allowed,
        shift=shift,
        is_within_limit=is_small or difference.is_within(allowed),
        detectable=_detectable_loss(difference, rule.alpha / max(1, family.n_tests)),
        difference=difference,
        base=difference.base,
        candidate=difference.candidate,
    )


def _unreachable_text(difference: Difference, alpha: float, n_tests: int) -> str:
    corrected = f", corrected for {n_tests} gated metrics" if n_tests > 1 else ""
    return f"no test: {difference.test} cannot reach p {alpha:g}{corrected}"


def _limit_status(difference: Difference, sign: int, allowed: float) -> tuple[Status, str]:
    """Return whether a change is within its limit by its one-sided 95 % bound, and the bound in words.

    Args:
        sign: 1 if the metric gets worse as it rises, -1 if it gets worse as it falls.
    """
    bound = difference.upper_bound if sign > 0 else difference.lower_bound
    if bound is None:
        return "not decided", difference.test if difference.p_value is None else difference.method
    largest_loss = sign * bound
    if largest_loss <= 0:
        return "within", "no loss at 95 %"
    words = f"a loss of at most {change(largest_loss, difference.base.unit, is_signed=False)} at 95 %"
    return ("within" if largest_loss <= allowed + ROUNDING else "not decided"), words


def _detectable_loss(difference: Difference, alpha: float) -> float | None:
    return None if difference.power is None else difference.power.at(alpha)


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

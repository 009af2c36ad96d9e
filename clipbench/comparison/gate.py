"""Hold a comparison against a gate: which metrics regressed, and what of that is known, missing or cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from clipbench.comparison.gate_rules import Gate, Requirement, Rule, matches, read_gate
from clipbench.comparison.records import Comparison, Difference
from clipbench.errors import UsageError, did_you_mean
from clipbench.results.numbers import change, p_value, quantity
from clipbench.results.record import Metric
from clipbench.stats.significance import holm

__all__ = ["TELLING", "Gate", "Judged", "Outcome", "Status", "check_gate", "judge", "read_gate"]

Status = Literal["pass", "regression", "unmet", "acknowledged", "untested", "missing", "not gated"]
TELLING: tuple[Status, ...] = ("regression", "unmet", "missing", "untested", "acknowledged")
"""What a reader has to know of, the gravest first."""

ROUNDING = 1e-12
"""A loss is beyond the tolerance when it is so by more than a subtraction rounds."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a gate says of one metric."""

    metric: str
    """``task@data/metric``."""
    rule: str
    """What was asked of it, such as ``max drop 0.5pp`` or ``>= 0.63``."""
    status: Status
    """``regression``: a significant loss beyond the tolerance; ``unmet``: a requirement is not met; ``acknowledged``: a
    known regression; ``untested``: a loss beyond the tolerance that no test can be made of; ``missing``: a gated metric
    that was not compared; ``not gated``: a pattern matches it, and its tolerance means nothing for it."""
    message: str
    """The numbers behind the status, in one line."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A comparison with what the gate says of it."""

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


def check_gate(gate: Gate, metrics: Mapping[str, Metric]) -> None:
    """Raise UsageError for a pattern that matches no metric of any run, or a rule that suits none that it matches.

    Args:
        metrics: of all runs, by ``task@data/metric``.
    """
    for pattern in gate.patterns:
        if not any(matches(pattern, name) for name in metrics):
            raise UsageError(f"gate: '{pattern}' matches no metric of any run: {did_you_mean(pattern, metrics)}")
    for rule in gate.rules:
        reasons = {name: _unsuited(rule, metric) for name, metric in metrics.items() if matches(rule.pattern, name)}
        if all(reasons.values()):
            name, reason = next(iter(reasons.items()))
            raise UsageError(f"gate: '{rule.pattern}' gates nothing: {name} {reason}")


def judge(
    comparison: Comparison,
    gate: Gate,
    *,
    base: Mapping[str, Metric] | None = None,
    candidate: Mapping[str, Metric] | None = None,
    alpha: float = 0.05,
    today: date | None = None,
) -> list[Outcome]:
    """Return what a gate says of each metric that it speaks of.

    A regression is a loss beyond the tolerance that is significant at alpha, by its p-value after Holm over the gated
    metrics; in a strict gate the loss is enough. A requirement is held against the candidate's value alone.

    Args:
        base: its metrics by full name, where the comparison does not hold all; likewise ``candidate``.
        alpha: for rules without one of their own.
        today: for acknowledgements that expire; None is today in UTC.
    """
    compared: dict[str, list[Difference]] = {}  # a task may have been asked twice on the same data, in two ways
    for each in comparison.differences:
        compared.setdefault(f"{each.evaluation}/{each.name}", []).append(each)
    before = {name: those[0].base for name, those in compared.items()} if base is None else base
    after = {name: those[0].candidate for name, those in compared.items()} if candidate is None else candidate
    bench = _Bench(comparison, gate, alpha, today or datetime.now(UTC).date())
    names = list(dict.fromkeys([*before, *after]))
    return [
        *bench.of_rules({name: (before.get(name), after.get(name)) for name in names}, compared),
        *(
            bench.of_requirement(name, each, after.get(name))
            for each in gate.requirements
            for name in [name for name in names if matches(each.pattern, name)] or [each.pattern]
        ),
    ]


@dataclass(frozen=True)
class _Bench:
    """What all metrics are judged by."""

    comparison: Comparison
    gate: Gate
    alpha: float
    today: date

    def of_rules(
        self,
        metrics: Mapping[str, tuple[Metric | None, Metric | None]],
        compared: Mapping[str, Sequence[Difference]],
    ) -> list[Outcome]:
        """Return the outcomes of all metrics, of base and candidate, that a rule speaks of."""
        ruled = [
            _Ruled(name, rule, *sides)
            for name, sides in metrics.items()
            if (rule := _last_rule(name, self.gate.rules)) is not None
        ]
        adjusted = _adjusted([each for one in ruled if not one.unsuited for each in compared.get(one.name, ())])
        found = []
        for one in ruled:
            if one.unsuited or not compared.get(one.name):
                found.append(one.outcome(*self._of_absent(one)))
            else:
                found += [
                    one.outcome(*self._of_difference(one, each, adjusted.get(id(each)))) for each in compared[one.name]
                ]
        return found

    def of_requirement(self, name: str, requirement: Requirement, metric: Metric | None) -> Outcome:
        """Return whether the candidate's value meets a requirement."""
        rule = f"{requirement.sign} {requirement.bound:g}"
        if metric is None or metric.value is None:
            message = _valueless(self.comparison.candidate, metric)
            return Outcome(metric=name, rule=rule, status="missing", message=message)
        is_met = requirement.is_met_by(metric.value)
        message = f"{quantity(metric.value, metric.unit)}, required {requirement.sign} "
        message += quantity(requirement.bound, metric.unit)
        return Outcome(metric=name, rule=rule, status="pass" if is_met else "unmet", message=message)

    def _of_absent(self, one: "_Ruled") -> tuple[Status, str]:
        """Return what is said of a metric that has no difference, or none that the rule fits."""
        if one.unsuited:
            return "not gated", f"it {one.unsuited}"
        if one.base is None or one.base.value is None:
            # a pattern asks for what there is, a name for the metric itself
            return "not gated" if one.rule.is_pattern else "missing", _valueless(self.comparison.base, one.base)
        refused = [each.reason for each in self.comparison.refused if one.name.startswith(f"{each.evaluation}/")]
        if refused:
            return "missing", f"not compared: {refused[0]}"
        return "missing", _valueless(self.comparison.candidate, one.candidate)

    def _of_difference(self, one: "_Ruled", found: Difference, p: float | None) -> tuple[Status, str]:
        """Return whether a metric regressed."""
        assert found.base.value is not None, found
        loss = found.value if found.base.higher_is_better is False else -found.value
        allowed = one.rule.tolerance.allowed(found.base.value)
        words = _told(found, loss, allowed)
        if loss <= allowed + ROUNDING:
            return "pass", words
        alpha = self.alpha if one.rule.alpha is None else one.rule.alpha
        if p is not None:
            words += f", p {p_value(p)}"
        if not self.gate.is_strict:
            if p is None:
                return "untested", f"{words}; {found.test}: --strict fails on the loss alone"
            if p > alpha:
                return "pass", f"{words}: not significant at {alpha:g}"
        return self._unless_known(one.name, words)

    def _unless_known(self, name: str, words: str) -> tuple[Status, str]:
        known = [each for each in self.gate.acknowledged if matches(each.pattern, name)]
        holding = [each for each in known if self.today <= each.expires]
        if holding:
            return "acknowledged", f"{words}; known until {holding[-1].expires}: {holding[-1].reason}"
        if known:
            return "regression", f"{words}; its acknowledgement expired on {known[-1].expires}: {known[-1].reason}"
        return "regression", words


@dataclass(frozen=True)
class _Ruled:
    """A metric of both runs, with the rule that speaks of it."""

    name: str
    rule: Rule
    base: Metric | None
    candidate: Metric | None

    @property
    def unsuited(self) -> str:
        """Why the rule means nothing for the metric; empty where it does."""
        metric = self.base or self.candidate
        assert metric is not None, self.name
        return _unsuited(self.rule, metric)

    def outcome(self, status: Status, message: str) -> Outcome:
        return Outcome(metric=self.name, rule=f"max drop {self.rule.tolerance.text}", status=status, message=message)


def _valueless(label: str, metric: Metric | None) -> str:
    reason = "" if metric is None or metric.reason is None else f": {metric.reason}"
    return f"{label} has no value{reason}"


def _told(found: Difference, loss: float, allowed: float) -> str:
    """Return both values and how far they are apart."""
    unit = found.base.unit
    values = f"{quantity(found.base.value, unit)} to {quantity(found.candidate.value, unit)}"
    if loss <= 0:
        return f"{values}: not worse"
    lost, free = (change(each, unit, is_signed=False) for each in (loss, allowed))
    return f"{values}: {lost} worse, {free} allowed"


def _last_rule(name: str, rules: Sequence[Rule]) -> Rule | None:
    return next((rule for rule in reversed(rules) if matches(rule.pattern, name)), None)


def _unsuited(rule: Rule, metric: Metric) -> str:
    if metric.higher_is_better is None:
        return "has no direction: neither more nor less of it is worse"
    if not rule.tolerance.suits(metric.unit):
        other = "0.5pp or 1%" if rule.tolerance.kind == "absolute" else "a bare number or 1%"
        return f"is in the unit {metric.unit}, which max_drop {rule.tolerance.text} does not fit: {other} would"
    return ""


def _adjusted(found: Sequence[Difference]) -> dict[int, float]:
    """Return Holm's p-values over the differences that have a test, by their identity."""
    tested = {id(each): each.p_value for each in found if each.p_value is not None}
    return dict(zip(tested, holm(list(tested.values())), strict=True))

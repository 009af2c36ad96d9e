"""The rules of a gate: losses that are tolerated, values that are required, and regressions that are known.

A gate file is TOML. A key with ``/`` or ``*`` is a pattern of metrics. These are the others::

    require = ["zero-shot@imagenet/acc1 >= 63%"]
    "*" = {max_drop = "1pp"}
    "composition/*/text_acc" = {max_drop = "2pp", alpha = 0.01}

    [[acknowledge]]
    metric = "retrieval@coco/text_retrieval_recall@1"
    reason = "the new tokenizer cuts captions at 64 tokens"
    expires = 2026-12-31
"""

import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from clipbench.errors import UsageError, option
from clipbench.results.metric_name import MetricName, base_name, is_of_slice, names_task
from clipbench.results.numbers import SYMBOLS
from clipbench.untrusted.reading import is_folder, read_toml, shown
from clipbench.untrusted.schema import check_keys

WILDCARDS = "*?["
LEAST_ALPHA, MOST_ALPHA = 1e-6, 0.5
"""Range of significance levels: below it no loss would ever be shown, above it chance would be."""

A_LIMIT = 'add a limit, such as "*" = {max_drop = "1pp"}, or a requirement'
"""Advice for a gate file that gates nothing."""
LIMITS = "0.5pp (percentage points), 1% (of the base's value) or 0"
"""Limits as messages explain them."""

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


Kind = Literal["points", "relative", "absolute"]
KINDS: Mapping[str, Kind] = {"pp": "points", "%": "relative", "": "absolute"}
"""How a limit is meant, by the unit behind its number."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The loss that a metric may have."""

    text: str
    """Number and unit for a reader, such as ``0.5 pp``."""
    amount: float
    """In the metric's unit, or as a fraction of the base's value, never negative."""
    kind: Kind
    """``points`` (percentage points), ``relative`` or ``absolute``."""

    @classmethod
    def parse(cls, text: str, name: str) -> "Tolerance":
        """Return a tolerance from its text.

        Args:
            text: ``0.5pp`` (percentage points), ``1%`` (of the base's value) or ``0``. A number without a unit is in
                the metric's own unit, which ``check_gate`` allows only in a gate file, and never for a fraction.
            name: option or place in a file that the text is from, with the text, for the error.

        Raises:
            UsageError: it is none of these, or allows a loss of 100 points.
        """
        number, unit = _number_and_unit(text, ("pp", "%"))
        if number is None or number < 0:
            raise UsageError(f"{name}: expected {LIMITS}")
        if unit == "pp" and number >= 100:
            raise UsageError(
                f"{name}: no fraction can lose more than 100 points: expected a smaller limit, such as 1pp"
            )
        kind = KINDS[unit]
        amount = number if kind == "absolute" else number / 100
        digits = text.strip().removesuffix(unit).rstrip()
        return cls(text=f"{digits} {unit}".rstrip(), amount=amount, kind=kind)

    @classmethod
    def parse_option(cls, value: str | float, option_name: str) -> "Tolerance":
        """Return the tolerance of an option, which applies to metrics of every unit and so needs one itself.

        Args:
            value: ``0.5pp``, ``1%`` or ``0``. A number in Python is as one on the command line.
            option_name: the keyword in Python, such as ``max_drop``.

        Raises:
            UsageError: it is none of these.
        """
        text = str(value)
        tolerance = cls.parse(text, f"{option(option_name)} {shown(text)}")
        if tolerance.lacks_unit:
            raise UsageError(f"{option(option_name, value)} has no unit: {_spelling(tolerance)}")
        return tolerance

    @property
    def lacks_unit(self) -> bool:
        """True of a number other than 0 without a unit."""
        return self.kind == "absolute" and self.amount > 0

    def fits(self, unit: str) -> bool:
        """Return whether it applies to metrics of a unit.

        Percent and 0 fit every unit, points only fractions and their differences, and a number without a unit all
        others.
        """
        if self.kind == "relative" or not self.amount:
            return True
        return (unit in SYMBOLS) == (self.kind == "points")

    def allowed(self, base: float) -> float:
        """Return the largest tolerated loss of a metric with this base value, in its unit."""
        return self.amount * abs(base) if self.kind == "relative" else self.amount


def _spelling(tolerance: Tolerance) -> str:
    """Return how to write a limit that has no unit."""
    number = tolerance.text
    points = f"{number}pp (points) or " if tolerance.amount < 100 else ""
    return f"write {points}{number}% (of the base's value)"


@dataclass(frozen=True)
class GateRule:
    """The tolerance of all metrics that match a pattern."""

    pattern: str
    tolerance: Tolerance
    alpha: float | None = None
    """Significance level of a loss, None for the level of the comparison."""

    @property
    def rule(self) -> str:
        """The limit as outcomes name it."""
        return f"max drop {self.tolerance.text}"

    @property
    def is_pattern(self) -> bool:
        """True if it may match several metrics, so that none of them is required to be there."""
        return any(sign in self.pattern for sign in WILDCARDS)

    def unit_error(self, name: MetricName, unit: str) -> str:
        """Return why the limit cannot be meant for a metric, empty if it can.

        Args:
            name: of a metric that the pattern matches.
            unit: unit of that metric.
        """
        if unit not in SYMBOLS:
            return ""
        limit = f"{shown(self.pattern)}: max_drop {self.tolerance.text}"
        if self.tolerance.lacks_unit:
            return f"{limit} has no unit, and {name} is a fraction: {_spelling(self.tolerance)}"
        if self.tolerance.kind == "relative" and self.tolerance.amount >= 1:
            return f"{limit} lets {name} lose everything: expected less than 100%"
        return ""

    @property
    def names_its_metric(self) -> bool:
        """True if the metric is named in full, on any data: ``retrieval@*/image_largest_hub``."""
        metric = base_name(self.pattern)
        return names_task(self.pattern) and not any(sign in metric for sign in WILDCARDS)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A bound on all metrics that match a pattern, whatever their values in the base."""

    pattern: str
    sign: str
    """One of ``COMPARISONS``."""
    bound: float
    """In the metric's unit."""
    unit: str = ""
    """The unit behind the number: ``%``, ``pp`` or none."""

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Return a requirement from its text.

        Raises:
            UsageError: it is not ``METRIC >= NUMBER``.
        """
        pattern, sign, bound = [part.strip() for part in (*re.split("(>=|<=|>|<)", text, maxsplit=1), "", "")][:3]
        number, unit = _number_and_unit(bound, ("pp", "%"))
        if not pattern or number is None:
            raise UsageError(
                f"require {shown(text)}: expected METRIC >= NUMBER, such as zero-shot@imagenet/acc1 >= 63%"
            )
        return cls(pattern=pattern, sign=sign, bound=number / (100 if unit else 1), unit=unit)

    @property
    def rule(self) -> str:
        """The bound as outcomes name it."""
        number = f"{self.bound * 100 if self.unit else self.bound:g}"
        return f"{self.sign} {number} {self.unit}".rstrip()

    def unit_error(self, name: MetricName, unit: str) -> str:
        """Return why the bound has the wrong unit for a metric, empty if it has the right one.

        Args:
            name: of a metric that the pattern matches.
            unit: unit of that metric.
        """
        is_fraction = unit in SYMBOLS
        if not self.bound or is_fraction == bool(self.unit):
            return ""
        requirement = f"require {self.pattern} {self.rule}"
        if not is_fraction:
            return f"{requirement}: the unit of {name} is {unit}: write the number without {self.unit}"
        spellings = [f"{self.bound:g}%"]
        if 0 < abs(self.bound) <= 1:
            spellings.append(f"{self.bound * 100:g}%")
        return f"{requirement} has no unit, and {name} is a fraction: write {' or '.join(spellings)}"


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """A known regression that passes until a date."""

    pattern: str
    reason: str
    expires: date
    """The last day on which it passes."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All rules and requirements that a candidate is held against."""

    rules: Sequence[GateRule] = ()
    """The last rule whose pattern a metric matches applies to it."""
    requirements: Sequence[Requirement] = ()
    acknowledged: Sequence[Acknowledgement] = ()
    is_strict: bool = False
    """True if a loss beyond the limit counts although no test shows it."""
    is_conclusive: bool = False
    """True if a metric that is not decided has status 3."""

    @classmethod
    def from_options(
        cls,
        max_drop: str | float | None = None,
        require: Sequence[str] = (),
        *,
        file: "GateSource | None" = None,
        strict: bool = False,
        conclusive: bool = False,
    ) -> "Gate":
        """Return a gate from the options of ``compare``.

        Args:
            max_drop: a limit for all metrics. The rules of the file come after it.
            require: requirements, such as ``"zero-shot@imagenet/acc1 >= 63%"``.
            file: a gate file, or its content.

        Raises:
            UsageError: an option cannot be read, or needs a limit that is not there.
        """
        if isinstance(require, str):  # its letters are texts too
            raise UsageError(f"{option('require')} {shown(require)}: expected a list, such as ['acc1 >= 63%']")
        gate = cls(
            rules=[] if max_drop is None else [GateRule("*", Tolerance.parse_option(max_drop, "max_drop"))],
            requirements=[Requirement.parse(text) for text in require],
            is_strict=strict,
            is_conclusive=conclusive,
        )
        if file is not None:
            gate += read_gate(file)
            if gate.is_empty:
                name = "the gate" if isinstance(file, Mapping) else file
                raise UsageError(f"{name} has acknowledgements only, and gates nothing: {A_LIMIT}")
        is_above_zero = any(rule.tolerance.amount for rule in gate.rules)
        if strict and not gate.rules:
            raise UsageError(f"{option('strict', True)} needs a limit: add {_limit_options()}")
        if conclusive and not is_above_zero:
            raise UsageError(f"{option('conclusive', True)} needs a limit above 0: add {_limit_options()}")
        return gate

    @property
    def is_empty(self) -> bool:
        """True if it neither limits nor requires anything."""
        return not (self.rules or self.requirements)

    @property
    def patterns(self) -> list[str]:
        """The patterns of all rules, requirements and acknowledgements."""
        parts: Sequence[GateRule | Requirement | Acknowledgement] = (
            *self.rules,
            *self.requirements,
            *self.acknowledged,
        )
        return [part.pattern for part in parts]

    def __add__(self, other: "Gate") -> "Gate":
        """Return both gates as one, the rules of the other after its own."""
        return Gate(
            rules=[*self.rules, *other.rules],
            requirements=[*self.requirements, *other.requirements],
            acknowledged=[*self.acknowledged, *other.acknowledged],
            is_strict=self.is_strict or other.is_strict,
            is_conclusive=self.is_conclusive or other.is_conclusive,
        )


NO_GATE = Gate()
"""Nothing is limited or required."""


def _limit_options() -> str:
    return f"{option('max_drop', '1pp')}, or a {option('gate')} file with limits"


def matches(pattern: str, name: MetricName) -> bool:
    """Return whether a metric's full name matches a pattern, with its data or without.

    Metrics of slices are matched only by a pattern that names slices, so that ``*`` means the metrics of all data;
    summaries over slices, such as ``(worst)``, only by one with the bracket.

    Example:
        >>> name = MetricName("composition@hf:org/words", "swap_att/text_acc")
        >>> matches("composition/swap_att/text_acc", name), matches("composition@aro/*", name)
        (True, False)
        >>> name = MetricName("retrieval@xm3600", "text_retrieval_recall@1", "language", "de")
        >>> matches("retrieval{language=*}/*recall@1", name), matches("*", name)
        (True, False)
    """
    if (name.slice and not is_of_slice(pattern)) or (name.group.startswith("(") and "(" not in pattern):
        return False
    return fnmatchcase(name, pattern) or fnmatchcase(name.without_data, pattern)


def _number_and_unit(text: str, units: Sequence[str]) -> tuple[float | None, str]:
    """Return the finite number at the beginning of a text, None if there is none, and the unit behind it."""
    text = text.strip()
    unit = next((unit for unit in units if text.endswith(unit)), "")
    digits = text.removesuffix(unit).rstrip()
    # float() also takes "nan", "1_0" and digits of any script, and makes 400 digits infinite.
    is_number = set(digits) <= set("0123456789.e-") and digits[:1] != "e"
    try:
        number = float(digits) if is_number else math.nan
    except ValueError:
        number = math.nan
    return (number if math.isfinite(number) else None), unit


GateSource = str | os.PathLike[str] | Mapping[str, Any]
"""A gate file, or its content in the types of Python."""


def read_gate(source: GateSource) -> Gate:
    """Return the gate in a TOML file, or in a mapping with the keys and values of one.

    Raises:
        UsageError: it is missing, is not TOML, gates nothing, or has an unknown or malformed key, which the message
            names.
    """
    if isinstance(source, Mapping):
        data, name = dict(source), "the gate"
    elif is_folder(source or "."):
        raise UsageError(f"{option('gate')} {shown(str(source))}: expected a file, such as clipbench-gate.toml")
    else:
        data, name = read_toml(source, UsageError, name=f"the gate file {source}"), str(source)
    patterns = {key: value for key, value in data.items() if names_task(key) or "*" in key}
    settings = {key: value for key, value in data.items() if key not in patterns}
    _check_table(settings, {"require": list, "acknowledge": list}, name)
    required = settings.get("require", [])
    for text in required:
        if not isinstance(text, str):
            expected = "expected texts such as 'zero-shot@imagenet/acc1 >= 63%'"
            raise UsageError(f"{name}: require holds {shown(text)}: {expected}")
    gate = Gate(
        rules=[_rule(pattern, value, f"{name}: '{pattern}'") for pattern, value in patterns.items()],
        requirements=[Requirement.parse(text) for text in required],
        acknowledged=[_acknowledgement(table, f"{name}: acknowledge") for table in settings.get("acknowledge", [])],
    )
    if not gate.patterns:
        raise UsageError(f"{name} gates nothing: {A_LIMIT}")
    return gate


def _rule(pattern: str, value: object, where: str) -> GateRule:
    table = _table(value, {"max_drop": str, "alpha": float}, where)
    if "max_drop" not in table:
        raise UsageError(f'{where} has no max_drop: expected such as {{max_drop = "1pp"}}')
    alpha = table.get("alpha")
    if alpha is not None and not LEAST_ALPHA <= alpha <= MOST_ALPHA:
        raise UsageError(f"{where}: alpha is {alpha:g}, expected {LEAST_ALPHA:g} to {MOST_ALPHA:g}")
    limit = table["max_drop"]
    return GateRule(pattern, Tolerance.parse(limit, f"{where}: max_drop {shown(limit)}"), alpha)


def _acknowledgement(value: object, where: str) -> Acknowledgement:
    table = _table(value, {"metric": str, "reason": str, "expires": date}, where)
    for key in ("metric", "reason", "expires"):
        if not table.get(key):
            raise UsageError(f"{where} has no {key}: expected metric, reason and expires, such as expires = 2026-12-31")
    return Acknowledgement(pattern=table["metric"], reason=table["reason"], expires=table["expires"])


def _table(value: object, types: Mapping[str, type], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {shown(value)}: expected a table with {', '.join(types)}")
    _check_table(value, types, where)
    return value


def _check_table(table: Mapping[str, object], types: Mapping[str, type], where: str) -> None:
    hint = " (a pattern of metrics holds a / or a *)" if "require" in types else ""
    check_keys(table, types, where, hint=hint)
    for key, value in table.items():
        if not isinstance(value, types[key]) or isinstance(value, datetime):  # a datetime is a date to Python
            raise UsageError(f"{where}: {key} is {shown(value)}, expected {EXPECTED[types[key]]}")


EXPECTED = {
    list: "a list",
    str: 'a text in quotes such as "1pp"',
    float: "a number such as 0.01",
    date: "a date such as 2026-12-31",
}
"""Types of the values of a gate file, as messages name them."""

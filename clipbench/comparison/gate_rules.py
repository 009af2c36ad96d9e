"""The rules of a gate: losses that are tolerated, values that are required, and regressions that are known.

A gate file is TOML. A key with ``/`` or ``*`` is a pattern of metrics. These are the others::

    require = ["zero-shot@imagenet/acc1 >= 0.63"]
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
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any

from clipbench.errors import UsageError, did_you_mean, option
from clipbench.results.numbers import SYMBOLS
from clipbench.results.record import MetricName
from clipbench.untrusted.reading import read_toml, shown

WILDCARDS = "*?["
LEAST_ALPHA, MOST_ALPHA = 1e-6, 0.5
"""Range of significance levels: below it no loss would ever be shown, above it chance would be."""

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The loss that a metric may have."""

    text: str
    """As it was given."""
    amount: float
    """In the metric's unit, or as a share of the base's value, never negative."""
    kind: str
    """``points`` (percentage points), ``relative`` or ``absolute``."""

    @classmethod
    def parse(cls, text: str, where: str) -> "Tolerance":
        """Return a tolerance from its text.

        Args:
            text: ``0.5pp`` (percentage points), ``1%`` (of the base's value) or a number in the metric's own unit.
            where: option or place in a file that the text is from, for the error.

        Raises:
            UsageError: it is none of these.
        """
        number, unit = _number_and_unit(text, ("pp", "%"))
        if number is None or number < 0:
            raise UsageError(
                f"{where} {shown(text)}: expected 0.5pp (percentage points), 1% (of the base's value) or a bare number "
                "in the metric's own unit"
            )
        kind = {"pp": "points", "%": "relative", "": "absolute"}[unit]
        return cls(text=text.strip(), amount=number if kind == "absolute" else number / 100, kind=kind)

    def fits(self, unit: str) -> bool:
        """Return whether it applies to metrics of a unit.

        Percent fit every unit, points only fractions and their differences. A bare number fits every unit, but for a
        fraction, which is at most 1, it has to be below 1: nobody means 1 as a limit of 100 points. 0 fits every unit.
        """
        if self.kind == "relative" or not self.amount:
            return True
        return unit in SYMBOLS if self.kind == "points" else unit not in SYMBOLS or self.amount < 1

    def allowed(self, base: float) -> float:
        """Return the largest tolerated loss of a metric with this base value, in its unit."""
        return self.amount * abs(base) if self.kind == "relative" else self.amount


def smallest_difference(text: str) -> Tolerance:
    """Return the smallest difference that matters, from its text: points, or a number in each metric's unit.

    Raises:
        UsageError: it is neither.
    """
    with suppress(UsageError):
        tolerance = Tolerance.parse(text, "smallest")
        if tolerance.kind != "relative":
            return tolerance
    raise UsageError(
        f"{option('smallest')} {shown(text)}: expected percentage points, such as 0.5pp, or a number in the metric's"
        " unit"
    )


@dataclass(frozen=True, kw_only=True)
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

    @property
    def names_its_metric(self) -> bool:
        """True if the metric is named in full, on any data: ``retrieval@*/image_largest_hub``."""
        metric = self.pattern.rpartition("/")[2]
        return "/" in self.pattern and not any(sign in metric for sign in WILDCARDS)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A bound on all metrics that match a pattern, whatever their values in the base."""

    pattern: str
    sign: str
    """One of ``COMPARISONS``."""
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Return a requirement from its text.

        Raises:
            UsageError: it is not ``METRIC >= NUMBER``.
        """
        pattern, sign, bound = [part.strip() for part in (*re.split("(>=|<=|>|<)", text, maxsplit=1), "", "")][:3]
        number, unit = _number_and_unit(bound, ("%",))
        if not pattern or number is None:
            raise UsageError(
                f"require {shown(text)}: expected METRIC >= NUMBER, such as zero-shot@imagenet/acc1 >= 0.63"
            )
        return cls(pattern=pattern, sign=sign, bound=number / (100 if unit else 1))

    @property
    def rule(self) -> str:
        """The bound as outcomes name it."""
        return f"{self.sign} {self.bound:g}"


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
    """True when a loss beyond the tolerance counts though it is not significant."""

    @classmethod
    def from_options(cls, max_drop: str | None = None, require: Sequence[str] = (), strict: bool = False) -> "Gate":
        """Return a gate from options of the command line, where ``max_drop`` is a rule for all metrics.

        Raises:
            UsageError: an option cannot be read.
        """
        rules = [] if max_drop is None else [GateRule(pattern="*", tolerance=Tolerance.parse(max_drop, "--max-drop"))]
        return cls(rules=rules, requirements=[Requirement.parse(text) for text in require], is_strict=strict)

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
        )


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
    if (name.slice and "{" not in pattern) or (name.group.startswith("(") and "(" not in pattern):
        return False
    short = f"{name.evaluation.partition('@')[0]}{name.slice}/{name.metric}"
    return fnmatchcase(name, pattern) or fnmatchcase(short, pattern)


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


def read_gate(path: str | os.PathLike[str]) -> Gate:
    """Return the gate in a TOML file.

    Raises:
        UsageError: it is missing, is not TOML, or has an unknown or malformed key, which the message names.
    """
    data = read_toml(path, UsageError, name=f"the gate file {path}")
    if not data:
        raise UsageError(f'the gate file {path} has no rule: expected such as "*" = {{max_drop = "1pp"}}')
    patterns = {key: value for key, value in data.items() if "/" in key or "*" in key}
    settings = {key: value for key, value in data.items() if key not in patterns}
    _check_keys(settings, {"require": list, "acknowledge": list}, str(path))
    required = settings.get("require", [])
    for text in required:
        if not isinstance(text, str):
            expected = "expected texts such as 'zero-shot@imagenet/acc1 >= 0.63'"
            raise UsageError(f"{path}: require holds {shown(text)}: {expected}")
    return Gate(
        rules=[_rule(pattern, value, f"{path}: '{pattern}'") for pattern, value in patterns.items()],
        requirements=[Requirement.parse(text) for text in required],
        acknowledged=[_acknowledgement(table, f"{path}: acknowledge") for table in settings.get("acknowledge", [])],
    )


def _rule(pattern: str, value: object, where: str) -> GateRule:
    table = _table(value, {"max_drop": str, "alpha": float}, where)
    if "max_drop" not in table:
        raise UsageError(f'{where} has no max_drop: expected such as {{max_drop = "1pp"}}')
    alpha = table.get("alpha")
    if alpha is not None and not LEAST_ALPHA <= alpha <= MOST_ALPHA:
        raise UsageError(f"{where}: alpha is {alpha:g}, expected {LEAST_ALPHA:g} to {MOST_ALPHA:g}")
    return GateRule(pattern=pattern, tolerance=Tolerance.parse(table["max_drop"], f"{where}: max_drop"), alpha=alpha)


def _acknowledgement(value: object, where: str) -> Acknowledgement:
    table = _table(value, {"metric": str, "reason": str, "expires": date}, where)
    for key in ("metric", "reason", "expires"):
        if not table.get(key):
            raise UsageError(f"{where} has no {key}: expected metric, reason and expires, such as expires = 2026-12-31")
    return Acknowledgement(pattern=table["metric"], reason=table["reason"], expires=table["expires"])


def _table(value: object, types: Mapping[str, type], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {shown(value)}: expected a table with {', '.join(types)}")
    _check_keys(value, types, where)
    return value


def _check_keys(table: Mapping[str, object], types: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in types:
            hint = " (a pattern of metrics holds a / or a *)" if "require" in types else ""
            raise UsageError(f"{where}: unknown key '{key}': {did_you_mean(key, types)}{hint}")
        if not isinstance(value, types[key]) or isinstance(value, datetime):  # a datetime is a date to Python
            raise UsageError(f"{where}: {key} is {shown(value)}, expected {EXPECTED[types[key]]}")


EXPECTED = {list: "a list", str: "a text in quotes", float: "a number such as 0.01", date: "a date such as 2026-12-31"}
"""Types of the values of a gate file, as messages name them."""

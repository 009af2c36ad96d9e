"""How numbers are written: one decimal of a percent, else three significant digits; never NaN."""

import math
from collections.abc import Iterable

from clipbench.results.record import Metric

Number = int | float
"""JSON and Python write a whole number either way."""

NONE = "–"
"""What stands where there is no number; the reason stands beside it."""

NAME_LENGTH = 48
"""Of a name in a sentence."""

UNITS = {"fraction": "%", "difference": "points"}
"""Units that are written otherwise than they are recorded, in hundredths."""


def percent(fraction: Number | None) -> str:
    """Return a fraction as a percentage with one decimal, without the sign.

    Example:
        >>> percent(0.9713), percent(1.0), percent(None)
        ('97.1', '100.0', '–')
    """
    return NONE if fraction is None or not math.isfinite(fraction) else _minus(f"{100 * fraction:.1f}")


def significant(value: Number | None) -> str:
    """Return a number with three significant digits; whole ones of up to nine digits in full.

    Example:
        >>> significant(0.82211), significant(-1.5), significant(1203.0), significant(2e-7), significant(0.0)
        ('0.822', '−1.50', '1,203', '2.00e−7', '0')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == round(value) and abs(value) < 1e9:
        return _minus(f"{value:,.0f}")
    exponent = math.floor(math.log10(float(f"{abs(value):.2e}")))
    if not -4 <= exponent < 9:
        digits, power = f"{value:.2e}".split("e")
        return _minus(f"{digits}e{int(power)}")
    return _minus(f"{value:,.{max(0, 2 - exponent)}f}")


def number(value: Number | None, unit: str) -> str:
    """Return a value of a unit, without the unit: percent for fractions and their differences, else three digits."""
    return percent(value) if unit in UNITS else significant(value)


def unit(name: str) -> str:
    """Return how a unit is written: ``%`` for fractions, ``points`` for their differences."""
    return UNITS.get(name, name)


def place(fraction: Number) -> str:
    """Return where a fraction lies on the common axis, as a CSS percentage; what is outside stands at the end.

    Example:
        >>> place(0.5), place(1.2)
        ('50%', '100%')
    """
    return f"{100 * min(1.0, max(0.0, fraction)):.4g}%"


def interval(metric: Metric) -> str:
    """Return the bounds of a metric in its unit.

    Example:
        >>> interval(Metric(value=0.5, low=0.45, high=0.55))
        '45.0 to 55.0'
    """
    if metric.low is None or metric.high is None:
        return NONE
    return f"{number(metric.low, metric.unit)} to {number(metric.high, metric.unit)}"


def sentence_case(words: str) -> str:
    """Return words with a capital at the start, and the rest as it is.

    Example:
        >>> sentence_case("kind of object"), sentence_case("")
        ('Kind of object', '')
    """
    return words[:1].upper() + words[1:]


def count(n: Number) -> str:
    """Return a whole number with thousands marked.

    Example:
        >>> count(12000)
        '12,000'
    """
    return f"{n:,.0f}"


def counted(n: int, noun: str) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "model"), counted(2000, "sample")
        ('1 model', '2,000 samples')
    """
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def named(name: str) -> str:
    """Return a name in quotes to stand in a sentence, and not too long.

    Example:
        >>> named("a photo of a {c}")
        '“a photo of a {c}”'
    """
    short = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1].rstrip() + "…"
    return f"“{apart(short)}”"


def apart(name: str) -> str:
    r"""Return a name so that it cannot turn the direction of the sentence that it stands in.

    Example:
        >>> apart("cube"), apart("\u202eebuc") == "\N{FIRST STRONG ISOLATE}\u202eebuc\N{POP DIRECTIONAL ISOLATE}"
        ('cube', True)
    """
    return name if name.isascii() else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def seconds(value: Number | None) -> str:
    """Return a duration.

    Example:
        >>> seconds(0.0), seconds(3.21), seconds(190)
        ('0 s', '3.2 s', '3 min 10 s')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value < 59.95:
        return "0 s" if value == 0 else f"{value:.1f} s" if value >= 0.05 else "< 0.1 s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def confidence(metrics: Iterable[Metric]) -> str:
    """Return what intervals are called: ``95 % interval``, and all levels where they differ."""
    levels = sorted({metric.confidence for metric in metrics if metric.low is not None})
    return f"{' / '.join(f'{100 * level:g}' for level in levels or [0.95])} % interval"


def _minus(text: str) -> str:
    """Write a minus sign as one, and no sign before a zero."""
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")

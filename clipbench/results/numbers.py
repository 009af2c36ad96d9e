"""The one way to write a number for people: in the terminal, reports, figures, Markdown and LaTeX.

The unit decides the decimals, so that a value, both its bounds and the numbers above and below it in a column have the
same. Fractions are written in percent with one decimal, their differences in percentage points (pp); ranks, tokens,
labels and dimensions with one decimal; bytes with none; cosines, distances, nats and the rest with four, since the
interval of a mean cosine over some thousand pairs is a few thousandths wide, and three decimals would hide its ends. A
change between two models is about as small as its interval, so it has a decimal more, up to four.

Minus signs and dashes are typographic (``−``, ``–``). What is searched, parsed or typeset by other programs takes
``ascii_signs`` of the finished text; names hardly ever hold a typographic minus, while many hold a hyphen.
"""

import math
from collections.abc import Iterable, Sequence

from clipbench.results.record import Metric

Number = int | float
"""JSON and Python write an integer either way."""

NONE = "–"
"""Printed if a number is missing, next to the reason."""
SYMBOLS = {"fraction": "%", "difference": "pp"}
"""The units that are written in hundredths, with their symbols."""
DECIMALS = {
    **dict.fromkeys(("fraction", "difference", "rank", "dimensions", "tokens", "labels", "severity"), 1),
    "skewness": 2,
    "correlation": 2,
    "count": 0,
    "bytes": 0,
}
COUNTED = ("bytes", "tokens", "labels")
"""Units that a metric's name does not say, so they follow the number."""
MOST_DECIMALS = 4
"""Decimals of all other units, and the most that a change has."""


def number(value: Number | None, unit: str, least_decimals: int = 0) -> str:
    """Return a value without its unit. A zero has no sign.

    Args:
        least_decimals: for numbers that are nearly equal and must be distinguished.

    Example:
        >>> number(0.4567, "fraction"), number(-0.1, "difference"), number(-1e-9, "cosine"), number(None, "rank")
        ('45.7', '−10.0', '0.0000', '–')
    """
    return _written(value, unit, max(least_decimals, DECIMALS.get(unit, MOST_DECIMALS)))


def quantity(value: Number | None, unit: str) -> str:
    """Return a value with its unit, where that counts something or has a symbol.

    Example:
        >>> quantity(0.6234, "fraction"), quantity(512, "bytes"), quantity(1.5, "rank"), quantity(None, "fraction")
        ('62.3 %', '512 bytes', '1.5', '–')
    """
    return _with_symbol(number(value, unit), unit)


def metric_value(metric: Metric | None) -> str:
    """Return the value of a metric with its unit, or a dash if there is none.

    Example:
        >>> metric_value(Metric(value=0.6234)), metric_value(Metric(value=None)), metric_value(None)
        ('62.3 %', '–', '–')
    """
    return NONE if metric is None else quantity(metric.value, metric.unit)


def rough_change(size: float, unit: str) -> str:
    """Return the size of a change with two digits.

    Example:
        >>> rough_change(0.0812, "fraction"), rough_change(0.00324, "fraction"), rough_change(12.3, "rank")
        ('8.1 pp', '0.32 pp', '12')
    """
    is_fraction = unit in SYMBOLS
    digits = float(f"{100 * size if is_fraction else size:.2g}")
    return _with_symbol(f"{digits:g}", "difference" if is_fraction else unit)


def change(value: Number | None, unit: str, *, is_signed: bool = True) -> str:
    """Return the difference of two values of a unit. Fractions differ by percentage points.

    Example:
        >>> change(-0.021, "fraction"), change(0.021, "fraction", is_signed=False), change(0.5, "rank")
        ('−2.10 pp', '2.10 pp', '+0.50')
    """
    return _with_symbol(_change(value, unit, is_signed=is_signed), "difference" if unit in SYMBOLS else unit)


def interval(metric: Metric) -> str:
    """Return the bounds of a metric, without the unit.

    Example:
        >>> interval(Metric(value=0.5, low=0.45, high=0.55)), interval(Metric(value=0.5))
        ('[45.0, 55.0]', '–')
    """
    if metric.low is None or metric.high is None:
        return NONE
    return f"[{number(metric.low, metric.unit)}, {number(metric.high, metric.unit)}]"


def change_interval(low: Number | None, high: Number | None, unit: str) -> str:
    """Return the bounds of a difference, without the unit.

    Example:
        >>> change_interval(-0.021, 0.003, "fraction")
        '[−2.10, +0.30]'
    """
    return NONE if low is None or high is None else f"[{_change(low, unit)}, {_change(high, unit)}]"


def interval_name(metrics: Iterable[Metric]) -> str:
    """Return the name of the intervals, with all levels where they differ.

    Example:
        >>> interval_name([Metric(value=0.5, low=0.4, high=0.6, confidence=0.99)]), interval_name([])
        ('99 % interval', '95 % interval')
    """
    levels = sorted({metric.confidence for metric in metrics if metric.low is not None})
    return f"{' / '.join(f'{100 * level:g}' for level in levels or [0.95])} % interval"


def percent(fraction: Number | None) -> str:
    """Return a fraction in percent, without the sign.

    Example:
        >>> percent(0.9713), percent(1.0), percent(None)
        ('97.1', '100.0', '–')
    """
    return number(fraction, "fraction")


def symbol(unit: str) -> str:
    """Return the name of a unit at the head of a column.

    Example:
        >>> symbol("fraction"), symbol("difference"), symbol("cosine")
        ('%', 'pp', 'cosine')
    """
    return SYMBOLS.get(unit, unit)


def significant(value: Number | None) -> str:
    """Return a number without a unit, such as a logit scale: three significant digits, or all digits of an integer.

    Example:
        >>> significant(14.2857), significant(-1.5), significant(1203.0), significant(2e-7), significant(0.0)
        ('14.3', '−1.50', '1,203', '2.00e−7', '0')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == round(value) and abs(value) < 1e9:
        return count(value)
    exponent = math.floor(math.log10(float(f"{abs(value):.2e}")))
    if not -4 <= exponent < 9:
        digits, power = f"{value:.2e}".split("e")
        return _signed(f"{digits}e{int(power)}")
    return _signed(f"{value:,.{max(0, 2 - exponent)}f}")


def count(n: Number) -> str:
    """Return an integer with thousands separators.

    Example:
        >>> count(12000)
        '12,000'
    """
    return _signed(f"{n:,.0f}")


def abbreviated(value: Number, letters: str) -> str:
    """Return a large number in three digits with the letter of its thousands.

    Example:
        >>> (
        ...     abbreviated(151277313, "kMB"),
        ...     abbreviated(8_817_623_040, "kMGT"),
        ...     abbreviated(999_999, "kM"),
        ...     abbreviated(7, "kM"),
        ... )
        ('151 M', '8.82 G', '1.00 M', '7')
    """
    rounded = float(f"{value:.3g}")
    for power, letter in reversed([*enumerate(letters, 1)]):
        if rounded >= 1000**power:
            share = rounded / 1000**power
            if share >= 1000:
                return f"{count(share)} {letter}"
            decimals = max(0, 2 - math.floor(math.log10(share)))
            return f"{share:.{decimals}f} {letter}"
    return count(value)


def shortest(value: Number) -> str:
    """Return a number with no more digits than it has, such as the ticks of an axis and settings have.

    Example:
        >>> shortest(0.25), shortest(-3.0), shortest(1000)
        ('0.25', '−3', '1,000')
    """
    return _signed(f"{value:,.10g}")


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "model"), counted(2000, "sample"), counted(0, "loss", "losses")
        ('1 model', '2,000 samples', '0 losses')
    """
    return f"{count(n)} {noun if n == 1 else plural or f'{noun}s'}"


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """Return words as a list in a sentence.

    Example:
        >>> listed(["gap", "cone", "recall"]), listed(["image", "text"], "or"), listed(["gap"])
        ('gap, cone and recall', 'image or text', 'gap')
    """
    *head, last = words
    return f"{', '.join(head)} {conjunction} {last}" if head else last


def value_with_interval(metric: Metric | None) -> str:
    """Return a value with its interval, where it has one, without the unit.

    Example:
        >>> value_with_interval(Metric(value=0.5, low=0.45, high=0.55)), value_with_interval(None)
        ('50.0 [45.0, 55.0]', '–')
    """
    if metric is None or metric.value is None:
        return NONE
    value = number(metric.value, metric.unit)
    return f"{value} {interval(metric)}" if metric.low is not None else value


def bounded(metric: Metric) -> str:
    """Return a value with its unit and its interval for a sentence, or that it has none.

    Example:
        >>> bounded(Metric(value=0.5, low=0.45, high=0.55)), bounded(Metric(value=0.5, unit="cosine"))
        ('50.0 % [45.0, 55.0]', '0.5000 (no interval)')
    """
    return f"{metric_value(metric)}{bounds(metric)}"


def bounds(metric: Metric) -> str:
    """Return the interval that follows a value in a sentence, with a space before it, or that there is none."""
    return f" {interval(metric)}" if metric.low is not None else " (no interval)"


def p_value(p: float | None) -> str:
    """Return a p-value with up to two significant digits.

    Example:
        >>> p_value(0.0412), p_value(0.6), p_value(1e-9), p_value(1.0), p_value(None)
        ('0.041', '0.60', '<0.0001', '1.00', '–')
    """
    if p is None:
        return NONE
    if p < 0.0001:
        return "<0.0001"
    return f"{p:.2f}" if p >= 0.0995 else f"{p:.2g}"


def rank_range(low: int, high: int) -> str:
    """Return the ranks that are possible for a model.

    Example:
        >>> rank_range(2, 4), rank_range(1, 1)
        ('2–4', '1')
    """
    return f"{low}–{high}" if high > low else str(low)


def duration(seconds: Number | None) -> str:
    """Return a time that something took.

    Example:
        >>> duration(0.0), duration(3.21), duration(190)
        ('0 s', '3.2 s', '3 min 10 s')
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds == 0:
        return "0 s"
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ascii_signs(text: str) -> str:
    """Return a text with hyphens for minus signs, for what is searched and parsed.

    Example:
        >>> ascii_signs("−2.10 pp")
        '-2.10 pp'
    """
    return text.replace("−", "-")


def _written(value: Number | None, unit: str, decimals: int, sign: str = "") -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return _signed(f"{100 * value if unit in SYMBOLS else value:{sign},.{decimals}f}")


def _change(value: Number | None, unit: str, *, is_signed: bool = True) -> str:
    decimals = min(MOST_DECIMALS, DECIMALS.get(unit, MOST_DECIMALS) + 1)
    return _written(value, unit, decimals, "+" if is_signed else "")


def _with_symbol(text: str, unit: str) -> str:
    symbol = SYMBOLS.get(unit, unit if unit in COUNTED else "")
    return f"{text} {symbol}" if symbol and text != NONE else text


def _signed(text: str) -> str:
    """Return a number with a typographic minus, and no sign before a zero."""
    return text.replace("-", "−") if text.strip("+-0.,") else text.lstrip("+-")

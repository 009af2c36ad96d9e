"""How values, differences and p-values are written in plain text."""

from clipbench.results.numbers import DECIMALS, PERCENT, number


def value_text(value: float | None, unit: str) -> str:
    """Return a value with its unit; a dash for none.

    Example:
        >>> value_text(0.6234, "fraction"), value_text(1.5, "rank"), value_text(None, "rank")
        ('62.3 %', '1.5', '-')
    """
    if value is None:
        return "-"
    return number(value, unit) + PERCENT.get(unit, "")


def change_text(value: float | None, unit: str, *, is_signed: bool = True) -> str:
    """Return a difference of two values, with one decimal more than they have; fractions differ by percentage points.

    Example:
        >>> change_text(-0.021, "fraction"), change_text(0.021, "fraction", is_signed=False), change_text(0.5, "rank")
        ('-2.10 pp', '2.10 pp', '+0.50')
    """
    if value is None:
        return "-"
    scaled = value * (100 if unit in PERCENT else 1)
    text = f"{scaled:{'+' if is_signed else ''}.{DECIMALS.get(unit, 3) + 1}f}"
    # no sign before a zero
    text = text[1:] if not text.strip("+-0.") and text[0] in "+-" else text
    return text + (" pp" if unit in PERCENT else "")


def p_text(p: float | None) -> str:
    """Return a p-value with two significant digits; a dash for none.

    Example:
        >>> p_text(0.0412), p_text(0.6), p_text(1e-9), p_text(1.0), p_text(None)
        ('0.041', '0.60', '<0.0001', '1.00', '-')
    """
    if p is None:
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.2f}" if p >= 0.0995 else f"{p:.2g}"


def counted(n: int, noun: str, plural: str) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "metric", "metrics"), counted(2000, "metric", "metrics")
        ('1 metric', '2,000 metrics')
    """
    return f"{n:,} {noun if n == 1 else plural}"

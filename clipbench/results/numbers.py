"""How numbers of a unit are written for people: fractions in hundredths, the rest to a few decimals."""

PERCENT = {"fraction": " %", "difference": " pp"}
"""Of the units that are written in hundredths, what follows the number."""
DECIMALS = {"fraction": 1, "difference": 1, "rank": 1, "dimensions": 1, "tokens": 1, "skewness": 2}
"""Of the units that are written to fewer than four."""


def number(value: float, unit: str) -> str:
    """Return a value of a unit, without the unit; no sign stands before a zero.

    Example:
        >>> number(0.4567, "fraction"), number(-0.1, "difference"), number(-1e-9, "cosine")
        ('45.7', '-10.0', '0.0000')
    """
    text = f"{value * (100 if unit in PERCENT else 1):.{DECIMALS.get(unit, 4)}f}"
    return text if text.strip("-0.") else text.lstrip("-")


def symbol(unit: str) -> str:
    """Return how a unit is called at the head of a column.

    Example:
        >>> symbol("fraction"), symbol("difference"), symbol("cosine")
        ('%', 'pp', 'cosine')
    """
    return PERCENT.get(unit, unit).strip()

"""A picture with the words that let it stand alone."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from clipbench.result import Curve
from clipbench_reports import svg
from clipbench_reports.format import Number

MAX_POINTS = 300
"""Of a line; more cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An SVG, the sentence over it and the explanation under it."""

    title: str
    """One plain sentence with what is to be seen, and its numbers."""
    picture: Markup
    reading: str
    """How to read the picture."""
    is_wide: bool = False
    """True when it needs more than a column: it scrolls sideways on a narrow screen."""


def figure(
    title: str,
    children: Iterable[str],
    *,
    height: Number,
    reading: str,
    detail: str = "",
    width: Number = svg.WIDTH,
) -> Figure:
    """Return a figure whose alternative text is its title and the detail that only the picture shows."""
    alt = f"{title} {detail}".strip()
    drawn = svg.picture(children, height=height, width=width, alt=alt)
    return Figure(title=title, picture=drawn, reading=reading, is_wide=width > svg.WIDTH)


def chance_line(plot: svg.Plot, chance: float | None) -> Markup:
    """Return a line across the plot at the height of chance, or nothing where that is not known."""
    return Markup("") if chance is None else plot.line([plot.x.low, plot.x.high], [chance, chance], "chance")


def banded_line(plot: svg.Plot, curve: Curve, css: str) -> Markup:
    """Return a curve with a dot at each point, over the band of its bounds where it has them."""
    band = plot.band(curve.x, curve.low, curve.high, css) if curve.low and curve.high else Markup("")
    return Markup("").join([band, plot.line(curve.x, curve.y, css), plot.dots(curve.x, curve.y, css)])


def thinned(n: int) -> list[int]:
    """Return at most ``MAX_POINTS`` rows of ``n``, evenly spread on a logarithmic scale, both ends among them."""
    if n <= MAX_POINTS:
        return list(range(n))
    return sorted({round(row) - 1 for row in np.geomspace(1, n, MAX_POINTS).tolist()})


def spread(n: int, at_most: int) -> list[int]:
    """Return at most so many rows of ``n``, evenly spread.

    Example:
        >>> spread(5, 3), spread(2, 3)
        ([0, 2, 4], [0, 1])
    """
    return sorted({round(row) for row in np.linspace(0, n - 1, min(n, at_most)).tolist()})

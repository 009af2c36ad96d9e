"""Charts: panels with axes and marks in the units of the data, before they are drawn.

A figure function turns results into a ``Chart``; ``svg_chart`` draws one as SVG for the report, ``paper`` by
matplotlib for print, and ``chart_data`` lists its data. Marks carry a role, which is a meaning and not a colour: each
renderer gives the roles its colours and shapes, the same in all figures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from clipbench.results.numbers import Number, shortest
from clipbench_reports.evidence import MissingEvidence, ModelKey

Role = Literal["image", "text", "pair", "ink", "chance", "m0", "m1", "m2", "m3", "m4", "m5"]
"""Images, texts, pairs of the two, anything neutral, and chance, and then the models of a panel that several share."""

MODELS: tuple[Role, ...] = ("m0", "m1", "m2", "m3", "m4", "m5")


PlanePoint = tuple[Number, Number]
"""x and y of a point."""

MAX_BREADTH = 1.15
"""Breadth up to which a drawing fits into a column of a page."""
MAX_DOT, MIN_DOT = 1.6, 0.25
"""Largest radius of a weighted dot, in units of an unweighted dot; smallest radius, as a fraction of the largest."""
FRACTION_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values, its ticks and its label. ``low`` is above ``high`` on an axis that runs downwards."""

    low: Number
    high: Number
    ticks: Sequence[Number] = ()
    label: str = ""
    names: Sequence[str] = ()
    """Words at the ticks instead of their values, with line breaks."""
    is_percent: bool = False
    is_log: bool = False
    is_turned: bool = False
    """True if the words at the ticks of an x axis are turned upright, because they are many or long."""

    def share(self, value: Number) -> float:
        """Return the position of a value on the axis: 0 at the low end, 1 at the high one."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    @property
    def words(self) -> list[str]:
        """The labels of the ticks."""
        if self.names:
            return list(self.names)
        unit = 100 if self.is_percent else 1
        return [shortest(unit * tick) for tick in self.ticks]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that is drawn in a panel."""

    role: Role = "ink"
    name: str = ""
    """For the legend, in which marks of one role and name share an entry."""
    of: str = ""
    """The name of the marks that a reference belongs to, empty for all marks of the panel."""


@dataclass(frozen=True, kw_only=True)
class Line(Mark):
    """A line through points, over the band of its bounds if it has bounds."""

    xs: Sequence[Number]
    ys: Sequence[Number]
    lows: Sequence[Number] | None = None
    highs: Sequence[Number] | None = None
    has_band: bool = True
    """True to draw the bounds. The table of the figure has them in any case."""
    is_dashed: bool = False
    has_dots: bool = False
    weights: Sequence[Number] = ()
    """Number of samples of each point, proportional to the area of its dot. Dots are equal without weights."""
    is_reference: bool = False
    """True for a line that is a reference and not a measurement. Chance always is one."""


@dataclass(frozen=True, kw_only=True)
class Dots(Mark):
    """A mark at each point. A dense cloud has small ones, and is rasterised in print."""

    xs: Sequence[Number]
    ys: Sequence[Number]
    is_dense: bool = False
    ids: Sequence[str] = ()
    """The name of each point."""


@dataclass(frozen=True, kw_only=True)
class Ranges(Mark):
    """Values with the bars of their intervals, vertical or horizontal. A missing bound is NaN."""

    xs: Sequence[Number]
    ys: Sequence[Number]
    lows: Sequence[Number]
    highs: Sequence[Number]
    is_upright: bool = True
    is_joined: bool = False
    """True for a thin line from each value to the next."""
    aside: Number = 0
    """Shift along the other axis, so that intervals do not hide each other."""
    ids: Sequence[str] = ()
    """The name of each value."""


@dataclass(frozen=True, kw_only=True)
class Threads(Mark):
    """A thin line from each start to its end, such as from an image to its text."""

    starts: Float64[np.ndarray, "n 2"]
    ends: Float64[np.ndarray, "n 2"]
    role: Role = "pair"


@dataclass(frozen=True, kw_only=True)
class Hill(Mark):
    """A distribution: an outline over its foot."""

    xs: Sequence[Number]
    ys: Sequence[Number]
    """Drawn heights, ``foot`` where the distribution is empty."""
    foot: Number
    values: Sequence[Number] = ()
    """The values of the heights before they were scaled and smoothed."""
    is_percent: bool = False
    """True for values that are fractions, which are shown in percent."""


@dataclass(frozen=True, kw_only=True)
class Bars(Mark):
    """A histogram: counts between edges."""

    edges: Sequence[Number]
    counts: Sequence[Number]
    is_filled: bool = True
    """False for an outline, through which another is seen."""


@dataclass(frozen=True, kw_only=True)
class Rule(Mark):
    """A straight line at a value of one axis, across the panel or over a span of the other axis."""

    at: Number
    axis: Literal["x", "y"]
    is_dashed: bool = False
    span: tuple[Number, Number] | None = None


@dataclass(frozen=True, kw_only=True)
class Shade(Mark):
    """The area between two values of the x axis."""

    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class Cells(Mark):
    """A matrix of squares: row i, column j covers [j, j + 1] x [i, i + 1]."""

    depths: Float64[np.ndarray, "rows columns"]
    """In [0, 1]: from blank to full."""
    values: Float64[np.ndarray, "rows columns"]
    """The values of the depths."""
    is_percent: bool = False
    """True for values that are fractions, which are shown in percent."""
    names: tuple[Sequence[str], Sequence[str]] | None = None
    """Names of all rows and of all columns."""
    words: Sequence[tuple[int, int, str]] = ()
    """Row, column and words of cells with words."""


@dataclass(frozen=True, kw_only=True)
class Words(Mark):
    """A short text next to a point."""

    words: str
    x: Number
    y: Number
    anchor: Literal["start", "middle", "end"] = "start"
    lift: Literal[-1, 0, 1] = 0
    """Below the point, at its height, or above it."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A plane with two axes and its marks, the lowest first."""

    x: Axis
    y: Axis
    marks: Sequence[Mark] = ()
    title: str = ""
    """Its name among the panels of its figure."""
    aspect: float = 0.72
    """Height of the plane divided by its width."""
    is_to_scale: bool = False
    """True if a unit of x is as long as a unit of y, for which one axis is widened."""
    has_grid: bool = True
    is_broad: bool = False
    """True if it has a row of its own, as wide as the figure, while other panels share rows."""
    starts_row: bool = False
    """True if it is the first panel of a row."""
    n_rows: int = 0
    """Number of named rows, each with the height of a line, 0 if the height does not depend on rows."""
    model: int | None = None
    """Index of its model among the models of the page, None if it has all models."""
    has_mark: bool = True
    """False if there are more models than marks, so that its title has no mark of its model."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Panels, the sentence over them and the explanation under them."""

    title: str
    """One plain sentence with the main observation and its numbers."""
    panels: Sequence[Panel]
    reading: str
    """The explanation: how to read the drawing, and how not to."""
    n_columns: int = 1
    """Number of panels next to each other."""
    is_grid: bool = False
    """True if the panels of a row have one quantity on one axis, which is written once, at the left of the row."""
    keys: Sequence[str] = ()
    """Names of marks that need no legend entry, because they are written in the drawing."""
    breadth: float = 1.0
    """Width on a screen of a drawing of one column, in units of the usual width. Print ignores it."""
    missing: Mapping[ModelKey, MissingEvidence] = field(default_factory=dict)
    """The reasons why models are missing."""

    @property
    def is_wide(self) -> bool:
        """True if it needs more than a column of a page."""
        return self.n_columns > 1 or self.breadth > MAX_BREADTH


def shifted_points(mark: Ranges) -> tuple[list[Number], list[Number]]:
    """Return the coordinates at which values are drawn, shifted by ``aside``."""
    shift_x, shift_y = (mark.aside, 0) if mark.is_upright else (0, mark.aside)
    return [x + shift_x for x in mark.xs], [y + shift_y for y in mark.ys]


def dot_radii(mark: Line) -> list[float]:
    """Return the radius of each dot of a line, in units of the radius of a dot without weights.

    Example:
        >>> dot_radii(Line(xs=[0, 1], ys=[0, 1], role="ink", has_dots=True, weights=[1, 4]))
        [0.8, 1.6]
    """
    max_weight = max(mark.weights, default=0)
    if not max_weight:
        return [1.0] * len(mark.xs)
    radii = []
    for n in mark.weights:
        relative_radius = math.sqrt(n / max_weight)  # the area grows with the weight
        radii.append(MAX_DOT * max(MIN_DOT, relative_radius))
    return radii


def histogram_corners(mark: Bars) -> list[PlanePoint]:
    """Return the corners of a histogram, from its foot on the left to its foot on the right.

    Example:
        >>> histogram_corners(Bars(edges=[0, 1, 2], counts=[3, 5], role="ink"))
        [(0, 0), (0, 3), (1, 3), (1, 5), (2, 5), (2, 0)]
    """
    corners: list[PlanePoint] = [(mark.edges[0], 0)]
    for low, high, n in zip(mark.edges[:-1], mark.edges[1:], mark.counts, strict=True):
        corners += [(low, n), (high, n)]
    return [*corners, (mark.edges[-1], 0)]


def fraction_axis(label: str) -> Axis:
    """Return the axis that all fractions share: 0 to 100 %."""
    return Axis(low=0, high=1, ticks=FRACTION_TICKS, label=label, is_percent=True)


def rows_axis(names: Sequence[str]) -> Axis:
    """Return an upright axis with a row for each name, the first on top."""
    return Axis(low=len(names) - 0.5, high=-0.5, ticks=range(len(names)), names=names)


def columns_axis(names: Sequence[str]) -> Axis:
    """Return an axis with a position for each name, from left to right."""
    return Axis(low=-0.4, high=len(names) - 0.6, ticks=range(len(names)), names=names)


def nice_axis(values: Iterable[Number], label: str = "", *, n_steps: int = 5) -> Axis:
    """Return an axis that holds all finite values, with round marks.

    Example:
        >>> list(nice_axis([0.1, 3.9]).ticks)
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    is_flat = high - low <= 1e-9 * max(abs(low), abs(high))  # apart from rounding
    if is_flat:
        # Half of the value below it and above it, or one half if it is 0.
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = nice_step(high - low, n_steps)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    n_digits = max(12, 3 - math.floor(math.log10(step)))  # of a loss near 0, more than twelve
    ticks = [round(step * k, n_digits) for k in range(first, last + 1)]
    return Axis(low=ticks[0], high=ticks[-1], ticks=ticks, label=label)


def percent_axis(fractions: Iterable[Number], label: str = "", *, n_steps: int = 5) -> Axis:
    """Return an axis that holds all finite fractions, with round percentages as marks.

    Example:
        >>> percent_axis([0.03, 0.39]).words
        ['0', '10', '20', '30', '40']
    """
    axis = nice_axis([100 * value for value in fractions], label, n_steps=n_steps)
    ticks = [tick / 100 for tick in axis.ticks]
    return replace(axis, low=axis.low / 100, high=axis.high / 100, ticks=ticks, is_percent=True)


def tight_axis(values: Sequence[Number], label: str = "", *, n_steps: int = 4) -> Axis:
    """Return an axis that ends where the values do, with round ticks inside, or ``nice_axis`` if all values are equal.

    Example:
        >>> axis = tight_axis([0.0, 41.0])
        >>> axis.high, list(axis.ticks)
        (41.0, [0.0, 20.0, 40.0])
    """
    axis, low, high = nice_axis(values, label, n_steps=n_steps), min(values), max(values)
    if low == high:
        return axis
    return replace(axis, low=low, high=high, ticks=[tick for tick in axis.ticks if low <= tick <= high])


def log_axis(values: Sequence[Number], label: str = "") -> Axis:
    """Return a logarithmic axis over positive values, with marks at 1, 5, 20 and so on, and at the ends.

    Example:
        >>> list(log_axis([1, 5, 60]).ticks)
        [1.0, 5.0, 20.0, 60.0]
    """
    low, high = float(min(values)), float(max(values))
    high = high if high > low else low * 2
    step = (1.0, 5.0, 20.0, 100.0, 1000.0, 10000.0, 100000.0, 1e6)
    inner = [tick for tick in step if low * 1.5 <= tick <= high / 1.5]
    return Axis(low=low, high=high, ticks=[low, *inner, high], label=label, is_log=True)


def nice_step(span: Number, n_steps: int = 5) -> float:
    """Return the round step (1, 2, 2.5 or 5 times a power of ten) that divides a span into about ``n_steps``."""
    rough = span / n_steps
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    return next(step for step in steps if step >= rough * 0.999)

"""Inline SVG, made by hand: text and attributes are escaped, colours and sizes come from the page's style sheet.

A picture made so follows light and dark mode, prints sharply, weighs little and is the same bytes each time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from clipbench_reports.format import Number

WIDTH = 400
"""Of a figure, in pixels: drawn at this size, and shrunk on narrower screens."""

FRACTION_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an SVG element; ``css`` gives its class, and ``_`` in an attribute's name stands for ``-``.

    Example:
        >>> str(element("text", "a < b", x=1.0, css="soft"))
        '<text x="1" class="soft">a &lt; b</text>'
    """
    pairs = ((_attribute(name), value) for name, value in attributes.items() if value is not None)
    head = " ".join([tag, *(f'{name}="{escape(_plain(value))}"' for name, value in pairs)])
    inner = Markup("").join(children)
    return Markup(f"<{head}>{inner}</{tag}>") if children else Markup(f"<{head}/>")


def picture(children: Iterable[str], *, height: Number, alt: str, width: Number = WIDTH) -> Markup:
    """Return a whole SVG; ``alt`` states what it shows."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=alt,
    )


def text(words: str, x: Number, y: Number, *, css: str = "", anchor: str | None = None) -> Markup:
    """Return one line of text, kept apart from its surroundings whichever way it is written."""
    return element("text", words, x=x, y=y, css=css or None, text_anchor=anchor)


def shorten(words: str, length: int) -> str:
    """Return words cut to a length, with an ellipsis where some are lost.

    Example:
        >>> shorten("a very long name", 7)
        'a very…'
    """
    return words if len(words) <= length else words[: length - 1].rstrip() + "…"


def path(points: Iterable[tuple[Number, Number]]) -> str:
    """Return the data of a line through points.

    Example:
        >>> path([(0, 1.25), (2, 3)])
        'M0 1.2L2 3'
    """
    return "M" + "L".join(f"{_plain(x)} {_plain(y)}" for x, y in points)


def specks(points: Iterable[tuple[Number, Number]]) -> str:
    """Return the data of a path that, drawn with a round cap, is a dot at each point: the shortest way to many."""
    return "".join(f"M{_plain(x)} {_plain(y)}h0" for x, y in points)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values, its marks and its label; percentages are written for fractions."""

    low: Number
    high: Number
    ticks: Sequence[Number]
    label: str = ""
    is_percent: bool = False
    is_log: bool = False

    def share(self, value: Number) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one."""
        low, high, here = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        return (here - low) / (high - low)

    def words(self, tick: Number) -> str:
        """Return how a mark is labelled."""
        return f"{100 * tick if self.is_percent else tick:.10g}".replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plane with two axes in a picture."""

    x: Axis
    y: Axis
    height: Number = 300
    left: Number = 52
    right: Number = 16
    top: Number = 12
    bottom: Number = 46

    def at(self, x: Number, y: Number) -> tuple[float, float]:
        """Return the place of a point in the picture."""
        return (
            self.left + self.x.share(x) * (WIDTH - self.left - self.right),
            self.height - self.bottom - self.y.share(y) * (self.height - self.top - self.bottom),
        )

    def points(self, xs: Sequence[Number], ys: Sequence[Number]) -> list[tuple[float, float]]:
        """Return the places of points, without those that are not finite."""
        return [self.at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]

    def line(self, xs: Sequence[Number], ys: Sequence[Number], css: str) -> Markup:
        """Return a line through points."""
        points = self.points(xs, ys)
        return element("path", d=path(points), css=f"line {css}") if points else Markup("")

    def dots(self, xs: Sequence[Number], ys: Sequence[Number], css: str, *, radius: Number = 3.5) -> Markup:
        """Return a dot at each point."""
        placed = self.points(xs, ys)
        return Markup("").join(element("circle", cx=x, cy=y, r=radius, css=f"dot {css}") for x, y in placed)

    def band(self, xs: Sequence[Number], lows: Sequence[Number], highs: Sequence[Number], css: str) -> Markup:
        """Return the area between two lines."""
        points = [*self.points(xs, lows), *reversed(self.points(xs, highs))]
        return element("path", d=path(points) + "Z", css=f"area {css}") if points else Markup("")

    def frame(self) -> Markup:
        """Return grid, marks and labels of the axes."""
        return Markup("").join([*self._rows(), *self._columns()])

    def _rows(self) -> Iterable[Markup]:
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            yield element("path", d=f"M{self.left} {_plain(y)}H{WIDTH - self.right}", css="grid")
            yield text(self.y.words(tick), self.left - 8, y + 4.5, css="soft", anchor="end")
        middle = (self.top + self.height - self.bottom) / 2
        turn = f"rotate(-90 14 {_plain(middle)})"
        yield element("text", self.y.label, x=14, y=middle, css="soft", text_anchor="middle", transform=turn)

    def _columns(self) -> Iterable[Markup]:
        foot = self.height - self.bottom
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            yield element("path", d=f"M{_plain(x)} {_plain(foot)}v5", css="tick")
            yield text(self.x.words(tick), x, foot + 19, css="soft", anchor="middle")
        yield text(self.x.label, (self.left + WIDTH - self.right) / 2, self.height - 6, css="soft", anchor="middle")


def fraction_axis(label: str) -> Axis:
    """Return the axis that all fractions share: 0 to 100 %."""
    return Axis(low=0, high=1, ticks=FRACTION_TICKS, label=label, is_percent=True)


def nice_axis(values: Sequence[Number], label: str = "") -> Axis:
    """Return an axis that holds all finite values, with round marks.

    Example:
        >>> list(nice_axis([0.1, 3.9]).ticks)
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = nice_step(high - low)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(step * k, 12) for k in range(first, last + 1)]
    return Axis(low=ticks[0], high=ticks[-1], ticks=ticks, label=label)


def log_axis(values: Sequence[Number], label: str = "") -> Axis:
    """Return a logarithmic axis over positive values, with marks at 1, 2, 5 and their tenfold; the ends are marked.

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
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def _attribute(name: str) -> str:
    return {"css": "class", "viewBox": "viewBox"}.get(name, name.replace("_", "-"))


def _plain(value: object) -> str:
    """Write a number with at most one decimal, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    rounded = f"{float(value):.1f}"
    return rounded.removesuffix(".0") if rounded != "-0.0" else "0"

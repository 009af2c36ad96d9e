"""Marks as SVG: what colour tells, the shape of a dot or a line tells too."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from markupsafe import Markup

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Boxes,
    Cells,
    Dots,
    Hill,
    Line,
    Mark,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
    aside,
    dot_scale,
    outline,
)
from clipbench_reports.drawing.svg import DOT, dot, element, path, specks, text

LEVELS = 24
"""Shades of a matrix."""
SWATCH = 22
"""Width of a mark in the legend."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The rectangle of the drawing that holds the points of a panel."""

    x: Axis
    y: Axis
    left: Number
    top: Number
    width: Number
    height: Number

    def at(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Return the place of a point in the drawing."""
        return self.left + self.x.share(x) * self.width, self.top + (1 - self.y.share(y)) * self.height

    def in_words(self) -> str:
        """Return place, size and axes for the script of a page: left, top, width, height; low, high and 1 of a logarithmic axis."""
        place = (self.left, self.top, self.width, self.height)
        ends = (part for axis in (self.x, self.y) for part in (axis.low, axis.high, int(axis.is_log)))
        return " ".join([*(f"{each:.1f}" for each in place), *(f"{each:.7g}" for each in ends)])

    def points(self, xs: Iterable[Number], ys: Iterable[Number]) -> list[tuple[Number, Number]]:
        """Return the places of points, without those that are not finite."""
        return [self.at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]


@singledispatch
def put(mark: object, plane: Plane) -> Markup:
    """Return a mark in a plane."""
    raise TypeError(f"no way to draw a {type(mark).__name__}")


@put.register
def _(mark: Line, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if not points:
        return Markup("")
    parts = [element("path", d=path(points), css=_stroke(mark))]
    if mark.lows is not None and mark.highs is not None and mark.has_band:
        edge = [*plane.points(mark.xs, mark.lows), *reversed(plane.points(mark.xs, mark.highs))]
        parts.insert(0, element("path", d=path(edge) + "Z", css=f"area {mark.role}"))
    if mark.has_dots:
        scale = (each for each, y in zip(dot_scale(mark), mark.ys, strict=True) if math.isfinite(y))
        parts += [dot(x, y, mark.role, radius=DOT * each) for (x, y), each in zip(points, scale, strict=True)]
    return Markup("").join(parts)


@put.register
def _(mark: Dots, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if mark.is_dense:
        return element("path", d=specks(points), css=f"specks {mark.role}")
    return Markup("").join(dot(x, y, mark.role) for x, y in points)


@put.register
def _(mark: Ranges, plane: Plane) -> Markup:
    parts = []
    xs, ys = aside(mark)
    for x, y, low, high in zip(xs, ys, mark.lows, mark.highs, strict=True):
        if math.isfinite(low) and math.isfinite(high):
            ends = [(x, low), (x, high)] if mark.is_upright else [(low, y), (high, y)]
            parts.append(element("path", d=path(plane.at(*end) for end in ends), css=f"line {mark.role} solid"))
        if math.isfinite(x) and math.isfinite(y):
            parts.append(dot(*plane.at(x, y), mark.role))
    if mark.is_joined and (points := plane.points(xs, ys)):
        parts.insert(0, element("path", d=path(points), css=f"thread {mark.role}"))
    return Markup("").join(parts)


@put.register
def _(mark: Threads, plane: Plane) -> Markup:
    pairs = zip(mark.starts.tolist(), mark.ends.tolist(), strict=True)
    lines = (path([plane.at(*start), plane.at(*end)]) for start, end in pairs)
    return element("path", d="".join(lines), css=f"thread {mark.role}")


@put.register
def _(mark: Hill, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    (_, foot), left, right = plane.at(plane.x.low, mark.foot), points[0][0], points[-1][0]
    return element("path", d=path([(left, foot), *points, (right, foot)]) + "Z", css=f"hill {mark.role}")


@put.register
def _(mark: Bars, plane: Plane) -> Markup:
    if not mark.is_filled:
        return element("path", d=path(plane.at(*corner) for corner in outline(mark)), css=_stroke(mark))
    data = ""
    for n, low, high in zip(mark.counts, mark.edges[:-1], mark.edges[1:], strict=True):
        if n:
            (left, top), (right, foot) = plane.at(low, n), plane.at(high, 0)
            data += f"M{left:.1f} {foot:.1f}V{top:.1f}H{max(left + 1, right - 0.5):.1f}V{foot:.1f}Z"
    return element("path", d=data, css=f"hill {mark.role}")


@put.register
def _(mark: Rule, plane: Plane) -> Markup:
    other = plane.y if mark.axis == "x" else plane.x
    ends = mark.span or (other.low, other.high)
    points = [(mark.at, end) if mark.axis == "x" else (end, mark.at) for end in ends]
    return element("path", d=path(plane.at(*point) for point in points), css=_stroke(mark))


@put.register
def _(mark: Shade, plane: Plane) -> Markup:
    left, _ = plane.at(mark.low, plane.y.low)
    right, _ = plane.at(mark.high, plane.y.low)
    return element(
        "rect",
        x=left,
        y=plane.top,
        width=max(1.0, right - left),
        height=plane.height,
        css=f"bar {mark.role}" if mark.role in MODELS else "bar",
    )


@put.register
def _(mark: Cells, plane: Plane) -> Markup:
    """One path a shade, of strokes as wide as long: far less than an element a cell."""
    n_rows, n_columns = mark.depths.shape
    shades = np.rint(mark.depths * (LEVELS - 1)).astype(np.int64)
    plate = element("rect", x=plane.left, y=plane.top, width=plane.width, height=plane.height, css="plate")
    paths = []
    for shade in range(1, LEVELS):
        data = "".join(f"M{column} {row}h1" for row, column in np.argwhere(shades == shade))
        if data:
            paths.append(element("path", d=data, css="cells", stroke_opacity=f"{shade / (LEVELS - 1):.2f}"))
    scale = f"scale({plane.width / n_columns:.4f} {plane.height / n_rows:.4f})"
    moved = f"translate({plane.left:.1f} {plane.top:.1f}) {scale} translate(0 0.5)"
    cells = element("g", *paths, transform=moved, shape_rendering="crispEdges")
    written = []
    for row, column, words in mark.words:
        (x, y), depth = plane.at(column + 0.5, row + 0.5), mark.depths[row, column]
        css = "on" if depth > 0.62 else "mid" if depth > 0.45 else ""  # read on a light and on a dark page
        first, *below = words.split("\n")
        written.append(text(first, x, y + 4.5 - 7 * len(below), css=css, anchor="middle"))
        written += [text(line, x, y + 4.5 + 9, css=f"{css} small".strip(), anchor="middle") for line in below[:1]]
    return element("g", plate, cells, *written)


@put.register
def _(mark: Boxes, plane: Plane) -> Markup:
    corners = ([(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in mark.corners)
    data = "".join(path(plane.at(*corner) for corner in each) + "Z" for each in corners)
    return element("path", d=data, css="outline")


@put.register
def _(mark: Words, plane: Plane) -> Markup:
    x, y = plane.at(mark.x, mark.y)
    x += {"start": 8, "middle": 0, "end": -8}[mark.anchor] if mark.lift == 0 else 0
    y += {1: -10.0, 0: 4.5, -1: 20.0}[mark.lift]
    return text(mark.words, x, y, css=f"halo name {mark.role}", anchor=mark.anchor)


def swatch(mark: Mark, x: Number, y: Number) -> Markup:
    """Return a sample of a mark at the left of its name."""
    middle = x + SWATCH / 2
    if isinstance(mark, Hill | Bars | Shade) and not (isinstance(mark, Bars) and not mark.is_filled):
        css = "bar" if isinstance(mark, Shade) else f"hill {mark.role}"
        return element("rect", x=x + 2, y=y - 5, width=SWATCH - 4, height=10, css=css)
    if isinstance(mark, Dots):
        return dot(middle, y, mark.role)
    if isinstance(mark, Threads):
        return element("path", d=f"M{x:.1f} {y:.1f}h{SWATCH}", css=f"thread {mark.role}")
    stroke = element("path", d=f"M{x:.1f} {y:.1f}h{SWATCH}", css=_stroke(mark))
    has_dot = isinstance(mark, Ranges) or (isinstance(mark, Line) and mark.has_dots)
    return element("g", stroke, dot(middle, y, mark.role)) if has_dot else stroke


def _stroke(mark: Mark) -> str:
    dashed = " dashed" if isinstance(mark, Line | Rule) and mark.is_dashed else ""
    return f"line {mark.role}{dashed}"

"""A figure as SVG, for the report: colours and sizes come from the page's style sheet.

A picture made so follows light and dark mode, prints sharply, weighs little and is the same bytes each time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from markupsafe import Markup

from clipbench_reports.drawing import (
    Axis,
    Bars,
    Boxes,
    Cells,
    Dots,
    Figure,
    Hill,
    Line,
    Mark,
    Panel,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
)
from clipbench_reports.format import Number
from clipbench_reports.layout import Place, lay_out
from clipbench_reports.svg import dot, element, path, picture, specks, text

WIDTH, SLOT, MAX_WIDTH = 400, 300, 1000
"""Of a figure with one panel in a row, of a panel beside others, and of a whole figure, in pixels."""
LETTER, BOLD = 7.3, 8.8
"""Width of a letter, and of a bold one on a narrow screen, where letters are largest, in pixels."""
LINE = 16
"""Distance of two lines of text."""
LEVELS = 24
"""Shades of a matrix."""
EDGE, LABEL, TITLE, SWATCH = 12, 20, 24, 22
"""Free space around a plane, and what the label of an axis, the title of a panel and a mark in the legend take."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Where the points of a panel lie in the picture."""

    x: Axis
    y: Axis
    left: Number
    top: Number
    width: Number
    height: Number

    def at(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Return the place of a point in the picture."""
        return self.left + self.x.share(x) * self.width, self.top + (1 - self.y.share(y)) * self.height

    def points(self, xs: Iterable[Number], ys: Iterable[Number]) -> list[tuple[Number, Number]]:
        """Return the places of points, without those that are not finite."""
        return [self.at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]


def draw(figure: Figure) -> Markup:
    """Return the picture of a figure; its title and detail are what is read out in its place."""
    layout = lay_out(figure)
    width = WIDTH * figure.breadth if layout.n_columns == 1 else min(MAX_WIDTH, SLOT * layout.n_columns)
    drawn, top = _legend(layout.legend, width, left=0, top=0)
    for row in layout.rows:
        slot = width if row[0].panel.is_broad else width / layout.n_columns
        made = [_place(place, left=k * slot, top=top, slot=slot) for k, place in enumerate(row)]
        drawn += [each for each, _ in made]
        top = max(foot for _, foot in made)
    return picture(drawn, height=top, width=width, alt=f"{figure.title} {figure.detail}".strip())


def _place(place: Place, *, left: Number, top: Number, slot: Number) -> tuple[Markup, Number]:
    """Return a panel with its title and legend, and where it ends."""
    panel, drawn = place.panel, list[Markup]()
    if panel.title:
        drawn.append(text(panel.title, left + 6, top + LINE, css="name ink"))
        top += TITLE
    legend, top = _legend(place.legend, slot, left=left, top=top)
    plane = _plane(panel, left=left, top=top, slot=slot)
    return element("g", *drawn, *legend, _panel(panel, plane)), plane.top + plane.height + _foot(plane.x)


def _plane(panel: Panel, *, left: Number, top: Number, slot: Number) -> Plane:
    room = _room(panel.y)
    width = slot - room - _over(panel.x)
    return Plane(x=panel.x, y=panel.y, left=left + room, top=top + EDGE, width=width, height=width * panel.aspect)


def _room(axis: Axis) -> Number:
    """Return the space left of a plane for the marks of its axis and the turned label beside them."""
    widest = _widest(axis)
    return 6 + (LABEL if axis.label else 0) + (LETTER * widest + 8 if widest else 4)


def _over(axis: Axis) -> Number:
    """Return the space right of a plane, into which the words at the last mark may reach."""
    last = [words for tick, words in zip(axis.ticks, axis.words, strict=True) if axis.share(tick) > 0.9]
    halves = [BOLD / 2 * max(map(len, words.split("\n"))) for words in last]
    return max([EDGE + 4, *([] if axis.is_turned else halves)])


def _foot(axis: Axis) -> Number:
    """Return the space under a plane."""
    n_lines = max((words.count("\n") + 1 for words in axis.words), default=0)
    words = LETTER * _widest(axis) + 4 if axis.is_turned else LINE * n_lines
    return 8 + words + (LABEL if axis.label else 0)


def _widest(axis: Axis) -> int:
    """Return the letters of the longest line at the marks of an axis."""
    return max((len(line) for words in axis.words for line in words.split("\n")), default=0)


def _apart(places: Sequence[Number], needed: Sequence[Number]) -> list[bool]:
    """Return whether there is room for what is written at each place; the first of those that would touch is.

    Example:
        >>> _apart([0, 10, 20], [16, 16, 16])
        [True, False, True]
    """
    kept: list[bool] = []
    last: tuple[Number, Number] | None = None
    for place, width in zip(places, needed, strict=True):
        is_free = last is None or abs(place - last[0]) >= (width + last[1]) / 2
        last = (place, width) if is_free else last
        kept.append(is_free)
    return kept


def _panel(panel: Panel, plane: Plane) -> Markup:
    marks = (_mark(mark, plane) for mark in panel.marks)
    return element("g", *_rows(plane, has_grid=panel.has_grid), *_columns(plane), *marks)


def _rows(plane: Plane, *, has_grid: bool) -> Iterable[Markup]:
    axis = plane.y
    heights = [plane.at(plane.x.low, tick)[1] for tick in axis.ticks]
    written = _apart(heights, [LINE * (words.count("\n") + 1) - 2 for words in axis.words])
    for y, words, is_written in zip(heights, axis.words, written, strict=True):
        if has_grid:
            yield element("path", d=f"M{plane.left:.1f} {y:.1f}h{plane.width:.1f}", css="grid")
        if is_written:
            yield from _lines(words, plane.left - 8, y + 4.5, anchor="end", is_centred=True)
    if axis.label:
        x, y = plane.left - _room(axis) + 14, plane.top + plane.height / 2
        turn = f"rotate(-90 {x:.1f} {y:.1f})"
        yield element("text", axis.label, x=x, y=y, css="soft", text_anchor="middle", transform=turn)


def _columns(plane: Plane) -> Iterable[Markup]:
    axis, foot = plane.x, plane.top + plane.height
    places = [plane.left + axis.share(tick) * plane.width for tick in axis.ticks]
    needed = (LINE - 2 if axis.is_turned else LETTER * max(map(len, words.split("\n"))) for words in axis.words)
    for x, words, is_written in zip(places, axis.words, _apart(places, list(needed)), strict=True):
        yield element("path", d=f"M{x:.1f} {foot:.1f}v5", css="tick")
        if is_written and axis.is_turned:
            turn = f"rotate(-90 {x + 4.5:.1f} {foot + 9:.1f})"
            yield element("text", words, x=x + 4.5, y=foot + 9, css="soft", text_anchor="end", transform=turn)
        elif is_written:
            yield from _lines(words, x, foot + 19, anchor="middle")
    if axis.label:
        at = plane.left + plane.width / 2
        yield text(axis.label, at, foot + _foot(axis) - 6, css="soft", anchor="middle")


def _lines(words: str, x: Number, y: Number, *, anchor: str, is_centred: bool = False) -> Iterable[Markup]:
    lines = words.split("\n")
    start = y - LINE * (len(lines) - 1) / 2 if is_centred else y
    for k, line in enumerate(lines):
        yield text(line, x, start + LINE * k, css="soft", anchor=anchor)


def _legend(marks: Sequence[Mark], width: Number, *, left: Number, top: Number) -> tuple[list[Markup], Number]:
    """Return the entries of a legend in as many lines as they take, and where it ends."""
    if not marks:
        return [], top
    drawn, x, y = list[Markup](), left + 6, top + LINE
    for mark in marks:
        needed = SWATCH + 6 + BOLD * len(mark.name) + 10
        if x > left + 6 and x + needed > left + width:
            x, y = left + 6, y + LINE + 2
        drawn += [_swatch(mark, x, y - 4.5), text(mark.name, x + SWATCH + 6, y, css=f"name {mark.role}")]
        x += needed
    return drawn, y + 8


def _swatch(mark: Mark, x: Number, y: Number) -> Markup:
    """Return a sample of a mark at the left of its name."""
    middle = x + SWATCH / 2
    if isinstance(mark, Hill | Bars | Shade):
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


@singledispatch
def _mark(mark: object, plane: Plane) -> Markup:
    """Return a mark in a plane."""
    raise TypeError(f"no way to draw a {type(mark).__name__}")


@_mark.register
def _(mark: Line, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if not points:
        return Markup("")
    parts = [element("path", d=path(points), css=_stroke(mark))]
    if mark.lows is not None and mark.highs is not None:
        edge = [*plane.points(mark.xs, mark.lows), *reversed(plane.points(mark.xs, mark.highs))]
        parts.insert(0, element("path", d=path(edge) + "Z", css=f"area {mark.role}"))
    if mark.has_dots:
        parts += [dot(x, y, mark.role) for x, y in points]
    return Markup("").join(parts)


@_mark.register
def _(mark: Dots, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if mark.is_dense:
        return element("path", d=specks(points), css=f"specks {mark.role}")
    return Markup("").join(dot(x, y, mark.role) for x, y in points)


@_mark.register
def _(mark: Ranges, plane: Plane) -> Markup:
    parts = []
    for x, y, low, high in zip(mark.xs, mark.ys, mark.lows, mark.highs, strict=True):
        if math.isfinite(low) and math.isfinite(high):
            ends = [(x, low), (x, high)] if mark.is_upright else [(low, y), (high, y)]
            parts.append(element("path", d=path(plane.at(*end) for end in ends), css=f"line {mark.role} solid"))
        if math.isfinite(x) and math.isfinite(y):
            parts.append(dot(*plane.at(x, y), mark.role))
    if mark.is_joined:
        parts.insert(0, element("path", d=path(plane.points(mark.xs, mark.ys)), css=f"thread {mark.role}"))
    return Markup("").join(parts)


@_mark.register
def _(mark: Threads, plane: Plane) -> Markup:
    pairs = zip(mark.starts.tolist(), mark.ends.tolist(), strict=True)
    lines = (path([plane.at(*start), plane.at(*end)]) for start, end in pairs)
    return element("path", d="".join(lines), css=f"thread {mark.role}")


@_mark.register
def _(mark: Hill, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    (_, foot), left, right = plane.at(plane.x.low, mark.foot), points[0][0], points[-1][0]
    return element("path", d=path([(left, foot), *points, (right, foot)]) + "Z", css=f"hill {mark.role}")


@_mark.register
def _(mark: Bars, plane: Plane) -> Markup:
    data = ""
    for n, low, high in zip(mark.counts, mark.edges[:-1], mark.edges[1:], strict=True):
        if n:
            (left, top), (right, foot) = plane.at(low, n), plane.at(high, 0)
            data += f"M{left:.1f} {foot:.1f}V{top:.1f}H{max(left + 1, right - 0.5):.1f}V{foot:.1f}Z"
    return element("path", d=data, css=f"hill {mark.role}")


@_mark.register
def _(mark: Rule, plane: Plane) -> Markup:
    other = plane.y if mark.axis == "x" else plane.x
    ends = mark.span or (other.low, other.high)
    points = [(mark.at, end) if mark.axis == "x" else (end, mark.at) for end in ends]
    return element("path", d=path(plane.at(*point) for point in points), css=_stroke(mark))


@_mark.register
def _(mark: Shade, plane: Plane) -> Markup:
    left, _ = plane.at(mark.low, plane.y.low)
    right, _ = plane.at(mark.high, plane.y.low)
    return element("rect", x=left, y=plane.top, width=max(1.0, right - left), height=plane.height, css="bar")


@_mark.register
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
    written = (
        text(words, *_middle(plane, row, column), css=_contrast(mark.depths[row, column]), anchor="middle")
        for row, column, words in mark.words
    )
    return element("g", plate, cells, *written)


@_mark.register
def _(mark: Boxes, plane: Plane) -> Markup:
    corners = ([(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in mark.corners)
    data = "".join(path(plane.at(*corner) for corner in each) + "Z" for each in corners)
    return element("path", d=data, css="outline")


@_mark.register
def _(mark: Words, plane: Plane) -> Markup:
    x, y = plane.at(mark.x, mark.y)
    x += {"start": 8, "middle": 0, "end": -8}[mark.anchor] if mark.lift == 0 else 0
    y += {1: -10.0, 0: 4.5, -1: 20.0}[mark.lift]
    return text(mark.words, x, y, css=f"halo name {mark.role}", anchor=mark.anchor)


def _middle(plane: Plane, row: int, column: int) -> tuple[Number, Number]:
    x, y = plane.at(column + 0.5, row + 0.5)
    return x, y + 4.5


def _contrast(depth: Number) -> str:
    """Return the class of words that are read on a shade, on a light and on a dark page."""
    return "on" if depth > 0.62 else "mid" if depth > 0.45 else ""

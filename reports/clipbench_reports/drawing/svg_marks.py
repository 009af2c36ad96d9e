"""Marks as SVG, with names at the lines: the shape of a dot or a line shows the same as its colour."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import chain, pairwise, product
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from markupsafe import Markup

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Cells,
    Dots,
    Hill,
    Line,
    Mark,
    Panel,
    PlanePoint,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
    dot_radii,
    histogram_corners,
    shifted_points,
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

    def to_pixels(self, x: Number, y: Number) -> PlanePoint:
        """Return the coordinates of a point in the drawing."""
        return self.left + self.x.share(x) * self.width, self.top + (1 - self.y.share(y)) * self.height

    def as_attribute(self) -> str:
        """Return rectangle and axes for the script of a page.

        These are left, top, width and height, then low, high and 1 if logarithmic, of each axis.
        """
        rectangle = (self.left, self.top, self.width, self.height)
        words = [f"{number:.1f}" for number in rectangle]
        for axis in (self.x, self.y):
            words += [f"{axis.low:.7g}", f"{axis.high:.7g}", str(int(axis.is_log))]
        return " ".join(words)

    def points(self, xs: Iterable[Number], ys: Iterable[Number]) -> list[PlanePoint]:
        """Return the coordinates of the finite points in the drawing."""
        points = []
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                points.append(self.to_pixels(x, y))
        return points

    def span(self, rule: Rule) -> tuple[Number, Number]:
        """Return the part of the other axis that a rule crosses."""
        other = self.y if rule.axis == "x" else self.x
        return rule.span or (other.low, other.high)

    def rule_ends(self, rule: Rule) -> list[PlanePoint]:
        """Return the coordinates of both ends of a rule in the drawing."""
        if rule.axis == "x":
            return [self.to_pixels(rule.at, end) for end in self.span(rule)]
        return [self.to_pixels(end, rule.at) for end in self.span(rule)]

    def words_start(self, words: Words) -> PlanePoint:
        """Return the coordinates of the anchor of words, on their base line."""
        x, y = self.to_pixels(words.x, words.y)
        aside = {"start": 8, "middle": 0, "end": -8}[words.anchor] if words.lift == 0 else 0
        return x + aside, y + {1: -10.0, 0: 4.5, -1: 20.0}[words.lift]


@singledispatch
def draw_mark(mark: object, plane: Plane) -> Markup:
    """Return a mark in a plane."""
    raise TypeError(f"no way to draw a {type(mark).__name__}")


@draw_mark.register
def _(mark: Line, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if not points:
        return Markup("")
    parts = [element("path", d=path(points), css=_stroke(mark))]
    if mark.lows is not None and mark.highs is not None and mark.has_band:
        edge = [*plane.points(mark.xs, mark.lows), *reversed(plane.points(mark.xs, mark.highs))]
        parts.insert(0, element("path", d=path(edge) + "Z", css=f"area {mark.role}"))
    if mark.has_dots:
        radii = (radius for radius, y in zip(dot_radii(mark), mark.ys, strict=True) if math.isfinite(y))
        parts += [dot(x, y, mark.role, radius=DOT * radius) for (x, y), radius in zip(points, radii, strict=True)]
    return Markup("").join(parts)


@draw_mark.register
def _(mark: Dots, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    if mark.is_dense:
        return element("path", d=specks(points), css=f"specks {mark.role}")
    return Markup("").join(dot(x, y, mark.role) for x, y in points)


@draw_mark.register
def _(mark: Ranges, plane: Plane) -> Markup:
    parts = []
    xs, ys = shifted_points(mark)
    for x, y, low, high in zip(xs, ys, mark.lows, mark.highs, strict=True):
        if math.isfinite(low) and math.isfinite(high):
            ends = [(x, low), (x, high)] if mark.is_upright else [(low, y), (high, y)]
            parts.append(element("path", d=path(plane.to_pixels(*end) for end in ends), css=f"line {mark.role} solid"))
        if math.isfinite(x) and math.isfinite(y):
            parts.append(dot(*plane.to_pixels(x, y), mark.role))
    if mark.is_joined and (points := plane.points(xs, ys)):
        parts.insert(0, element("path", d=path(points), css=f"thread {mark.role}"))
    return Markup("").join(parts)


@draw_mark.register
def _(mark: Threads, plane: Plane) -> Markup:
    pairs = zip(mark.starts.tolist(), mark.ends.tolist(), strict=True)
    lines = (path([plane.to_pixels(*start), plane.to_pixels(*end)]) for start, end in pairs)
    return element("path", d="".join(lines), css=f"thread {mark.role}")


@draw_mark.register
def _(mark: Hill, plane: Plane) -> Markup:
    points = plane.points(mark.xs, mark.ys)
    (_, foot), left, right = plane.to_pixels(plane.x.low, mark.foot), points[0][0], points[-1][0]
    return element("path", d=path([(left, foot), *points, (right, foot)]) + "Z", css=f"hill {mark.role}")


@draw_mark.register
def _(mark: Bars, plane: Plane) -> Markup:
    if not mark.is_filled:
        return element(
            "path", d=path(plane.to_pixels(*corner) for corner in histogram_corners(mark)), css=_stroke(mark)
        )
    data = ""
    for n, low, high in zip(mark.counts, mark.edges[:-1], mark.edges[1:], strict=True):
        if n:
            (left, top), (right, foot) = plane.to_pixels(low, n), plane.to_pixels(high, 0)
            data += f"M{left:.1f} {foot:.1f}V{top:.1f}H{max(left + 1, right - 0.5):.1f}V{foot:.1f}Z"
    return element("path", d=data, css=f"hill {mark.role}")


@draw_mark.register
def _(mark: Rule, plane: Plane) -> Markup:
    return element("path", d=path(plane.rule_ends(mark)), css=_stroke(mark))


@draw_mark.register
def _(mark: Shade, plane: Plane) -> Markup:
    left, _ = plane.to_pixels(mark.low, plane.y.low)
    right, _ = plane.to_pixels(mark.high, plane.y.low)
    return element(
        "rect",
        x=left,
        y=plane.top,
        width=max(1.0, right - left),
        height=plane.height,
        css=f"bar {mark.role}" if mark.role in MODELS else "bar",
    )


@draw_mark.register
def _(mark: Cells, plane: Plane) -> Markup:
    """Draw one path per shade, of square strokes, which is far smaller than one element per cell."""
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
        x, y = plane.to_pixels(column + 0.5, row + 0.5)
        css = _contrasting_css(mark.depths[row, column])
        first, *below = words.split("\n")
        written.append(text(first, x, y + 4.5 - 7 * len(below), css=css, anchor="middle"))
        if below:
            written.append(text(below[0], x, y + 4.5 + 9, css=f"{css} small".strip(), anchor="middle"))
    return element("g", plate, cells, *written)


def _contrasting_css(depth: float) -> str:
    """Return the class of words on a cell of a depth, which are read on a light and on a dark page."""
    if depth > 0.62:
        return "on"
    return "mid" if depth > 0.45 else ""


@draw_mark.register
def _(mark: Words, plane: Plane) -> Markup:
    return text(mark.words, *plane.words_start(mark), css=f"halo name {mark.role}", anchor=mark.anchor)


def legend_swatch(mark: Mark, x: Number, y: Number) -> Markup:
    """Return a sample of a mark at the left of its name."""
    middle = x + SWATCH / 2
    if isinstance(mark, Hill | Shade) or (isinstance(mark, Bars) and mark.is_filled):
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


LETTER, HEIGHT, DESCENT = 10.5, 16, 4
"""Width of a bold letter on a narrow screen, where letters are largest, height of a line, and the part of it below the
base line, in pixels.
"""
ROOM, EXTRA_ROOM = 5, 8
"""Distance of a name from all lines, and how much farther other lines of its colour are, in pixels."""
STEP = 4
"""Distance between the points of a traced line, in pixels."""
N_PLACES = 24
"""Number of positions along a line that are tried, the last first."""

Anchor = Literal["start", "middle", "end"]
Lift = Literal[-1, 0, 1]
ACROSS: tuple[Anchor, ...] = ("middle", "end", "start")
BESIDE: tuple[Lift, ...] = (1, -1)
SIDES: tuple[tuple[Anchor, Lift], ...] = (("start", 0), ("end", 0))
"""Sides of a name at a point of a line: centred or to either side, above or below; or at its height, right or left."""

Points = Float64[np.ndarray, "n 2"]


class LabelBox(NamedTuple):
    """The rectangle of a label."""

    left: Number
    top: Number
    right: Number
    foot: Number

    def distance(self, points: Points) -> float:
        """Return the distance to the nearest point: 0 if one is inside, infinity if there is none."""
        x, y = points[:, 0], points[:, 1]
        across = np.maximum(np.maximum(self.left - x, x - self.right), 0)
        along = np.maximum(np.maximum(self.top - y, y - self.foot), 0)
        return float(np.hypot(across, along).min(initial=np.inf))

    def touches(self, other: "LabelBox") -> bool:
        """Return whether two boxes overlap."""
        return self.left < other.right and other.left < self.right and self.top < other.foot and other.top < self.foot

    def is_inside(self, plane: "Plane") -> bool:
        """Return whether the box is inside a plane. Half a line may be above its top."""
        top, right, foot = plane.top - HEIGHT / 2, plane.left + plane.width, plane.top + plane.height
        return plane.left <= self.left and self.right <= right and top <= self.top and self.foot <= foot


def names_at_lines(panel: Panel, plane: Plane, entries: Sequence[Mark]) -> list[Words] | None:
    """Return the names of a legend as words at their marks, or None if one of them has no room.

    A name is next to its line, inside the plane, and covers nothing. It is farther from other lines of its colour.

    Args:
        plane: the rectangle of the panel.
        entries: marks of the legend, from this panel or a similar one.
    """
    occupied_boxes = [_label_box(mark, plane) for mark in panel.marks if isinstance(mark, Words)]
    lines = _trace_points(panel.marks, plane)
    words = []
    for entry in entries:
        of_name = [mark for mark in panel.marks if mark.name == entry.name and not isinstance(mark, Words)]
        of_colour = [mark for mark in panel.marks if mark.role == entry.role and mark.name != entry.name]
        other_points = _trace_points(of_colour, plane)
        line_points = _trace_points(of_name, plane) if len(other_points) else other_points
        for candidate in chain.from_iterable(_candidates(mark, plane) for mark in of_name):
            box = _label_box(candidate, plane)
            if not box.is_inside(plane) or any(map(box.touches, occupied_boxes)) or box.distance(lines) <= ROOM:
                continue
            if (
                not len(other_points)
                or isinstance(entry, Shade)
                or box.distance(line_points) + EXTRA_ROOM < box.distance(other_points)
            ):
                words.append(candidate)
                occupied_boxes.append(box)
                break
        else:
            return None
    return words


@singledispatch
def _candidates(mark: object, plane: Plane) -> Iterator[Words]:
    """Yield the possible positions of a name, the best first, or none for a mark that needs a sample in a legend."""
    return iter(())


@_candidates.register
def _(mark: Line | Ranges, plane: Plane) -> Iterator[Words]:
    if isinstance(mark, Line) or mark.is_joined:
        for x, y in _points_along(mark):
            yield from _words_at_sides(mark, x, y, [*product(ACROSS, BESIDE), *SIDES])
    elif not mark.is_upright:
        for x, y, low, high in zip(*shifted_points(mark), mark.lows, mark.highs, strict=True):
            yield from _words_at_sides(mark, high if np.isfinite(high) else x, y, SIDES[:1])
            yield from _words_at_sides(mark, low if np.isfinite(low) else x, y, SIDES[1:])


@_candidates.register
def _(mark: Rule, plane: Plane) -> Iterator[Words]:
    low, high = plane.span(mark)
    is_log = (plane.y if mark.axis == "x" else plane.x).is_log
    for share in np.linspace(0.97, 0.03, N_PLACES).tolist():
        at = low * (high / low) ** share if is_log else low + share * (high - low)
        if mark.axis == "x":
            yield from _words_at_sides(mark, mark.at, at, SIDES)
        else:
            yield from _words_at_sides(mark, at, mark.at, list(product(ACROSS, BESIDE)))


@_candidates.register
def _(mark: Shade, plane: Plane) -> Iterator[Words]:
    for y in np.linspace(plane.y.high, plane.y.low, N_PLACES)[1:-1].tolist():
        yield from _words_at_sides(mark, (mark.low + mark.high) / 2, y, [("middle", 0)])


@_candidates.register
def _(mark: Bars, plane: Plane) -> Iterator[Words]:
    highest = int(np.argmax(mark.counts))
    yield from _words_at_sides(mark, mark.edges[highest], 0.9 * mark.counts[highest], SIDES[1:])


@_candidates.register
def _(mark: Threads, plane: Plane) -> Iterator[Words]:
    middles = (mark.starts + mark.ends) / 2
    for y in np.linspace(middles[:, 1].max(), middles[:, 1].min(), N_PLACES).tolist():
        yield from _words_at_sides(mark, float(np.median(middles[:, 0])), y, [("middle", 0)])


@_candidates.register
def _(mark: Dots, plane: Plane) -> Iterator[Words]:
    """Yield positions left and right of a cloud, the highest first, or none for dots that a legend explains."""
    if mark.is_dense:
        xs, ys = np.array(mark.xs, np.float64), np.array(mark.ys, np.float64)
        near = abs(plane.y.high - plane.y.low) * HEIGHT / plane.height
        for y in np.linspace(ys.max(), ys.min(), N_PLACES).tolist():
            row = xs[np.abs(ys - y) <= near]
            if len(row):
                yield from _words_at_sides(mark, float(row.min()), y, SIDES[1:])
                yield from _words_at_sides(mark, float(row.max()), y, SIDES[:1])


def _words_at_sides(mark: Mark, x: Number, y: Number, sides: Sequence[tuple[Anchor, Lift]]) -> Iterator[Words]:
    for anchor, lift in sides:
        yield Words(words=mark.name, x=x, y=y, role=mark.role, anchor=anchor, lift=lift)


def _points_along(mark: Line | Ranges) -> Iterable[PlanePoint]:
    """Return points along a line in units of the data, the last first."""
    xs, ys = shifted_points(mark) if isinstance(mark, Ranges) else (mark.xs, mark.ys)
    points = np.array([xs, ys], np.float64)
    points = points[:, np.isfinite(points).all(axis=0)]
    if not points.size:
        return []
    rows = np.arange(points.shape[1])
    along = np.linspace(rows[-1], 0, N_PLACES)
    return list(zip(*(np.interp(along, rows, values).tolist() for values in points), strict=True))


def _trace_points(drawn_marks: Sequence[Mark], plane: Plane) -> Points:
    """Return closely spaced points along the strokes of marks, in pixels."""
    strokes = [stroke for mark in drawn_marks for stroke in _strokes(mark, plane)]
    points = [np.array(stroke[:1], np.float64) for stroke in strokes if len(stroke) == 1]
    for stroke in strokes:
        for start, end in pairwise(np.array(stroke, np.float64)):
            n = max(2, int(np.hypot(*(end - start)) / STEP) + 1)
            points.append(np.linspace(start, end, n))
    return np.concatenate(points) if points else np.zeros((0, 2))


def _strokes(mark: Mark, plane: Plane) -> Iterator[list[PlanePoint]]:
    """Yield the strokes of a mark that words must not cover. Bands, shades and threads have none."""
    if isinstance(mark, Line | Hill):
        yield plane.points(mark.xs, mark.ys)
    elif isinstance(mark, Ranges):
        xs, ys = shifted_points(mark)
        if mark.is_joined:
            yield plane.points(xs, ys)
        for x, y, low, high in zip(xs, ys, mark.lows, mark.highs, strict=True):
            ends = ((x, low), (x, high)) if mark.is_upright else ((low, y), (high, y))
            yield plane.points(*zip((x, y), *ends, strict=True))
    elif isinstance(mark, Dots):
        yield from ([point] for point in plane.points(mark.xs, mark.ys))
    elif isinstance(mark, Bars):
        yield [plane.to_pixels(*corner) for corner in histogram_corners(mark)]
    elif isinstance(mark, Rule):
        yield plane.rule_ends(mark)


def _label_box(words: Words, plane: Plane) -> LabelBox:
    """Return the rectangle of words, as ``draw_mark`` positions them."""
    x, y = plane.words_start(words)
    width = LETTER * len(words.words)
    left = x - {"start": 0, "middle": width / 2, "end": width}[words.anchor]
    return LabelBox(left, y + DESCENT - HEIGHT, left + width, y + DESCENT)

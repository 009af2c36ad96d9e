"""Marks drawn by matplotlib: the shape of a dot or a line shows the same as its colour."""

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clipbench_reports.drawing.marks import (
    Bars,
    Cells,
    Dots,
    Hill,
    Line,
    Mark,
    Ranges,
    Role,
    Rule,
    Shade,
    Threads,
    Words,
    dot_radii,
    shifted_points,
)

POINTS, DOT = 8, 9.0
"""Size of all text, and area of a dot."""


class RoleStyle(NamedTuple):
    """The colour, marker and dashes of a role."""

    colour: str
    marker: str
    dashes: Any


LOOKS: dict[Role, RoleStyle] = {
    "image": RoleStyle("#0072b2", "o", "solid"),
    "text": RoleStyle("#d55e00", "s", (0, (5, 1.5))),
    "pair": RoleStyle("#6b6b6b", "^", (0, (3, 1, 1, 1))),
    "ink": RoleStyle("#1c1c1e", "D", "solid"),
    "chance": RoleStyle("#5f6064", "", (0, (1, 2))),
    "m0": RoleStyle("#1c1c1e", "o", "solid"),
    "m1": RoleStyle("#009e73", "s", (0, (5, 1.5))),
    "m2": RoleStyle("#cc79a7", "^", (0, (3, 1, 1, 1))),
    "m3": RoleStyle("#b78a00", "D", (0, (1, 1))),
    "m4": RoleStyle("#56b4e9", "v", (0, (7, 2))),
    "m5": RoleStyle("#8a5a3c", "P", (0, (4, 1, 1, 1, 1, 1))),
}
RULE, GRID = "#1c1c1e", "#e4e4e0"


@singledispatch
def draw_mark(mark: object, axes: Axes) -> None:
    """Draw a mark."""
    raise TypeError(f"no way to draw a {type(mark).__name__}")


@draw_mark.register
def _(mark: Line, axes: Axes) -> None:
    if not _is_seen(mark):
        return
    look = LOOKS[mark.role]
    if mark.lows is not None and mark.highs is not None and mark.has_band:
        axes.fill_between(mark.xs, mark.lows, mark.highs, color=look.colour, alpha=0.16, linewidth=0)
    marker = look.marker if mark.has_dots and not mark.weights else ""
    axes.plot(
        mark.xs, mark.ys, color=look.colour, linestyle=_dashes(mark), marker=marker, clip_on=not mark.has_dots, zorder=3
    )
    if mark.has_dots and mark.weights:
        areas = [DOT * scale**2 for scale in dot_radii(mark)]
        axes.scatter(
            mark.xs, mark.ys, s=areas, color=look.colour, marker=look.marker, linewidths=0, clip_on=False, zorder=3
        )


@draw_mark.register
def _(mark: Dots, axes: Axes) -> None:
    look = LOOKS[mark.role]
    axes.scatter(
        mark.xs,
        mark.ys,
        s=2.5 if mark.is_dense else DOT,
        facecolors="none" if _is_hollow(mark) else look.colour,
        edgecolors=look.colour,
        marker=look.marker,
        linewidths=0.4 if _is_hollow(mark) else 0,
        alpha=0.7 if mark.is_dense else 1,
        rasterized=mark.is_dense,
        clip_on=mark.is_dense,
        zorder=3,
    )


@draw_mark.register
def _(mark: Ranges, axes: Axes) -> None:
    if not _is_seen(mark):
        return
    look, lows, highs = LOOKS[mark.role], np.array(mark.lows, float), np.array(mark.highs, float)
    xs, ys = shifted_points(mark)
    has_interval = np.isfinite(lows) & np.isfinite(highs)
    draw, positions = (axes.vlines, xs) if mark.is_upright else (axes.hlines, ys)
    draw(np.array(positions)[has_interval], lows[has_interval], highs[has_interval], color=look.colour, linewidth=1)
    axes.plot(
        xs,
        ys,
        color=look.colour,
        linestyle="solid" if mark.is_joined else "none",
        linewidth=0.5,
        marker=look.marker,
        markersize=3.5,
        clip_on=False,
        zorder=3,
    )


@draw_mark.register
def _(mark: Threads, axes: Axes) -> None:
    segments = np.stack([mark.starts, mark.ends], axis=1)
    colour = LOOKS[mark.role].colour
    axes.add_collection(LineCollection(list(segments), colors=colour, linewidths=0.35, alpha=0.4, rasterized=True))


@draw_mark.register
def _(mark: Hill, axes: Axes) -> None:
    colour = LOOKS[mark.role].colour
    axes.fill_between(mark.xs, mark.ys, mark.foot, color=_faint(colour), linewidth=0)
    axes.plot(mark.xs, mark.ys, color=colour, linewidth=0.8)


@draw_mark.register
def _(mark: Bars, axes: Axes) -> None:
    colour = LOOKS[mark.role].colour
    if not mark.is_filled:
        axes.stairs(mark.counts, mark.edges, color=colour, linestyle=_dashes(mark), linewidth=0.8)
        return
    axes.stairs(mark.counts, mark.edges, fill=True, facecolor=_faint(colour), edgecolor=colour, linewidth=0.8)


@draw_mark.register
def _(mark: Rule, axes: Axes) -> None:
    stroke: dict[str, Any] = {"color": LOOKS[mark.role].colour, "linestyle": _dashes(mark), "linewidth": 0.9}
    if mark.span is not None:
        draw = axes.vlines if mark.axis == "x" else axes.hlines
        draw(mark.at, *mark.span, **stroke)
    else:
        cross = axes.axvline if mark.axis == "x" else axes.axhline
        cross(mark.at, **stroke)


@draw_mark.register
def _(mark: Shade, axes: Axes) -> None:
    axes.axvspan(mark.low, mark.high, color=_faint(LOOKS[mark.role].colour), linewidth=0, zorder=0)


@draw_mark.register
def _(mark: Cells, axes: Axes) -> None:
    n_rows, n_columns = mark.depths.shape
    axes.imshow(
        mark.depths, cmap="Greys", vmin=0, vmax=1, extent=(0, n_columns, n_rows, 0), aspect="auto", interpolation="none"
    )
    for row, column, words in mark.words:
        colour = "white" if mark.depths[row, column] > 0.5 else RULE
        axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", color=colour)


@draw_mark.register
def _(mark: Words, axes: Axes) -> None:
    aligned = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
    shift = {"start": 4, "middle": 0, "end": -4}[mark.anchor] if mark.lift == 0 else 0
    axes.annotate(
        mark.words,
        (mark.x, mark.y),
        xytext=(shift, 5 * mark.lift),
        textcoords="offset points",
        ha=aligned,
        va={1: "bottom", 0: "center", -1: "top"}[mark.lift],
        color=LOOKS[mark.role].colour,
        annotation_clip=False,
    )


def legend_sample(mark: Mark) -> Artist:
    """Return a sample of a mark for the legend."""
    look = LOOKS[mark.role]
    if isinstance(mark, Hill) or (isinstance(mark, Bars) and mark.is_filled):
        return Patch(facecolor=_faint(look.colour), edgecolor=look.colour, linewidth=0.8)
    if isinstance(mark, Shade):
        return Patch(facecolor=_faint(look.colour))
    has_marker = isinstance(mark, Dots | Ranges) or (isinstance(mark, Line) and mark.has_dots)
    has_line = not isinstance(mark, Dots)
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker if has_marker else "",
        markerfacecolor="none" if _is_hollow(mark) else look.colour,
        linestyle=_dashes(mark) if has_line else "none",
        linewidth=0.5 if isinstance(mark, Threads) else None,
    )


def _is_seen(mark: Line | Ranges) -> bool:
    """Return whether there is a finite point. Without one, matplotlib extends a mark to the corner of the file."""
    return bool(np.isfinite(np.array([mark.xs, mark.ys], float)).all(axis=0).any())


def _is_hollow(mark: Mark) -> bool:
    """Return whether dots are outlines: in a dense cloud, their shape is too small to distinguish without colour."""
    return isinstance(mark, Dots) and mark.is_dense and mark.role == "text"


def _dashes(mark: Mark) -> Any:
    if isinstance(mark, Line | Rule) and mark.is_dashed:
        return (0, (3, 2))
    return "solid" if isinstance(mark, Ranges | Threads) else LOOKS[mark.role].dashes


def _faint(colour: str, share: float = 0.16) -> tuple[float, float, float]:
    """Return a colour thinned with the white of paper: print has no transparency to rely on."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue

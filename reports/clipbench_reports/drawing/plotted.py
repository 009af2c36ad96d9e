"""The numbers that a figure shows, as a table: each mark in long form, so that anyone may draw it anew."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import singledispatch

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import (
    Bars,
    Boxes,
    Cells,
    Chart,
    Dots,
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

COLUMNS = ("panel", "series", "id", "x", "y", "low", "high", "value")
"""``x`` and ``y`` are places on the axes; ``low`` and ``high`` the bounds of an interval; ``value`` that of a cell, or what the
height of a distribution stands for."""

Row = dict[str, str | Number]


def table(figure: Chart) -> str:
    """Return the rows as CSV."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(figure))
    return out.getvalue()


def rows(figure: Chart) -> Iterator[Row]:
    """Yield a row a point, bar or cell, by panel and in the order in which they are drawn."""
    for name, panel in zip(names(figure.panels), figure.panels, strict=True):
        for series, mark in named(panel):
            for row in points(mark):
                yield {"panel": name, "series": series, **row}


def named(panel: Panel) -> Iterator[tuple[str, Mark]]:
    """Yield the marks of a panel with a name for each; marks of one name are a series."""
    distinct = {(mark.name, getattr(mark, "of", "")) for mark in panel.marks}
    n_alike = Counter(name for name, _ in distinct)
    for mark in panel.marks:
        of = getattr(mark, "of", "") if n_alike[mark.name] > 1 else ""  # chance of each of several series
        yield ", ".join(filter(None, (of, mark.name or mark.role))), mark


def names(panels: Sequence[Panel]) -> list[str]:
    """Return a name of its own for each panel: its title and what is on its axis, and its number where that is not enough."""
    titles = [": ".join(filter(None, (panel.title, panel.y.label))) for panel in panels]
    return [
        f"{number} {title}".strip() if not title or titles.count(title) > 1 else title
        for number, title in enumerate(titles, 1)
    ]


@singledispatch
def points(mark: object) -> Iterator[Row]:
    """Yield what a mark shows, a row a point, bar or cell."""
    raise TypeError(f"no table for a {type(mark).__name__}")


@points.register
def _(mark: Line) -> Iterator[Row]:
    return _bounded(mark.xs, mark.ys, mark.lows, mark.highs)


@points.register
def _(mark: Ranges) -> Iterator[Row]:
    for k, row in enumerate(_bounded(mark.xs, mark.ys, mark.lows, mark.highs)):
        yield {"id": mark.ids[k], **row} if mark.ids else row


@points.register
def _(mark: Dots) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(mark.xs, mark.ys, strict=True)):
        yield {"id": mark.ids[k] if mark.ids else str(k), "x": x, "y": y}


@points.register
def _(mark: Hill) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(mark.xs, mark.ys, strict=True)):
        yield {"x": x, "value": mark.values[k]} if mark.values else {"x": x, "y": y}


@points.register
def _(mark: Bars) -> Iterator[Row]:
    for low, high, n in zip(mark.edges[:-1], mark.edges[1:], mark.counts, strict=True):
        yield {"low": low, "high": high, "y": n}


@points.register
def _(mark: Rule) -> Iterator[Row]:
    row: Row = {mark.axis: mark.at}
    if mark.span is not None:
        row["y" if mark.axis == "x" else "x"] = sum(mark.span) / 2
    yield row


@points.register
def _(mark: Shade) -> Iterator[Row]:
    yield {"low": mark.low, "high": mark.high}


@points.register
def _(mark: Cells) -> Iterator[Row]:
    for row, line in enumerate(mark.values.tolist()):
        for column, value in enumerate(line):
            own = {} if mark.names is None else {"id": f"{mark.names[0][row]} | {mark.names[1][column]}"}
            yield {**own, "x": column, "y": row, "value": value}


@points.register(Threads)
@points.register(Boxes)
@points.register(Words)
def _(mark: Threads | Boxes | Words) -> Iterator[Row]:
    """Say nothing: threads join points that are there already; boxes and words point at them."""
    return iter(())


def _bounded(
    xs: Sequence[Number], ys: Sequence[Number], lows: Sequence[Number] | None, highs: Sequence[Number] | None
) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        row: Row = {"x": x, "y": y}
        if lows is not None and highs is not None:
            row |= {"low": lows[k], "high": highs[k]}
        yield row

"""The numbers that a figure shows: a table in long form, so that anyone may draw it anew, and JSON for the script of a
page.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch

from clipbench.results.numbers import Number
from clipbench.untrusted.terminal import harmless_cell
from clipbench_reports.drawing import marks

COLUMNS = ("panel", "series", "id", "x", "y", "low", "high", "value")
"""``x`` and ``y`` are places on the axes; ``low`` and ``high`` the bounds of an interval; ``value`` that of a cell, or
what the height of a distribution stands for.
"""

Row = dict[str, str | Number]


def table(figure: marks.Chart) -> str:
    """Return the rows as CSV, in which no cell is a formula."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless_cell(value) for name, value in row.items()} for row in rows(figure))
    return out.getvalue()


def rows(figure: marks.Chart) -> Iterator[Row]:
    """Yield a row a point, bar or cell, by panel and in the order in which they are drawn."""
    for name, panel in zip(names(figure.panels), figure.panels, strict=True):
        for series, mark in named(panel):
            for row in points(mark):
                yield {"panel": name, "series": series, **row}


def named(panel: marks.Panel) -> Iterator[tuple[str, marks.Mark]]:
    """Yield the marks of a panel with a name for each; marks of one name are a series."""
    distinct = {(mark.name, mark.of) for mark in panel.marks}
    n_alike = Counter(name for name, _ in distinct)
    for mark in panel.marks:
        of = mark.of if n_alike[mark.name] > 1 else ""  # chance of each of several series
        yield ", ".join(filter(None, (of, mark.name or mark.role))), mark


def names(panels: Sequence[marks.Panel]) -> list[str]:
    """Return a name of its own for each panel: its title and what is on its axis, and its number where that is not
    enough.
    """
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
def _(mark: marks.Line) -> Iterator[Row]:
    return _bounded(mark.xs, mark.ys, mark.lows, mark.highs)


@points.register
def _(mark: marks.Ranges) -> Iterator[Row]:
    for k, row in enumerate(_bounded(mark.xs, mark.ys, mark.lows, mark.highs)):
        yield {"id": mark.ids[k], **row} if mark.ids else row


@points.register
def _(mark: marks.Dots) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(mark.xs, mark.ys, strict=True)):
        yield {"id": mark.ids[k] if mark.ids else str(k), "x": x, "y": y}


@points.register
def _(mark: marks.Hill) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(mark.xs, mark.ys, strict=True)):
        yield {"x": x, "value": mark.values[k]} if mark.values else {"x": x, "y": y}


@points.register
def _(mark: marks.Bars) -> Iterator[Row]:
    for low, high, n in zip(mark.edges[:-1], mark.edges[1:], mark.counts, strict=True):
        yield {"low": low, "high": high, "y": n}


@points.register
def _(mark: marks.Rule) -> Iterator[Row]:
    row: Row = {mark.axis: mark.at}
    if mark.span is not None:
        row["y" if mark.axis == "x" else "x"] = sum(mark.span) / 2
    yield row


@points.register
def _(mark: marks.Shade) -> Iterator[Row]:
    yield {"low": mark.low, "high": mark.high}


@points.register
def _(mark: marks.Cells) -> Iterator[Row]:
    for row, line in enumerate(mark.values.tolist()):
        for column, value in enumerate(line):
            own = {} if mark.names is None else {"id": f"{mark.names[0][row]} | {mark.names[1][column]}"}
            yield {**own, "x": column, "y": row, "value": value}


@points.register(marks.Threads)
@points.register(marks.Words)
def _(mark: marks.Threads | marks.Words) -> Iterator[Row]:
    """Say nothing: threads join points that are listed already, words are next to them."""
    return iter(())


def _bounded(
    xs: Sequence[Number], ys: Sequence[Number], lows: Sequence[Number] | None, highs: Sequence[Number] | None
) -> Iterator[Row]:
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        row: Row = {"x": x, "y": y}
        if lows is not None and highs is not None:
            row |= {"low": lows[k], "high": highs[k]}
        yield row


DIGITS, DECIMALS = 5, 4
"""Digits of a number, and decimals of one of a matrix, most of whose cells are next to nothing."""

Json = dict[str, object]


def told(figure: marks.Chart) -> str:
    """Return the panels of a figure with their axes and series as JSON; a series has a list for each column of its
    table.

    What the table has no column for stands beside them: how a mark lies where it is drawn.
    """
    panels = [
        {"name": name, "title": panel.title, "x": _axis(panel.x), "y": _axis(panel.y), "series": _all_series(panel)}
        for name, panel in zip(names(figure.panels), figure.panels, strict=True)
    ]
    return json.dumps(panels, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _all_series(panel: marks.Panel) -> list[Json]:
    """Return the series of a panel; one whose rows have the names of an earlier one has the place of that for
    ``id``.
    """
    made = [each for series, mark in named(panel) if (each := _series(series, mark))]
    names = [each.get("id") for each in made]
    firsts = [names.index(each) for each in names]
    return [
        each if not each.get("id") or first == place else {**each, "id": first}
        for place, (each, first) in enumerate(zip(made, firsts, strict=True))
    ]


def _axis(axis: marks.Axis) -> Json:
    made: Json = {"label": axis.label, "percent": axis.is_percent}
    if not axis.ticks:
        made["bare"] = True  # such as one of ranks, which are no numbers to be told
    if any(axis.names):
        made |= {"ticks": _short(axis.ticks), "names": [name.replace("\n", " ") for name in axis.names]}
    return made


def _series(name: str, mark: marks.Mark) -> Json:
    """Return a mark's table by column, and how it lies; nothing of one that stands for no number."""
    rows = list(points(mark))
    if not rows:
        return {}
    made: Json = {"name": name, "kind": type(mark).__name__.lower(), **_lie(mark)}
    if not mark.name:
        made["nameless"] = True
    if mark.role in marks.MODELS:
        made["model"] = marks.MODELS.index(mark.role)
    if isinstance(mark, marks.Cells):
        values = [_plain(round(value, DECIMALS)) for value in mark.values.ravel().tolist()]
        filled = {place: value for place, value in enumerate(values) if value != 0}
        # Of a matrix that is hardly filled, what is there, and how much there is.
        return made | ({"value": values} if 2 * len(filled) > len(values) else {"filled": filled, "n": len(values)})
    for column in rows[0]:
        made[column] = _short(row[column] for row in rows)
    return made


def _lie(mark: marks.Mark) -> Json:
    """Return what of a mark's place and kind its table does not say."""
    if isinstance(mark, marks.Ranges):
        return {"upright": mark.is_upright, "aside": mark.aside}
    if isinstance(mark, marks.Hill):
        return {"heights": _short(mark.ys), "foot": mark.foot, "percent": mark.is_percent}
    if isinstance(mark, marks.Cells):
        made: Json = {"columns": mark.values.shape[1], "percent": mark.is_percent}
        rows, columns = mark.names or ([], [])
        own_rows = {"rows": list(rows)} if list(rows) != list(columns) else {}
        return made | own_rows | ({"names": list(columns)} if columns else {})
    if isinstance(mark, marks.Rule):
        return {"axis": mark.axis, "span": list(mark.span) if mark.span else None}
    return {"cloud": mark.is_dense} if isinstance(mark, marks.Dots) else {}


def _short(values: Iterable[str | Number]) -> list[str | Number | None]:
    """Return names as they are, and numbers with no more digits than can be read off a figure; those not finite are
    null.
    """
    return [value if isinstance(value, str) else _plain(float(f"{value:.{DIGITS}g}")) for value in values]


def _plain(value: float) -> Number | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value

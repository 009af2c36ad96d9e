"""The numbers that a figure shows: a table in long form, and JSON for the script of a page."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch

from clipbench.results.numbers import Number
from clipbench.untrusted.terminal import harmless_cell
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
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
"""``x`` and ``y`` are coordinates, ``low`` and ``high`` bounds of an interval; ``value`` is the value of a cell or of a
distribution.
"""

Row = dict[str, str | Number]


def chart_csv(figure: Chart) -> str:
    """Return the rows of a figure as CSV, in which no cell is a formula."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in chart_rows(figure):
        writer.writerow({name: harmless_cell(value) for name, value in row.items()})
    return out.getvalue()


def chart_rows(figure: Chart) -> Iterator[Row]:
    """Yield one row per point, bar or cell, by panel in drawing order."""
    for name, panel in zip(panel_names(figure.panels), figure.panels, strict=True):
        for series, mark in series_marks(panel):
            for row in mark_rows(mark):
                yield {"panel": name, "series": series, **row}


def series_marks(panel: Panel) -> Iterator[tuple[str, Mark]]:
    """Yield the marks of a panel, each with the name of its series."""
    distinct = {(mark.name, mark.of) for mark in panel.marks}
    n_marks = Counter(name for name, _ in distinct)
    for mark in panel.marks:
        of = mark.of if n_marks[mark.name] > 1 else ""  # chance of each of several series
        yield ", ".join(filter(None, (of, mark.name or mark.role))), mark


def panel_names(panels: Sequence[Panel]) -> list[str]:
    """Return a unique name for each panel: its title and the label of its y axis, with a number if needed."""
    titles = [": ".join(filter(None, (panel.title, panel.y.label))) for panel in panels]
    names = []
    for number, title in enumerate(titles, 1):
        is_unique = title and titles.count(title) == 1
        names.append(title if is_unique else f"{number} {title}".strip())
    return names


@singledispatch
def mark_rows(mark: object) -> Iterator[Row]:
    """Yield one row per point, bar or cell of a mark."""
    raise TypeError(f"no table for a {type(mark).__name__}")


@mark_rows.register
def _(mark: Line) -> Iterator[Row]:
    has_bounds = mark.lows is not None and mark.highs is not None
    bounds = {"low": mark.lows, "high": mark.highs} if has_bounds else {}
    return _rows(x=mark.xs, y=mark.ys, **bounds)


@mark_rows.register
def _(mark: Ranges) -> Iterator[Row]:
    return _rows(id=mark.ids or None, x=mark.xs, y=mark.ys, low=mark.lows, high=mark.highs)


@mark_rows.register
def _(mark: Dots) -> Iterator[Row]:
    return _rows(id=mark.ids or [str(k) for k in range(len(mark.xs))], x=mark.xs, y=mark.ys)


@mark_rows.register
def _(mark: Hill) -> Iterator[Row]:
    return _rows(x=mark.xs, value=mark.values) if mark.values else _rows(x=mark.xs, y=mark.ys)


@mark_rows.register
def _(mark: Bars) -> Iterator[Row]:
    return _rows(low=mark.edges[:-1], high=mark.edges[1:], y=mark.counts)


@mark_rows.register
def _(mark: Rule) -> Iterator[Row]:
    row: Row = {mark.axis: mark.at}
    if mark.span is not None:
        row["y" if mark.axis == "x" else "x"] = sum(mark.span) / 2
    yield row


@mark_rows.register
def _(mark: Shade) -> Iterator[Row]:
    return _rows(low=[mark.low], high=[mark.high])


@mark_rows.register
def _(mark: Cells) -> Iterator[Row]:
    for row, line in enumerate(mark.values.tolist()):
        for column, value in enumerate(line):
            cell: Row = {"x": column, "y": row, "value": value}
            if mark.names is not None:
                row_names, column_names = mark.names
                cell = {"id": f"{row_names[row]} | {column_names[column]}", **cell}
            yield cell


@mark_rows.register
def _(mark: Threads | Words) -> Iterator[Row]:
    """Yield no rows: threads join points that other marks list, words are next to them."""
    return iter(())


def _rows(**columns: Sequence[str | Number] | None) -> Iterator[Row]:
    """Yield the rows of columns. A column that is None is left out."""
    filled = {name: column for name, column in columns.items() if column is not None}
    for cells in zip(*filled.values(), strict=True):
        yield dict(zip(filled, cells, strict=True))


DIGITS, DECIMALS = 5, 4
"""Digits of a number, and decimals of a matrix cell, because most cells are nearly 0."""

Json = dict[str, object]


def chart_json(figure: Chart) -> str:
    """Return the panels of a figure with their axes and series as JSON.

    A series has a list for each column of its table, and the geometry of its mark, which the table does not have.
    """
    panels = []
    for name, panel in zip(panel_names(figure.panels), figure.panels, strict=True):
        axes = {"x": _axis(panel.x), "y": _axis(panel.y)}
        panels.append({"name": name, "title": panel.title, **axes, "series": _panel_series(panel)})
    return json.dumps(panels, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _panel_series(panel: Panel) -> list[Json]:
    """Return the series of a panel. If an earlier series has the same ``id`` list, its index replaces the list."""
    all_series = [series for name, mark in series_marks(panel) if (series := _series(name, mark))]
    all_ids = [series.get("id") for series in all_series]
    for index, (series, ids) in enumerate(zip(all_series, all_ids, strict=True)):
        first = all_ids.index(ids)
        if ids and first != index:
            series["id"] = first
    return all_series


def _axis(axis: Axis) -> Json:
    fields: Json = {"label": axis.label, "percent": axis.is_percent}
    if not axis.ticks:
        fields["bare"] = True  # such as one of ranks, which are no numbers to show
    if any(axis.names):
        fields |= {"ticks": _shorten_numbers(axis.ticks), "names": [name.replace("\n", " ") for name in axis.names]}
    return fields


def _series(name: str, mark: Mark) -> Json:
    """Return the columns of a mark's table, with its geometry, empty for a mark without numbers."""
    rows = list(mark_rows(mark))
    if not rows:
        return {}
    fields: Json = {"name": name, "kind": type(mark).__name__.lower(), **_geometry(mark)}
    if not mark.name:
        fields["nameless"] = True
    if mark.role in MODELS:
        fields["model"] = MODELS.index(mark.role)
    if isinstance(mark, Cells):
        values = [_json_number(round(value, DECIMALS)) for value in mark.values.ravel().tolist()]
        filled = {index: value for index, value in enumerate(values) if value != 0}
        is_mostly_empty = 2 * len(filled) <= len(values)
        return fields | ({"filled": filled, "n": len(values)} if is_mostly_empty else {"value": values})
    for column in rows[0]:
        fields[column] = _shorten_numbers(row[column] for row in rows)
    return fields


def _geometry(mark: Mark) -> Json:
    """Return the parts of a mark's geometry that its table does not have."""
    if isinstance(mark, Ranges):
        return {"upright": mark.is_upright, "aside": mark.aside}
    if isinstance(mark, Hill):
        return {"heights": _shorten_numbers(mark.ys), "foot": mark.foot, "percent": mark.is_percent}
    if isinstance(mark, Cells):
        fields: Json = {"columns": mark.values.shape[1], "percent": mark.is_percent}
        rows, columns = mark.names or ([], [])
        if list(rows) != list(columns):
            fields["rows"] = list(rows)
        if columns:
            fields["names"] = list(columns)
        return fields
    if isinstance(mark, Rule):
        return {"axis": mark.axis, "span": list(mark.span) if mark.span else None}
    return {"cloud": mark.is_dense} if isinstance(mark, Dots) else {}


def _shorten_numbers(values: Iterable[str | Number]) -> list[str | Number | None]:
    """Return names unchanged, and numbers with the digits that a figure shows, null if not finite."""
    shortened_values: list[str | Number | None] = []
    for value in values:
        if isinstance(value, str):
            shortened_values.append(value)
        else:
            rounded = float(f"{value:.{DIGITS}g}")
            shortened_values.append(_json_number(rounded))
    return shortened_values


def _json_number(value: float) -> Number | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value

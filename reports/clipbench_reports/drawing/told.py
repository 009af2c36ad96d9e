"""The numbers behind the marks of a figure, as the script of a page reads them: told at a mark, and written as a table."""

import json
import math
from collections.abc import Iterable

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import MODELS, Axis, Cells, Chart, Dots, Hill, Mark, Panel, Ranges, Rule
from clipbench_reports.drawing.plotted import named, names, points

DIGITS, DECIMALS = 5, 4
"""Digits of a number, and decimals of one of a matrix, most of whose cells are next to nothing."""

Json = dict[str, object]


def told(figure: Chart) -> str:
    """Return the panels of a figure with their axes and series as JSON; a series has a list for each column of its table.

    What the table has no column for stands beside them: how a mark lies where it is drawn.
    """
    panels = [
        {
            "name": name,
            "title": panel.title,
            "x": _axis(panel.x),
            "y": _axis(panel.y),
            "series": _all_series(panel),
        }
        for name, panel in zip(names(figure.panels), figure.panels, strict=True)
    ]
    return json.dumps(panels, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _all_series(panel: Panel) -> list[Json]:
    """Return the series of a panel; one whose rows have the names of an earlier one has the place of that for ``id``."""
    made = [each for series, mark in named(panel) if (each := _series(series, mark))]
    names = [each.get("id") for each in made]
    firsts = [names.index(each) for each in names]
    return [
        each if not each.get("id") or first == place else {**each, "id": first}
        for place, (each, first) in enumerate(zip(made, firsts, strict=True))
    ]


def _axis(axis: Axis) -> Json:
    made: Json = {"label": axis.label, "percent": axis.is_percent}
    if not axis.ticks:
        made["bare"] = True  # such as one of ranks, which are no numbers to be told
    if any(axis.names):
        made |= {"ticks": _short(axis.ticks), "names": [name.replace("\n", " ") for name in axis.names]}
    return made


def _series(name: str, mark: Mark) -> Json:
    """Return a mark's table by column, and how it lies; nothing of one that stands for no number."""
    rows = list(points(mark))
    if not rows:
        return {}
    made: Json = {"name": name, "kind": type(mark).__name__.lower(), **_lie(mark)}
    if not mark.name:
        made["nameless"] = True
    if mark.role in MODELS:
        made["model"] = MODELS.index(mark.role)
    if isinstance(mark, Cells):
        return made | _cells([_plain(round(value, DECIMALS)) for value in mark.values.ravel().tolist()])
    for column in rows[0]:
        made[column] = _short(row[column] for row in rows)
    return made


def _cells(values: list[Number | None]) -> Json:
    """Return the values of a matrix by row; of one that is hardly filled, those that are not 0 by their place, and how many there are."""
    filled = {place: value for place, value in enumerate(values) if value != 0}
    return {"value": values} if 2 * len(filled) > len(values) else {"filled": filled, "n": len(values)}


def _lie(mark: Mark) -> Json:
    """Return what of a mark's place and kind its table does not say."""
    if isinstance(mark, Ranges):
        return {"upright": mark.is_upright, "aside": mark.aside}
    if isinstance(mark, Hill):
        return {"heights": _short(mark.ys), "foot": mark.foot, "percent": mark.is_percent}
    if isinstance(mark, Cells):
        made: Json = {"columns": mark.values.shape[1], "percent": mark.is_percent}
        rows, columns = mark.names or ([], [])
        own_rows = {"rows": list(rows)} if list(rows) != list(columns) else {}
        return made | own_rows | ({"names": list(columns)} if columns else {})
    if isinstance(mark, Rule):
        return {"axis": mark.axis, "span": list(mark.span) if mark.span else None}
    return {"cloud": mark.is_dense} if isinstance(mark, Dots) else {}


def _short(values: Iterable[str | Number]) -> list[str | Number | None]:
    """Return names as they are, and numbers with no more digits than can be read off a figure; those not finite are null."""
    return [value if isinstance(value, str) else _plain(float(f"{value:.{DIGITS}g}")) for value in values]


def _plain(value: float) -> Number | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value

"""The alternative text of a drawing: its title, and the values of its marks."""

import math
from collections.abc import Sequence

from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench.results.shown_samples import evenly_spaced
from clipbench_reports.drawing import chart_data
from clipbench_reports.drawing.marks import Axis, Bars, Cells, Chart, Dots, Line, Mark, Panel, Ranges, Rule

MOST_POINTS, MOST_NAMED = 6, 16
"""Points of a series, and points with a name or cells, that are read aloud, evenly spread if there are more."""


def alt_text(figure: Chart) -> str:
    """Return the words of a figure for readers who cannot see it."""
    return " ".join(
        [figure.title, *filter(None, map(_panel_words, chart_data.panel_names(figure.panels), figure.panels))]
    )


def _panel_words(name: str, panel: Panel) -> str:
    series = [
        f"{label} {values}" if label not in (panel.title, panel.y.label) else values
        for label, mark in chart_data.series_marks(panel)
        if (values := _mark_words(mark, panel))
    ]
    title = f"{name}: " if panel.title or panel.y.label else ""
    return f"{title}{'; '.join(series)}." if series else ""


def _mark_words(mark: Mark, panel: Panel) -> str:
    """Return the values of a mark in words, empty for a mark without numbers, or whose mean is another mark."""
    words = ""
    match mark:
        case Ranges(is_upright=False):
            rows = _tick_words(mark.ys, panel.y)
            are_named = all(row in panel.y.ticks for row in mark.ys)
            words = _points_words(rows if are_named or not mark.ids else mark.ids, mark.xs, panel.x)
        case Dots(is_dense=True):
            words = fmt.counted(len(mark.xs), "point")
        case Line() | Ranges() | Dots():
            words = _points_words(
                _tick_words(mark.xs, panel.x), mark.ys, panel.y, most=MOST_NAMED if panel.x.names else MOST_POINTS
            )
        case Bars():
            highest = max(range(len(mark.counts)), key=lambda k: mark.counts[k])
            words = (
                f"highest from {' to '.join(_value_words(edge, panel.x) for edge in mark.edges[highest : highest + 2])}"
            )
        case Rule() if mark.name and (mark.span is None or mark.role != "chance"):
            words = _value_words(mark.at, panel.x if mark.axis == "x" else panel.y)
        case Cells():
            words = _cells_words(mark)
    return words


def _tick_words(positions: Sequence[Number], axis: Axis) -> list[str]:
    return [_value_words(position, axis) for position in positions]


def _points_words(positions: Sequence[str], values: Sequence[Number], axis: Axis, *, most: int = MOST_NAMED) -> str:
    points = [
        f"{_value_words(value, axis)} at {position}"
        for position, value in zip(positions, values, strict=True)
        if math.isfinite(value)
    ]
    return ", ".join(points[row] for row in evenly_spaced(len(points), most))


def _cells_words(mark: Cells) -> str:
    if mark.names is None or mark.values.size > MOST_NAMED:
        return ""
    rows, columns = mark.names
    return ", ".join(
        f"{rows[row]} and {columns[column]} {f'{fmt.percent(value)} %' if mark.is_percent else fmt.significant(value)}"
        for row, line in enumerate(mark.values.tolist())
        for column, value in enumerate(line)
        if math.isfinite(value)
    )


def _value_words(value: Number, axis: Axis) -> str:
    """Return a value as the axis has it: a name, a percentage or a number."""
    if axis.names and value in axis.ticks:
        name = axis.names[list(axis.ticks).index(value)].replace("\n", " ")
        return name or fmt.significant(value)
    return f"{fmt.percent(value)} %" if axis.is_percent else fmt.significant(value)

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
    sentences = [figure.title]
    for name, panel in zip(chart_data.panel_names(figure.panels), figure.panels, strict=True):
        sentences += _panel_words(name, panel)
    return " ".join(sentences)


def _panel_words(name: str, panel: Panel) -> list[str]:
    """Return a sentence with the values of a panel, none if no mark has numbers."""
    series = []
    for label, mark in chart_data.series_marks(panel):
        values = _mark_words(mark, panel)
        is_in_name = label in (panel.title, panel.y.label)
        if values:
            series.append(values if is_in_name else f"{label} {values}")
    if not series:
        return []
    has_name = bool(panel.title or panel.y.label)  # else the name is a number
    prefix = f"{name}: " if has_name else ""
    return [f"{prefix}{'; '.join(series)}."]


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
            most = MOST_NAMED if panel.x.names else MOST_POINTS
            words = _points_words(_tick_words(mark.xs, panel.x), mark.ys, panel.y, most=most)
        case Bars():
            highest = max(range(len(mark.counts)), key=lambda k: mark.counts[k])
            low, high = _tick_words(mark.edges[highest : highest + 2], panel.x)
            words = f"highest from {low} to {high}"
        case Rule() if mark.name and (mark.span is None or mark.role != "chance"):
            words = _value_words(mark.at, panel.x if mark.axis == "x" else panel.y)
        case Cells():
            words = _cells_words(mark)
    return words


def _tick_words(positions: Sequence[Number], axis: Axis) -> list[str]:
    return [_value_words(position, axis) for position in positions]


def _points_words(positions: Sequence[str], values: Sequence[Number], axis: Axis, *, most: int = MOST_NAMED) -> str:
    points = []
    for position, value in zip(positions, values, strict=True):
        if math.isfinite(value):
            points.append(f"{_value_words(value, axis)} at {position}")
    return ", ".join(points[row] for row in evenly_spaced(len(points), most))


def _cells_words(mark: Cells) -> str:
    if mark.names is None or mark.values.size > MOST_NAMED:
        return ""
    row_names, column_names = mark.names
    cells = []
    for row_name, values in zip(row_names, mark.values.tolist(), strict=True):
        for column_name, value in zip(column_names, values, strict=True):
            if math.isfinite(value):
                number = f"{fmt.percent(value)} %" if mark.is_percent else fmt.significant(value)
                cells.append(f"{row_name} and {column_name} {number}")
    return ", ".join(cells)


def _value_words(value: Number, axis: Axis) -> str:
    """Return a value as the axis has it: a name, a percentage or a number."""
    if axis.names and value in axis.ticks:
        name = axis.names[list(axis.ticks).index(value)].replace("\n", " ")
        return name or fmt.significant(value)
    return f"{fmt.percent(value)} %" if axis.is_percent else fmt.significant(value)

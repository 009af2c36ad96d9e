"""Position of each panel and legend of a figure: the same on a page and in print."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import MODELS, Axis, Chart, Mark, Panel, Rule, Shade, Words


@dataclass(frozen=True, kw_only=True)
class LayoutCell:
    """A panel as it is drawn, with the legend over it."""

    panel: Panel
    legend: Sequence[Mark]
    """Marks with an entry, empty if one legend over the whole figure serves all panels, or where none is needed."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows of panels under a legend."""

    rows: Sequence[Sequence[LayoutCell]]
    """A row of one panel is as wide as the whole figure, if ``n_columns`` is 1 or the panel is a broad one."""
    n_columns: int
    legend: Sequence[Mark]
    is_grid: bool = False
    """True if the planes of a row are equally wide, whatever words are next to them."""


def lay_out(figure: Chart, *, max_columns: int = 99) -> Layout:
    """Return the rows of a figure.

    If no panel has entries that the fullest legend lacks, or if models share the panels, there is one legend for all.
    Otherwise each panel has its own. If a row has panels of several quantities, each quantity is written over its
    panel, where it has room and is not turned. If a row has one quantity, it is written at the first panel.

    Args:
        max_columns: number of panels that fit next to each other.
    """
    n_wanted = min(figure.n_columns, len(figure.panels))
    n_columns = min(n_wanted, max_columns)
    # Rows stay whole, but for those of a grid, each of which is of one quantity.
    while not figure.is_grid and n_wanted % n_columns != 0:
        n_columns -= 1
    is_lifted = any(_has_different_labels(row) for row in _rows(figure.panels, n_columns))
    legends = [_legend_entries(panel, figure.keys) for panel in figure.panels]
    fullest = max(legends, key=len)
    all_entries: dict[str, Mark] = {}
    for entries in reversed(legends):  # of marks with one name, the first panel's is shown
        all_entries |= entries
    has_all = len(fullest) == len(all_entries)
    is_shared = has_all or any(mark.role in MODELS for mark in all_entries.values())
    legend: list[Mark] = []
    if is_shared:
        legend = _visible_entries(fullest if has_all else _sort_entries(all_entries))
    remaining_legends = iter(legends)
    rows = []
    for panels in _rows(figure.panels, n_columns):
        cells: list[LayoutCell] = []
        for panel in panels:
            entries = next(remaining_legends)
            own_legend = [] if is_shared else _visible_entries(entries)
            cell = LayoutCell(panel=_prepare_panel(panel, is_lifted=is_lifted), legend=own_legend)
            cells.append(_without_repeated_labels(cell, cells[0], is_grid=figure.is_grid) if cells else cell)
        rows.append(cells)
    return Layout(rows=rows, n_columns=n_columns, legend=legend, is_grid=figure.is_grid)


def _legend_entries(panel: Panel, keys: Sequence[str]) -> dict[str, Mark]:
    """Return the first mark of each name in drawing order: models first, chance last."""
    marks: dict[str, Mark] = {}
    for mark in panel.marks:
        if mark.name and mark.name not in keys and not isinstance(mark, Words):
            marks.setdefault(mark.name, mark)
    return _sort_entries(marks)


def _sort_entries(marks: dict[str, Mark]) -> dict[str, Mark]:
    return dict(sorted(marks.items(), key=lambda pair: (pair[1].role not in MODELS, pair[1].role == "chance")))


def _has_different_labels(row: Sequence[Panel]) -> bool:
    """Return whether the y axes of the panels of a row have different labels."""
    return len({panel.y.label for panel in row}) > 1


def _visible_entries(legend: dict[str, Mark]) -> list[Mark]:
    """Return the entries of a legend, or none if there is only one line of data, which needs no name."""
    marks = list(legend.values())
    is_only_data = len(marks) == 1 and not isinstance(marks[0], Rule | Shade)
    return [] if is_only_data else marks


def _rows(panels: Sequence[Panel], n_columns: int) -> list[list[Panel]]:
    rows: list[list[Panel]] = []
    for panel in panels:
        is_open = bool(rows) and len(rows[-1]) < n_columns and not rows[-1][0].is_broad
        if is_open and not panel.is_broad and not panel.starts_row:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def _without_repeated_labels(cell: LayoutCell, first: LayoutCell, *, is_grid: bool) -> LayoutCell:
    """Return a panel without the label, and in a grid without the tick names, that the first of its row has."""
    y = cell.panel.y
    is_written = is_grid and y == first.panel.y
    bare_axis = replace(y, label="", names=[""] * len(y.ticks) if is_written else y.names)
    return replace(cell, panel=replace(cell.panel, y=bare_axis))


def _prepare_panel(panel: Panel, *, is_lifted: bool) -> Panel:
    if panel.is_to_scale:  # one of the axes is widened until a unit is as long on both
        x_span = max(panel.x.high - panel.x.low, (panel.y.high - panel.y.low) / panel.aspect)
        panel = replace(panel, x=_widen(panel.x, x_span), y=_widen(panel.y, x_span * panel.aspect))
    if not is_lifted or panel.is_broad or not panel.y.label:
        return panel
    title = f"{panel.title}: {panel.y.label}" if panel.title else panel.y.label
    return replace(panel, title=title, y=replace(panel.y, label=""))


def _widen(axis: Axis, span: Number) -> Axis:
    padding = (span - (axis.high - axis.low)) / 2
    return replace(axis, low=axis.low - padding, high=axis.high + padding)

"""Place of each panel and legend of a figure: the same on a page and in print."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import MODELS, Axis, Chart, Mark, Panel, Rule, Shade, Words


@dataclass(frozen=True, kw_only=True)
class Place:
    """A panel as it is drawn, with the legend over it."""

    panel: Panel
    legend: Sequence[Mark]
    """Marks with an entry; empty where one legend over the whole figure serves all panels, or where none is needed."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows of panels under a legend."""

    rows: Sequence[Sequence[Place]]
    """A row of one panel is as wide as the whole figure, if ``n_columns`` is 1 or the panel is a broad one."""
    n_columns: int
    legend: Sequence[Mark]
    is_grid: bool = False
    """True where the planes of a row are as wide as each other, whatever is written beside them."""


def lay_out(figure: Chart, *, at_most: int = 99) -> Layout:
    """Return the rows of a figure.

    One legend over all serves where no panel has entries that the fullest lacks, or where models share the panels; else
    each panel has its own. Where panels of several quantities stand beside each other, each quantity is written over
    its panel, where it has room, and not turned; where each row is of one, it stands at the first of the row.

    Args:
        at_most: panels beside each other that there is room for.
    """
    n_columns = min(figure.n_columns, len(figure.panels))
    # Rows stay whole, but for those of a grid, each of which is of one quantity.
    fitting = (n for n in range(min(n_columns, at_most), 0, -1) if figure.is_grid or n_columns % n == 0)
    n_columns = next(fitting)
    is_lifted = any(len({panel.y.label for panel in row}) > 1 for row in _rows(figure.panels, n_columns))
    legends = [_entries(panel, figure.keys) for panel in figure.panels]
    fullest, whole = (
        max(legends, key=len),
        _ordered({name: mark for each in reversed(legends) for name, mark in each.items()}),
    )
    is_shared = len(whole) == len(fullest) or any(mark.role in MODELS for mark in whole.values())
    places = [
        Place(panel=_ready(panel, is_lifted=is_lifted), legend=[] if is_shared else _needed(legend))
        for panel, legend in zip(figure.panels, legends, strict=True)
    ]
    cut = iter(places)
    rows = [[next(cut) for _ in row] for row in _rows(figure.panels, n_columns)]
    rows = [[row[0], *(_beside(place, row[0], is_grid=figure.is_grid) for place in row[1:])] for row in rows]
    legend = fullest if len(whole) == len(fullest) else whole
    return Layout(rows=rows, n_columns=n_columns, legend=_needed(legend) if is_shared else [], is_grid=figure.is_grid)


def _entries(panel: Panel, keys: Sequence[str]) -> dict[str, Mark]:
    """Return the first mark of each name in the order in which they are drawn: models first, and chance last."""
    marks: dict[str, Mark] = {}
    for mark in panel.marks:
        if mark.name and mark.name not in keys and not isinstance(mark, Words):
            marks.setdefault(mark.name, mark)
    return _ordered(marks)


def _ordered(marks: dict[str, Mark]) -> dict[str, Mark]:
    return dict(sorted(marks.items(), key=lambda entry: (entry[1].role not in MODELS, entry[1].role == "chance")))


def _needed(legend: dict[str, Mark]) -> list[Mark]:
    """Return the entries of a legend, or none where what is drawn is plain: one line of data needs no name."""
    marks = list(legend.values())
    return marks if len(marks) > 1 or any(isinstance(mark, Rule | Shade) for mark in marks) else []


def _rows(panels: Sequence[Panel], n_columns: int) -> list[list[Panel]]:
    rows: list[list[Panel]] = []
    for panel in panels:
        is_open = bool(rows) and len(rows[-1]) < n_columns and not rows[-1][0].is_broad
        if is_open and not panel.is_broad and not panel.starts_row:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def _beside(place: Place, first: Place, *, is_grid: bool) -> Place:
    """Return a panel without what stands at the first of its row: the label, and in a grid the marks of the same
    axis.
    """
    y = place.panel.y
    is_written = is_grid and y == first.panel.y
    return replace(
        place, panel=replace(place.panel, y=replace(y, label="", names=[""] * len(y.ticks) if is_written else y.names))
    )


def _ready(panel: Panel, *, is_lifted: bool) -> Panel:
    if panel.is_to_scale:  # one of the axes is widened until a unit is as long on both
        wanted = max(panel.x.high - panel.x.low, (panel.y.high - panel.y.low) / panel.aspect)
        panel = replace(panel, x=_widened(panel.x, wanted), y=_widened(panel.y, wanted * panel.aspect))
    if not is_lifted or panel.is_broad or not panel.y.label:
        return panel
    title = f"{panel.title}: {panel.y.label}" if panel.title else panel.y.label
    return replace(panel, title=title, y=replace(panel.y, label=""))


def _widened(axis: Axis, span: Number) -> Axis:
    more = (span - (axis.high - axis.low)) / 2
    return replace(axis, low=axis.low - more, high=axis.high + more)

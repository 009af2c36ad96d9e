"""Which panel of a figure stands where, and which legend explains it: the same on a page and in print."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipbench_reports.drawing import Axis, Boxes, Figure, Mark, Panel, Rule, Shade, Words
from clipbench_reports.format import Number


@dataclass(frozen=True, kw_only=True)
class Place:
    """A panel as it is drawn, with the legend over it."""

    panel: Panel
    legend: Sequence[Mark]
    """Empty where one over the whole figure serves all panels, or where none is needed."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Rows of panels under a legend."""

    rows: Sequence[Sequence[Place]]
    """A row of one panel is as wide as the whole figure, if ``n_columns`` is 1 or the panel is a broad one."""
    n_columns: int
    legend: Sequence[Mark]


def lay_out(figure: Figure, *, at_most: int = 99) -> Layout:
    """Return the rows of a figure.

    One legend over all serves where no panel has entries that the fullest lacks; else each panel has its own. Where
    panels of several quantities stand beside each other, each quantity is written over its panel, where it has room,
    and not turned; where all are of one, it stands at the first of a row.

    Args:
        at_most: panels beside each other that there is room for.
    """
    n_columns = _fitting(min(figure.n_columns, len(figure.panels)), at_most)
    is_lifted = n_columns > 1 and len({panel.y.label for panel in figure.panels}) > 1
    legends = [_entries(panel, figure.keys) for panel in figure.panels]
    fullest = max(legends, key=len)
    is_shared = all(set(legend) <= set(fullest) for legend in legends)
    places = [
        Place(panel=_ready(panel, is_lifted=is_lifted), legend=[] if is_shared else _needed(legend))
        for panel, legend in zip(figure.panels, legends, strict=True)
    ]
    rows = [[row[0], *map(_unlabelled, row[1:])] for row in _rows(places, n_columns)]
    return Layout(rows=rows, n_columns=n_columns, legend=_needed(fullest) if is_shared else [])


def _entries(panel: Panel, keys: Sequence[str]) -> dict[str, Mark]:
    """Return the first mark of each name, in the order in which they are drawn, and chance last."""
    found: dict[str, Mark] = {}
    for mark in panel.marks:
        if mark.name and mark.name not in keys and not isinstance(mark, Words | Boxes):
            found.setdefault(mark.name, mark)
    return dict(sorted(found.items(), key=lambda entry: entry[1].role == "chance"))


def _needed(legend: dict[str, Mark]) -> list[Mark]:
    """Return the entries of a legend, or none where what is drawn is plain: one line of data needs no name."""
    marks = list(legend.values())
    return marks if len(marks) > 1 or any(isinstance(mark, Rule | Shade) for mark in marks) else []


def _rows(places: Sequence[Place], n_columns: int) -> list[list[Place]]:
    rows: list[list[Place]] = []
    for place in places:
        is_open = bool(rows) and len(rows[-1]) < n_columns and not rows[-1][0].panel.is_broad
        if is_open and not place.panel.is_broad:
            rows[-1].append(place)
        else:
            rows.append([place])
    return rows


def _fitting(n_columns: int, at_most: int) -> int:
    """Return the largest number of columns that there is room for and that keeps rows whole."""
    return next(n for n in range(min(n_columns, at_most), 0, -1) if n_columns % n == 0)


def _unlabelled(place: Place) -> Place:
    return replace(place, panel=replace(place.panel, y=replace(place.panel.y, label="")))


def _ready(panel: Panel, *, is_lifted: bool) -> Panel:
    if panel.is_to_scale:
        panel = _to_scale(panel)
    if not is_lifted or panel.is_broad or not panel.y.label:
        return panel
    title = f"{panel.title}: {panel.y.label}" if panel.title else panel.y.label
    return replace(panel, title=title, y=replace(panel.y, label=""))


def _to_scale(panel: Panel) -> Panel:
    """Widen one of the axes until a unit is as long on both."""
    x, y = panel.x, panel.y
    wanted = max(x.high - x.low, (y.high - y.low) / panel.aspect)
    return replace(panel, x=_widened(x, wanted), y=_widened(y, wanted * panel.aspect))


def _widened(axis: Axis, span: Number) -> Axis:
    more = (span - (axis.high - axis.low)) / 2
    return replace(axis, low=axis.low - more, high=axis.high + more)

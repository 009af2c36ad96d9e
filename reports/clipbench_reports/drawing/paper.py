"""A figure for print, by matplotlib: as wide as a column of a paper, with text of the size of its captions.

Fonts are embedded as TrueType (type 42), lines are vectors, dense clouds are pixels, and nothing in a file depends on
when it was made. Colours are the same as in the report. The shape of a mark or a line shows the same as its colour.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from clipbench.errors import UsageError, option
from clipbench.files import write_atomic
from clipbench.untrusted.reading import is_file, is_there
from clipbench_reports.drawing.layout import Layout, LayoutCell, lay_out
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel
from clipbench_reports.drawing.paper_marks import GRID, POINTS, RULE, draw_mark, legend_sample

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # not in 3.10

NOTEBOOK_DPI = 200


class NotebookFigure(Figure):
    """A figure with its own image for notebooks. For other figures, IPython uses pyplot."""

    file_dpi: int | None = None
    """Resolution of its files, None for the default of matplotlib."""

    def savefig(self, *file: Any, **options: Any) -> None:
        """Write the figure as matplotlib does."""
        dpi_option = {} if self.file_dpi is None else {"dpi": self.file_dpi}
        super().savefig(*file, **dpi_option | options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return a PNG with twice the pixels that it takes on the screen, and the width there."""
        image = BytesIO()
        self.savefig(image, format="png", dpi=NOTEBOOK_DPI)
        return image.getvalue(), {"width": round(self.get_figwidth() * NOTEBOOK_DPI / 2)}


WIDTHS = {"column": 8.25, "full": 17.5}
"""Widths of a column and of both, in cm: 3.25 and 6.875 inches, as two-column conferences have them."""
CM = 1 / 2.54
NARROWEST, BESIDE, TICK, LABEL = 1.0, 0.5, 0.1, 0.17
"""Minimum width of a panel next to others; widths of numbers with a label, a tick and a label, in inches.
"""
LEAST_PLANE, OUTSIDE = 0.5, 0.04
"""Minimum width of a plane, and tolerated overflow of the drawing, in inches."""
SAMPLE = 3.4 * POINTS / 72
"""Width of a sample in a legend with its distances, in inches."""
DPI = 300
"""Resolution of raster parts."""
SLIDE_DPI = 2 * DPI
"""Resolution of a PNG for slides: one as wide as a column has the pixels of a whole Full HD slide."""
GAP, BETWEEN, NEAR = 0.12, 12.0, 3.0
"""Between rows of planes, in inches; between two words of one line, and how far two lines may reach into each other, in
pixels.
"""
NAMES_SHARE = 0.45
"""The most of the width of a panel that names of rows take, unless a word is longer."""
UPRIGHT = 1.2
"""Inches of an upright name that stay in one line."""
LINE = 9.4 / 72
"""Height of a row with a name, in inches."""

SETTINGS: "dict[RcKeyType, Any]" = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS,
    "axes.linewidth": 0.5,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.labelpad": 2,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.1,
    "legend.borderpad": 0.1,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.02,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "clipbench",
    "savefig.dpi": DPI,
    "text.parse_math": False,
    "path.simplify": False,
}
DATES = {"svg": "Date", "pdf": "CreationDate", "ps": "CreationDate", "eps": "CreationDate"}
"""The date in a file, which is kept out of it, by the types that would have it."""


def save(
    figure: Chart, path: Path, *, width: float = WIDTHS["column"], style: Path | None = None, dpi: int | None = None
) -> None:
    """Write a figure atomically in the format of its suffix. Equal figures give equal bytes.

    Args:
        width: in cm.
        style: a matplotlib style file, whose settings come before ours.
        dpi: resolution, instead of ours or the style's.

    Raises:
        UsageError: the type, the width or the style cannot be, or the file cannot be written.
    """
    kind = check_path(path)
    with _settings(style):
        notebook_figure = _render_chart(figure, width * CM)
        metadata = {DATES[kind]: None} if kind in DATES else None
        content = BytesIO()
        notebook_figure.savefig(content, format=kind, metadata=metadata, dpi=dpi or matplotlib.rcParams["savefig.dpi"])
    write_atomic({path: content.getvalue()})


def draw(figure: Chart, *, width: float = WIDTHS["column"], style: Path | None = None) -> NotebookFigure:
    """Return a matplotlib figure, independent of pyplot and of the settings of the caller.

    Args:
        width: in cm.
        style: a matplotlib style file, whose settings come before ours.

    Raises:
        UsageError: the width or the style cannot be.
    """
    with _settings(style):
        return _render_chart(figure, width * CM)


def check_path(path: Path) -> str:
    """Return the type of a file by its name.

    Raises:
        UsageError: matplotlib writes no such type.
    """
    kinds = FigureCanvasBase.get_supported_filetypes().keys() - {"pgf"}  # for which TeX would have to be there
    kind = path.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise UsageError(
            f"cannot write {path}: matplotlib writes no '{kind}', expected one of {', '.join(sorted(kinds))}"
        )
    return kind


@contextmanager
def _settings(style: Path | None) -> Iterator[None]:
    """Set matplotlib to its defaults, then to our settings and the style, and restore it afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        try:
            if style is not None and is_there(style) and not is_file(style):
                raise UsageError(f"{option('style', style)} is not a file: expected a matplotlib style file")
            if style is not None:
                matplotlib.style.use(style if style.suffix or is_there(style) else str(style))
        except OSError as error:
            raise UsageError(
                f"{option('style', style)}: expected a matplotlib style file, or the name of a matplotlib style"
            ) from error
        yield


def _render_chart(figure: Chart, width: float) -> NotebookFigure:
    """Return the matplotlib figure of a chart at a width in inches.

    Raises:
        UsageError: there is no room for its words.
    """
    max_columns = max(1, int(width / NARROWEST))
    figure = _with_whole_names(figure, width / lay_out(figure, max_columns=max_columns).n_columns)
    layout = lay_out(figure, max_columns=max_columns)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # there is no room, then
        notebook_figure = _render_layout(layout, width)
        has_room = _is_inside(notebook_figure) and _has_all_names(notebook_figure, layout)
    if has_room:
        return notebook_figure
    example = f", such as full ({WIDTHS['full']} cm)" if width < WIDTHS["full"] * CM else ""
    raise UsageError(
        f"no room for the words of the figure: got a width of {width / CM:.3g} cm, expected more. Use a larger "
        f"{option('width')}{example}"
    )


def _with_whole_names(figure: Chart, slot: float) -> Chart:
    """Return a figure with the names of its rows wrapped, none shortened, and rows as high as their names."""
    panels = []
    for panel in figure.panels:
        wrapped_names = [_wrap(name, NAMES_SHARE * slot) for name in panel.y.names]
        panels.append(replace(panel, y=replace(panel.y, names=wrapped_names)))
    plane = max(LEAST_PLANE, slot - max(map(_left_margin, panels)))  # panels of rows stand below each other, in line
    return replace(figure, panels=[replace(panel, aspect=_aspect(panel, plane)) for panel in panels])


def _aspect(panel: Panel, plane: float) -> float:
    n_lines = max((name.count("\n") + 1 for name in panel.y.names), default=1)
    if panel.n_rows:
        return LINE * (n_lines * panel.n_rows + 0.5) / plane
    if n_lines == 1:
        return panel.aspect
    height_of_names = LINE * (n_lines + 0.5) * len(panel.y.names)
    return max(panel.aspect, height_of_names / plane)


def _render_layout(layout: Layout, width: float) -> NotebookFigure:
    slots, heights = [], []
    for row in layout.rows:
        slot = width if row[0].panel.is_broad else width / layout.n_columns
        slots.append(slot)
        heights.append(max(cell.panel.aspect for cell in row) * slot)
    # Higher than is needed: the planes are then as wide as they can be, and the height is cut to them.
    # Of few pixels, letters would be measured as whole ones, a fifth wider than they are.
    figure = NotebookFigure(figsize=(width, sum(heights) + len(heights) + 1), layout="constrained", dpi=DPI)
    grid = figure.add_gridspec(len(layout.rows), layout.n_columns, height_ratios=heights)
    rows = []
    for index, (row, slot) in enumerate(zip(layout.rows, slots, strict=True)):
        is_broad = row[0].panel.is_broad
        spots = [grid[index, column] for column in range(len(row))]
        if is_broad:
            spots = [grid[index, :]]
        rows.append([figure.add_subplot(spot) for spot in spots])
        for cell, axes in zip(row, rows[-1], strict=True):
            left = _left_margin(cell.panel)
            if layout.is_grid and not is_broad:  # the label of the first panel narrows all panels of its row
                left = TICK + _left_margin(row[0].panel) / len(row)
            _draw_panel(cell, axes, slot, room=slot - left)
    if layout.legend:
        figure.legend(**_legend(layout.legend, width), loc="outside upper left")
    _fit_height(figure, rows)
    return figure


def _fit_height(figure: Figure, rows: Sequence[Sequence[Axes]]) -> None:
    """Reduce the height to the drawn panels, and hide words that would touch others."""
    figure.draw_without_rendering()
    heights = []
    for row in rows:
        boxes = [axes.get_tightbbox() for axes in row]
        heights.append(max(box.height for box in boxes if box is not None))
    heights += [legend.get_window_extent().height for legend in figure.legends]
    figure.set_figheight(sum(heights) / figure.dpi + GAP * len(heights))
    figure.draw_without_rendering()
    for axes in figure.axes:
        _hide_crowded_labels(axes.get_xticklabels(), BETWEEN, is_even=axes.get_xscale() == "linear")
        _hide_crowded_labels(axes.get_yticklabels(), -NEAR, is_even=axes.get_yscale() == "linear")
        for image in axes.images:
            _hide_wide_words(axes, n_columns=image.get_size()[1])


def _is_inside(figure: Figure) -> bool:
    """Return whether all words are inside the figure, and all planes are wide enough to see anything."""
    figure.draw_without_rendering()
    bounds = figure.bbox.padded(OUTSIDE * figure.dpi)
    boxes = [box for artist in (*figure.axes, *figure.legends) if (box := artist.get_tightbbox()) is not None]
    is_inside = all(box.x0 >= bounds.x0 and box.x1 <= bounds.x1 for box in boxes)
    return is_inside and all(axes.bbox.width >= LEAST_PLANE * figure.dpi for axes in figure.axes)


def _has_all_names(figure: Figure, layout: Layout) -> bool:
    """Return whether all names at the axes are visible. Numbers may be hidden for lack of room."""
    panels = [cell.panel for row in layout.rows for cell in row]
    names: list[Text] = []
    for panel, axes in zip(panels, figure.axes, strict=True):
        if panel.x.names:
            names += axes.get_xticklabels()
        if panel.y.names:
            names += axes.get_yticklabels()
    return all(name.get_visible() for name in names)


def _hide_crowded_labels(labels: Sequence[Text], min_distance: float, *, is_even: bool) -> None:
    """Hide labels of an axis that are nearer than this many pixels: every second, or single ones if steps differ."""
    boxes = [label.get_window_extent().padded(min_distance / 2) for label in labels]
    step = 1
    while is_even and any(a.overlaps(b) for a, b in pairwise(boxes[::step])):
        step += 1
    last_visible = None
    for index, (label, box) in enumerate(zip(labels, boxes, strict=True)):
        has_room = last_visible is None or not last_visible.overlaps(box)
        is_visible = index % step == 0 and has_room
        label.set_visible(is_visible)
        if is_visible:
            last_visible = box


def _hide_wide_words(axes: Axes, *, n_columns: int) -> None:
    """Hide the second line of the words in cells if they are too wide, then all words if they still are."""

    def are_wide() -> bool:
        return any(words.get_window_extent().width > axes.bbox.width / n_columns for words in axes.texts)

    if are_wide():
        for words in axes.texts:
            words.set_text(words.get_text().partition("\n")[0])
    if are_wide():
        for words in axes.texts:
            words.set_visible(False)


def _left_margin(panel: Panel) -> float:
    """Return the approximate width left of the plane of a panel, in inches."""
    written = max(map(_widest, panel.y.words), default=0.0)
    return written + (TICK + LABEL if panel.y.label else TICK)


def _draw_panel(cell: LayoutCell, axes: Axes, slot: float, *, room: float) -> None:
    panel = cell.panel
    axes.set_box_aspect(panel.aspect)
    axes.grid(panel.has_grid, axis="y")
    for mark in panel.marks:
        draw_mark(mark, axes)
    _set_axis(axes, _turn_crowded_names(panel.x, room), "x")
    _set_axis(axes, panel.y, "y")
    axes.set_ylabel(_wrap(panel.y.label, (slot - BESIDE) * panel.aspect), linespacing=1.0)
    axes.set_xlabel(_wrap(panel.x.label, slot - BESIDE), linespacing=1.0)
    title = _wrap(panel.title, room)
    if cell.legend:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "alignment": "left", "title": title or None}
        axes.legend(**_legend(cell.legend, slot - BESIDE), **above)
    elif title:
        axes.set_title(title, pad=4, linespacing=1.0)


def _turn_crowded_names(axis: Axis, room: float) -> Axis:
    """Return an axis with upright names if there is no room for them next to each other."""
    widest = max(map(_widest, axis.names), default=0.0)
    if widest * len(axis.names) <= room:
        return axis
    names = [name.replace("\n", " ") for name in axis.names]
    has_room_for_two_lines = room >= 2 * LINE * len(names)
    if has_room_for_two_lines:
        names = [_wrap(name, UPRIGHT) for name in names]
    return replace(axis, names=names, is_turned=True)


def _set_axis(axes: Axes, axis: Axis, direction: Literal["x", "y"]) -> None:
    if axis.is_log:
        axes.set(**{f"{direction}scale": "log"})
    axes.set(**{f"{direction}lim": (axis.low, axis.high), f"{direction}label": axis.label})
    axes.set(**{f"{direction}ticks": list(axis.ticks), f"{direction}ticklabels": axis.words})
    getattr(axes, f"{direction}axis").minorticks_off()
    if axis.names:
        axes.tick_params(axis=direction, length=0)
    if axis.is_turned:
        axes.tick_params(axis=direction, labelrotation=90)
    for label in getattr(axes, f"get_{direction}ticklabels")():
        label.set_linespacing(1.0)


def _legend(marks: Sequence[Mark], width: float) -> dict[str, Any]:
    """Return the entries of a legend, in the largest number of columns that fits."""
    names = [mark.name for mark in marks]
    widths = [SAMPLE + _text_width(name) for name in names]
    n_columns = max(1, len(names))
    while n_columns > 1:
        width_of_columns = sum(max(widths[column::n_columns]) for column in range(n_columns))
        if width_of_columns <= width:
            break
        n_columns -= 1
    # matplotlib fills a column before the next; names are read by rows.
    order: list[int] = []
    for column in range(n_columns):
        order += range(column, len(names), n_columns)
    return {
        "handles": [legend_sample(marks[index]) for index in order],
        "labels": [_wrap(names[index], width - SAMPLE) for index in order],
        "ncols": n_columns,
    }


def _wrap(words: str, room: float) -> str:
    """Return words in lines of at most ``room`` inches, or as wide as the longest word or part before a hyphen."""
    lines = [""]
    for part in re.split(r"(?<=[-\s])", words):
        if lines[-1] and ("\n" in lines[-1] or _text_width(f"{lines[-1]}{part}".rstrip()) > room):
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _widest(words: str) -> float:
    return max(map(_text_width, words.split("\n")))


def _text_width(line: str) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(line, FontProperties(size=POINTS), ismath=False)
    return float(width) / 72

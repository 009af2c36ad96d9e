"""A figure as SVG, for the report: colours and sizes come from the page's style sheet.

A drawing made so follows light and dark mode, prints sharply, weighs little and is the same bytes each time.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from markupsafe import Markup

from clipbench.results.numbers import Number
from clipbench_reports.drawing.alt_text import alt_text
from clipbench_reports.drawing.layout import Layout, LayoutCell, lay_out
from clipbench_reports.drawing.marks import MODELS, Axis, Cells, Chart, Mark, Panel
from clipbench_reports.drawing.svg import dot, drawing, element, text
from clipbench_reports.drawing.svg_marks import SWATCH, Plane, draw_mark, legend_swatch, names_at_lines

WIDTH, SLOT, MAX_WIDTH = 400, 300, 1000
"""Widths of a figure with one panel per row, of a panel next to others, and of the largest figure, in pixels."""
LETTER, BOLD, NAME_LETTER = 8, 8.8, 11
"""Width of a letter, of a bold one, and of a bold one of the widest system font, in which no name is cut, on a narrow
screen, where letters are largest, in pixels."""
LINE = 16
"""Distance of two lines of text."""
EDGE, LABEL, TITLE, UNDER = 12, 20, 24, 8
"""Space around a plane, for the label of an axis, for the title of a panel, and over a title below a plane.
"""
MAX_NAME = 20
"""Characters per line of a name next to a plane, on a narrow screen."""


class ModelDrawing(NamedTuple):
    """The drawing of one model."""

    model: int
    """Its index among the models of the page."""
    drawing: Markup
    narrow: Markup
    """The drawing for a narrow screen, empty if one drawing serves both."""
    is_wide: bool
    """True if it needs more than a column of a page."""


def draw(figure: Chart) -> Markup:
    """Return the drawing of a figure, with its title and the values of its marks as alternative text."""
    return _chart_svg(figure, alt=alt_text(figure))


def draw_narrow(figure: Chart) -> Markup:
    """Return the drawing of a figure for a narrow screen: its panels below each other, long names in several lines.

    Empty if one drawing serves both: if it fits, or is a large matrix, which no screen may shrink.
    """
    return _narrow_svg(figure, alt=alt_text(figure))


def draw_by_model(figure: Chart) -> list[ModelDrawing]:
    """Return the drawings of each model of a figure, or none if a panel has all models.

    They are in an element with the words of ``alt_text``, which are read aloud instead of all of them.
    """
    by_model: dict[int, list[int]] = {}
    for number, panel in enumerate(figure.panels):
        if panel.model is None:
            return []
        by_model.setdefault(panel.model, []).append(number)
    n_columns = max(map(len, by_model.values()))
    is_small = len(by_model) > 2 and figure.breadth <= 1
    breadth = SLOT / WIDTH if is_small else figure.breadth  # three have room beside each other
    drawings = []
    for model, numbers in by_model.items():
        panels = [figure.panels[number] for number in numbers]
        model_figure = replace(figure, panels=panels, n_columns=n_columns, breadth=breadth)
        narrow = _narrow_svg(model_figure, numbers=numbers)
        drawings.append(ModelDrawing(model, _chart_svg(model_figure, numbers=numbers), narrow, model_figure.is_wide))
    return drawings


def _narrow_svg(figure: Chart, *, numbers: Sequence[int] | None = None, alt: str | None = None) -> Markup:
    """Return the drawing of a figure for a narrow screen, empty if it needs none, or is a large matrix."""
    has_matrix = any(isinstance(mark, Cells) for panel in figure.panels for mark in panel.marks)
    if figure.n_columns <= 1 and (not figure.is_wide or has_matrix):
        return Markup("")
    slot = SLOT if figure.n_columns > 1 else WIDTH * figure.breadth
    panels = [_narrow_panel(panel, slot) for panel in figure.panels]
    narrow_figure = replace(figure, panels=panels, n_columns=1, breadth=min(1.0, figure.breadth))
    return _chart_svg(narrow_figure, numbers=numbers, alt=alt)


def _narrow_panel(panel: Panel, slot: Number) -> Panel:
    """Return a panel with wrapped names, whose rows are at least as far apart as in a slot of this width."""
    names = [_wrap_name(name) for name in panel.y.names]
    n_lines = max((name.count("\n") + 1 for name in names), default=1)
    wrapped_panel = replace(panel, y=replace(panel.y, names=names))
    old_width = _plane(panel, left=0, top=0, slot=slot).width
    width = _plane(wrapped_panel, left=0, top=0, slot=WIDTH).width
    lines = LINE * n_lines * len(names) / width  # as high as all names below each other
    return replace(wrapped_panel, aspect=max(panel.aspect * max(1.0, old_width / width), lines))


def _wrap_name(name: str) -> str:
    r"""Return a name with line breaks, so that no line is too long if the name can be broken.

    Example:
        >>> _wrap_name("colour_kind/mean_per_class_recall ↓")
        'colour_kind/mean_\nper_class_recall ↓'
    """
    lines: list[str] = []
    for line in name.split("\n"):
        lines.append("")
        for word in re.findall(r".+?(?:[/_]|\s(?=\w)|$)", line):  # a mark stays with its word
            if lines[-1] and len(lines[-1] + word) > MAX_NAME and re.search(r"\w", word):
                lines.append("")
            lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def _chart_svg(figure: Chart, *, numbers: Sequence[int] | None = None, alt: str | None = None) -> Markup:
    """Return the drawing.

    Args:
        numbers: indices of the panels in the whole figure, whose data the page has.
        alt: alternative text, None if an element around the drawing has one.
    """
    layout = lay_out(figure)
    number = iter(numbers or range(len(figure.panels)))
    width = WIDTH * figure.breadth if layout.n_columns == 1 else min(MAX_WIDTH, SLOT * layout.n_columns)
    layout = _with_names_at_lines(layout, width)
    svg_parts, top = _legend(layout.legend, width, left=0, top=0)
    for row in layout.rows:
        slots = _slots(row, layout, width)
        titles = []
        for cell, (_, slot) in zip(row, slots, strict=True):
            n_letters = int((slot - _indent(cell.panel)) / NAME_LETTER)
            titles.append(textwrap.wrap(cell.panel.title, n_letters))
        n_lines = max(len(title) for title in titles)
        if n_lines and row is not layout.rows[0]:
            top += UNDER
        feet = []
        for cell, title, (left, slot) in zip(row, titles, slots, strict=True):
            panel_top = top + LINE * (n_lines - len(title))  # the last lines of all titles are at one height
            panel, foot = _panel_svg(cell, title, next(number), left=left, top=panel_top, slot=slot)
            svg_parts.append(panel)
            feet.append(foot)
        top = max(feet)
    return drawing(svg_parts, height=top, width=width, alt=alt)


def _with_names_at_lines(layout: Layout, width: Number) -> Layout:
    """Return a layout with the names at the lines instead of a legend, as far as there is room.

    One legend for all panels gives way to the names in the first panel that has room for all.
    """
    rows = []
    for row in layout.rows:
        cells = []
        for cell, (left, slot) in zip(row, _slots(row, layout, width), strict=True):
            entries = layout.legend or cell.legend
            words = names_at_lines(cell.panel, _plane(cell.panel, left=left, top=0, slot=slot), entries)
            if not entries or words is None:
                cells.append(cell)
                continue
            layout = replace(layout, legend=[])
            cells.append(LayoutCell(panel=replace(cell.panel, marks=[*cell.panel.marks, *words]), legend=[]))
        rows.append(cells)
    return replace(layout, rows=rows)


def _slots(row: Sequence[LayoutCell], layout: Layout, width: Number) -> list[tuple[Number, Number]]:
    """Return the left edge and the width of each panel of a row, with the words at its axes."""
    if row[0].panel.is_broad:
        return [(0, width)]
    margins = [_left_margin(cell.panel.y) + _right_margin(cell.panel.x) for cell in row]
    margins += [margins[-1]] * (layout.n_columns - len(row))
    if layout.is_grid:  # the planes are equally wide
        plane_width = (width - sum(margins)) / layout.n_columns
        slots = [margin + plane_width for margin in margins]
    else:
        slots = [width / layout.n_columns] * layout.n_columns
    return [(sum(slots[:column]), slots[column]) for column in range(len(row))]


def _panel_svg(
    cell: LayoutCell, title: list[str], number: int, *, left: Number, top: Number, slot: Number
) -> tuple[Markup, Number]:
    """Return a panel with its title and legend, and the position of its lower edge."""
    panel, title_parts = cell.panel, list[Markup]()
    if title and panel.model is not None and panel.has_mark:
        title_parts.append(dot(left + 11, top + LINE - 4.5, MODELS[panel.model]))
    for line_number, line in enumerate(title, 1):
        title_parts.append(text(line, left + _indent(panel), top + LINE * line_number, css="name ink"))
    if title:
        top += TITLE + LINE * (len(title) - 1)
    legend, top = _legend(cell.legend, slot, left=left, top=top)
    plane = _plane(panel, left=left, top=top, slot=slot)
    marks: list[Markup] = []
    for mark in panel.marks:
        marks += _model_group(mark.role, [draw_mark(mark, plane)])
    inside = element(
        "g",
        *_rows(plane, has_grid=panel.has_grid),
        *_columns(plane),
        *marks,
        data_plane=f"{number} {plane.as_attribute()}",
    )
    return element("g", *title_parts, *legend, inside), plane.top + plane.height + _bottom_margin(plane.x)


def _indent(panel: Panel) -> Number:
    """Return the indent of the title of a panel: the width of the mark of its model, if it has one."""
    return 6 if panel.model is None or not panel.has_mark else SWATCH


def _model_group(role: str, children: Iterable[Markup]) -> list[Markup]:
    """Return elements as a group, which a reader may hide if it belongs to one model."""
    if role not in MODELS:
        return list(children)
    return [element("g", *children, data_model=MODELS.index(role))]


def _plane(panel: Panel, *, left: Number, top: Number, slot: Number) -> Plane:
    room = _left_margin(panel.y)
    width = slot - room - _right_margin(panel.x)
    height = panel.n_rows * (LINE * _count_lines(panel.y) + 6) if panel.n_rows else width * panel.aspect
    return Plane(x=panel.x, y=panel.y, left=left + room, top=top + EDGE, width=width, height=height)


def _left_margin(axis: Axis) -> Number:
    """Return the space left of a plane for the words of its axis and the turned label."""
    widest = _widest(axis)
    return 6 + (LABEL if axis.label else 0) + (LETTER * widest + 8 if widest else 4)


def _right_margin(axis: Axis) -> Number:
    """Return the space right of a plane, into which the words at the last mark may reach."""
    least = EDGE + 4
    if axis.is_turned:
        return least
    last = [words for tick, words in zip(axis.ticks, axis.words, strict=True) if axis.share(tick) > 0.9]
    halves = [BOLD / 2 * _longest_line(words) for words in last]
    return max([least, *halves])


def _bottom_margin(axis: Axis) -> Number:
    words = LETTER * _widest(axis) + 4 if axis.is_turned else LINE * _count_lines(axis)
    return 8 + words + (LABEL if axis.label else 0)


def _count_lines(axis: Axis) -> int:
    return max((words.count("\n") + 1 for words in axis.words), default=0)


def _widest(axis: Axis) -> int:
    """Return the characters of the longest line at an axis. A character that is not Latin counts as two."""
    widest = 0
    for words in axis.words:
        for line in words.split("\n"):
            n_broad = sum(letter >= "\u2000" for letter in line)
            widest = max(widest, len(line) + n_broad)
    return widest


def _longest_line(words: str) -> int:
    """Return the number of characters of the longest line."""
    return max(len(line) for line in words.split("\n"))


def _find_free_labels(centres: Sequence[Number], widths: Sequence[Number]) -> list[bool]:
    """Return for each label whether there is room for it. If labels would touch, the first has room.

    Example:
        >>> _find_free_labels([0, 10, 20], [16, 16, 16])
        [True, False, True]
    """
    is_written: list[bool] = []
    last: tuple[Number, Number] | None = None
    for centre, width in zip(centres, widths, strict=True):
        is_free = last is None or abs(centre - last[0]) >= (width + last[1]) / 2
        last = (centre, width) if is_free else last
        is_written.append(is_free)
    return is_written


def _rows(plane: Plane, *, has_grid: bool) -> Iterable[Markup]:
    axis = plane.y
    heights = [plane.to_pixels(plane.x.low, tick)[1] for tick in axis.ticks]
    written = _find_free_labels(heights, [LINE * (words.count("\n") + 1) - 2 for words in axis.words])
    for y, words, is_written in zip(heights, axis.words, written, strict=True):
        if has_grid:
            yield element("path", d=f"M{plane.left:.1f} {y:.1f}h{plane.width:.1f}", css="grid")
        if is_written and words:
            yield from _lines(words, plane.left - 8, y + 4.5, anchor="end", is_centred=True)
    if axis.label:
        x, y = plane.left - _left_margin(axis) + 14, plane.top + plane.height / 2
        turn = f"rotate(-90 {x:.1f} {y:.1f})"
        yield element("text", axis.label, x=x, y=y, css="soft", text_anchor="middle", transform=turn)


def _columns(plane: Plane) -> Iterable[Markup]:
    axis, foot = plane.x, plane.top + plane.height
    centres = [plane.left + axis.share(tick) * plane.width for tick in axis.ticks]
    widths = [LETTER * _longest_line(words) for words in axis.words]
    if axis.is_turned:
        widths = [LINE - 2] * len(axis.words)
    is_free = _find_free_labels(centres, widths)
    for x, words, is_written in zip(centres, axis.words, is_free, strict=True):
        yield element("path", d=f"M{x:.1f} {foot:.1f}v5", css="tick")
        if is_written and axis.is_turned:
            turn = f"rotate(-90 {x + 4.5:.1f} {foot + 9:.1f})"
            yield element("text", words, x=x + 4.5, y=foot + 9, css="soft", text_anchor="end", transform=turn)
        elif is_written:
            yield from _lines(words, x, foot + 19, anchor="middle")
    if axis.label:
        middle = plane.left + plane.width / 2
        yield text(axis.label, middle, foot + _bottom_margin(axis) - 6, css="soft", anchor="middle")


def _lines(words: str, x: Number, y: Number, *, anchor: str, is_centred: bool = False) -> Iterable[Markup]:
    lines = words.split("\n")
    start = y - LINE * (len(lines) - 1) / 2 if is_centred else y
    for k, line in enumerate(lines):
        yield text(line, x, start + LINE * k, css="soft", anchor=anchor)


def _legend(marks: Sequence[Mark], width: Number, *, left: Number, top: Number) -> tuple[list[Markup], Number]:
    """Return the entries of a legend, in several lines if needed, and the position of its lower edge."""
    if not marks:
        return [], top
    svg_parts, x, y = list[Markup](), left + 6, top + LINE
    foot = y
    for mark in marks:
        lines = textwrap.wrap(mark.name, int((width - SWATCH - 12) / NAME_LETTER)) or [""]
        entry_width = SWATCH + 6 + NAME_LETTER * max(map(len, lines)) + 10
        if x > left + 6 and x + entry_width > left + width:
            x, y = left + 6, foot + LINE + 2
        entry = [legend_swatch(mark, x, y - 4.5)]
        for k, line in enumerate(lines):
            entry.append(text(line, x + SWATCH + 6, y + LINE * k, css=f"name {mark.role}"))
        svg_parts += _model_group(mark.role, entry)
        foot = max(foot, y + LINE * (len(lines) - 1))
        x += entry_width
    return svg_parts, foot + 8

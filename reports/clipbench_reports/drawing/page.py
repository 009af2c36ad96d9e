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
from clipbench_reports.drawing.layout import Layout, Place, lay_out
from clipbench_reports.drawing.marks import MODELS, Axis, Cells, Chart, Mark, Panel
from clipbench_reports.drawing.page_marks import SWATCH, Plane, names_at_lines, put, swatch
from clipbench_reports.drawing.spoken import spoken
from clipbench_reports.drawing.svg import dot, drawing, element, text

WIDTH, SLOT, MAX_WIDTH = 400, 300, 1000
"""Widths of a figure with one panel in a row, of a panel beside others, and of a whole figure, in pixels."""
LETTER, BOLD, NAME_LETTER = 8, 8.8, 11
"""Width of a letter, of a bold one, and of a bold one of the widest system font, in which no name is cut, on a narrow
screen, where letters are largest, in pixels."""
LINE = 16
"""Distance of two lines of text."""
EDGE, LABEL, TITLE, UNDER = 12, 20, 24, 8
"""Free space around a plane, and what the label of an axis and the title of a panel take; that over titles under a
plane.
"""
MAX_NAME = 20
"""Letters of a line of a name beside a plane, on a narrow screen."""


class Apart(NamedTuple):
    """The drawing of one model."""

    model: int
    """Its place among those of the page."""
    drawing: Markup
    narrow: Markup
    """For a narrow screen; nothing where one serves both."""
    is_wide: bool
    """True where it needs more than a column of a page."""


def draw(figure: Chart) -> Markup:
    """Return the drawing of a figure; its title and the values of its marks are read aloud in its place."""
    return _drawn(figure, alt=spoken(figure))


def draw_narrow(figure: Chart) -> Markup:
    """Return the drawing of a figure for a narrow screen: its panels below each other, long names in several lines.

    Nothing where one drawing serves both: where it fits, and where it is a large matrix, which no screen may shrink.
    """
    return _drawn(_narrowed(figure), alt=spoken(figure)) if _is_too_broad(figure) else Markup("")


def draw_apart(figure: Chart) -> list[Apart]:
    """Return the drawings of a figure whose panels are each of one model; nothing where any is of all.

    They stand in an element with the words of ``spoken``, which are read out in the place of all of them.
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
        mine = replace(figure, panels=panels, n_columns=n_columns, breadth=breadth)
        narrow = _drawn(_narrowed(mine), numbers=numbers) if _is_too_broad(mine) else Markup("")
        drawings.append(Apart(model, _drawn(mine, numbers=numbers), narrow, mine.is_wide))
    return drawings


def _is_too_broad(figure: Chart) -> bool:
    """Return whether a figure has to be drawn in another way for a narrow screen, and can be."""
    has_matrix = any(isinstance(mark, Cells) for panel in figure.panels for mark in panel.marks)
    return figure.n_columns > 1 or (figure.is_wide and not has_matrix)


def _narrowed(figure: Chart) -> Chart:
    panels = [_slender(panel, SLOT if figure.n_columns > 1 else WIDTH * figure.breadth) for panel in figure.panels]
    return replace(figure, panels=panels, n_columns=1, breadth=min(1.0, figure.breadth))


def _slender(panel: Panel, slot: Number) -> Panel:
    """Return a panel with long names in lines of their own: its rows lie no closer than in a slot of some width."""
    names = [_broken(name) for name in panel.y.names]
    n_lines = max((name.count("\n") + 1 for name in names), default=1)
    made = replace(panel, y=replace(panel.y, names=names))
    widths = (_plane(each, left=0, top=0, slot=width).width for each, width in ((panel, slot), (made, WIDTH)))
    before, now = widths
    lines = LINE * n_lines * len(names) / now  # as high as all names below each other
    return replace(made, aspect=max(panel.aspect * max(1.0, before / now), lines))


def _broken(name: str) -> str:
    r"""Return a name in lines that are not too long, as far as there are places to break it.

    Example:
        >>> _broken("colour_kind/mean_per_class_recall ↓")
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


def _drawn(figure: Chart, *, numbers: Sequence[int] | None = None, alt: str | None = None) -> Markup:
    """Return the drawing.

    Args:
        numbers: places of the panels in the whole figure, whose numbers the page has.
        alt: what is read out in its place, where nothing around it is.
    """
    layout = lay_out(figure)
    number = iter(numbers or range(len(figure.panels)))
    width = WIDTH * figure.breadth if layout.n_columns == 1 else min(MAX_WIDTH, SLOT * layout.n_columns)
    layout = _named(layout, width)
    drawn, top = _legend(layout.legend, width, left=0, top=0)
    for row in layout.rows:
        slots = _slots(row, layout, width)
        titles = [
            textwrap.wrap(place.panel.title, int((slot - _indent(place.panel)) / NAME_LETTER))
            for place, (_, slot) in zip(row, slots, strict=True)
        ]
        n_lines = max(map(len, titles))
        top += UNDER if n_lines and row is not layout.rows[0] else 0
        made = [
            _place(place, title, next(number), left=left, top=top + LINE * (n_lines - len(title)), slot=slot)
            for place, title, (left, slot) in zip(row, titles, slots, strict=True)
        ]
        drawn += [each for each, _ in made]
        top = max(foot for _, foot in made)
    return drawing(drawn, height=top, width=width, alt=alt)


def _named(layout: Layout, width: Number) -> Layout:
    """Return a layout with the names at the lines in place of a legend, as far as these have room.

    One legend for all panels gives way to the names in the first panel that has room for all.
    """
    rows = []
    for row in layout.rows:
        made = []
        for place, (left, slot) in zip(row, _slots(row, layout, width), strict=True):
            entries = layout.legend or place.legend
            words = names_at_lines(place.panel, _plane(place.panel, left=left, top=0, slot=slot), entries)
            if not entries or words is None:
                made.append(place)
                continue
            layout = replace(layout, legend=[])
            made.append(Place(panel=replace(place.panel, marks=[*place.panel.marks, *words]), legend=[]))
        rows.append(made)
    return replace(layout, rows=rows)


def _slots(row: Sequence[Place], layout: Layout, width: Number) -> list[tuple[Number, Number]]:
    """Return where each panel of a row begins, and how wide it is with all that is written beside it."""
    if row[0].panel.is_broad:
        return [(0, width)]
    around = [_room(place.panel.y) + _over(place.panel.x) for place in row]
    around += [around[-1]] * (layout.n_columns - len(row))
    plane = (width - sum(around)) / layout.n_columns
    slots = [each + plane for each in around] if layout.is_grid else [width / layout.n_columns] * layout.n_columns
    return [(sum(slots[:k]), slots[k]) for k in range(len(row))]


def _place(
    place: Place, title: list[str], number: int, *, left: Number, top: Number, slot: Number
) -> tuple[Markup, Number]:
    """Return a panel with its title and legend, and where it ends."""
    panel, drawn = place.panel, list[Markup]()
    if title and panel.model is not None and panel.has_mark:
        drawn.append(dot(left + 11, top + LINE - 4.5, MODELS[panel.model]))
    drawn += [text(line, left + _indent(panel), top + LINE * (k + 1), css="name ink") for k, line in enumerate(title)]
    if title:
        top += TITLE + LINE * (len(title) - 1)
    legend, top = _legend(place.legend, slot, left=left, top=top)
    plane = _plane(panel, left=left, top=top, slot=slot)
    marks = (part for mark in panel.marks for part in _of_model(mark.role, [put(mark, plane)]))
    inside = element(
        "g", *_rows(plane, has_grid=panel.has_grid), *_columns(plane), *marks, data_plane=f"{number} {plane.in_words()}"
    )
    return element("g", *drawn, *legend, inside), plane.top + plane.height + _foot(plane.x)


def _indent(panel: Panel) -> Number:
    """Return where the title of a panel begins: beside the mark of its model, where it is of one."""
    return 6 if panel.model is None or not panel.has_mark else SWATCH


def _of_model(role: str, drawn: Iterable[Markup]) -> list[Markup]:
    """Return what is drawn, as a group that a reader may hide where it is of one model."""
    if role not in MODELS:
        return list(drawn)
    return [element("g", *drawn, data_model=MODELS.index(role))]


def _plane(panel: Panel, *, left: Number, top: Number, slot: Number) -> Plane:
    room = _room(panel.y)
    width = slot - room - _over(panel.x)
    height = panel.n_rows * (LINE * _lines_of(panel.y) + 6) if panel.n_rows else width * panel.aspect
    return Plane(x=panel.x, y=panel.y, left=left + room, top=top + EDGE, width=width, height=height)


def _room(axis: Axis) -> Number:
    """Return the space left of a plane for the marks of its axis and the turned label beside them."""
    widest = _widest(axis)
    return 6 + (LABEL if axis.label else 0) + (LETTER * widest + 8 if widest else 4)


def _over(axis: Axis) -> Number:
    """Return the space right of a plane, into which the words at the last mark may reach."""
    last = [words for tick, words in zip(axis.ticks, axis.words, strict=True) if axis.share(tick) > 0.9]
    halves = [BOLD / 2 * max(map(len, words.split("\n"))) for words in last]
    return max([EDGE + 4, *([] if axis.is_turned else halves)])


def _foot(axis: Axis) -> Number:
    words = LETTER * _widest(axis) + 4 if axis.is_turned else LINE * _lines_of(axis)
    return 8 + words + (LABEL if axis.label else 0)


def _lines_of(axis: Axis) -> int:
    return max((words.count("\n") + 1 for words in axis.words), default=0)


def _widest(axis: Axis) -> int:
    """Return the letters of the longest line at the marks of an axis; a sign that is no Latin letter may be as broad as
    two.
    """
    lines = (line for words in axis.words for line in words.split("\n"))
    return max((sum(1 if letter < "\u2000" else 2 for letter in line) for line in lines), default=0)


def _apart(places: Sequence[Number], needed: Sequence[Number]) -> list[bool]:
    """Return whether there is room for what is written at each place; the first of those that would touch is.

    Example:
        >>> _apart([0, 10, 20], [16, 16, 16])
        [True, False, True]
    """
    is_written: list[bool] = []
    last: tuple[Number, Number] | None = None
    for place, width in zip(places, needed, strict=True):
        is_free = last is None or abs(place - last[0]) >= (width + last[1]) / 2
        last = (place, width) if is_free else last
        is_written.append(is_free)
    return is_written


def _rows(plane: Plane, *, has_grid: bool) -> Iterable[Markup]:
    axis = plane.y
    heights = [plane.at(plane.x.low, tick)[1] for tick in axis.ticks]
    written = _apart(heights, [LINE * (words.count("\n") + 1) - 2 for words in axis.words])
    for y, words, is_written in zip(heights, axis.words, written, strict=True):
        if has_grid:
            yield element("path", d=f"M{plane.left:.1f} {y:.1f}h{plane.width:.1f}", css="grid")
        if is_written and words:
            yield from _lines(words, plane.left - 8, y + 4.5, anchor="end", is_centred=True)
    if axis.label:
        x, y = plane.left - _room(axis) + 14, plane.top + plane.height / 2
        turn = f"rotate(-90 {x:.1f} {y:.1f})"
        yield element("text", axis.label, x=x, y=y, css="soft", text_anchor="middle", transform=turn)


def _columns(plane: Plane) -> Iterable[Markup]:
    axis, foot = plane.x, plane.top + plane.height
    places = [plane.left + axis.share(tick) * plane.width for tick in axis.ticks]
    needed = (LINE - 2 if axis.is_turned else LETTER * max(map(len, words.split("\n"))) for words in axis.words)
    for x, words, is_written in zip(places, axis.words, _apart(places, list(needed)), strict=True):
        yield element("path", d=f"M{x:.1f} {foot:.1f}v5", css="tick")
        if is_written and axis.is_turned:
            turn = f"rotate(-90 {x + 4.5:.1f} {foot + 9:.1f})"
            yield element("text", words, x=x + 4.5, y=foot + 9, css="soft", text_anchor="end", transform=turn)
        elif is_written:
            yield from _lines(words, x, foot + 19, anchor="middle")
    if axis.label:
        at = plane.left + plane.width / 2
        yield text(axis.label, at, foot + _foot(axis) - 6, css="soft", anchor="middle")


def _lines(words: str, x: Number, y: Number, *, anchor: str, is_centred: bool = False) -> Iterable[Markup]:
    lines = words.split("\n")
    start = y - LINE * (len(lines) - 1) / 2 if is_centred else y
    for k, line in enumerate(lines):
        yield text(line, x, start + LINE * k, css="soft", anchor=anchor)


def _legend(marks: Sequence[Mark], width: Number, *, left: Number, top: Number) -> tuple[list[Markup], Number]:
    """Return the entries of a legend in as many lines as they take, and where it ends."""
    if not marks:
        return [], top
    drawn, x, y = list[Markup](), left + 6, top + LINE
    foot = y
    for mark in marks:
        lines = textwrap.wrap(mark.name, int((width - SWATCH - 12) / NAME_LETTER)) or [""]
        needed = SWATCH + 6 + NAME_LETTER * max(map(len, lines)) + 10
        if x > left + 6 and x + needed > left + width:
            x, y = left + 6, foot + LINE + 2
        names = [text(line, x + SWATCH + 6, y + LINE * k, css=f"name {mark.role}") for k, line in enumerate(lines)]
        drawn += _of_model(mark.role, [swatch(mark, x, y - 4.5), *names])
        foot = max(foot, y + LINE * (len(lines) - 1))
        x += needed
    return drawn, foot + 8

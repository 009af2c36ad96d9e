"""How a table is laid out so that it fits a page: LaTeX's article has 345 pt by 550 pt of text.

A table of few models has a line a metric. Where that would be too wide, what belongs to a number stands below it in
small print (stacked), and more models or metrics than a page holds are given to several tables. Widths are estimates
of Computer Modern's letters, on the wide side.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipbench.results.export.grid import Cell, Line, Table

WIDTH, HEIGHT = 345.0, 550.0
GAP = 12.0
"""Between two columns."""
LETTERS = {" .,:;'|![]ijl": 2.8, "frst()": 3.9, "mwMW@%-–": 8.4}
"""Widths of letters at 10 pt; a capital has 7.5, any other 5.1. A hyphen may be a minus sign."""
SMALL, FOOTNOTE, SCRIPT = 9.3, 8.5, 8.0
"""Of ``\\small``, ``\\footnotesize`` and ``\\scriptsize``, in points: their letters are wider than those of 10 pt made smaller."""
LONGEST_NAME, LONGEST_STACKED_NAME = 112.0, 88.0
"""Of a metric; longer ones are broken."""
LEAST_HEAD = 40.0
"""What the name of a model may take even where its numbers need less."""
LINE_HEIGHT, STACKED_HEIGHT, MORE_HEIGHT = 11.0, 23.0, 9.5
"""Of a metric, of one that is stacked, and of another line of its name or of the notes."""
FRAME_HEIGHT, LEAST_HEIGHT = 90.0, 200.0
"""Of caption, rules and heads, and of the metrics of a table however much there is to note."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the parts of a table are set."""

    is_stacked: bool
    name_width: float | None
    """Of the column of metrics, which break there; None for as much as they need."""
    head_width: float
    """Of the name of a model, which breaks there."""
    n_models: int
    """That stand side by side."""
    height: float
    """Of the metrics below each other."""

    def line_height(self, metric: str) -> float:
        """Return how high the line of a metric is."""
        if self.name_width is None:
            return LINE_HEIGHT
        size, height = (FOOTNOTE, STACKED_HEIGHT) if self.is_stacked else (SMALL, LINE_HEIGHT)
        return height + MORE_HEIGHT * int(width_of(metric, size) // self.name_width)


def lay_out(table: Table) -> Layout:
    """Return the plainest layout in which a table, or the parts of it, fit."""
    names = _widest([line.metric for line in table.lines], SMALL)
    inline = _widest([_inline(cell) for line in table.lines for cell in line.cells], SMALL)
    letters = sum(map(len, (*table.notes, *table.remarks)))
    height = max(LEAST_HEIGHT, HEIGHT - FRAME_HEIGHT - MORE_HEIGHT * (letters / (WIDTH / 4.2) + 2))
    for name_width in (None, LONGEST_NAME):
        room = WIDTH - min(names, name_width or names) - _edge(table)
        head = room / len(table.models) - GAP
        if head >= max(LEAST_HEAD, inline):
            return Layout(
                is_stacked=False,
                name_width=name_width,
                head_width=head,
                n_models=len(table.models),
                height=height,
            )
    return _stacked(table, height)


def _stacked(table: Table, height: float) -> Layout:
    cells = [cell for line in table.lines for cell in line.cells]
    head = max(
        LEAST_HEAD,
        _widest([f"{cell.value}{'00' if cell.note else ''}" for cell in cells], FOOTNOTE),
        _widest([cell.interval for cell in cells], SCRIPT),
    )
    last = max(_widest(["Chance", *(line.chance for line in table.lines)], FOOTNOTE), _sizes(table, SCRIPT)) + GAP
    n_models = max(1, int((WIDTH - LONGEST_STACKED_NAME - last) // (head + GAP)))
    n_models = min(n_models, len(table.models))
    names = _widest([line.metric for line in table.lines], FOOTNOTE)
    return Layout(
        is_stacked=True,
        name_width=min(names, WIDTH - last - n_models * (head + GAP)),
        head_width=head,
        n_models=n_models,
        height=height,
    )


def parts(table: Table, layout: Layout) -> Iterator[Table]:
    """Yield what stands in one table each: all metrics of the first models, then of the next."""
    for model in range(0, len(table.models), layout.n_models):
        models = slice(model, model + layout.n_models)
        for lines in _pages(table.lines, layout):
            kept = [replace(each, cells=each.cells[models]) for each in lines]
            yield replace(table, models=table.models[models], lines=kept)


def _pages(lines: Sequence[Line], layout: Layout) -> Iterator[list[Line]]:
    """Yield as many lines as a page holds, and again."""
    page, height = list[Line](), 0.0
    for line in lines:
        own = layout.line_height(line.metric)
        if page and height + own > layout.height:
            yield page
            page, height = [], 0.0
        page.append(line)
        height += own
    yield page


def broken(name: str, width: float, size: float) -> list[str]:
    """Return the lines of a name that is to be no wider than so many points, broken after a sign where there is one.

    Example:
        >>> broken("runs/base-model/step-1000", 50.0, FOOTNOTE)
        ['runs/base-', 'model/step-', '1000']
    """
    lines = [""]
    for piece in re.findall(r"[^\s/_:,=-]*[\s/_:,=-]?", name):
        for word in [piece] if width_of(piece, size) <= width else piece:
            if width_of(lines[-1] + word, size) <= width:
                lines[-1] += word
            else:
                lines.append(word)
    return [line.strip() for line in lines if line.strip()]


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is at a size, in points.

    Example:
        >>> width_of("0.5", 10.0)
        13.0
    """
    return size / 10 * sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    for letters, width in LETTERS.items():
        if letter in letters:
            return width
    return 7.5 if letter.isupper() else 5.1


def _widest(texts: Sequence[str], size: float) -> float:
    return max((width_of(text, size) for text in texts), default=0.0)


def _inline(cell: Cell) -> str:
    return f"{cell.value} {cell.interval}{'00' if cell.note else ''}"


def _edge(table: Table) -> float:
    """Return what the columns of units, chance and n take in a table that is not stacked."""
    units = _widest(["Unit", *(line.unit for line in table.lines)], SMALL)
    chances = _widest(["Chance", *(line.chance for line in table.lines)], SMALL)
    return units + chances + _sizes(table, SMALL) + 3 * GAP


def _sizes(table: Table, size: float) -> float:
    return _widest([line.n for line in table.lines], size)

"""A table as plain text, for the terminal, and where its lines may be broken."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from clipbench.results.numbers import ascii_signs
from clipbench.results.table.cells import Column, Table
from clipbench.untrusted.terminal import printable


def as_text(
    table: Table, *, has_header: bool = True, indent: str = "  ", widths: Sequence[int] = (), width: int | None = None
) -> str:
    """Return a table in columns. Lines have no spaces at their ends, and all of it is printable.

    Args:
        table: its warnings and comments are left to whoever prints it.
        has_header: without, the cells have to say what they are, and columns without any are left out.
        indent: before every line but the title.
        widths: the least width of each column, to align several tables.
        width: columns of the terminal. A wider table gets the layout with the fewest lines: words wrap inside their
            cells, and a long first cell has a line of its own; where that is not enough, each row is a paragraph. No
            number is broken. None: no line is broken.
    """
    natural_widths = text_widths(table, has_header=has_header)
    widths = [max(pair) for pair in zip(widths or natural_widths, natural_widths, strict=True)]
    rows = [[column.header for column in table.columns]] if has_header else []
    for row in table.rows:
        texts = [row] if isinstance(row, str) else [cell.plain for cell in table.cells(row)]
        rows.append([printable(text) for text in texts])
    room = None if width is None else width - len(indent)
    if room is None or _line_width(widths) <= room:
        body = _layout_lines(table, rows, widths)
    else:
        layouts = [_layout_lines(table, rows, narrowed) for narrowed in _narrow_widths(rows, natural_widths, room)]
        body = min(layouts, key=len, default=[]) or _paragraphs(rows, room, has_header=has_header)
    notes = [f"({number}) {printable(note)}" for number, note in enumerate(table.notes, 1)]
    lines = [f"{indent}{line}".rstrip() for line in (*body, *notes)]
    head = printable(" ".join(part for part in (table.title, table.facts) if part))
    if head:
        lines.insert(0, head)
    return ascii_signs("\n".join(lines))


def text_widths(table: Table, *, has_header: bool = True) -> list[int]:
    """Return the width of each column, in characters."""
    rows = [table.cells(row) for row in table.rows if not isinstance(row, str)]
    widths = []
    for index, column in enumerate(table.columns):
        header_width = len(column.header) if has_header else 0
        cell_widths = [n_columns(printable(row[index].plain)) for row in rows]
        widths.append(max([header_width, *cell_widths]))
    return widths


def _line_width(widths: Sequence[int]) -> int:
    """Return the width of columns with two spaces between them, without the columns that are left out."""
    shown = [width for width in widths if width]
    return sum(shown) + 2 * (len(shown) - 1)


def _layout_lines(table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    lines = []
    for row in rows:
        cells = list(row)
        # A heading, and a first cell that is too long, have a line of their own.
        if len(cells) == 1 or n_columns(cells[0]) > widths[0]:
            lines.append(cells[0])
            cells[0] = ""
        wrapped_cells = [wrap_text(cell, width, "") for cell, width in zip(cells, widths, strict=False)]
        for texts in zip_longest(*wrapped_cells, fillvalue=""):
            if any(texts):
                lines.append(_padded_line(texts, widths, table.columns))
    return lines


def _padded_line(texts: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    padded = []
    for text, width, column in zip(texts, widths, columns, strict=True):
        if width:
            padded.append(pad_text(text, width, is_right=column.is_number))
    return "  ".join(padded)


def _narrow_widths(rows: Sequence[Sequence[str]], natural_widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield the widths that fit, for each width that the first column may have."""
    if natural_widths[0] > room:
        return
    full_rows = [row for row in rows if len(row) == len(natural_widths)]
    least_widths = []
    for index in range(len(natural_widths)):
        pieces = [longest_piece(row[index]) for row in full_rows]
        least_widths.append(max(pieces, default=0))
    for first in sorted({n_columns(row[0]) for row in full_rows}):
        widths = _narrowed([first, *natural_widths[1:]], least_widths, room)
        if widths is not None:
            yield widths


def _narrowed(widths: Sequence[int], least_widths: Sequence[int], room: int) -> list[int] | None:
    """Return widths that fit, where the widest columns but the first gave room, or None if they cannot."""
    narrowed = list(widths)
    for _ in range(_line_width(narrowed) - room):
        wider = [column for column in range(1, len(narrowed)) if narrowed[column] > least_widths[column]]
        if not wider:
            return None
        widest = max(wider, key=narrowed.__getitem__)
        narrowed[widest] -= 1
    return narrowed


def _paragraphs(rows: Sequence[Sequence[str]], room: int, *, has_header: bool) -> list[str]:
    """Return the first cell of each row, and below it the others with their headers."""
    lines = []
    headers = rows[0] if has_header else []
    for row in rows[has_header:]:
        lines += wrap_text(row[0], room)
        labelled = list(row)
        if headers:
            labelled = [f"{header}: {cell}" for header, cell in zip(headers, row, strict=False)]
        written = [text for text, cell in zip(labelled[1:], row[1:], strict=False) if cell]
        cells = [_without_breaks(cell, room - 4) for cell in written]
        if cells:
            lines += wrap_text(f"    {'  '.join(cells)}", room, "    ")
    return [line.replace("\0", " ") for line in lines]


def _without_breaks(text: str, width: int) -> str:
    """Return a text with its spaces as zero characters, at which no line is broken, or as it is if it does not fit."""
    return text.replace(" ", "\0") if n_columns(text) <= width else text


_PIECE = re.compile(
    r" *(?:\[[-+−\d.,]+ [-+−\d]\S*|\S+(?:(?<!,) (?=[-+−]?\d)\S+|(?<=\d) (?=(?:%|pp|[kMGT]?B|s|min|px)(?!\w))\S+)*)"
)
"""Words that stay together: a number with its unit and the word before it, both ends of an interval."""
NO_COLUMN = ("Mn", "Me", "Cf")
"""Unicode categories of signs without a column, such as combining accents and vowels."""
_LABEL = re.compile(r" *\S+(?: \S+)* {2,}")


def n_columns(text: str) -> int:
    """Return the columns that a text takes in a terminal: East Asian wide characters take two, combining marks none.

    Example:
        >>> n_columns("犬 dog"), n_columns("e\\u0301"), n_columns("สวัสดี")
        (6, 1, 4)
    """
    if text.isascii():
        return len(text)
    visible = (character for character in text if unicodedata.category(character) not in NO_COLUMN)
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in visible)


def wrap_text(text: str, width: int, rest: str | None = None) -> list[str]:
    """Return a text in lines that fit. No word, path, option, number or interval is broken, even if it is too long.

    Args:
        rest: the beginning of all lines but the first; by default spaces, which align them with the text after a label
            and a gap.
    """
    if n_columns(text) <= width:
        return [text]
    if rest is None:
        rest = _hanging_indent(text, width)
    lines, line = [], ""
    for piece in _PIECE.findall(text):
        fits = n_columns(piece) <= width - len(rest)
        parts = [piece] if fits else re.findall(r" *\S+", piece)
        for part in parts:
            if line and n_columns(line + part) > width:
                lines.append(line)
                line = rest + part.lstrip()
            else:
                line += part
    return [*lines, line]


def _hanging_indent(text: str, width: int) -> str:
    """Return the spaces below the label of a text, fewer if its longest word would not fit next to them."""
    own_indent = len(text) - len(text.lstrip())
    least = min(own_indent + 4, width // 4)
    label = _LABEL.match(text)
    hang = label.end() if label and label.end() <= width // 2 else least
    return " " * max(least, min(hang, width - longest_piece(text)))


def pad_text(text: str, width: int, *, is_right: bool = False) -> str:
    """Return a text filled up with spaces."""
    spaces = " " * (width - n_columns(text))
    return spaces + text if is_right else text + spaces


def longest_piece(text: str) -> int:
    """Return the columns that a text needs at least."""
    return max((n_columns(piece.strip()) for piece in _PIECE.findall(text)), default=0)

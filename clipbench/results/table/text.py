"""A table as plain text, for the terminal."""

from collections.abc import Sequence

from clipbench.results.numbers import ascii_signs
from clipbench.results.table.model import Table
from clipbench.untrusted.terminal import printable


def as_text(table: Table, *, has_header: bool = True, indent: str = "  ", widths: Sequence[int] = ()) -> str:
    """Return a table in columns: no line is broken, lines have no spaces at their ends, and all of it is printable.

    Args:
        table: its warnings and comments are left to whoever prints it.
        has_header: without, the cells have to say what they are, and columns without any are left out.
        indent: before every line but the title.
        widths: the least width of each column, to align several tables.

    Example:
        >>> from clipbench.results.table.model import Column, Table
        >>> table = Table(columns=[Column("metric", is_number=False), Column("%")], rows=[["acc1", "9.5"]], title="birds")
        >>> print(as_text(table))
        birds
          metric    %
          acc1    9.5
    """
    own = text_widths(table, has_header=has_header)
    widths = [max(pair) for pair in zip(widths or own, own, strict=True)]
    lines = [[column.header for column in table.columns]] if has_header else []
    for row in table.rows:
        heading = [printable(str(row)), *[""] * (len(widths) - 1)]
        lines.append(heading if isinstance(row, str) else [printable(cell.plain) for cell in table.cells(row)])
    body = [
        "  ".join(
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
            if width
        )
        for line in lines
    ]
    notes = [f"({number}) {printable(note)}" for number, note in enumerate(table.notes, 1)]
    head = printable(" ".join(filter(None, (table.title, table.facts))))
    return ascii_signs("\n".join([*filter(None, [head]), *(f"{indent}{line}".rstrip() for line in (*body, *notes))]))


def text_widths(table: Table, *, has_header: bool = True) -> list[int]:
    """Return the width of each column, in characters."""
    rows = [table.cells(row) for row in table.rows if not isinstance(row, str)]
    return [
        max([len(column.header) if has_header else 0, *(len(printable(row[place].plain)) for row in rows)])
        for place, column in enumerate(table.columns)
    ]

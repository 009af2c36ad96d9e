"""A table as GitHub's Markdown."""

import re
from collections.abc import Iterable, Iterator

from clipbench.results.numbers import ascii_signs
from clipbench.results.table.cells import Cell, Column, Row, Table
from clipbench.untrusted.terminal import one_line


def as_markdown(table: Table) -> str:
    """Return a heading, the table, its notes as a numbered list, and warnings and comments as bullets."""
    return ascii_signs("\n".join(_lines(table)))


def escape(text: str) -> str:
    r"""Return a text that Markdown shows as it is, in one line, also in a table, and that notifies nobody."""
    # Between two letters an underscore is one; escaped, names would be hard to read where nothing renders them.
    escaped = re.sub(r"[\\`*\[\]<>|~&#!$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))
    return re.sub(r"(?<!\w)@", "@\N{ZERO WIDTH SPACE}", escaped)


def code(text: str) -> str:
    """Return a text as code in a table's cell: no name in it notifies anyone, and no sign of it is markup.

    Example:
        >>> code("zero-shot@scenes/a|b"), code("a`b")
        ('`zero-shot@scenes/a\\\\|b`', "`a'b`")
    """
    shown = one_line(text).replace("`", "'").replace("|", r"\|")
    return f"`{shown}`"


def bullets(texts: Iterable[str]) -> list[str]:
    """Return texts as a list."""
    return [f"- {escape(text)}" for text in texts]


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"### {escape(table.title)}", "")
    if table.facts:
        yield from (escape(table.facts), "")
    if table.caption:
        yield from (" ".join(f"{escape(sentence)}." for sentence in table.caption), "")
    if table.rows:
        yield _row(escape(column.full_header) for column in table.columns)
        yield _row("---:" if column.is_number else "---" for column in table.columns).replace(" ", "")
        for row in table.rows:
            cells = _heading(row, len(table.columns)) if isinstance(row, str) else row
            pairs = zip(table.cells(cells), table.columns, strict=True)
            yield _row(_cell(cell, column) for cell, column in pairs)
        yield ""
    if table.notes:
        yield from (f"{number}. {escape(note)}" for number, note in enumerate(table.notes, 1))
        yield ""
    yield from bullets((*table.warnings, *table.comments))


def _heading(text: str, n_columns: int) -> Row:
    return [Cell(text, is_strong=True), *[""] * (n_columns - 1)]


def _cell(cell: Cell, column: Column) -> str:
    if column.is_number:
        text = cell.plain  # it holds no markup, and intervals are easier to read without backslashes
    elif column.is_name:
        text = code(cell.plain)
    else:
        text = escape(cell.plain)
    return f"**{text}**" if cell.is_strong else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

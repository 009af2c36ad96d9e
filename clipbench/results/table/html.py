"""A table as HTML, for the pages of reports and for notebooks."""

import re
from collections.abc import Iterator, Mapping
from html import escape

from clipbench.results.table.cells import Cell, Column, Table


def as_html(table: Table, css: str = "") -> str:
    """Return a ``<table>`` and a list of its notes. Columns of a model have its index in ``data-model``."""
    return "\n".join(_lines(table, css))


def mark(sign: str) -> str:
    """Return a sign that is not read out."""
    return f'<span class="mark" aria-hidden="true">{escape(sign)}</span>'


def bind_percent_signs(text: str) -> str:
    """Return a text in which no line breaks between a number and its percent sign.

    Example:
        >>> bind_percent_signs("9.5 %") == "9.5\\N{NO-BREAK SPACE}%"
        True
    """
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


def _lines(table: Table, css: str) -> Iterator[str]:
    yield f"<table{_attributes({'class': css or None})}>"
    caption = ": ".join(part for part in (table.title, table.facts) if part)
    if caption:
        yield f"<caption>{escape(caption.rstrip('.'))}.</caption>"
    headers = "".join(_column_header(column) for column in table.columns)
    yield f"<thead><tr>{headers}</tr></thead>"
    yield from _row_groups(table)
    yield "</table>"
    if table.notes:
        notes = "".join(f"<li><bdi>{escape(note)}</bdi></li>" for note in table.notes)
        yield f'<ol class="footnotes" aria-label="Notes">{notes}</ol>'


def _row_groups(table: Table) -> Iterator[str]:
    """Yield the rows, with each heading at the start of a group of its own."""
    is_open = False
    for row in table.rows:
        if isinstance(row, str) and is_open:
            yield "</tbody>"
            is_open = False
        if not is_open:
            yield "<tbody>"
            is_open = True
        if isinstance(row, str):
            heading = f'<th scope="rowgroup" colspan="{len(table.columns)}"><bdi>{escape(row)}</bdi></th>'
            yield f'<tr class="block">{heading}</tr>'
        else:
            first, *others = table.cells(row)
            cells = "".join(_cell(cell, column) for cell, column in zip(others, table.columns[1:], strict=True))
            yield f"<tr>{_row_header(first)}{cells}</tr>"
    if is_open:
        yield "</tbody>"


def _column_header(column: Column) -> str:
    attributes = _attributes({"class": "number" if column.is_number else None, "data-model": column.model})
    return f'<th scope="col"{attributes}>{escape(column.header)}</th>'


def _row_header(cell: Cell) -> str:
    breakable = "/<wbr>".join(escape(part) for part in cell.text.split("/"))
    name = f"<bdi>{breakable}</bdi>"
    if cell.title:
        name = f'<span class="words">{escape(cell.title)}</span><code>{name}</code>'
    return f'<th scope="row"{_attributes({"data-sort": cell.sort_key})}><span class="name">{name}</span></th>'


def _cell(cell: Cell, column: Column) -> str:
    text = " ".join(part for part in (cell.text, cell.aside) if part)
    content = cell.html or escape(bind_percent_signs(text))
    if not column.is_number:
        content = f"<bdi>{content}</bdi>"
    if cell.mark:
        content = mark(cell.mark) + content
    if cell.note:
        content += f" <sup>{cell.note}</sup>"
    css = cell.css
    if column.is_number:
        css = f"number {css}".strip()
    data = {"data-model": column.model, "data-label": column.header, "data-sort": cell.sort_key}
    return f"<td{_attributes({'class': css or None, **data})}>{content}</td>"


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f' {name}="{escape(str(value))}"' for name, value in values.items() if value is not None)

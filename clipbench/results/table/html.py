"""A table as HTML, for the pages of reports and for notebooks."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from itertools import starmap

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
    if table.title or table.facts:
        yield f"<caption>{escape(': '.join(filter(None, (table.title, table.facts))).rstrip('.'))}.</caption>"
    headers = [
        f'<th scope="col"{_attributes({"class": "number" if column.is_number else None, "data-model": column.model})}>'
        f"{escape(column.header)}</th>"
        for column in table.columns
    ]
    yield f"<thead><tr>{''.join(headers)}</tr></thead>"
    is_open = False
    for row in table.rows:
        if isinstance(row, str) or not is_open:
            yield "</tbody>\n<tbody>" if is_open else "<tbody>"
            is_open = True
        if isinstance(row, str):
            heading = f'<th scope="rowgroup" colspan="{len(table.columns)}"><bdi>{escape(row)}</bdi></th>'
            yield f'<tr class="block">{heading}</tr>'
        else:
            first, *cells = zip(table.cells(row), table.columns, strict=True)
            yield f"<tr>{_row_header(first[0])}{''.join(starmap(_cell, cells))}</tr>"
    yield "</tbody>\n</table>" if is_open else "</table>"
    if table.notes:
        notes = "".join(f"<li><bdi>{escape(note)}</bdi></li>" for note in table.notes)
        yield f'<ol class="footnotes" aria-label="Notes">{notes}</ol>'


def _row_header(cell: Cell) -> str:
    name = f"<bdi>{'/<wbr>'.join(map(escape, cell.text.split('/')))}</bdi>"
    if cell.title:
        name = f'<span class="words">{escape(cell.title)}</span><code>{name}</code>'
    return f'<th scope="row"{_attributes({"data-sort": cell.sort_key})}><span class="name">{name}</span></th>'


def _cell(cell: Cell, column: Column) -> str:
    content = cell.html or escape(bind_percent_signs(" ".join(filter(None, (cell.text, cell.aside)))))
    if not column.is_number:
        content = f"<bdi>{content}</bdi>"
    content = (mark(cell.mark) if cell.mark else "") + content + (f" <sup>{cell.note}</sup>" if cell.note else "")
    css = " ".join(filter(None, ("number" if column.is_number else "", cell.css)))
    data = {"data-model": column.model, "data-label": column.header, "data-sort": cell.sort_key}
    return f"<td{_attributes({'class': css or None, **data})}>{content}</td>"


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f' {name}="{escape(str(value))}"' for name, value in values.items() if value is not None)

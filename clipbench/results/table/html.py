"""A table as HTML, for the pages of reports and for notebooks."""

from collections.abc import Iterator
from html import escape

from clipbench.results.table.model import Cell, Column, Table


def as_html(table: Table, css: str = "") -> str:
    """Return a ``<table>`` and a list of its notes; columns of a model have its place in ``data-model``.

    Example:
        >>> as_html(Table(columns=[Column("metric", is_number=False), Column("%")], rows=[]))
        '<table>\\n<thead><tr><th scope="col">metric</th><th scope="col" class="number">%</th></tr></thead>\\n</table>'
    """
    return "\n".join(_lines(table, css))


def _lines(table: Table, css: str) -> Iterator[str]:
    yield f"<table{_attributes(**{'class': css})}>"
    if table.title or table.facts:
        yield f"<caption>{escape(': '.join(filter(None, (table.title, table.facts))))}.</caption>"
    yield f"<thead><tr>{''.join(map(_header, table.columns))}</tr></thead>"
    is_open = False
    for row in table.rows:
        if isinstance(row, str) or not is_open:
            yield "</tbody>\n<tbody>" if is_open else "<tbody>"
            is_open = True
        if isinstance(row, str):
            heading = f'<th scope="rowgroup" colspan="{len(table.columns)}"><bdi>{escape(row)}</bdi></th>'
            yield f'<tr class="block">{heading}</tr>'
        else:
            cells = [
                _cell(cell, column, place)
                for place, (cell, column) in enumerate(zip(table.cells(row), table.columns, strict=True))
            ]
            yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>" if is_open else "</table>"
    if table.notes:
        notes = "".join(f"<li><bdi>{escape(note)}</bdi></li>" for note in table.notes)
        yield f'<ol class="footnotes" aria-label="Notes">{notes}</ol>'


def _header(column: Column) -> str:
    attributes = _attributes(**{"class": "number" if column.is_number else "", "data-model": column.model})
    return f'<th scope="col"{attributes}>{escape(column.header)}</th>'


def _cell(cell: Cell, column: Column, place: int) -> str:
    content = cell.html or escape(" ".join(filter(None, (cell.text, cell.aside))))
    if cell.note:
        content += f" <sup>{cell.note}</sup>"
    if place == 0:
        return f'<th scope="row"{_attributes(**{"data-sort": cell.sort_key})}>{content}</th>'
    css = " ".join(filter(None, ("number" if column.is_number else "", cell.css)))
    data = {"data-model": column.model, "data-label": column.header, "data-sort": cell.sort_key}
    return f"<td{_attributes(**{'class': css}, **data)}>{content}</td>"


def _attributes(**values: object) -> str:
    return "".join(f' {name}="{escape(str(value))}"' for name, value in values.items() if value not in (None, ""))

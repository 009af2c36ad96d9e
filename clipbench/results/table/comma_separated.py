"""A table as CSV, to be read by other programs."""

import csv
import io
from collections.abc import Iterator

from clipbench.results.numbers import NONE, ascii_signs
from clipbench.results.table.cells import Cell, Table
from clipbench.untrusted.terminal import harmless_cell

BOLD = "bold"
"""The last column, where cells are strong: the headers of the columns in which this row is."""


def as_csv(table: Table) -> str:
    """Return one line of headers and one line per row, with the numbers as the table shows them.

    A missing number is empty. Intervals have columns of their own. Headings, notes and the caption are left out.

    Example:
        >>> from clipbench.results.table.cells import columns
        >>> rows = [["a", Cell("1,234.5", aside="[1,200.0, 1,300.0]", is_strong=True)], ["b", "–"]]
        >>> print(as_csv(Table(columns=columns("model", numbers=["rank"]), rows=rows)), end="")
        model,rank,rank low,rank high,bold
        a,1234.5,1200.0,1300.0,rank
        b,,,,
    """
    rows = [table.cells(row) for row in table.rows if not isinstance(row, str)]
    has_interval = [any(row[index].aside for row in rows) for index in range(len(table.columns))]
    has_strong = any(cell.is_strong for row in rows for cell in row)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    headers = list[str]()
    for column, is_wide in zip(table.columns, has_interval, strict=True):
        headers.append(column.full_header)
        if is_wide:
            headers += [f"{column.full_header} low", f"{column.full_header} high"]
    if has_strong:
        headers.append(BOLD)
    writer.writerow([harmless_cell(header) for header in headers])
    for row in rows:
        fields = list[str]()
        for cell, column, is_wide in zip(row, table.columns, has_interval, strict=True):
            fields += _fields(cell, is_number=column.is_number, has_interval=is_wide)
        if has_strong:
            strong = [column.full_header for cell, column in zip(row, table.columns, strict=True) if cell.is_strong]
            fields.append(str(harmless_cell("; ".join(strong))))
        writer.writerow(fields)
    return text.getvalue()


def _fields(cell: Cell, *, is_number: bool, has_interval: bool) -> Iterator[str]:
    """Yield the text of a cell, and the bounds of its interval if the column has any."""
    if not is_number:
        yield str(harmless_cell(cell.text))
        return
    yield _plain_number(cell.text)
    if has_interval:
        low, _, high = cell.aside.strip("[]").partition(", ")
        yield _plain_number(low)
        yield _plain_number(high)


def _plain_number(text: str) -> str:
    """Return a number without separators of thousands, empty if it is missing."""
    return "" if text == NONE else ascii_signs(text).replace(",", "")

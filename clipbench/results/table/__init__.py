"""A table of results, and its renderings: plain text, Markdown, LaTeX, HTML and CSV."""

from clipbench.results.table.cells import Cell, Column, Row, Table, columns, note_number
from clipbench.results.table.comma_separated import as_csv
from clipbench.results.table.html import as_html
from clipbench.results.table.latex import as_latex
from clipbench.results.table.markdown import as_markdown
from clipbench.results.table.text import as_text

__all__ = [
    "Cell",
    "Column",
    "Row",
    "Table",
    "as_csv",
    "as_html",
    "as_latex",
    "as_markdown",
    "as_text",
    "columns",
    "note_number",
]

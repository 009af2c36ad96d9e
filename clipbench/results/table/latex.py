"""A table as LaTeX with booktabs, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from clipbench.results.table.cells import Cell, Row, Table
from clipbench.untrusted.terminal import one_line

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{letter: f"{{{letter}}}" for letter in "[*`"},  # the first two mean something at the start of a row
    "–": r"\textendash{}",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
}
PACKAGES = r"\usepackage{booktabs,graphicx}"
MOST_MODELS, MOST_ROWS = 4, 30
"""The most models and rows per table. Further tables hold the rest, since a page of an article has about 40 lines."""
STACKED_FROM = 3
"""The number of columns with intervals from which these are below the values: a line has no room for them."""


def as_latex(table: Table, label: str) -> str:
    """Return a table with caption and label, or several if one would leave the page. Comments are TeX's.

    Each is shrunk to the width of a line where it is wider.
    """
    lines = [f"% {one_line(comment)}" for comment in table.comments]
    title = escape(table.title)
    for number, part in enumerate(_parts(table), 1):
        if number == 1:
            lines += _table_environment(part, title, label)
        else:
            lines += _table_environment(part, f"{title}, continued", f"{label}-part-{number}")
    return "\n".join(lines)


def escape(text: str) -> str:
    r"""Return a text that TeX sets as it is, in one line."""
    written = "".join(SPECIAL.get(letter, letter) for letter in one_line(text))
    return re.sub(r"([-'])(?=\1)", r"\1{}", written)


def _parts(table: Table) -> Iterator[Table]:
    """Yield all rows of the first models, then of the next."""
    models = [index for index, column in enumerate(table.columns) if column.model is not None]
    for first in range(0, max(1, len(models)), MOST_MODELS):
        left_out = {*models} - {*models[first : first + MOST_MODELS]}
        kept_columns = [index for index in range(len(table.columns)) if index not in left_out]
        part = table.select(kept_columns)
        n_rows = MOST_ROWS // 2 if _is_stacked(part) else MOST_ROWS
        for start in range(0, len(table.rows), n_rows):
            yield replace(part, rows=part.rows[start : start + n_rows])


def _is_stacked(table: Table) -> bool:
    with_interval: set[int] = set()
    for row in table.rows:
        if not isinstance(row, str):
            with_interval.update(index for index, cell in enumerate(table.cells(row)) if cell.aside)
    return len(with_interval) >= STACKED_FROM


def _table_environment(table: Table, title: str, label: str) -> Iterator[str]:
    yield from (r"\begin{table}", r"  \centering\small")
    yield f"  \\caption{{{_caption(title, table)}}}"
    yield f"  \\label{{tab:{label}}}"
    yield r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    yield f"  \\begin{{tabular}}{{@{{}}{alignment}@{{}}}}"
    header = _row([escape(column.header) for column in table.columns])
    yield r"    \toprule"
    yield from (f"    {line}" for line in _group_headers(table))
    yield from (f"    {header}", r"    \midrule")
    for row in table.rows:
        yield from (f"    {line}" for line in _rows(row, table))
    yield from (r"    \bottomrule", r"  \end{tabular}}")
    yield from _footnotes(table)
    yield r"\end{table}"


def _caption(title: str, table: Table) -> str:
    facts = f" ({escape(table.facts)})" if table.facts else ""
    sentences = "".join(f" {escape(sentence)}." for sentence in table.caption)
    return f"{title}{facts}.{sentences}"


def _group_headers(table: Table) -> Iterator[str]:
    """Yield the line of headers above the headers, and the rules below them, if columns have groups."""
    if not any(column.group for column in table.columns):
        return
    cells, rules, first = list[str](), list[str](), 1
    for group, columns in groupby(table.columns, key=lambda column: column.group):
        width = len([*columns])
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & " * (width - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    yield _row(cells)
    yield "".join(rules)


def _rows(row: Row | str, table: Table) -> Iterator[str]:
    if isinstance(row, str):
        yield rf"\multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\emph{{{escape(row)}}}}} \\"
        return
    cells = table.cells(row)
    if not _is_stacked(table):
        yield _row([f"{_text(cell)} {_aside(cell)}".strip() for cell in cells])
        return
    yield _row([_text(cell) for cell in cells])
    if any(cell.aside for cell in cells):
        asides = [f"{{\\scriptsize {_aside(cell)}}}" if cell.aside else "" for cell in cells]
        yield f"{_row(asides)}[2pt]"


def _text(cell: Cell) -> str:
    text = escape(cell.text).replace(r"\textendash{}", "--")
    text = rf"\textbf{{{text}}}" if cell.is_strong else text
    return f"{text}$^{{{cell.note}}}$" if cell.note else text


def _aside(cell: Cell) -> str:
    return escape(cell.aside).replace("{[}", "[")


def _footnotes(table: Table) -> Iterator[str]:
    """Yield the notes of the cells that are shown, and the warnings, as a paragraph in small print."""
    used: set[int] = set()
    for row in table.rows:
        if not isinstance(row, str):
            used.update(cell.note for cell in table.cells(row))
    notes = [f"$^{{{number}}}$~{escape(note)}." for number, note in enumerate(table.notes, 1) if number in used]
    notes += [f"{escape(warning)}." for warning in table.warnings]
    if notes:
        yield from ("", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize")
        yield from (f"    {note}" for note in notes)
        yield r"  \end{minipage}"


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"

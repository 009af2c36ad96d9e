"""``latex``: a booktabs table an evaluation, or several where one would leave the page, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clipbench.results.export.grid import Cell, Line, Table, tables
from clipbench.results.export.latex_layout import FOOTNOTE, SMALL, Layout, broken, lay_out, parts
from clipbench.results.export.reading import origin
from clipbench.results.export.rendered import Rendered, one_line
from clipbench.results.run import Run, labels

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
}


def render(runs: Sequence[Run]) -> Rendered:
    """Return the tables, and as comments what a paper rarely prints: fingerprints, and what evaluations say.

    What could not be measured at all has no table: it is a comment, and a note.
    """
    found = tables(runs)
    lines = ["% Made by clipbench export --to latex. Needs \\usepackage{booktabs}.", *_models(runs)]
    names = _names(found)
    for table, name in zip(found, names, strict=True):
        lines += ["", *(_tables(table, name) if table.lines else _unmeasured(table))]
    notes = [note for table in found if not table.lines for note in _unmeasured(table)]
    return Rendered(content=("\n".join(lines) + "\n").encode(), notes=[note.removeprefix("% ") for note in notes])


def escaped(text: str) -> str:
    r"""Return a text that TeX sets as it is, in one line.

    Example:
        >>> print(escaped("100 % of a_b & {c}"))
        100 \% of a\_b \& \{c\}
    """
    written = "".join(SPECIAL.get(letter, letter) for letter in one_line(text))
    return re.sub(r"([-'])(?=\1)", r"\1{}", written)


def _tables(table: Table, name: str) -> Iterator[str]:
    yield from _comments(table.said)
    layout = lay_out(table)
    for place, part in enumerate(parts(table, layout), 1):
        label, more = (name, "") if place == 1 else (f"{name}-part-{place}", ", continued")
        size, columns = (r"\footnotesize", "r") if layout.is_stacked else (r"\small", "rr")
        first = "l" if layout.name_width is None else f"p{{{layout.name_width:.0f}pt}}"
        units = "" if layout.is_stacked else "l"
        yield from (r"\begin{table}", f"  \\centering{size}")
        yield f"  \\caption{{{_caption(table)}{more}. {_reading(table, layout)}.}}"
        yield f"  \\label{{tab:{label}}}"
        yield f"  \\begin{{tabular}}{{@{{}}{first}{units}{'r' * len(part.models)}{columns}@{{}}}}"
        yield from (r"    \toprule", f"    {_head(part, layout)}", r"    \midrule")
        for line in part.lines:
            yield from (f"    {row}" for row in _rows(line, layout))
        yield from (r"    \bottomrule", r"  \end{tabular}")
        yield from _below(part)
        yield r"\end{table}"


def _caption(table: Table) -> str:
    return f"{escaped(table.task)} on {escaped(table.data)} ({escaped(table.facts)})"


def _reading(table: Table, layout: Layout) -> str:
    intervals = f"{escaped(table.intervals)}s in brackets"
    return f"{intervals}; units below the metrics, $n$ below chance" if layout.is_stacked else intervals


def _below(part: Table) -> Iterator[str]:
    """Return what the numbers of a part lack, as a paragraph in small print."""
    told = {cell.note for line in part.lines for cell in line.cells}
    notes = [f"$^{{{place}}}$~{escaped(note)}." for place, note in enumerate(part.notes, 1) if place in told]
    notes += [f"{escaped(remark)}." for remark in part.remarks]
    if notes:
        yield from ("", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize")
        yield from (f"    {note}" for note in notes)
        yield r"  \end{minipage}"


def _head(part: Table, layout: Layout) -> str:
    size = FOOTNOTE if layout.is_stacked else SMALL
    models = [_lines([escaped(each) for each in broken(name, layout.head_width, size)]) for name in part.models]
    if layout.is_stacked:
        return _row("Metric", *models, _lines(["Chance", "$n$"]))
    return _row("Metric", "Unit", *models, "Chance", "$n$")


def _lines(lines: Sequence[str]) -> str:
    """Return lines that stand in one cell, the last on the line of the row."""
    if len(lines) == 1:
        return lines[0]
    rows = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{rows}\end{{tabular}}"


def _rows(line: Line, layout: Layout) -> Iterator[str]:
    name = escaped(line.metric)
    if layout.name_width is not None:
        name = r"\raggedright " + re.sub(r"(\\_|[/@])", r"\1\\allowbreak{}", name)
    edge = [_signed(line.chance), _signed(line.n)]
    if not layout.is_stacked:
        yield _row(name, escaped(line.unit), *map(_cell, line.cells), *edge)
        return
    yield _row(name, *(_cell(replace(cell, interval="")) for cell in line.cells), edge[0])
    small = (line.unit, *(cell.interval for cell in line.cells), line.n)
    yield _row(*(f"{{\\scriptsize {_signed(escaped(each))}}}" if each else "" for each in small)) + "[4pt]"


def _cell(cell: Cell) -> str:
    note = "" if cell.note is None else f"$^{{{cell.note}}}$"
    return " ".join(filter(None, (_signed(cell.value) + note, _signed(cell.interval))))


def _signed(numbers: str) -> str:
    """Return numbers with TeX's minus sign and dash."""
    return numbers.replace("−", "$-$").replace("–", "--")


def _row(*cells: str) -> str:
    return f"{' & '.join(cells)} \\\\"


def _models(runs: Sequence[Run]) -> list[str]:
    return _comments(f"{label}: {origin(run)}" for label, run in zip(labels(runs), runs, strict=True))


def _unmeasured(table: Table) -> list[str]:
    return _comments(f"{table.task}@{table.data}: {remark}" for remark in table.remarks)


def _comments(lines: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"% {one_line(line)}" for line in lines]


def _names(found: Sequence[Table]) -> list[str]:
    """Return a distinct name for each table, of letters that may stand in a label."""
    names = [re.sub(r"[^a-z0-9]+", "-", f"{table.task} {table.data}".lower()).strip("-") for table in found]
    return [f"{name}-{place}" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]

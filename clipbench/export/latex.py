"""``latex``: a booktabs table an evaluation, with intervals, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence

from clipbench.export.grid import Cell, Line, Table, tables
from clipbench.export.reading import origin
from clipbench.export.rendered import Rendered, one_line
from clipbench.result import Run, labels

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
        lines += ["", *(_table(table, name) if table.lines else _unmeasured(table))]
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


def _table(table: Table, name: str) -> Iterator[str]:
    intervals = f"{escaped(table.confidence)} intervals in brackets"
    yield from _comments(table.said)
    yield from (r"\begin{table}", r"  \centering\small")
    yield f"  \\caption{{{escaped(table.task)} on {escaped(table.data)} ({escaped(table.facts)}). {intervals}.}}"
    yield f"  \\label{{tab:{name}}}"
    yield f"  \\begin{{tabular}}{{ll{'r' * (len(table.models) + 2)}}}"
    yield r"    \toprule"
    yield "    " + _row("Metric", "Unit", *map(escaped, table.models), "Chance", "$n$")
    yield r"    \midrule"
    yield from ("    " + _line(line) for line in table.lines)
    yield from (r"    \bottomrule", r"  \end{tabular}")
    yield from _below(table)
    yield r"\end{table}"


def _below(table: Table) -> Iterator[str]:
    """Return what the numbers lack, as a paragraph in small print."""
    notes = [f"$^{{{place}}}$~{escaped(note)}." for place, note in enumerate(table.notes, 1)]
    notes += [f"{escaped(remark)}." for remark in table.remarks]
    if notes:
        yield from ("", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize")
        yield from (f"    {note}" for note in notes)
        yield r"  \end{minipage}"


def _line(line: Line) -> str:
    return _row(escaped(line.metric), escaped(line.unit), *map(_cell, line.cells), *map(_signed, (line.chance, line.n)))


def _cell(cell: Cell) -> str:
    note = "" if cell.note is None else f"$^{{{cell.note}}}$"
    return " ".join(filter(None, (_signed(cell.value) + note, _signed(cell.interval))))


def _signed(numbers: str) -> str:
    """Return numbers with a minus sign for each hyphen."""
    return numbers.replace("-", "$-$").replace("–", "--")


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

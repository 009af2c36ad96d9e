"""``markdown``: a table an evaluation, for an issue, a pull request or a README."""

import re
from collections.abc import Iterator, Sequence

from clipbench.results.export.grid import Cell, Line, Table, tables
from clipbench.results.export.reading import origin
from clipbench.results.export.rendered import Rendered, one_line
from clipbench.results.numbers import ascii_signs
from clipbench.results.run import Run, labels


def render(runs: Sequence[Run]) -> Rendered:
    """Return GitHub's Markdown: which models, then a heading and a table for each evaluation."""
    lines = [*_models(runs), *(line for table in tables(runs) for line in _table(table))]
    return Rendered(content=ascii_signs("\n".join(lines) + "\n").encode())


def escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is, in one line, and that may stand in a table.

    Example:
        >>> print(escaped("swap_att/acc1 | <b> *x* _y_"))
        swap_att/acc1 \| \<b\> \*x\* \_y\_
    """
    # Between two letters an underscore is one; escaped, names would be hard to read where nothing renders them.
    return re.sub(r"[\\`*\[\]<>|~&#!$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))


def _models(runs: Sequence[Run]) -> Iterator[str]:
    yield from (f"- {escaped(f'{label}: {origin(run)}')}" for label, run in zip(labels(runs), runs, strict=True))


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"### {escaped(f'{table.task}@{table.data}')}", "")
    yield f"{escaped(table.facts)}{f'; {table.intervals}s in brackets' if table.lines else '; not measured'}"
    if table.lines:
        yield from ("", _row("metric", "unit", *map(escaped, table.models), "chance", "n"))
        yield "|---|---|" + "---:|" * (len(table.models) + 2)
        yield from (_line(line) for line in table.lines)
    if table.notes:
        yield ""
        yield from (f"{place}. {escaped(note)}" for place, note in enumerate(table.notes, 1))
    if table.remarks or table.said:
        yield ""
        yield from (f"- **{escaped(remark)}**" for remark in table.remarks)
        yield from (f"- {escaped(note)}" for note in table.said)


def _line(line: Line) -> str:
    return _row(escaped(line.metric), escaped(line.unit), *map(_cell, line.cells), line.chance, line.n)


def _cell(cell: Cell) -> str:
    note = "" if cell.note is None else f"({cell.note})"
    return " ".join(filter(None, (cell.value, cell.interval, note)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

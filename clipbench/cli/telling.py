"""A few metrics that stand for a run, for where a run has a line: a table of a series, and what ``watch`` says."""

import shutil
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from clipbench.results.numbers import NONE, ascii_signs, quantity
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

WIDTH = 120
"""Of a line, where there is no terminal to say."""


class Column(NamedTuple):
    """A metric of an evaluation."""

    evaluation: str
    metric: str


def table(runs: Sequence[Run]) -> list[str]:
    """Return a heading of two lines, then a line for each run: the name of its folder, and the telling metrics."""
    columns = telling(runs)
    rows = [["", *_headings(columns)], ["", *(column.metric for column in columns)]]
    rows += [[run.folder.name, *(_cell(run, column) for column in columns)] for run in runs]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        .rstrip()
        for row in rows
    ]  # fmt: skip


def line(run: Run) -> str:
    """Return one line for a run."""
    said = [f"{column.metric} {_cell(run, column)}" for column in telling([run])]
    return "  ".join([run.folder.name, *said])


def telling(runs: Sequence[Run]) -> list[Column]:
    """Return the metrics that tell most in the width of a line, in the order of the evaluations.

    A task puts its metrics in the order of their weight. So these are the first metric of each evaluation that is
    defined in some run, then the second ones, and so on, as long as the line has room for them; of metrics that differ
    only in what follows an @, the first stands for all. The first of each evaluation is there whatever the width.
    """
    of_each = [_candidates(name, runs) for name in dict.fromkeys(each.name for each in _records(runs))]
    room = shutil.get_terminal_size((WIDTH, 24)).columns - max(len(run.folder.name) for run in runs)
    chosen: list[Column] = []
    for rank, candidates in enumerate(zip_longest(*of_each)):
        for column in filter(None, candidates):
            room -= 2 + max(len(column.metric), 8)
            if rank and room < 0:
                return _in_order(chosen, of_each)
            chosen.append(column)
    return _in_order(chosen, of_each)


def _candidates(name: str, runs: Sequence[Run]) -> list[Column]:
    by_stem: dict[str, Column] = {}
    for record in _records(runs):
        for metric, found in record.metrics.items() if record.name == name else ():
            if found.value is not None:
                by_stem.setdefault(metric.partition("@")[0], Column(name, metric))
    return list(by_stem.values())


def _in_order(chosen: list[Column], of_each: Sequence[Sequence[Column]]) -> list[Column]:
    return [column for candidates in of_each for column in candidates if column in chosen]


def _headings(columns: Sequence[Column]) -> list[str]:
    """Return the evaluation over the first of its columns."""
    before = ["", *(column.evaluation for column in columns)]
    return [
        "" if column.evaluation == last else column.evaluation for column, last in zip(columns, before, strict=False)
    ]


def _records(runs: Sequence[Run]) -> list[EvaluationRecord]:
    return [record for run in runs for record in run.result.evaluations]


def _cell(run: Run, column: Column) -> str:
    metrics = {record.name: record.metrics for record in run.result.evaluations}
    metric: Metric | None = metrics.get(column.evaluation, {}).get(column.metric)
    return NONE if metric is None else ascii_signs(quantity(metric.value, metric.unit))

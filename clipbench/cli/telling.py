"""The few metrics that represent a run in one line: in the table of a series, and in the output of ``watch``."""

import shutil
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from clipbench.results.numbers import NONE, ascii_signs, quantity
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench.results.table import Column, Table, as_text

WIDTH = 120
"""Characters of a line if there is no terminal."""


class MetricName(NamedTuple):
    """A metric of an evaluation."""

    evaluation: str
    metric: str


def table(runs: Sequence[Run], width: int | None = None) -> str:
    """Return a heading of two lines, then a line for each run: the name of its folder, and the metrics that stand for it."""
    chosen = telling(runs, width)
    return as_text(
        Table(
            columns=[Column("", is_number=False), *map(Column, _headings(chosen))],
            rows=[
                ["", *(each.metric for each in chosen)],
                *([run.folder.name, *(_value(run, each) for each in chosen)] for run in runs),
            ],
        ),
        indent="",
        width=width,
    )


def line(run: Run) -> str:
    """Return one line for a run."""
    values = [f"{each.metric} {ascii_signs(_value(run, each))}" for each in telling([run])]
    return "  ".join([run.folder.name, *values])


def telling(runs: Sequence[Run], width: int | None = None) -> list[MetricName]:
    """Return the metrics that tell most in the width of a line, in the order of the evaluations.

    A task puts its metrics in the order of their weight. So these are the first metric of each evaluation that is
    defined in some run, then the second ones, and so on, as long as the line has room for them; of metrics that differ
    only in what follows an @, the first stands for all. The first of each evaluation is there whatever the width.
    """
    of_each = [_candidates(name, runs) for name in dict.fromkeys(each.name for each in _records(runs))]
    width = width or shutil.get_terminal_size((WIDTH, 24)).columns
    room = width - max(len(run.folder.name) for run in runs)
    chosen: list[MetricName] = []
    for rank, candidates in enumerate(zip_longest(*of_each)):
        for column in filter(None, candidates):
            room -= 2 + max(len(column.metric), 8, 0 if rank else len(column.evaluation))
            if rank and room < 0:
                return _in_order(chosen, of_each)
            chosen.append(column)
    return _in_order(chosen, of_each)


def _candidates(name: str, runs: Sequence[Run]) -> list[MetricName]:
    by_stem: dict[str, MetricName] = {}
    for record in _records(runs):
        for metric, found in record.metrics.items() if record.name == name else ():
            if found.value is not None:
                by_stem.setdefault(metric.partition("@")[0], MetricName(name, metric))
    return list(by_stem.values())


def _in_order(chosen: list[MetricName], of_each: Sequence[Sequence[MetricName]]) -> list[MetricName]:
    return [column for candidates in of_each for column in candidates if column in chosen]


def _headings(columns: Sequence[MetricName]) -> list[str]:
    """Return the evaluation over the first of its columns."""
    before = ["", *(column.evaluation for column in columns)]
    return [
        "" if column.evaluation == last else column.evaluation for column, last in zip(columns, before, strict=False)
    ]


def _records(runs: Sequence[Run]) -> list[EvaluationRecord]:
    return [record for run in runs for record in run.result.evaluations]


def _value(run: Run, column: MetricName) -> str:
    metrics = {record.name: record.metrics for record in run.result.evaluations}
    metric: Metric | None = metrics.get(column.evaluation, {}).get(column.metric)
    return NONE if metric is None else quantity(metric.value, metric.unit)

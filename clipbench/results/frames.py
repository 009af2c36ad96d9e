"""A run as tables: its metrics and failures for pandas, its scorecard for a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clipbench.errors import ClipbenchError, UsageError, did_you_mean
from clipbench.results.numbers import count, interval, interval_name, quantity
from clipbench.results.record import EvaluationRecord, Metric, Result
from clipbench.results.table import Cell, Column, Table
from clipbench.results.titles import full_title, headlines

if TYPE_CHECKING:
    import pandas

METRIC_COLUMNS = {
    "model": "str",
    "task": "str",
    "data": "str",
    "metric": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "chance": "float64",
    "n": "int64",
    "unit": "str",
    "higher_is_better": "object",
    "title": "str",
    "reason": "object",
}
"""Columns of the frame of a run, and their types."""


SLICE_COLUMNS = {
    "model": "str",
    "task": "str",
    "data": "str",
    "grouping": "str",
    "group": "str",
    "metric": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
    "unit": "str",
    "title": "str",
}
"""Columns of the frame of slices, and their types."""


def metrics_frame(result: Result) -> "pandas.DataFrame":
    """Return a row for each metric of each finished evaluation; what is undefined is NaN, with a reason.

    The average of a suite is a row of the task ``(average)``.
    """
    rows = [
        {**_numbers(metric, METRIC_COLUMNS), **_names(result, record, name, metric)}
        for record in result.evaluations
        if record.status == "ok"
        for name, metric in record.metrics.items()
    ]
    if result.average is not None:
        average = result.average.metric
        names = {"model": _model(result), "task": "(average)", "data": result.average.suite, "metric": "average"}
        rows.append({**_numbers(average, METRIC_COLUMNS), **names})
    return _frame(rows, METRIC_COLUMNS)


def slices_frame(result: Result) -> "pandas.DataFrame":
    """Return a row for each metric of each slice, and for the summaries over the slices of a grouping."""
    rows = [
        {
            **_numbers(metric, SLICE_COLUMNS),
            **_names(result, record, name, metric),
            "grouping": grouping,
            "group": group,
        }
        for record in result.evaluations
        for grouping, slices in record.slices.items()
        for group, metrics in slices.by_group.items()
        for name, metric in metrics.items()
    ]
    return _frame(rows, SLICE_COLUMNS)


def _numbers(metric: Metric, columns: Mapping[str, str]) -> dict[str, object]:
    return {column: getattr(metric, column) for column in columns if hasattr(metric, column)}


def _names(result: Result, record: EvaluationRecord, name: str, metric: Metric) -> dict[str, object]:
    return {
        "model": _model(result),
        "task": record.task,
        "data": record.dataset.id,
        "metric": name,
        "title": full_title(name, metric, record.subsets),
    }


def _model(result: Result) -> str:
    return str(result.model.get("ref") or "")


def _frame(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> "pandas.DataFrame":
    types = {name: type_ for name, type_ in columns.items() if type_ != "str"}
    return as_frame(rows, columns).astype(types)


def as_frame(rows: Sequence[Mapping[str, object]], columns: Iterable[str] | None = None) -> "pandas.DataFrame":
    """Return rows as a frame, with the columns that are named or with their own.

    Texts of pandas are UTF-8: half a surrogate pair, as the name of a file may hold, becomes "?".
    """
    import pandas

    written = [
        {
            name: value.encode(errors="replace").decode() if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return pandas.DataFrame(written, columns=None if columns is None else list(columns))


def find_evaluation(evaluations: Sequence[EvaluationRecord], name: str) -> EvaluationRecord:
    """Return the finished evaluation of a task, or of ``task@data``; of one that was made twice, the first.

    Raises:
        UsageError: there is none, or the task was made on several data sets and none is named.
        ClipbenchError: it was not finished.
    """
    task, _, data = name.partition("@")
    found = [
        each for each in evaluations if _folded(each.task) == _folded(task) and (not data or each.dataset.id == data)
    ]
    names = [each.name for each in evaluations]
    if not found:
        known = names if data else [*dict.fromkeys(each.task for each in evaluations)]
        raise UsageError(f"the run has no evaluation '{name}': {did_you_mean(name, known)}")
    if len({each.dataset.id for each in found}) > 1:
        raise UsageError(f"the run has '{name}' on several data sets: name one, as '{found[0].name}'")
    for each in found:
        if each.status == "ok":
            return each
    raise ClipbenchError(f"{found[0].name} was not measured: {found[0].reason}")


def _folded(task: str) -> str:
    return task.strip().lower().replace("_", "-")


def worst_rows(table: "pandas.DataFrame", n: int, evaluation: EvaluationRecord) -> "pandas.DataFrame":
    """Return the rows that failed, the worst first: those with the least ``margin``, ties with success left in.

    Raises:
        ClipbenchError: the task has no margin, so that no sample fails.
    """
    if n < 1:
        raise UsageError(f"n is {n}: expected 1 or more")
    if "margin" not in table.columns:
        raise ClipbenchError(f"samples of {evaluation.name} have no margin: the task has no right and wrong answers")
    failed = table[table["margin"] <= 0].sort_values("margin", kind="stable").head(n)
    first = [name for name in ("sample_id", "margin") if name in failed.columns]
    return failed[[*first, *(name for name in failed.columns if name not in first)]].reset_index(drop=True)


def scorecard(result: Result) -> Table:
    """Return the headlines of each evaluation, and the reason where there are none."""
    done = [record for record in result.evaluations if record.status == "ok"]
    shown = [(record, name, metric) for record in done for name, metric in headlines(record).items()]
    columns = [Column(name, is_number=False) for name in ("evaluation", "metric")]
    columns += [Column(name) for name in ("value", interval_name(metric for _, _, metric in shown), "chance", "n")]
    rows = [
        [
            Cell(record.name),
            Cell(full_title(name, metric, record.subsets)),
            Cell(quantity(metric.value, metric.unit)),
            Cell(interval(metric)),
            Cell(quantity(metric.chance, metric.unit)),
            Cell(count(metric.n)),
        ]
        for record, name, metric in shown
    ]
    if result.average is not None and result.average.metric.value is not None:
        average = result.average.metric
        words = (result.average.suite, average.title, quantity(average.value, average.unit), interval(average), "")
        rows.append([*map(Cell, words), Cell(count(average.n))])
    missing = [f"{each.name} {each.status}: {each.reason}" for each in result.evaluations if each.status != "ok"]
    if result.average is not None and result.average.metric.value is None:
        missing.append(f"{result.average.metric.title}: {result.average.metric.reason}")
    return Table(title=str(result.model.get("ref") or "unnamed model"), columns=columns, rows=rows, notes=missing)

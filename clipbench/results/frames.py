"""A run as tables: its metrics and failures for pandas, its scorecard for a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clipbench.results.numbers import count, interval, interval_name, metric_value, quantity
from clipbench.results.record import EvaluationRecord, Metric, Result, finished_evaluations
from clipbench.results.table import Row, Table, columns
from clipbench.results.titles import full_title, headlines

if TYPE_CHECKING:
    import pandas

METRIC_COLUMNS = {
    **dict.fromkeys(("task", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high", "chance"), "float64"),
    **dict.fromkeys(("unit", "data", "model"), "str"),
    "n": "int64",
    "higher_is_better": "object",
    "title": "str",
    "reason": "object",
}
"""Columns of the frame of a run, and their types."""
SLICE_COLUMNS = {
    **dict.fromkeys(("model", "task", "data", "grouping", "group", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high"), "float64"),
    "n": "int64",
    "unit": "str",
    "title": "str",
}
"""Columns of the frame of slices, and their types."""


def metrics_frame(result: Result) -> "pandas.DataFrame":
    """Return a row for each metric of each finished evaluation. Undefined values are NaN, with a reason.

    The average of a suite is a row of the task ``(average)``.
    """
    rows = []
    for record in finished_evaluations(result):
        rows += [_row(result, record, name, metric) for name, metric in record.metrics.items()]
    if result.average is not None:
        names = {
            "model": str(result.model.get("ref") or ""),
            "task": "(average)",
            "data": result.average.suite,
            "metric": "average",
        }
        rows.append({**vars(result.average.metric), **names})
    return typed_frame(rows, METRIC_COLUMNS)


def slices_frame(result: Result) -> "pandas.DataFrame":
    """Return a row for each metric of each slice, and for the summaries over the slices of a grouping."""
    rows = []
    for record in result.evaluations:
        for grouping, slices in record.slices.items():
            for group, metrics in slices.by_group.items():
                slice_facts = {"grouping": grouping, "group": group}
                rows += [_row(result, record, name, metric) | slice_facts for name, metric in metrics.items()]
    return typed_frame(rows, SLICE_COLUMNS)


def _row(result: Result, record: EvaluationRecord, name: str, metric: Metric) -> dict[str, object]:
    return {
        **vars(metric),
        "model": str(result.model.get("ref") or ""),
        "task": record.task,
        "data": record.dataset.id,
        "metric": name,
        "title": full_title(name, metric, record.subsets),
    }


def typed_frame(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> "pandas.DataFrame":
    """Return rows as a frame with these columns and their types, without other keys."""
    selected = []
    for row in rows:
        selected.append({name: row[name] for name in columns if name in row})
    types = {name: type_ for name, type_ in columns.items() if type_ != "str"}
    return as_frame(selected, columns).astype(types)


def as_frame(rows: Sequence[Mapping[str, object]], columns: Iterable[str] | None = None) -> "pandas.DataFrame":
    """Return rows as a frame, with the columns that are named or with their own.

    Texts of pandas are UTF-8: half a surrogate pair, as the name of a file may hold, becomes "?".
    """
    import pandas

    written = []
    for row in rows:
        cells = dict(row)
        for name, value in row.items():
            if isinstance(value, str):
                cells[name] = value.encode(errors="replace").decode()
        written.append(cells)
    return pandas.DataFrame(written, columns=None if columns is None else list(columns))


def scorecard(result: Result) -> Table:
    """Return the headlines of each evaluation, and the reason where there are none."""
    rows, headline_metrics = list[Row](), list[Metric]()
    for record in finished_evaluations(result):
        for name, metric in headlines(record).items():
            headline_metrics.append(metric)
            title, chance = full_title(name, metric, record.subsets), quantity(metric.chance, metric.unit)
            rows.append([record.name, title, metric_value(metric), interval(metric), chance, count(metric.n)])
    intervals = interval_name(headline_metrics)
    if result.average is not None and result.average.metric.value is not None:
        average = result.average.metric
        rows.append(
            [result.average.suite, average.title, metric_value(average), interval(average), "", count(average.n)]
        )
    missing = [
        f"{record.name} {record.status}: {record.reason}" for record in result.evaluations if record.status != "ok"
    ]
    if result.average is not None and result.average.metric.value is None:
        missing.append(f"{result.average.metric.title}: {result.average.metric.reason}")
    return Table(
        title=str(result.model.get("ref") or "unnamed model"),
        columns=columns("evaluation", "metric", numbers=("value", intervals, "chance", "n")),
        rows=rows,
        notes=missing,
    )

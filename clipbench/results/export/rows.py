"""``csv`` and ``parquet``: one long table of all that runs hold of their metrics, with a row per metric."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from clipbench.results.export.formats import ExportFormat, Object, RenderedExport
from clipbench.results.model_costs import MODEL_QUANTITIES
from clipbench.results.record import Metrics, as_json
from clipbench.results.run import Run, labels
from clipbench.results.table import Table
from clipbench.results.table import as_csv as as_csv_table
from clipbench.untrusted.terminal import harmless_cell

Value = str | int | float | bool | None

_FLOATS = ("value", "low", "high", "confidence", "chance")
_WHOLE = ("n", "step", "task_version", "n_samples", "seed")
_TYPES = {**dict.fromkeys(_FLOATS, float), **dict.fromkeys(_WHOLE, int), "higher_is_better": bool, "is_headline": bool}
_NAMES = (
    *("model", "task", "data", "revision", "split", "status", "kind", "metric", "value", "low", "high", "confidence"),
    *("n", "unit", "chance", "higher_is_better", "method", "reason", "published", "model_id", "fingerprint", "step"),
    *("task_version", "params", "n_samples", "data_fingerprint", "seed", "created", "clipbench_version", "device"),
    *("precision", "python", "torch", "environment", "notes", "title", "description", "is_headline", "baseline_of"),
    *("grouping", "group"),
)
COLUMNS: Mapping[str, type] = {
    **{name: _TYPES.get(name, str) for name in _NAMES},
    **{
        name: float if quantity.is_measured and not quantity.key.endswith("_bytes") else int
        for name, quantity in MODEL_QUANTITIES.items()
    },
}
"""Names and types. ``kind`` is ``metric``, ``baseline``, ``slice``, which has a ``group`` of a ``grouping``, or
``average``, of a suite; the last are what the model costs; ``params``, ``published``, ``environment``, ``notes`` and
``baseline_of`` are JSON.
"""


def as_csv(runs: Sequence[Run]) -> RenderedExport:
    """Return the table as CSV. Numbers have all their digits, unknown values are empty, and no cell is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(runs):
        writer.writerow([_csv_cell(value) for value in row.values()])
    return RenderedExport(content=text.getvalue().encode())


def _csv_cell(value: Value) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return harmless_cell(value)


def as_parquet(runs: Sequence[Run]) -> RenderedExport:
    """Return the table as parquet. Unknown values are null, and a column keeps its type even if all of it is null."""
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(runs), schema=schema), buffer)
    return RenderedExport(content=buffer.getvalue())


def rows(runs: Sequence[Run]) -> list[dict[str, Value]]:
    """Return a row for each metric, baseline and metric of a slice of each run, in their order.

    An evaluation without numbers has one row, with its status and its reason instead of a metric. What a run does not
    say is None.
    """
    table_rows = []
    for label, run in zip(labels(runs), runs, strict=True):
        for fields in _run_rows(label, run):
            table_rows.append({name: _typed(fields.get(name), kind) for name, kind in COLUMNS.items()})
    return table_rows


def _run_rows(label: str, run: Run) -> Iterator[Mapping[str, object]]:
    result, model = run.result, run.result.model
    of_run: Object = {
        **{name: result.environment.get(name) for name in ("device", "precision", "python", "torch")},
        "environment": as_json(dict(result.environment)),
        "model": label,
        "model_id": model.get("id"),
        "fingerprint": model.get("fingerprint"),
        **{name: quantity.read(result)[0] for name, quantity in MODEL_QUANTITIES.items()},
        "seed": result.seed,
        "created": result.created,
        "clipbench_version": result.clipbench_version,
    }
    for record in result.evaluations:
        data = record.dataset
        common: Object = {
            **of_run,
            "task": record.task,
            "task_version": record.task_version,
            "params": as_json(dict(record.params)),
            "data": data.id,
            "revision": data.revision,
            "split": data.split,
            "n_samples": data.n_samples,
            "data_fingerprint": data.fingerprint,
            "status": record.status,
            "reason": record.reason,
            "notes": as_json(list(record.notes)),
        }
        metrics = [*_metric_rows(record.metrics, "metric"), *_metric_rows(record.baselines, "baseline")]
        for grouping, slices in record.slices.items():
            for group, slice_metrics in slices.by_group.items():
                slice_fields = {"grouping": grouping, "group": group}
                metrics += [{**metric, **slice_fields} for metric in _metric_rows(slice_metrics, "slice")]
        yield from ({**common, **metric} for metric in metrics or [{}])
    if result.average is not None:
        (average,) = _metric_rows({"average": result.average.metric}, "average")
        yield {**of_run, "data": result.average.suite, **average}


def _metric_rows(metrics: Metrics, kind: str) -> Iterator[Object]:
    for name, metric in metrics.items():
        yield {
            "kind": kind,
            "metric": name,
            **{column: getattr(metric, column) for column in COLUMNS if column in metric.__dataclass_fields__},
            "published": as_json([asdict(published) for published in metric.published]) if metric.published else None,
            "baseline_of": as_json(metric.baseline_of) if metric.baseline_of else None,
        }


def _typed(value: object, kind: type) -> Value:
    if value is None:
        return None
    if kind is str:  # a lone surrogate, which the name of a file may hold, cannot be written
        return str(value).encode("utf-8", errors="replace").decode()
    return kind(value)


def _one_table(table: Table) -> RenderedExport:
    """Return a table as CSV, with its caption and its notes as notes, for which CSV has no place."""
    notes = [f"{table.title}: {'. '.join(table.caption)}", *table.notes, *table.warnings]
    return RenderedExport(content=as_csv_table(table).encode(errors="replace"), notes=notes)


CSV = ExportFormat(suffixes=(".csv",), render=as_csv, has_slices=True, render_table=_one_table)
PARQUET = ExportFormat(suffixes=(".parquet",), render=as_parquet, is_text=False, has_slices=True)

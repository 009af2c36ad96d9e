"""The table of metrics that are measured on vectors in several stored formats, by the bytes of a vector."""

from clipbench.results.metric_name import in_subset, split_outer_subset
from clipbench.results.numbers import NONE, count, symbol, value_with_interval
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench.results.titles import metric_title


def metrics_by_format(record: EvaluationRecord) -> list[str]:
    """Return the names of the metrics that an evaluation has of the whole vector and of other stored formats."""
    parts = map(split_outer_subset, record.metrics)
    measured = {metric for subset, metric in parts if subset in record.formats}
    return [name for name in record.metrics if name in measured and "" in record.formats]


def formats_by_bytes(record: EvaluationRecord, metric: str) -> list[str]:
    """Return the formats, other than the whole vector, that a metric was measured on, the largest first."""
    formats = [name for name in record.formats if name and in_subset(name, metric) in record.metrics]
    return sorted(formats, key=lambda name: -record.formats[name].n_bytes)


def table_by_bytes(record: EvaluationRecord, metric: str) -> Table:
    """Return a row per format: bytes of a vector, the metric, and its change from the full vector in the first row.

    Example:
        >>> from clipbench.results.record import DatasetRecord, Metric, StoredFormat
        >>> half, less = Metric(value=0.5), Metric(value=-0.25, unit="difference")
        >>> record = EvaluationRecord(
        ...     task="small",
        ...     task_version=1,
        ...     params={},
        ...     dataset=DatasetRecord(id="mine"),
        ...     status="ok",
        ...     metrics={"acc1": half, "int8/acc1": half, "int8/acc1_change": less},
        ...     formats={
        ...         "": StoredFormat(label="float32", n_bytes=64),
        ...         "int8": StoredFormat(label="16 int8", n_bytes=16),
        ...     },
        ... )
        >>> table_by_bytes(record, "acc1").rows
        [['float32', '64', '50.0', '–'], ['16 int8', '16', '50.0', '−25.0']]
    """
    metrics, full_vector = record.metrics, record.formats[""]
    rows = [[full_vector.label, count(full_vector.n_bytes), value_with_interval(metrics[metric]), NONE]]
    for name in formats_by_bytes(record, metric):
        stored = record.formats[name]
        values = metrics[in_subset(name, metric)], metrics.get(in_subset(name, f"{metric}_change"))
        rows.append([stored.label, count(stored.n_bytes), *map(value_with_interval, values)])
    title, unit = metric_title(metric, metrics[metric]), metrics[metric].unit
    change = "Change, pp" if unit == "fraction" else "Change"
    return Table(columns=columns("Stored", numbers=["Bytes", f"{title}, {symbol(unit)}", change]), rows=rows)

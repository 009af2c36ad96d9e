"""The table of what compression measures: the formats of a vector by their bytes."""

from collections.abc import Mapping

from clipbench.metrics.compression import Format
from clipbench.results.numbers import NONE, count, shown
from clipbench.results.record import Metric
from clipbench.results.table import Table, columns
from clipbench.results.titles import metric_title


def formats_of(metrics: Mapping[str, Metric], question: str) -> list[Format]:
    """Return the formats in which a metric was measured, that of the most bytes first."""
    names = [name.partition("/")[0] for name in metrics if name.endswith(f"/{question}")]
    return sorted(filter(None, map(Format.from_name, names)), key=lambda form: -form.n_bytes)


def by_bytes(metrics: Mapping[str, Metric], question: str) -> Table:
    """Return a row for each format: the bytes of a vector, the metric, and its change from float32, which is the first
    row.

    Example:
        >>> half, less = Metric(value=0.5), Metric(value=-0.25, unit="difference")
        >>> by_bytes({"acc1": half, "int8@16/acc1": half, "int8@16/acc1_change": less}, "acc1").rows
        [['float32', '64', '50.0', '–'], ['16 int8', '16', '50.0', '−25.0']]
    """
    forms = formats_of(metrics, question)
    rows = [["float32", count(4 * max(form.dim for form in forms)), shown(metrics[question]), NONE]]
    for form in forms:
        own = f"{form.name}/{question}"
        rows.append([form.label, count(form.n_bytes), shown(metrics[own]), shown(metrics.get(f"{own}_change"))])
    title = metric_title(question, metrics[question])
    return Table(columns=columns("Stored", numbers=["Bytes", f"{title}, %", "Change, pp"]), rows=rows)

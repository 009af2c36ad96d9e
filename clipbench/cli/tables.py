"""Results as lines of a terminal: the headline metrics of a run, the table of an evaluation, and a series of runs."""

import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest

from clipbench.results.by_bytes import metrics_by_format, table_by_bytes
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import MetricName, base_name, without_cutoff
from clipbench.results.numbers import (
    NONE,
    ascii_signs,
    count,
    counted,
    duration,
    interval,
    interval_name,
    metric_value,
    quantity,
)
from clipbench.results.provenance import encoded_facts
from clipbench.results.record import (
    AverageRecord,
    EvaluationRecord,
    Metric,
    Metrics,
    SlicesRecord,
    finished_evaluations,
)
from clipbench.results.run import Run, all_evaluations, labels
from clipbench.results.run_names import short_labels
from clipbench.results.table import Cell, Row, Table, as_text, columns
from clipbench.results.titles import first_headline, headlines, subset_legend
from clipbench.stats.claims import one_page, order

WIDTH = 120
"""Characters per line without a terminal."""


def run_lines(run: Run, *, is_verbose: bool, width: int | None = None) -> list[str]:
    """Return the headline metrics of a run, and all others below or the command that prints them.

    Args:
        width: columns of the terminal, or None for no limit.
    """
    records = finished_evaluations(run.result)
    lines = headline_lines(records, width)
    for record in records if is_verbose else ():
        lines += ["", *evaluation_lines(record, width)]
    folded = None if is_verbose else folded_facts(records)
    if folded is not None:
        lines += [f"{folded}: -v, or clipbench show {shlex.quote(str(run.folder))} --all"]
    return [*lines, *(average_lines(run.result.average, width) if run.result.average is not None else ())]


def headline_lines(records: Iterable[EvaluationRecord], width: int | None = None) -> list[str]:
    """Return a table of the first headline metric of each evaluation that is ok."""
    rows: list[Row] = []
    notes: list[str] = []
    first_headlines = {}
    for record in records:
        if record.status == "ok" and record.metrics:
            name = first_headline(record.metrics)
            first_headlines[record.name] = (name, record.metrics[name])
    for task, (name, metric) in first_headlines.items():
        if metric.reason is not None:  # of no value, of no interval, or of a choice
            notes.append(f"{name}{' is undefined' if metric.value is None else ''}: {metric.reason}")
        value = Cell(metric_value(metric), note=len(notes) if metric.reason is not None else 0)
        chance, published = quantity(metric.chance, metric.unit), published_cell(metric).removeprefix("published ")
        rows.append([task, name, value, interval(metric), chance, published])
    intervals = interval_name(metric for _, metric in first_headlines.values())
    headers = columns("task", "metric", numbers=["value", intervals, "chance"])
    table = Table(columns=[*headers, *columns("published")], rows=rows, notes=notes)
    if not any(metric.published for _, metric in first_headlines.values()):
        table = table.select(range(len(headers)))
    return as_text(table, indent="", width=width).splitlines() if rows else []


MAX_WITH_INTERVALS = 3
"""Models that have a column, with intervals: a line of a terminal holds no more."""


def averages_by_title(runs: Sequence[Run]) -> dict[str, list[Metric | None]]:
    """Return the averages of the suites by title, with None for a run without that average."""
    averages = [run.result.average and run.result.average.metric for run in runs]
    by_title: dict[str, list[Metric | None]] = {}
    for title in dict.fromkeys(average.title for average in averages if average):
        by_title[title] = [average if average and average.title == title else None for average in averages]
    return by_title


def models_lines(runs: Sequence[Run], width: int | None = None) -> list[str]:
    """Return a table of the first metric of each evaluation, and of the suite's average, with a column per model.

    For more than ``MAX_WITH_INTERVALS`` models, ``run_tables`` has a table with a row per model.
    """
    chosen = _most_informative(runs, width=1)
    rows: dict[tuple[str, str], list[Metric | None]] = {}
    for name in chosen:
        rows[name.evaluation, name.metric] = [run.named_metrics.get(name) for run in runs]
    for title, averages in averages_by_title(runs).items():
        rows[title, "average"] = averages
    table = Table(
        columns=columns("task", "metric", numbers=[*short_labels(labels(runs)), "chance"]),
        rows=[[*name, *_model_cells(metrics)] for name, metrics in rows.items()],
        facts="in brackets: 95 % interval",
    )
    return as_text(table, indent="", width=width).splitlines() if rows else []


def _model_cells(metrics: Sequence[Metric | None]) -> Iterator[Cell | str]:
    """Yield the value of each model, and chance, which is the same for all models."""
    chance = NONE
    for metric in metrics:
        bounds = interval(metric) if metric is not None and metric.low is not None else ""
        yield Cell(metric_value(metric), aside=bounds)
        if metric is not None and metric.chance is not None:
            chance = quantity(metric.chance, metric.unit)
    yield chance


def folded_facts(records: Sequence[EvaluationRecord]) -> str | None:
    """Return what the table of headline metrics leaves out, such as ``28 more metrics, 5 notes``, or None if
    nothing.
    """
    n_more = sum(max(0, len(record.metrics) - 1) for record in records)
    n_notes = sum(len(record.notes) for record in records)
    groupings = dict.fromkeys(grouping for record in records for grouping in record.slices)
    facts = [counted(n_more, "more metric")] * bool(n_more) + [f"metrics by {grouping}" for grouping in groupings]
    return ", ".join(facts + [counted(n_notes, "note")] * bool(n_notes)) or None


def headline_facts(record: EvaluationRecord) -> Iterator[str]:
    """Yield each headline metric with its value, then the reasons why others have none."""
    for name, metric in headlines(record).items():
        if metric.value is not None:
            yield f"{name} {ascii_signs(metric_value(metric))}"
    for reason, names in _undefined(headlines(record)).items():
        yield f"{', '.join(names)} undefined: {ascii_signs(reason)}"


def _undefined(metrics: Metrics) -> dict[str, list[str]]:
    return group_values((str(metric.reason), name) for name, metric in metrics.items() if metric.value is None)


def heading(record: EvaluationRecord) -> str:
    """Return the name of an evaluation, and what it took."""
    n_samples = counted(record.dataset.n_samples, record.dataset.sample)
    encoded = encoded_facts(record.encoded) or "precomputed"
    return f"{record.name}  {n_samples}; {encoded}; {duration(sum(record.seconds.values()))}"


def evaluation_lines(record: EvaluationRecord, width: int | None = None) -> list[str]:
    """Return the table of an evaluation that is ok: a heading, then a line per metric, in columns."""
    with one_page(lambda: slice_lines(record, width)):
        slices = slice_lines(record, width)
    lines, metrics = [heading(record)], record.metrics
    for stored in metrics_by_format(record):
        lines += _format_lines(record, stored, width)
        ends = (stored, f"{stored}_change", f"{stored}_smallest")
        remaining = {}
        for name, metric in metrics.items():
            is_undefined = metric.value is None and name != ends[-1]
            if is_undefined or base_name(name) not in ends:
                remaining[name] = metric
        metrics = remaining
    lines += metric_lines(metrics, width)
    if legend := subset_legend(metrics, record.subsets):
        lines.append(f"  subsets: {legend}")
    return [*lines, *slices, *(f"  note: {note}" for note in record.notes)]


def _format_lines(record: EvaluationRecord, name: str, width: int | None) -> list[str]:
    """Return a table of a metric by stored bytes, and the reason for the smallest format that suffices."""
    metric, smallest = record.metrics[name], record.metrics.get(f"{name}_smallest")
    chance = "" if metric.chance is None else f", chance {quantity(metric.chance, metric.unit)}"
    lines = [f"  {name}, n {count(metric.n)}{chance}", *as_text(table_by_bytes(record, name), width=width).splitlines()]
    return [*lines, *([f"  {smallest.reason}"] if smallest and smallest.reason else []), ""]


def average_lines(average: AverageRecord, width: int | None = None) -> list[str]:
    """Return the average of a suite, or why there is none, with a heading."""
    return [average.metric.title, *metric_lines({"average": average.metric}, width)]


def metric_lines(metrics: Metrics, width: int | None = None) -> list[str]:
    """Return an indented line per metric, in columns, and below them the undefined metrics by reason."""
    rows: list[Row] = []
    for name, metric in metrics.items():
        if metric.value is not None:
            bounds = "" if metric.low is None else interval(metric)
            chance = "" if metric.chance is None else f"chance {quantity(metric.chance, metric.unit)}"
            rows.append([name, metric_value(metric), bounds, chance, f"n {count(metric.n)}", published_cell(metric)])
    headers = [*columns("metric", numbers=["value"]), *columns("interval", "chance", "n", "published")]
    table = Table(columns=headers, rows=rows)
    undefined = [f"  undefined: {', '.join(names)}: {reason}" for reason, names in _undefined(metrics).items()]
    return [*as_text(table, has_header=False, width=width).splitlines(), *undefined]


def slice_lines(record: EvaluationRecord, width: int | None = None) -> list[str]:
    """Return an indented line per headline metric and grouping: mean, worst group and largest difference."""
    lines = []
    for grouping, slices in record.slices.items():
        names = [name for name in headlines(record) if name in slices.mean]
        lines += [f"  by {grouping}, {len(slices.groups)} groups:"] if names else []
        rows = []
        for name in names:
            mean, worst, distance = slices.mean[name], slices.worst.get(name), slices.distance[name]
            group = slices.worst_group.get(name, "")
            rows.append(
                [
                    f"  {name}",
                    f"mean {_with_interval(mean)} {published_cell(mean)}".strip(),
                    "" if worst is None else f"{_extreme_word(name, slices)} {group} {_with_interval(worst)}",
                    f"largest difference {_with_interval(distance)}",
                ]
            )
        table = Table(columns=columns("metric", "", "", ""), rows=rows)
        lines += as_text(table, has_header=False, width=width).splitlines() if rows else []
    return lines


def _with_interval(metric: Metric) -> str:
    return f"{metric_value(metric)} {interval(metric)}".strip()


def _extreme_word(name: str, slices: SlicesRecord) -> str:
    """Return "worst" if tests separate the worst group from every other one, otherwise "lowest" or "highest"."""
    groups = {group: metrics[name] for group, metrics in slices.groups.items() if name in metrics}
    worst = slices.worst_group[name]
    is_lowest = groups[worst].higher_is_better is not False
    extremes = order({group: metric for group, metric in groups.items() if metric.value is not None})
    if worst == (extremes.lowest if is_lowest else extremes.highest):
        return "worst"
    return "lowest" if is_lowest else "highest"


def published_cell(metric: Metric) -> str:
    """Return what was published for the same model, data and protocol, and whether the interval contains it."""
    parts = [f"{quantity(value.value, metric.unit)} ({value.verdict})" for value in metric.published]
    return f"published {', '.join(parts)}" if parts else ""


def series_lines(runs: Sequence[Run], width: int | None = None) -> list[str]:
    """Return a heading of two lines, then a line per run: the name of its folder and its most informative metrics."""
    chosen = _most_informative(runs, width)
    before = ["", *(name.evaluation for name in chosen)]
    headings = []
    for name, last in zip(chosen, before, strict=False):
        headings.append("" if name.evaluation == last else name.evaluation)
    rows = []
    for run in runs:
        rows.append([run.folder.name, *(_value(run, name) for name in chosen)])
    table = Table(columns=columns("", numbers=headings), rows=[["", *(name.metric for name in chosen)], *rows])
    return as_text(table, indent="", width=width).splitlines()


def series_line(run: Run) -> str:
    """Return one line for a run."""
    values = [f"{name.metric} {ascii_signs(_value(run, name))}" for name in _most_informative([run])]
    return "  ".join([run.folder.name, *values])


def _most_informative(runs: Sequence[Run], width: int | None = None) -> list[MetricName]:
    """Return the most informative metrics that fit the width of a line, in the order of the evaluations.

    A task puts its metrics in the order of their weight. So these are the first metric of each evaluation that is
    defined in some run, then the second ones, and so on, as long as the line has room for them. Among metrics that
    differ only after an @, the first represents all. The first of each evaluation is there whatever the width.
    """
    by_stem: dict[str, dict[str, MetricName]] = {}
    for record in all_evaluations(runs):
        stems = by_stem.setdefault(record.name, {})
        for name, metric in record.metrics.items():
            if metric.value is not None:
                stems.setdefault(without_cutoff(name), MetricName(record.name, name))
    width = width or shutil.get_terminal_size((WIDTH, 24)).columns
    room = width - max(len(run.folder.name) for run in runs)
    chosen: set[MetricName] = set()
    ranked = enumerate(zip_longest(*(stems.values() for stems in by_stem.values())))
    for rank, column in ((rank, column) for rank, of_rank in ranked for column in of_rank if column):
        room -= 2 + max(len(column.metric), 8, 0 if rank else len(column.evaluation))
        if rank and room < 0:
            break
        chosen.add(column)
    in_order = chain.from_iterable(stems.values() for stems in by_stem.values())
    return [name for name in in_order if name in chosen]


def _value(run: Run, column: MetricName) -> str:
    metrics = {record.name: record.metrics for record in run.result.evaluations}
    metric: Metric | None = metrics.get(column.evaluation, {}).get(column.metric)
    return metric_value(metric)

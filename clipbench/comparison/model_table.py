"""The table of a paper: models as rows, chosen metrics as columns, and in bold the leads that tests show.

All formats have the same cells: this module makes one ``Table``, and ``results.table`` writes it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath

from clipbench.comparison.align import Tables, sample_tables
from clipbench.comparison.model_ranks import Entrant, MetricRanks, rank_metrics
from clipbench.comparison.paired_tests import paired_test
from clipbench.data.catalogue.entries import catalogue
from clipbench.errors import UsageError, did_you_mean, option
from clipbench.results.export.tables import records_by_evaluation
from clipbench.results.matching import match
from clipbench.results.metric_name import MetricName, is_of_slice
from clipbench.results.numbers import (
    COUNTED,
    NONE,
    SYMBOLS,
    count,
    counted,
    interval,
    interval_name,
    listed,
    number,
    symbol,
)
from clipbench.results.provenance import missing_reason
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels
from clipbench.results.short_names import last_parts
from clipbench.results.table import Cell, Column, Row, Table, note_number
from clipbench.results.titles import first_headline, full_title, readable, within_sentence
from clipbench.seeding import generator
from clipbench.stats.significance import ALPHA, is_significant

LOWER = "↓"
"""Follows the title of a metric that is better the lower it is."""
TABLE_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npz")
"""Suffixes of files of data, which a title leaves out."""


@dataclass(frozen=True, kw_only=True)
class ModelTableOptions:
    """The choice of a table with a row per model."""

    metrics: Sequence[str] = ()
    """Names: ``acc1`` for all evaluations that have it, ``zero-shot/acc1``, or ``zero-shot@birds/acc1``. Without any,
    the first headline metric of each evaluation.
    """
    has_intervals: bool = False
    """True to have the confidence interval of each value."""


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """A metric of an evaluation, which is a column of the table."""

    records: dict[int, EvaluationRecord]
    """The evaluation in each run that has it, by the position of the run."""
    name: str

    @property
    def first(self) -> EvaluationRecord:
        """The first record that has the metric."""
        return next(record for record in self.records.values() if self.name in record.metrics)

    @property
    def metric(self) -> Metric:
        """The metric of the first run that has it, for its title, unit and direction."""
        return self.first.metrics[self.name]

    @property
    def title(self) -> str:
        """The title of the metric with its unit, and a sign if lower is better."""
        metric = self.metric
        title = full_title(self.name, metric, self.first.subsets)
        unit = f" ({symbol(metric.unit)})" if metric.unit in (*SYMBOLS, *COUNTED) else ""
        return f"{title}{unit}{f' {LOWER}' if metric.higher_is_better is False else ''}"

    @property
    def values(self) -> dict[int, Metric]:
        """The metric of each run that has a value."""
        values = {}
        for position, record in self.records.items():
            metric = record.metrics.get(self.name)
            if metric is not None and metric.value is not None:
                values[position] = metric
        return values

    @property
    def n(self) -> str:
        """The number of samples, or the numbers if runs differ."""
        return " / ".join(dict.fromkeys(count(metric.n) for metric in self.values.values()))


TableMaker = Callable[[Sequence[Run]], Table]


def table_maker(rows: str, metrics: Sequence[str], *, has_intervals: bool) -> TableMaker | None:
    """Return what makes the table with a row per model, or None if rows are metrics.

    Args:
        rows: ``"models"`` or ``"metrics"``.
        metrics: as in ``ModelTableOptions``.
        has_intervals: as in ``ModelTableOptions``.

    Raises:
        UsageError: other rows, or options that have no effect on them.
    """
    if rows not in ("metrics", "models"):
        raise UsageError(f"{option('rows')} is {rows!r}: expected 'models' or 'metrics'")
    if rows == "models":
        return partial(model_table, options=ModelTableOptions(metrics=metrics, has_intervals=has_intervals))
    for name, value in (("metric", [*metrics]), ("intervals", has_intervals)):
        if value:
            raise UsageError(f"{option(name)} needs a row per model: add {option('rows', 'models')}")
    return None


def model_table(runs: Sequence[Run], options: ModelTableOptions = ModelTableOptions()) -> Table:
    """Return one table with a row per run and a column per metric.

    A value is bold if paired tests on the same samples show that its model is better than every other model of the
    column. Two tests have to agree: the one of ``cb.board``, which corrects all pairs of models together, and the one
    of ``cb.compare`` for the model and each other one, so that no table contradicts either. The level of 5 % is divided
    by the number of columns with tests.

    Args:
        runs: one or more. A single run has no bold value.

    Raises:
        UsageError: no run has a metric of the options, or no evaluation is finished.

    Example:
        >>> import numpy as np
        >>> from clipbench import run, vectors
        >>> x = np.eye(32)
        >>> good, bad = (
        ...     run(vectors(images=x, texts=y, name=name), "retrieval")
        ...     for name, y in (("good", x), ("bad", np.roll(x, 1, axis=0)))
        ... )
        >>> table = model_table([good, bad], ModelTableOptions(metrics=["text_retrieval_recall@1"]))
        >>> [(row[0], row[1].text, row[1].is_strong) for row in table.rows]
        [('good', '100.0', True), ('bad', '0.0', False)]
    """
    columns = _chosen_columns(runs, options.metrics)
    groups = _group_titles(columns)
    tests = [_ranks(column, runs) for column in columns]
    n_tested = sum(isinstance(test, MetricRanks) for test in tests)
    leaders = list[int | None]()
    for column, test in zip(columns, tests, strict=True):
        leader = _leader(test, column, runs, ALPHA / n_tested) if isinstance(test, MetricRanks) else None
        leaders.append(leader)
    notes = list[str]()
    rows = list[Row]()
    for position, name in enumerate(last_parts(labels(runs))):
        cells = list[Cell]()
        for column, leader in zip(columns, leaders, strict=True):
            cell = _cell(column, position, notes, has_interval=options.has_intervals)
            cells.append(replace(cell, is_strong=leader == position))
        rows.append([name, *cells])
    is_one_group = len({*groups}) == 1
    headers = [Column("Model", is_number=False)]
    headers += [
        Column(column.title, group="" if is_one_group else group) for column, group in zip(columns, groups, strict=True)
    ]
    return Table(
        title=f"{groups[0]}: {counted(len(runs), 'model')}" if is_one_group else counted(len(runs), "model"),
        columns=headers,
        rows=rows,
        caption=[_n_sentence(columns, groups), *_method_sentences(columns, options, n_tested)],
        notes=notes,
        warnings=[*_differences(columns), *_test_reasons(columns, tests)] if len(runs) > 1 else [],
    )


def _chosen_columns(runs: Sequence[Run], names: Sequence[str]) -> list[MetricColumn]:
    """Return the columns in the order of the names, and of each name in the order of the evaluations."""
    evaluations = []
    for records in records_by_evaluation(runs):
        measured = {position: record for position, record in records.items() if record.status == "ok"}
        if any(record.metrics for record in measured.values()):
            evaluations.append(records)
    if not evaluations:
        reasons = [missing_reason(record) for run in runs for record in run.result.evaluations]
        raise UsageError(f"no evaluation of the runs is finished: {reasons[0] if reasons else 'they have none'}")
    if not names:
        return [_headline_column(records) for records in evaluations]
    columns = list[MetricColumn]()
    for name in dict.fromkeys(names):
        matches = list[MetricColumn]()
        for records in evaluations:
            for metric in _metric_names(records):
                if name in _accepted_names(records, metric):
                    matches.append(MetricColumn(records=records, name=metric))
        if not matches:
            raise _unknown_metric(name, evaluations)
        columns += [column for column in matches if column not in columns]
    return columns


def _headline_column(records: dict[int, EvaluationRecord]) -> MetricColumn:
    first = next(record for record in records.values() if record.metrics)
    return MetricColumn(records=records, name=first_headline(first.metrics))


def _metric_names(records: dict[int, EvaluationRecord]) -> list[str]:
    return [*dict.fromkeys(name for record in records.values() for name in record.metrics)]


def _accepted_names(records: dict[int, EvaluationRecord], metric: str) -> tuple[str, ...]:
    """Return the names that mean a metric of an evaluation."""
    name = MetricName(next(iter(records.values())).name, metric)
    return metric, name.without_data, str(name)


def _unknown_metric(name: str, evaluations: Sequence[dict[int, EvaluationRecord]]) -> UsageError:
    wanted = option("metric", name) if name.strip() else option("metric")
    if not name.strip():
        return UsageError(f"{wanted} is empty: expected the name of a metric, such as acc1")
    if is_of_slice(name):
        return UsageError(f"{wanted} is of a slice: expected a metric of all samples. `--to csv` has the slices")
    known_names = {metric for records in evaluations for metric in _metric_names(records)}
    return UsageError(
        f"{wanted}: no run has this metric, {did_you_mean(name, known_names)} (`clipbench show RUN --all`)"
    )


def _group_titles(columns: Sequence[MetricColumn]) -> list[str]:
    """Return the evaluation of each column in words, such as ``Zero-shot on ImageNet-1k``.

    Data has its full id where the titles of two data sets would be equal.
    """
    title_by_id = {column.first.dataset.id: _data_title(column.first.dataset.id) for column in columns}
    titles = list(title_by_id.values())
    groups = []
    for column in columns:
        data = column.first.dataset.id
        title = title_by_id[data]
        groups.append(f"{readable(column.first.task)} on {data if titles.count(title) > 1 else title}")
    return groups


def _data_title(data: str) -> str:
    """Return a title of a data set: its name in the catalogue without details, or its id without folder and suffix.

    Example:
        >>> _data_title("imagenet"), _data_title("photos/captions.csv"), _data_title("hf:org/birds")
        ('ImageNet-1k', 'captions', 'birds')
    """
    entry = catalogue().get(data)
    if entry is not None:
        return re.split(r"[,:(]", entry.title)[0].strip()
    name = PurePath(data).name or data
    return PurePath(name).stem if name.lower().endswith(TABLE_FILES) else name


def _ranks(column: MetricColumn, runs: Sequence[Run]) -> MetricRanks | str:
    """Return the ranks of the models by a column, or the reason why there is no test."""
    if column.metric.higher_is_better is None:
        return "neither direction is better"
    entrants = [
        Entrant(position, runs[position], record)
        for position, record in column.records.items()
        if record.status == "ok"
    ]
    ranked = rank_metrics(entrants, names=[column.name])
    return ranked.ranks[0] if ranked.ranks else next(iter(ranked.reasons.values()))


def _leader(ranks: MetricRanks, column: MetricColumn, runs: Sequence[Run], alpha: float) -> int | None:
    """Return the position of the run that is shown to be better than each other run, None if there is none."""
    worst_ranks = ranks.bounds(alpha).high.tolist()
    if 1 not in worst_ranks:
        return None
    leader = worst_ranks.index(1)
    record = ranks.record
    tables = sample_tables([(runs[position], column.records[position]) for position in ranks.positions])
    for other, metric in enumerate(ranks.metrics):
        if other == leader:
            continue
        rng = generator(runs[0].result.seed, record.name, ranks.name, "test")
        test = paired_test(metric, ranks.metrics[leader], tables=Tables(tables[other], tables[leader]), rng=rng)
        if not is_significant(test.p_value, alpha):
            return None
    return ranks.positions[leader]


def _cell(column: MetricColumn, position: int, notes: list[str], *, has_interval: bool) -> Cell:
    """Return the cell of a run, and add the reason of a missing value or interval to the notes."""
    metric = column.values.get(position)
    if metric is None:
        return Cell(NONE, note=note_number(_missing_value_reason(column, position), notes))
    value = number(metric.value, metric.unit)
    if not has_interval:
        return Cell(value)
    if metric.low is None or metric.high is None:
        return Cell(value, note=note_number(metric.reason or "no interval: no reason was recorded", notes))
    return Cell(value, aside=interval(metric))


def _missing_value_reason(column: MetricColumn, position: int) -> str:
    record = column.records.get(position)
    if record is None:
        return "not run"
    if record.status != "ok":
        return missing_reason(record)
    if column.name not in record.metrics:
        return "the run has no such metric"
    return f"undefined: {record.metrics[column.name].reason or 'no reason was recorded'}"


def _n_sentence(columns: Sequence[MetricColumn], groups: Sequence[str]) -> str:
    """Return the number of samples of all columns, or of each group where they differ."""
    groups_by_n = dict[str, list[str]]()
    for column, group in zip(columns, groups, strict=True):
        groups_by_n.setdefault(column.n or "0", []).append(within_sentence(group))
    if len(groups_by_n) == 1:
        return f"n = {columns[0].n or '0'}"
    parts = [f"{n} ({', '.join(dict.fromkeys(titles))})" for n, titles in groups_by_n.items()]
    return f"n = {'; '.join(parts)}"


def _method_sentences(columns: Sequence[MetricColumn], options: ModelTableOptions, n_tested: int) -> Iterator[str]:
    """Yield what brackets and bold mean, where the table has them."""
    metrics = [metric for column in columns for metric in column.values.values()]
    methods = dict.fromkeys(metric.method for metric in metrics if metric.low is not None and metric.method)
    if options.has_intervals and methods:
        yield f"Brackets: {interval_name(metrics)} ({'; '.join(map(str, methods))})"
    if n_tested:
        family = "all pairs of models" if n_tested == 1 else f"all pairs of models and {n_tested} columns"
        yield f"Bold: better than every other model by paired tests, p < {ALPHA:g}, corrected over {family}"


def _differences(columns: Sequence[MetricColumn]) -> list[str]:
    """Return why numbers of a column must not be compared."""
    warnings = dict[str, None]()
    for column in columns:
        measured = [record for record in column.records.values() if record.status == "ok"]
        same = match(*measured)
        if not same.is_same:
            warnings[f"{column.first.name} is not comparable: {same.reason}"] = None
    return list(warnings)


def _test_reasons(columns: Sequence[MetricColumn], tests: Sequence[MetricRanks | str]) -> Iterator[str]:
    """Yield why columns have no tests. What ``_differences`` says is not repeated."""
    titles_by_reason = dict[str, dict[str, None]]()
    for column, test in zip(columns, tests, strict=True):
        measured = [record for record in column.records.values() if record.status == "ok"]
        if isinstance(test, str) and match(*measured).is_same:
            titles_by_reason.setdefault(test, {})[within_sentence(column.metric.title or column.name)] = None
    for reason, titles in titles_by_reason.items():
        yield f"No test of {listed([*titles])}: {reason}"

"""The board of several models: the rank of each model for each headline metric, with the ranks that tests allow."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.comparison.align import Tables, check_values, sample_tables
from clipbench.comparison.paired_tests import paired_test, sample_clusters, sample_values
from clipbench.errors import ClipbenchError, NotComparable, UsageError
from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.frames import typed_frame
from clipbench.results.matching import match
from clipbench.results.numbers import NONE, counted, listed, quantity, rank_range, value_with_interval
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels, read_one_run
from clipbench.results.table import Column, Row, Table, as_html, as_markdown, as_text
from clipbench.results.titles import full_title, headlines
from clipbench.seeding import generator
from clipbench.stats.clusters import snap_to_integers
from clipbench.stats.rank_intervals import (
    RankBounds,
    model_pairs,
    new_task_interval,
    pair_p_values,
    rank_bounds,
)
from clipbench.stats.significance import ALPHA, holm
from clipbench.untrusted.terminal import harmless_cell, printable

if TYPE_CHECKING:
    import pandas

FRAME = {
    **dict.fromkeys(("model", "task", "data", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high", "rank", "rank_low", "rank_high"), "float64"),
    "unit": "str",
    "title": "str",
}
"""Columns of ``Board.frame`` and their types."""
MEAN_RANK = "(mean rank)"
RANK_RULE = (
    "A rank interval such as 2–4 contains every rank that paired tests of all pairs of models allow. It contains the "
    "true ranks of all models for one metric at once with 95 % confidence."
)
"""The rule, for a reader."""

Matrix = Float64[np.ndarray, "n n_models"]


class Entrant(NamedTuple):
    """A model of a board, with its record of one evaluation."""

    position: int
    """Position of the model among the runs."""
    run: Run
    record: EvaluationRecord


@dataclass(frozen=True, kw_only=True)
class MetricRanks:
    """The models that have a metric, with the tests of all their pairs."""

    record: EvaluationRecord
    name: str
    positions: Sequence[int]
    """Positions of the models among the runs."""
    metrics: Sequence[Metric]
    """The metric of each model."""
    p_values: Float64[np.ndarray, " n_pairs"]
    """P-values of all pairs, corrected over them."""

    @property
    def title(self) -> str:
        """The title of the metric."""
        return full_title(self.name, self.metrics[0], self.record.subsets)

    def bounds(self, alpha: float = ALPHA) -> RankBounds:
        """Return the rank of each model with the bounds at a level."""
        sign = 1 if self.metrics[0].higher_is_better else -1
        return rank_bounds(
            np.array([sign * (metric.value or 0.0) for metric in self.metrics]), self.p_values, alpha=alpha
        )

    def rank_ranges(self) -> dict[int, str]:
        """Return the rank interval of each model as text, by the position of the model."""
        bounds = self.bounds()
        return dict(zip(self.positions, map(rank_range, bounds.low.tolist(), bounds.high.tolist()), strict=True))


@dataclass(frozen=True, kw_only=True)
class MeanRanks:
    """The mean rank of each model over several evaluations."""

    evaluations: Sequence[str]
    """Names of the evaluations."""
    these: Sequence[Metric]
    """For each model the mean rank, with the interval for these tasks and data."""
    new: Sequence[Metric]
    """The same with the interval for new tasks like these, or the reason why there is none."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Board:
    """Several models by their ranks."""

    models: Sequence[str]
    metrics: Sequence[MetricRanks]
    mean_ranks: MeanRanks | None
    """None if fewer than two evaluations rank all models."""
    notes: Sequence[str] = field(default_factory=list)
    """Evaluations and metrics without ranks, with the reasons."""

    def __repr__(self) -> str:
        """Return the number of models and metrics."""
        return f"<board of {len(self.models)} models by {len(self.metrics)} metrics>"

    def __str__(self) -> str:
        table = self._table()
        return "\n".join(map(printable, [*as_text(table, width=100).splitlines(), "", *table.warnings]))

    def _repr_html_(self) -> str:
        return as_html(self._table())

    def markdown(self) -> str:
        """Return the board as a table of GitHub's Markdown."""
        return f"{as_markdown(self._table())}\n"

    def csv(self) -> str:
        """Return the rows of ``frame`` as CSV; undefined numbers are empty."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(FRAME), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: harmless_cell(value) for name, value in row.items()} for row in self._rows())
        return text.getvalue()

    def frame(self) -> "pandas.DataFrame":
        """Return a row for each metric and model: ``model``, ``task``, ``data``, ``metric``, ``value``, ``low``,
        ``high``, ``rank``, ``rank_low``, ``rank_high``, ``unit`` and ``title``.

        Mean ranks are rows of the task ``(mean rank)``, with the interval in ``low`` and ``high``.
        """
        return typed_frame(self._rows(), FRAME)

    def _rows(self) -> list[dict[str, object]]:
        rows = [
            {
                **{name: getattr(metric, name) for name in ("value", "low", "high", "unit")},
                "model": self.models[position],
                "task": ranks.record.task,
                "data": ranks.record.dataset.id,
                "metric": ranks.name,
                "title": ranks.title,
                "rank": rank,
                "rank_low": low,
                "rank_high": high,
            }
            for ranks in self.metrics
            for position, metric, rank, low, high in zip(
                ranks.positions, ranks.metrics, *(column.tolist() for column in ranks.bounds()), strict=True
            )
        ]
        means = self.mean_ranks
        for name, metrics in (("these_tasks", means.these), ("new_tasks", means.new)) if means else ():
            facts = {"task": MEAN_RANK, "data": "", "metric": name}
            rows += [
                {**vars(metric), **facts, "model": model} for model, metric in zip(self.models, metrics, strict=True)
            ]
        return rows

    def _table(self) -> Table:
        means, firsts = self.mean_ranks, self.metrics[0]
        order = dict(zip(firsts.positions, firsts.bounds().rank.tolist(), strict=True))
        if means is not None:
            order = {position: metric.value for position, metric in enumerate(means.these)}
        headers = [metrics[0].title for metrics in shown_means(means)]
        headers += [f"{ranks.title}, {ranks.record.name}" for ranks in self.metrics]
        return Table(
            title=f"{len(self.models)} models by rank",
            facts="(95 % rank intervals)",
            columns=[Column("model", is_number=False, is_name=True), *map(Column, headers)],
            rows=[
                self._table_row(position)
                for position in sorted(range(len(self.models)), key=lambda position: order.get(position, np.inf))
            ],
            warnings=[RANK_RULE, *([] if means is None else [mean_rank_rule(means)]), *self.notes],
        )

    def _table_row(self, position: int) -> Row:
        row = [self.models[position]]
        row += [value_with_interval(metrics[position]) for metrics in shown_means(self.mean_ranks)]
        for ranks in self.metrics:
            metric = dict(zip(ranks.positions, ranks.metrics, strict=True)).get(position)
            row.append(
                NONE if metric is None else f"{ranks.rank_ranges()[position]} ({quantity(metric.value, metric.unit)})"
            )
        return row


def board(*runs: Run | str | os.PathLike[str]) -> Board:
    """Return the ranks of several models on the same samples, each with the interval that tests allow.

    All pairs of models are tested on their common samples, and corrected together for each headline metric. Over
    evaluations, the mean rank has an interval for these tasks and data, and one for new tasks like these if there are
    at least six.

    Args:
        runs: runs of different models, or their folders, two or more.

    Returns:
        The board: ``frame()``, ``markdown()`` and ``csv()`` have all of it, ``print`` shows it.

    Raises:
        UsageError: there is only one run.
        NotComparable: no two runs have a headline metric on the same samples.
        ClipbenchError: a run is damaged.

    Example:
        >>> from clipbench import run, vectors
        >>> x = np.eye(32)
        >>> good, same, bad = (vectors(images=x, texts=y, name=name) for name, y in
        ...     (("good", x), ("same", x), ("bad", np.roll(x, 1, axis=0))))
        >>> ranks = board(*(run(model, "retrieval") for model in (good, same, bad))).frame().head(3)
        >>> [*zip(ranks.model, ranks.rank_low, ranks.rank_high)]
        [('good', 1.0, 2.0), ('same', 1.0, 2.0), ('bad', 3.0, 3.0)]
    """
    if len(runs) < 2:
        raise UsageError(
            f"a board ranks models: got {counted(len(runs), 'run')}, expected at least 2. Add the runs of other models."
        )
    loaded_runs = [run if isinstance(run, Run) else read_one_run(Path(run)) for run in runs]
    metrics: list[MetricRanks] = []
    notes: list[str] = []
    for entrants in _entrants_by_evaluation(loaded_runs):
        ranked, reasons = rank_metrics(entrants)
        metrics += ranked
        notes += [f"{name} is not ranked: {reason}" for name, reason in reasons.items()]
    if not metrics:
        raise NotComparable(f"no metric ranks these runs: {notes[0] if notes else 'they have no evaluation in common'}")
    return Board(
        models=labels(loaded_runs),
        metrics=metrics,
        mean_ranks=mean_ranks(metrics, len(loaded_runs)),
        notes=notes,
    )


def _entrants_by_evaluation(runs: Sequence[Run]) -> list[list[Entrant]]:
    """Return the finished evaluations of all runs by task and data; of one that a run has twice, the second apart."""
    entrants: dict[tuple[str, int], list[Entrant]] = {}
    for position, run in enumerate(runs):
        names: list[str] = []
        for record in run.result.evaluations:
            names.append(record.name)
            if record.status == "ok":
                entrants.setdefault((record.name, names.count(record.name)), []).append(Entrant(position, run, record))
    return list(entrants.values())


def rank_metrics(entrants: Sequence[Entrant]) -> tuple[list[MetricRanks], dict[str, str]]:
    """Return the ranks of each headline metric of an evaluation, and the reasons why metrics have none by name."""
    record = entrants[0].record
    ranked: list[MetricRanks] = []
    reasons: dict[str, str] = {}
    try:
        tables = _common_samples(entrants)
    except ClipbenchError as error:
        return [], {record.name: str(error)}
    for name in _ranked_names(record):
        try:
            ranked.append(_rank_metric(name, entrants, tables))
        except ClipbenchError as error:
            reasons[f"{record.name}/{name}"] = str(error)
    return ranked, reasons


def _common_samples(entrants: Sequence[Entrant]) -> "list[pandas.DataFrame]":
    """Return the samples of all models in one order; raise ClipbenchError if the models cannot be ranked by them."""
    if not _ranked_names(entrants[0].record):
        raise NotComparable("neither direction of its headlines is better")
    if len(entrants) < 2:
        raise NotComparable(f"only {entrants[0].run.label} has measured it")
    same = match(*(entrant.record for entrant in entrants))
    if not same.is_same:
        raise NotComparable(same.reason)
    return sample_tables([(entrant.run, entrant.record) for entrant in entrants])


def _ranked_names(record: EvaluationRecord) -> list[str]:
    return [name for name, metric in headlines(record).items() if metric.higher_is_better is not None]


def _rank_metric(name: str, entrants: Sequence[Entrant], tables: "Sequence[pandas.DataFrame]") -> MetricRanks:
    measured = [
        (entrant, metric, table)
        for entrant, table in zip(entrants, tables, strict=True)
        if (metric := entrant.record.metrics.get(name)) is not None and metric.value is not None
    ]
    for entrant, metric, table in measured:
        check_values(entrant.run, {name: metric}, table)
    first = entrants[0]
    rng = generator(first.run.result.seed, first.record.name, name, "ranks")
    metrics = [metric for _, metric, _ in measured]
    return MetricRanks(
        record=first.record,
        name=name,
        positions=[entrant.position for entrant, _, _ in measured],
        metrics=metrics,
        p_values=_pair_p_values(metrics, [table for _, _, table in measured], rng),
    )


def _pair_p_values(
    metrics: Sequence[Metric], tables: Sequence["pandas.DataFrame"], rng: np.random.Generator
) -> Float64[np.ndarray, " n_pairs"]:
    """Return the p-values of all pairs: of means of samples together, of other metrics by a test of each pair."""
    if len(metrics) < 2:
        raise NotComparable(f"{len(metrics)} of the runs has a value, and ranks need two")
    columns = {metric.column if metric.statistic is None else None for metric in metrics}
    (column,) = columns if len(columns) == 1 else [None]
    if column is not None and all(column in table for table in tables):
        credits = np.column_stack([snap_to_integers(sample_values(table, column)) for table in tables])
        is_defined = np.isfinite(credits)
        is_kept = is_defined.any(axis=1)
        if not is_defined[is_kept].all():
            raise NotComparable("the runs have values for different samples")
        return pair_p_values(credits[is_kept], sample_clusters(tables[0], is_kept), rng)
    tests = [
        paired_test(metrics[first], metrics[second], tables=Tables(tables[first], tables[second]), rng=pair_rng)
        for first, second, pair_rng in zip(
            *model_pairs(len(metrics)), rng.spawn(len(metrics) * (len(metrics) - 1) // 2), strict=True
        )
    ]
    if all(test.p_value is None for test in tests):
        raise NotComparable(tests[0].test.removeprefix("no test: "))
    return np.array([np.nan if p_value is None else p_value for p_value in holm([test.p_value for test in tests])])


def mean_ranks(metrics: Sequence[MetricRanks], n_models: int) -> MeanRanks | None:
    """Return the mean ranks over the first headline of each evaluation that ranks all models; None of fewer than two.

    The interval for these tasks is the mean of their rank intervals, each at a level of 5 % divided by their number.
    """
    tasks = [
        ranks for ranks in metrics if len(ranks.positions) == n_models and ranks.name == _ranked_names(ranks.record)[0]
    ]
    if len(tasks) < 2:
        return None
    bounds = [task.bounds(ALPHA / len(tasks)) for task in tasks]
    values, lows, highs = (np.mean(column, axis=0).tolist() for column in zip(*bounds, strict=True))
    intervals = [new_task_interval(ranks, n_models) for ranks in np.transpose([task.rank for task in bounds])]
    common = Metric(value=None, unit="rank", n=len(tasks), higher_is_better=False)
    return MeanRanks(
        evaluations=[task.record.name for task in tasks],
        these=[
            replace(common, value=value, low=low, high=high, title=f"Mean rank on these {len(tasks)} tasks")
            for value, low, high in zip(values, lows, highs, strict=True)
        ],
        new=[
            replace(common, value=value, low=low, high=high, method=method, title="Mean rank on new tasks like these")
            for value, (low, high, method) in zip(values, intervals, strict=True)
        ],
    )


def mean_rank_rule(means: MeanRanks) -> str:
    """Return what the intervals of mean ranks are of, in sentences."""
    new = means.new[0]
    sentence = f"There is no interval for new tasks, with {new.method}."
    if new.low is not None:
        sentence = (
            "The interval for new tasks contains the mean rank over all tasks of which these are a sample, with 95 % "
            "confidence for all models."
        )
    return (
        f"The mean rank is over {listed(means.evaluations)}. Its interval for these tasks contains the true mean ranks "
        f"of all models with 95 % confidence. {sentence}"
    )


def shown_means(means: MeanRanks | None) -> list[Sequence[Metric]]:
    """Return the mean ranks of all models for these tasks, and for new tasks if these have an interval."""
    if means is None:
        return []
    return [means.these, *([] if means.new[0].low is None else [means.new])]


def _render(write: Callable[[Board], str], runs: Sequence[Run]) -> RenderedExport:
    return RenderedExport(content=write(board(*runs)).encode())


MARKDOWN = ExportFormat(suffixes=(".md",), render=partial(_render, Board.markdown))
CSV = ExportFormat(suffixes=(".csv",), render=partial(_render, Board.csv))

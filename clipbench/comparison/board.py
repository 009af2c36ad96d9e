"""The board of several models: the rank of each model for each headline metric, with the ranks that tests allow."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.comparison.align import Tables, check_values, sample_tables
from clipbench.comparison.paired_tests import paired_test, sample_clusters, sample_values
from clipbench.errors import ClipbenchError, NotComparable, UsageError
from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.export.tables import records_by_evaluation
from clipbench.results.frames import typed_frame
from clipbench.results.matching import match
from clipbench.results.metric_name import evaluation_name
from clipbench.results.numbers import counted, interval, listed, metric_value, number, rank_range
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels, read_one_run
from clipbench.results.table import Row, Table, as_html, as_markdown, as_text, columns
from clipbench.results.titles import full_title, headlines
from clipbench.seeding import generator
from clipbench.stats.clusters import snap_to_integers
from clipbench.stats.rank_intervals import RankBounds, model_pairs, new_task_interval, pair_p_values, rank_bounds
from clipbench.stats.significance import ALPHA, holm
from clipbench.untrusted.terminal import harmless_cell, printable

if TYPE_CHECKING:
    import pandas

FRAME = {
    **dict.fromkeys(("model", "task", "data", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high", "rank"), "float64"),
    **dict.fromkeys(("rank_low", "rank_high"), "Int64"),
    **dict.fromkeys(("unit", "title"), "str"),
}
"""Columns of ``Board.frame`` and their types."""
RANK_RULE = (
    "A rank interval such as 2–4 contains every rank that paired tests of all pairs of models allow. It contains the "
    "true ranks of all models for one metric at once with 95 % confidence."
)
"""The rule, for a reader."""


class Entrant(NamedTuple):
    """A model of a board, with its record of one evaluation."""

    position: int
    """Position of the model among the runs."""
    run: Run
    record: EvaluationRecord


class RankedModel(NamedTuple):
    """A model with its metric, and the ranks that are possible for it."""

    position: int
    metric: Metric
    rank: float | None
    """Rank by value. Equal models share the mean of their ranks. None for a mean rank, which is the metric."""
    low: int | None = None
    high: int | None = None

    @property
    def ranks(self) -> str:
        """The ranks that are possible, such as 2–4."""
        return "" if self.low is None or self.high is None else rank_range(self.low, self.high)


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

    def bounds(self, alpha: float = ALPHA) -> RankBounds:
        """Return the rank of each model with the bounds at a level."""
        sign = 1 if self.metrics[0].higher_is_better else -1
        skill = np.array([sign * (metric.value or 0.0) for metric in self.metrics])
        return rank_bounds(skill, self.p_values, alpha=alpha)

    def ranked(self) -> list[RankedModel]:
        """Return the models, the best first."""
        ranks = (column.tolist() for column in self.bounds())
        models = map(RankedModel, self.positions, self.metrics, *ranks)
        return sorted(models, key=lambda model: model.rank or 0.0)


@dataclass(frozen=True, kw_only=True)
class MeanRanks:
    """The mean rank of each model over the first headlines of several evaluations."""

    evaluations: Sequence[str]
    these: Sequence[Metric]
    """For each model the mean rank, with the interval for these tasks and data."""
    new: Sequence[Metric]
    """The same with the interval for new tasks like these, or the reason why there is none."""

    @property
    def rule(self) -> str:
        """The meaning of the intervals, for a reader."""
        without = "" if self.has_new else f" There is no interval for new tasks: {self.new[0].reason}."
        return (
            f"The mean rank is over {listed(self.evaluations)}. With 95 % confidence, its intervals contain the true "
            f"mean ranks of all models: for these tasks, or over all tasks of which these are a sample.{without}"
        )

    @property
    def has_new(self) -> bool:
        """Whether there is an interval for new tasks."""
        return self.new[0].low is not None

    def ranked(self) -> Iterator[list[RankedModel]]:
        """Yield the models by their mean rank, the best first: for these tasks, then for new tasks."""
        order = sorted(range(len(self.these)), key=lambda position: self.these[position].value or 0.0)
        for metrics in (self.these, self.new) if self.has_new else (self.these,):
            yield [RankedModel(position, metrics[position], None) for position in order]


@dataclass(frozen=True, kw_only=True, repr=False)
class Board:
    """Several models by their ranks."""

    models: Sequence[str]
    metrics: Sequence[MetricRanks]
    mean_ranks: MeanRanks | None
    """None if fewer than two evaluations rank all models."""
    notes: Sequence[str]
    """Evaluations and metrics without ranks, with the reasons."""

    def __repr__(self) -> str:
        """Return the number of models and metrics."""
        return f"<board of {len(self.models)} models by {len(self.metrics)} metrics>"

    def __str__(self) -> str:
        table = self._table()
        return "\n".join(map(printable, [*as_text(table).splitlines(), "", *table.warnings]))

    def _repr_html_(self) -> str:
        return as_html(self._table())

    def markdown(self) -> str:
        """Return the board as a table of GitHub's Markdown."""
        return f"{as_markdown(self._table())}\n"

    def csv(self) -> str:
        """Return ``frame`` as CSV, with undefined numbers empty and no cell that is a formula."""
        return self.frame().map(harmless_cell).to_csv(index=False, lineterminator="\n")

    def frame(self) -> "pandas.DataFrame":
        """Return a row for each metric and model: ``model``, ``task``, ``data``, ``metric``, ``value``, ``low``,
        ``high``, ``rank``, ``rank_low``, ``rank_high``, ``unit`` and ``title``, the best model of a metric first.

        Mean ranks are rows of the task ``(mean rank)``, with the interval in ``low`` and ``high``.
        """
        rows = [
            {
                **vars(model.metric),
                **facts,
                "model": self.models[model.position],
                "rank": model.rank,
                "rank_low": model.low,
                "rank_high": model.high,
            }
            for facts, models in self._sections()
            for model in models
        ]
        return typed_frame(rows, FRAME)

    def _sections(self) -> Iterator[tuple[dict[str, str], list[RankedModel]]]:
        """Yield the facts of each metric with its models, mean ranks first."""
        means = self.mean_ranks.ranked() if self.mean_ranks else ()
        for name, models in zip(("these_tasks", "new_tasks"), means, strict=False):
            yield {"task": "(mean rank)", "data": "", "metric": name}, models
        for ranks in self.metrics:
            record, title = ranks.record, full_title(ranks.name, ranks.metrics[0], ranks.record.subsets)
            facts = {"task": record.task, "data": record.dataset.id, "metric": ranks.name, "title": title}
            yield facts, ranks.ranked()

    def _table(self) -> Table:
        rows: list[Row | str] = []
        for facts, models in self._sections():
            title, data = facts.get("title", models[0].metric.title), facts["data"]
            rows.append(f"{title}, {evaluation_name(facts['task'], data)}" if data else title)
            rows += [
                [
                    self.models[model.position],
                    model.ranks or number(model.metric.value, "rank"),
                    "" if model.rank is None else metric_value(model.metric),
                    interval(model.metric),
                ]
                for model in models
            ]
        return Table(
            title=f"{len(self.models)} models by rank",
            columns=columns("model", numbers=("rank", "value", "95 % interval")),
            rows=rows,
            warnings=[RANK_RULE, *([self.mean_ranks.rule] if self.mean_ranks else []), *self.notes],
        )


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
        >>> ranks[["model", "rank_low", "rank_high"]].values.tolist()
        [['good', 1, 2], ['same', 1, 2], ['bad', 3, 3]]
    """
    if len(runs) < 2:
        raise UsageError(
            f"a board ranks models: got {counted(len(runs), 'run')}, expected at least 2. Add the runs of other models."
        )
    loaded_runs = [run if isinstance(run, Run) else read_one_run(Path(run)) for run in runs]
    metrics: list[MetricRanks] = []
    reasons: dict[str, str] = {}
    for records in records_by_evaluation(loaded_runs):
        entrants = [Entrant(row, loaded_runs[row], record) for row, record in records.items() if record.status == "ok"]
        metrics += rank_metrics(entrants, reasons) if entrants else []
    notes = [f"{name} is not ranked: {reason}" for name, reason in reasons.items()]
    if not metrics:
        raise NotComparable(f"no metric ranks these runs: {notes[0] if notes else 'they have no evaluation in common'}")
    means = mean_ranks(metrics, len(loaded_runs))
    return Board(models=labels(loaded_runs), metrics=metrics, mean_ranks=means, notes=notes)


def rank_metrics(entrants: Sequence[Entrant], reasons: dict[str, str]) -> list[MetricRanks]:
    """Return the ranks of each headline metric of an evaluation.

    Args:
        reasons: gets the reasons why metrics have no ranks, by name.
    """
    record = entrants[0].record
    ranked: list[MetricRanks] = []
    try:
        tables = _common_samples(entrants)
    except ClipbenchError as error:
        reasons[record.name] = str(error)
        return ranked
    for name in _ranked_names(record):
        try:
            ranked.append(_rank_metric(name, entrants, tables))
        except ClipbenchError as error:
            reasons[f"{record.name}/{name}"] = str(error)
    return ranked


def _common_samples(entrants: Sequence[Entrant]) -> "list[pandas.DataFrame]":
    """Return the samples of all models in one order, or raise ClipbenchError if the models cannot be ranked by them."""
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
    if len(measured) < 2:
        raise NotComparable("fewer than two runs have a value")
    (_, run, record), metrics, tables = entrants[0], [row[1] for row in measured], [row[2] for row in measured]
    rng = generator(run.result.seed, record.name, name, "ranks")
    positions = [entrant.position for entrant, _, _ in measured]
    p_values = _pair_p_values(metrics, tables, rng)
    return MetricRanks(record=record, name=name, positions=positions, metrics=metrics, p_values=p_values)


def _pair_p_values(
    metrics: Sequence[Metric], tables: Sequence["pandas.DataFrame"], rng: np.random.Generator
) -> Float64[np.ndarray, " n_pairs"]:
    """Return the p-values of all pairs: of means of samples together, of other metrics by a test of each pair."""
    columns = {metric.column if metric.statistic is None else None for metric in metrics}
    (column,) = columns if len(columns) == 1 else [None]
    if column is not None and all(column in table for table in tables):
        credits = np.column_stack([snap_to_integers(sample_values(table, column)) for table in tables])
        is_kept = np.isfinite(credits).all(axis=1)
        if np.isfinite(credits[~is_kept]).any():
            raise NotComparable("the runs have values for different samples")
        return pair_p_values(credits[is_kept], sample_clusters(tables[0], is_kept), rng)
    tests = [
        paired_test(metrics[first], metrics[second], tables=Tables(tables[first], tables[second]), rng=rng)
        for first, second in zip(*model_pairs(len(metrics)), strict=True)
    ]
    if all(test.p_value is None for test in tests):
        raise NotComparable(tests[0].test.removeprefix("no test: "))
    return np.array(holm([test.p_value for test in tests]), np.float64)  # None becomes NaN


def mean_ranks(metrics: Sequence[MetricRanks], n_models: int) -> MeanRanks | None:
    """Return the mean ranks over the first headline of each evaluation that ranks all models, None for fewer than two.

    The interval for these tasks is the mean of their rank intervals, each at a level of 5 % divided by their number.
    """
    tasks = [
        ranks for ranks in metrics if len(ranks.positions) == n_models and ranks.name == _ranked_names(ranks.record)[0]
    ]
    if len(tasks) < 2:
        return None
    bounds = [task.bounds(ALPHA / len(tasks)) for task in tasks]
    means = zip(*(np.mean(column, axis=0).tolist() for column in zip(*bounds, strict=True)), strict=True)
    title = f"Mean rank on these {len(tasks)} tasks"
    common = Metric(value=None, unit="rank", n=len(tasks), title=title, higher_is_better=False)
    these = [replace(common, value=value, low=low, high=high) for value, low, high in means]
    new = []
    for metric, ranks in zip(these, np.transpose([task.rank for task in bounds]), strict=True):
        low, high, method = new_task_interval(ranks, n_models)
        reason = method if low is None else None
        new.append(replace(metric, low=low, high=high, reason=reason, title="Mean rank on new tasks like these"))
    return MeanRanks(evaluations=[task.record.name for task in tasks], these=these, new=new)


def _render(write: Callable[[Board], str], runs: Sequence[Run]) -> RenderedExport:
    return RenderedExport(content=write(board(*runs)).encode())


MARKDOWN = ExportFormat(suffixes=(".md",), render=partial(_render, Board.markdown))
CSV = ExportFormat(suffixes=(".csv",), render=partial(_render, Board.csv))

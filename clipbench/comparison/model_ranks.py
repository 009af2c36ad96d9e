"""The ranks of several models for a metric, and their mean over evaluations, with the ranks that tests allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.comparison.align import Tables, check_values, sample_tables
from clipbench.comparison.paired_tests import paired_test, sample_clusters, sample_values
from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.matching import match
from clipbench.results.numbers import listed, rank_range
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench.results.titles import headlines
from clipbench.seeding import generator
from clipbench.stats.clusters import snap_to_integers
from clipbench.stats.rank_intervals import RankBounds, model_pairs, new_task_interval, pair_p_values, rank_bounds
from clipbench.stats.significance import ALPHA, holm

if TYPE_CHECKING:
    import pandas


NO_DIRECTION = "neither direction of its headlines is better"
"""The reason for missing ranks where the runs have no fault."""


MEASURED = "has measured it"
"""End of the reason why an evaluation of a single run has no ranks."""


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


class RankedMetrics(NamedTuple):
    """The headline metrics of an evaluation that rank its models, and the reasons why others do not."""

    ranks: list[MetricRanks]
    reasons: dict[str, str]
    """By the name of the metric, or of the evaluation if none of its metrics has ranks."""


def rank_metrics(
    entrants: Sequence[Entrant], *, names: Sequence[str] | None = None, is_first_only: bool = False
) -> RankedMetrics:
    """Return the ranks of metrics of an evaluation, or of the first one that has ranks.

    Args:
        names: of the metrics, None for the headline metrics that have a direction.
    """
    record = entrants[0].record
    names = _ranked_names(record) if names is None else names
    ranks: list[MetricRanks] = []
    reasons: dict[str, str] = {}
    try:
        tables = _common_samples(entrants, names)
    except ClipbenchError as error:
        return RankedMetrics(ranks, {record.name: str(error)})
    for name in names:
        try:
            ranks.append(_rank_metric(name, entrants, tables))
        except ClipbenchError as error:
            reasons[f"{record.name}/{name}"] = str(error)
            continue
        if is_first_only:
            break
    return RankedMetrics(ranks, reasons)


def _common_samples(entrants: Sequence[Entrant], names: Sequence[str]) -> "list[pandas.DataFrame]":
    """Return the samples of all models in one order, or raise ClipbenchError if the models cannot be ranked by them."""
    if not names:
        raise NotComparable(NO_DIRECTION)
    if len(entrants) < 2:
        raise NotComparable(f"only {entrants[0].run.label} {MEASURED}")
    same = match(*(entrant.record for entrant in entrants))
    if not same.is_same:
        raise NotComparable(same.reason)
    return sample_tables([(entrant.run, entrant.record) for entrant in entrants])


def _ranked_names(record: EvaluationRecord) -> list[str]:
    return [name for name, metric in headlines(record).items() if metric.higher_is_better is not None]


def _rank_metric(name: str, entrants: Sequence[Entrant], tables: "Sequence[pandas.DataFrame]") -> MetricRanks:
    positions, metrics = list[int](), list[Metric]()
    tables_with_value: list[pandas.DataFrame] = []
    for entrant, table in zip(entrants, tables, strict=True):
        metric = entrant.record.metrics.get(name)
        if metric is not None and metric.value is not None:
            check_values(entrant.run, {name: metric}, table)
            positions.append(entrant.position)
            metrics.append(metric)
            tables_with_value.append(table)
    if len(metrics) < 2:
        raise NotComparable("fewer than two runs have a value")
    _, run, record = entrants[0]
    rng = generator(run.result.seed, record.name, name, "ranks")
    p_values = _pair_p_values(metrics, tables_with_value, rng)
    return MetricRanks(record=record, name=name, positions=positions, metrics=metrics, p_values=p_values)


def _pair_p_values(
    metrics: Sequence[Metric], tables: Sequence["pandas.DataFrame"], rng: np.random.Generator
) -> Float64[np.ndarray, " n_pairs"]:
    """Return the p-values of all pairs: of means of samples together, of other metrics by a test of each pair."""
    columns = {metric.column if metric.statistic is None else None for metric in metrics}
    column = columns.pop() if len(columns) == 1 else None
    if column is not None and all(column in table for table in tables):
        credits = np.column_stack([snap_to_integers(sample_values(table, column)) for table in tables])
        is_kept = np.isfinite(credits).all(axis=1)
        if np.isfinite(credits[~is_kept]).any():
            raise NotComparable("the runs have values for different samples")
        return pair_p_values(credits[is_kept], sample_clusters(tables[0], is_kept), rng)
    tests = []
    for first, second in zip(*model_pairs(len(metrics)), strict=True):
        pair_tables = Tables(tables[first], tables[second])
        tests.append(paired_test(metrics[first], metrics[second], tables=pair_tables, rng=rng))
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

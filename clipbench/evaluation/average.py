"""The average of a suite: the mean of its data sets' main metrics, over all of them or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from clipbench.evaluation.plan import Request
from clipbench.evaluation.published import published_average
from clipbench.models.protocol import ModelInfo
from clipbench.results.numbers import counted
from clipbench.results.record import AverageRecord, EvaluationRecord, Metric
from clipbench.results.run import metrics_of
from clipbench.stats.intervals import SHARES, mean_of_independent


class _Score(NamedTuple):
    """The score of a data set: one metric, or the mean of several."""

    value: float
    bounds: tuple[float, float] | None
    units: set[str]


def average_of(
    suite: str, requests: Sequence[Request], records: Mapping[str, EvaluationRecord], *, published_for: ModelInfo | None
) -> AverageRecord | None:
    """Return the average over the data sets of a suite, or None where it has none or none of them was asked for.

    A data set whose score is the mean of several metrics, such as recall in both directions, counts once; their intervals
    are taken to go together, as they are of the same images. Data sets are taken to be independent.

    Args:
        suite: its name, or its file.
        requests: all of the suite's.
        records: those that were made, by the name of the request.
        published_for: the model, where the run is one to which a published average may be compared.
    """
    asked = [request for request in requests if request.main]
    if not any(request.name in records for request in asked):
        return None
    scores = {request.name: _score(request, records.get(request.name)) for request in asked}
    parts = [_names(request, records.get(request.name)) for request in asked]
    title = f"Average over {counted(len(asked), 'data set')} ({PurePath(suite).stem})"
    metric = _mean(scores, title)
    if published_for is not None:
        metric = published_average(metric, parts, published_for)
    return AverageRecord(suite=PurePath(suite).stem, metric=metric, parts=parts)


def _names(request: Request, record: EvaluationRecord | None) -> list[str]:
    name = request.name if record is None else record.name
    return [f"{name}{'' if main.startswith('{') else '/'}{main}" for main in request.main]


def _score(request: Request, record: EvaluationRecord | None) -> _Score | None:
    """Return a data set's score with its bounds; None where it was not measured, or a metric is undefined."""
    if record is None or record.status != "ok":
        return None
    found = {str(name): metric for name, metric in metrics_of(record)}
    metrics = [found[name] for name in _names(request, record) if name in found]
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(values) < len(request.main):
        return None
    bounds = [(metric.low, metric.high) for metric in metrics if metric.low is not None and metric.high is not None]
    mean_bounds = tuple(np.mean(bounds, axis=0).tolist()) if len(bounds) == len(values) else None
    return _Score(float(np.mean(values)), mean_bounds, {metric.unit for metric in metrics})


def _mean(scores: Mapping[str, _Score | None], title: str) -> Metric:
    """Return the mean of the scores of all evaluations, by their names."""
    measured = [score for score in scores.values() if score is not None]
    metric = Metric(value=None, n=len(measured), higher_is_better=True, title=title, is_headline=True)
    if len(measured) < len(scores):
        missing = [name for name, score in scores.items() if score is None]
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        reason = f"{len(measured)} of {len(scores)} data sets have a score, so there is no average: without"
        return replace(metric, reason=f"{reason} {', '.join(missing[:3])}{more}")
    units = sorted({unit for score in measured for unit in score.units})
    if units != ["fraction"]:
        return replace(metric, reason=f"scores in {' and '.join(units)} have no average")
    values = [score.value for score in measured]
    bounds = [score.bounds for score in measured if score.bounds is not None]
    metric = replace(metric, value=float(np.mean(values)))
    if len(bounds) < len(values):
        return replace(metric, reason="no interval: a data set's score has none")
    interval = mean_of_independent(values, bounds).clipped(SHARES)
    return replace(metric, low=interval.low, high=interval.high, method=interval.method)

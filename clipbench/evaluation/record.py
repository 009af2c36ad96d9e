"""The records of a run: model and machine, each evaluation, and the average of a suite."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from clipbench import __version__
from clipbench.data import Dataset
from clipbench.errors import ClipbenchError, did_you_mean
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import Request, RunOptions, build_task
from clipbench.evaluation.published import Measured, published_average, slices_with_published, with_published
from clipbench.evaluation.slices import Sliced
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.protocol import Embedder, ModelInfo
from clipbench.results.numbers import counted
from clipbench.results.record import AverageRecord, DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.results.reference_models import OPEN_CLIP
from clipbench.results.run import check_record, metrics_of
from clipbench.stats.intervals import SHARES, mean_of_independent

UNMEASURED = "was not measured"


def empty_result(info: ModelInfo, options: RunOptions) -> Result:
    """Return the result of a run before anything is measured.

    Raises:
        ClipbenchError: what the model says of itself cannot be recorded.
    """
    result = Result(
        clipbench_version=__version__,
        created=now(),
        command=list(options.command),
        seed=options.seed,
        environment=environment_of(info),
        model={name: value for name, value in asdict(info).items() if name not in ("device", "precision")},
        evaluations=[],
    )
    check_record(result, f"what model {info.ref} says of itself")
    return result


def environment_of(info: ModelInfo) -> dict[str, Any]:
    """Return what the numbers of a run may depend on beside the model and the data."""
    environment: dict[str, Any] = {
        "device": info.device,
        "precision": info.precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }
    for package in ("torch", "open-clip-torch", "transformers", "numpy", "pillow", "scipy"):
        try:
            environment[package.removesuffix("-torch").replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    return environment


def now() -> str:
    """Return the time as a result has it: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def empty_record(request: Request, task: Task, embedder: Embedder) -> EvaluationRecord:
    """Return the record of an evaluation before its data are read: task and parameters, and the name of the data."""
    own = "no data" if embedder.dataset is None else embedder.dataset.id
    return EvaluationRecord(
        task=request.task,
        task_version=task.version,
        params=_parameters(task),
        dataset=DatasetRecord(id=request.data or own),
        status="ok",
        question=getattr(task, "question", ""),
        scoring=getattr(task, "scoring", ""),
    )


def _parameters(task: Task) -> dict[str, Any]:
    """Return the fields of a task; one that is an object says what is to be recorded of it."""
    values = {each.name: getattr(task, each.name) for each in fields(task)}  # type: ignore[arg-type]
    return {name: value.record() if hasattr(value, "record") else value for name, value in values.items()}


def dataset_record(dataset: Dataset, digests: list[str]) -> DatasetRecord:
    """Return the record of data, with their fingerprints.

    Args:
        digests: content hashes of all images.
    """
    n, sample = len(dataset), "image" if len(dataset.images) else "group"
    if dataset.judgements is not None:
        n, sample = len(dataset.judgements.documents.ids), "document"
    return DatasetRecord(
        id=dataset.id,
        revision=dataset.revision,
        split=dataset.split,
        n_samples=n,
        sample=sample,
        fingerprint=dataset.fingerprint(digests),
        unordered_fingerprint=dataset.unordered_fingerprint(digests),
        has_ids=dataset.has_ids,
        cite=dataset.cite,
    )


def describe(request: Request, embedder: Embedder, datasets: Datasets) -> EvaluationRecord:
    """Return the record of an evaluation with task, parameters and data, as ``measure`` would make it, without a number.

    Data that cannot be had have no fingerprint in it.
    """
    empty = empty_record(request, build_task(request), embedder)
    try:
        dataset = datasets.to_score(request, embedder)
        return replace(empty, dataset=dataset_record(dataset, embedder.digests(dataset.images)))
    except ClipbenchError:
        return empty


def with_answer(
    record: EvaluationRecord, evaluation: Evaluation, sliced: Sliced, measured: Measured, embedder: Embedder
) -> EvaluationRecord:
    """Return a record that has its numbers with slices, notes and the words of the answer, and with published values."""
    dataset = measured.dataset
    return replace(
        record,
        question=evaluation.question or record.question,
        scoring=evaluation.scoring or record.scoring,
        metrics=with_published(record.metrics, measured),
        subsets={**evaluation.subsets, **dataset.subsets},
        slices=slices_with_published(sliced.records, measured),
        notes=[
            *dataset.notes,
            *embedder.image_notes(dataset.images),
            *evaluation.notes,
            *sliced.notes,
            *embedder.notes,
        ],
    )


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
    asked = {request.name: request for request in requests if request.main}
    if not any(name in records for name in asked):
        return None
    scores = [_score(request, records.get(name)) for name, request in asked.items()]
    parts = [_names(request, records.get(name)) for name, request in asked.items()]
    metric = _mean(scores, title=f"Average over {counted(len(scores), 'data set')} ({PurePath(suite).stem})")
    if published_for is not None and all(map(_is_as_published, asked.values(), scores)):
        metric = published_average(metric, parts, published_for)
    return AverageRecord(suite=PurePath(suite).stem, metric=metric, parts=parts)


class _Score(NamedTuple):
    """The score of a data set: one metric, or the mean of several."""

    value: float
    bounds: tuple[float, float] | None
    metrics: list[Metric]


def _names(request: Request, record: EvaluationRecord | None) -> list[str]:
    name = request.name if record is None else record.name
    return [f"{name}{'' if main.startswith('{') else '/'}{main}" for main in request.main]


def _score(request: Request, record: EvaluationRecord | None) -> _Score | str:
    """Return a data set's score with its bounds, or why it has none."""
    if record is None or record.status != "ok":
        return f"{request.name} {UNMEASURED}"
    found = {str(name): metric for name, metric in metrics_of(record)}
    metrics = []
    for main, name in zip(request.main, _names(request, record), strict=True):
        if name not in found:
            known = [each.removeprefix(record.name).removeprefix("/") for each in found]
            return f"{record.name} has no metric {main}: {did_you_mean(main, known)}"
        metrics.append(found[name])
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(values) < len(metrics):
        return next(f"{request.name}: {metric.reason}" for metric in metrics if metric.value is None)
    bounds = [(metric.low, metric.high) for metric in metrics if metric.low is not None and metric.high is not None]
    mean_bounds = tuple(np.mean(bounds, axis=0).tolist()) if len(bounds) == len(values) else None
    return _Score(float(np.mean(values)), mean_bounds, metrics)


def _is_as_published(request: Request, score: _Score | str) -> bool:
    """Return whether a score may enter an average that is compared: of all data, and beside the table's, where it has one."""
    if isinstance(score, str) or request.limit is not None or request.params or request.data_options:
        return False
    is_alone = len(request.main) == 1 and not request.main[0].startswith("{")
    return not is_alone or any(each.source == OPEN_CLIP for each in score.metrics[0].published)


def _mean(scores: Sequence[_Score | str], title: str) -> Metric:
    """Return the mean of the scores of all data sets."""
    measured = [score for score in scores if isinstance(score, _Score)]
    metric = Metric(value=None, n=len(measured), higher_is_better=True, title=title, is_headline=True)
    if len(measured) < len(scores):
        reasons = sorted(
            (score for score in scores if isinstance(score, str)), key=lambda each: each.endswith(UNMEASURED)
        )
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        reason = f"{len(measured)} of {len(scores)} data sets have a score, so there is no average"
        return replace(metric, reason=f"{reason}: {'; '.join(reasons[:3])}{more}")
    of_scores = [each for score in measured for each in score.metrics]
    units = sorted({each.unit for each in of_scores})
    if units != ["fraction"]:
        return replace(metric, reason=f"scores in {' and '.join(units)} have no average")
    if not all(each.higher_is_better for each in of_scores):
        return replace(metric, reason="scores of which not all are better where they are higher have no average")
    values = [score.value for score in measured]
    bounds = [score.bounds for score in measured if score.bounds is not None]
    metric = replace(metric, value=float(np.mean(values)))
    if len(bounds) < len(values):
        return replace(metric, reason="no interval: a data set's score has none")
    are_shares = all(SHARES[0] <= value <= SHARES[1] for value in values)
    interval = mean_of_independent(values, bounds).clipped(SHARES if are_shares else None)
    return replace(metric, low=interval.low, high=interval.high, method=interval.method)

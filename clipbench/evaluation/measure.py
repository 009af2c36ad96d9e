"""Measuring: one task on one data set with a model's vectors, recorded whether it goes well or not, and a suite's
average.
"""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, get_args

import numpy as np

from clipbench import __version__
from clipbench.data import Dataset
from clipbench.errors import FOREIGN, ClipbenchError, MachineError, Unavailable, bug_summary, did_you_mean, error_kind
from clipbench.evaluation.datasets import Datasets, check_data, explaining_missing
from clipbench.evaluation.persist import kept_rows, write_images, write_tables
from clipbench.evaluation.plan import Request, RunOptions, build_task
from clipbench.evaluation.published import MTEB, Measured, published_average, slices_with_published, with_published
from clipbench.evaluation.slices import Sliced, slices_of
from clipbench.evaluation.task import Evaluation, Task, evaluate
from clipbench.models.protocol import COUNT_NAMES, Counts, Embedder, ModelEmbedder, ModelInfo, capability
from clipbench.results.metric_name import full_name, is_of_slice
from clipbench.results.numbers import counted
from clipbench.results.record import (
    AverageRecord,
    DatasetRecord,
    EvaluationRecord,
    Metric,
    Result,
    Status,
    finite,
    finite_curve,
)
from clipbench.results.reference_models import OPEN_CLIP
from clipbench.results.run import check_record, metrics_of
from clipbench.results.sample_inputs import NUMERIC_KINDS, InputKind, Inputs
from clipbench.seeding import generator
from clipbench.stats.intervals import SHARES, mean_of_independent


def measure(
    request: Request, embedder: Embedder, datasets: Datasets, folder: Path, *, stem: str, options: RunOptions
) -> EvaluationRecord:
    """Return the record of one evaluation, its tables, arrays and small images written under ``folder``.

    Args:
        stem: name of its files, without folder and suffix.

    Raises:
        MachineError: the store or the folder cannot be written to, or a worker was killed.
    """
    task = build_task(request)
    empty = empty_record(request, task, embedder)
    encoder = capability(embedder, ModelEmbedder)
    start, before = time.monotonic(), encoder.counts() if encoder else None
    try:
        check_record(empty, "the task")
    except ClipbenchError as error:
        return replace(empty, params={}, status="failed", reason=str(error))
    try:
        dataset = datasets.dataset_for(request, embedder)
        check_data(task, dataset)
        digests = embedder.digests(dataset.gallery)
        load = time.monotonic() - start
        main_data = dataset.whole()
        with explaining_missing(main_data):
            evaluation = evaluate(task, main_data, embedder, generator(options.seed, request.task, dataset.id))
        record = with_numbers(replace(empty, dataset=dataset_record(dataset, digests)), evaluation, options.seed)
        sliced = slices_of(task, dataset, embedder, evaluation, options.seed)
        evaluation = replace(evaluation, samples={**evaluation.samples, **sliced.columns})
        n_images = len(dataset.images)
        digest_of_image = dict(zip(dataset.image_ids, digests[:n_images], strict=True))
        main_digests = [*(digest_of_image[id] for id in main_data.image_ids), *digests[n_images:]]
        main_digests += embedder.digests(evaluation.more_images)
        measured = Measured(
            model=embedder.info,
            task=task,
            dataset=dataset,
            options=frozenset({**options.data.options, **request.data_options}),
            may_be_part=options.may_be_part or request.limit is not None,
        )
        record = with_answer(record, evaluation, sliced, measured, embedder)
        record = replace(
            record,
            files=write_tables(evaluation, sliced, main_digests, folder, stem=stem, options=options),
            has_all_rows=kept_rows(evaluation.vectors, options) is None,
        )
        write_images(evaluation, main_data, main_digests, folder / "thumbs", options=options)
        check_record(record, "the evaluation")  # else all of them would be lost with it in the end
    except MachineError:
        raise
    except ClipbenchError as error:
        status: Status = "unavailable" if isinstance(error, Unavailable) else "failed"
        return replace(empty, status=status, reason=str(error), error=error_kind(error))
    except FOREIGN as error:  # a bug in a plug-in must not cost the other evaluations
        if options.raise_bugs:
            raise
        return replace(empty, status="failed", reason=bug_summary(error, "the task or the model"))
    after = encoder.counts() if encoder else None
    counts = Counts() if before is None or after is None else after - before
    seconds = _seconds(counts, load, time.monotonic() - start, loading_encodes=options.skip_bad_images)
    return replace(record, seconds=seconds, encoded={} if after is None else counts.n_items())


def with_numbers(record: EvaluationRecord, evaluation: Evaluation, seed: int) -> EvaluationRecord:
    """Return the record with metrics, baselines and curves, each drawn from a generator of its own."""
    names = (record.task, record.dataset.id)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is undefined, with its reason
        metrics = {
            name: finite(measure.metric(evaluation.samples, generator(seed, *names, name)))
            for name, measure in evaluation.measures.items()
        }
        # The name of the generator is not the name of the part: intervals depend on it.
        baselines = {
            name: finite(measure.metric(evaluation.samples, generator(seed, *names, "control", name)))
            for name, measure in evaluation.baselines.items()
        }
    curves = {name: finite_curve(curve) for name, curve in evaluation.curves.items()}
    return replace(record, metrics=metrics, baselines=baselines, curves=curves)


def _seconds(counts: Counts, load: float, total: float, *, loading_encodes: bool) -> dict[str, float]:
    encoding = {
        f"encode_{COUNT_NAMES.get(modality, modality)}": counts.seconds(modality) for modality in counts.modalities
    }
    # Where unreadable images are skipped, they are encoded while loading, to find out which they are.
    rest = total - sum(encoding.values()) + counts.seconds_ahead()
    encoding_while_loading = encoding["encode_images"] - counts.seconds_ahead() if loading_encodes else 0.0
    load = min(rest, max(0.0, load - encoding_while_loading))
    seconds = {"load": load, **encoding, "score": rest - load}
    return {name: round(value, 3) for name, value in seconds.items()}


UNMEASURED = "was not measured"
Score = list[Metric] | str
"""The metrics whose mean is the score of a data set, or the reason why it has none."""


def empty_result(info: ModelInfo, options: RunOptions) -> Result:
    """Return the result of a run before anything is measured.

    Raises:
        ClipbenchError: the description of the model cannot be recorded.
    """
    model = {name: value for name, value in asdict(info).items() if name not in ("device", "precision")}
    model["embed_dim"] = info.embed_dim or None  # predictions have no vectors
    notes = list(info.notes)
    for modality, roles in info.roles.items():
        encodings = [f"as {role} '{encoding}'" for role, encoding in roles.items()]
        notes.append(f"{modality} is encoded by its role: {', '.join(encodings)}")
    model["notes"] = notes
    result = Result(
        clipbench_version=__version__,
        created=now(),
        command=list(options.command),
        seed=options.seed,
        environment=environment_of(info),
        model=model,
        evaluations=[],
    )
    check_record(result, f"what model {info.ref} says of itself")
    return result


def environment_of(info: ModelInfo) -> dict[str, Any]:
    """Return the device, precision, platform and package versions that the numbers of a run may depend on."""
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
    """Return the record of an evaluation before its data is read: task and parameters, and the name of the data."""
    dataset_id = "no data" if embedder.dataset is None else embedder.dataset.id
    params = {}
    for parameter in fields(task):  # type: ignore[arg-type]
        value = getattr(task, parameter.name)
        params[parameter.name] = value.record() if hasattr(value, "record") else value
    return EvaluationRecord(
        task=request.task,
        task_version=task.version,
        params=params,
        dataset=DatasetRecord(id=request.data or dataset_id),
        status="ok",
        question=task.question,
        scoring=task.scoring,
    )


def dataset_record(dataset: Dataset, digests: list[str]) -> DatasetRecord:
    """Return the record of a data set, with the content hashes of its gallery as ``digests``."""
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
        licence=dataset.licence,
    )


def describe(request: Request, embedder: Embedder, datasets: Datasets) -> EvaluationRecord:
    """Return the record that ``measure`` would make, without numbers, and without a fingerprint if data is missing."""
    empty = empty_record(request, build_task(request), embedder)
    try:
        dataset = datasets.dataset_for(request, embedder)
        return replace(empty, dataset=dataset_record(dataset, embedder.digests(dataset.gallery)))
    except ClipbenchError:
        return empty


def with_answer(
    record: EvaluationRecord, evaluation: Evaluation, sliced: Sliced, measured: Measured, embedder: Embedder
) -> EvaluationRecord:
    """Add slices, notes, titles and published values to a record that has its numbers."""
    dataset = measured.dataset
    return replace(
        record,
        question=evaluation.question or record.question,
        scoring=evaluation.scoring or record.scoring,
        metrics=with_published(record.metrics, measured),
        subsets={**evaluation.subsets, **dataset.subsets},
        accuracy=evaluation.accuracy,
        formats=evaluation.formats,
        inputs=_checked_inputs(evaluation),
        vectors=list(evaluation.vectors),
        slices=slices_with_published(sliced.records, measured),
        notes=[
            *dataset.notes,
            *embedder.image_notes(dataset.gallery),
            *evaluation.notes,
            *sliced.notes,
            *embedder.notes,
        ],
    )


def _checked_inputs(evaluation: Evaluation) -> Inputs:
    """Return the declared inputs.

    Raises:
        ClipbenchError: the samples have no such column, or it has texts for numbers, or the kind is unknown.
    """
    for name, kind in evaluation.inputs.items():
        if kind not in get_args(InputKind):
            raise ClipbenchError(f"input '{name}' has the kind '{kind}': {did_you_mean(kind, get_args(InputKind))}")
        if name not in evaluation.samples:
            raise ClipbenchError(f"input '{name}' is not a column of the samples: declare only columns")
        if kind in NUMERIC_KINDS and evaluation.samples[name].dtype.kind not in "fiub":
            raise ClipbenchError(f"input '{name}' has texts: expected numbers for the kind '{kind}'")
    return evaluation.inputs


def average_of(
    suite: str, requests: Sequence[Request], records: Mapping[str, EvaluationRecord], *, published_for: ModelInfo | None
) -> AverageRecord | None:
    """Return the average over the data sets of a suite, or None if it has none, or none of them was requested.

    A data set whose score is the mean of several metrics, such as recall in both directions, counts once; their
    intervals are averaged too, as they are of the same images. Data sets are taken to be independent.

    Args:
        suite: its name, or its file.
        requests: all requests of the suite.
        records: records by the name of their request.
        published_for: the model, None if no published average applies to the run.
    """
    main_requests = {request.name: request for request in requests if request.main}
    if not any(name in records for name in main_requests):
        return None
    scores = [_score(request, records.get(name)) for name, request in main_requests.items()]
    parts = [_metric_names(request, records.get(name)) for name, request in main_requests.items()]
    metric = _mean(scores, title=f"Average over {counted(len(scores), 'data set')} ({PurePath(suite).stem})")
    if published_for is not None and all(map(_is_as_published, main_requests.values(), scores)):
        metric = published_average(metric, parts, published_for)
    return AverageRecord(suite=PurePath(suite).stem, metric=metric, parts=parts)


def _metric_names(request: Request, record: EvaluationRecord | None) -> list[str]:
    name = request.name if record is None else record.name
    return [full_name(name, main) for main in request.main]


def _score(request: Request, record: EvaluationRecord | None) -> Score:
    if record is None or record.status != "ok":
        return f"{request.name} {UNMEASURED}"
    metrics_by_name = {str(name): metric for name, metric in metrics_of(record)}
    for main, name in zip(request.main, _metric_names(request, record), strict=True):
        if name not in metrics_by_name:
            metric_names = [name.in_evaluation for name, _ in metrics_of(record)]
            return f"{record.name} has no metric {main}: {did_you_mean(main, metric_names)}"
    metrics = [metrics_by_name[name] for name in _metric_names(request, record)]
    return next((f"{request.name}: {metric.reason}" for metric in metrics if metric.value is None), metrics)


def _is_as_published(request: Request, score: Score) -> bool:
    """Return whether a score may enter a published average: it covers all data and has a published value, if single."""
    if isinstance(score, str) or request.limit is not None or request.params or request.data_options:
        return False
    is_single = len(request.main) == 1 and not is_of_slice(request.main[0])
    return not is_single or any(published.source.startswith((OPEN_CLIP, MTEB)) for published in score[0].published)


def _mean(scores: Sequence[Score], title: str) -> Metric:
    measured = [score for score in scores if not isinstance(score, str)]
    average = Metric(value=None, n=len(measured), higher_is_better=True, title=title, is_headline=True)
    reasons = sorted(
        (score for score in scores if isinstance(score, str)), key=lambda reason: reason.endswith(UNMEASURED)
    )
    if reasons:
        remainder = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        reason = f"an average needs all {len(scores)} data sets, and {len(measured)} have a score"
        return replace(average, reason=f"{reason}: {'; '.join(reasons[:3])}{remainder}")
    metrics = list(chain.from_iterable(measured))
    units = sorted({metric.unit for metric in metrics})
    if units != ["fraction"]:
        return replace(average, reason=f"scores in {' and '.join(units)} have no average")
    if not all(metric.higher_is_better for metric in metrics):
        return replace(average, reason="scores have no average unless higher is better for all of them")
    table = []
    for score in measured:
        table.append(np.array([(metric.value, metric.low, metric.high) for metric in score], float))
    values = [float(np.mean(score[:, 0])) for score in table]
    average = replace(average, value=float(np.mean(values)))
    if any(np.isnan(score).any() for score in table):
        return replace(average, reason="no interval: a data set's score has none")
    bounds = []
    for values_and_bounds in table:
        low, high = values_and_bounds[:, 1:].mean(axis=0)
        bounds.append((float(low), float(high)))
    are_shares = all(SHARES[0] <= value <= SHARES[1] for value in values)
    interval = mean_of_independent(values, bounds).clipped(SHARES if are_shares else None)
    return replace(average, low=interval.low, high=interval.high, method=interval.method)

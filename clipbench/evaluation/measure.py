"""Measuring: one task on one data set with a model's vectors, recorded whether it goes well or not."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipbench.data import Dataset
from clipbench.errors import FOREIGN, ClipbenchError, MachineError, MissingPart, Unavailable, bug, kind
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.persist import keeps_all_rows, write_images, write_slices, write_tables
from clipbench.evaluation.plan import Request, RunOptions, build_task
from clipbench.evaluation.published import Measured
from clipbench.evaluation.record import dataset_record, empty_record, with_answer
from clipbench.evaluation.slices import slices_of
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.protocol import COUNT_NAMES, Counts, Embedder
from clipbench.results.record import EvaluationRecord, Status, finite, finite_curve
from clipbench.results.run import check_record
from clipbench.seeding import generator


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
    start, before = time.monotonic(), embedder.counts()
    try:
        check_record(empty, "the task")
    except ClipbenchError as error:
        return replace(empty, params={}, status="failed", reason=str(error))
    try:
        dataset = datasets.to_score(request, embedder)
        digests = embedder.digests(dataset.images)
        load = time.monotonic() - start
        whole = dataset.whole()
        evaluation = _answer(task, whole, embedder, generator(options.seed, request.task, dataset.id))
        record = replace(empty, dataset=dataset_record(dataset, digests))
        record = with_numbers(record, evaluation, options.seed)
        sliced = slices_of(task, dataset, embedder, evaluation, options.seed)
        evaluation = replace(evaluation, samples={**evaluation.samples, **sliced.columns})
        of_image = dict(zip(dataset.image_ids, digests, strict=True))
        of_whole = [of_image[id] for id in whole.image_ids]
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
            files={
                **write_tables(evaluation, of_whole, folder, stem=stem, options=options),
                **write_slices(sliced, folder, stem=stem),
            },
            has_all_rows=keeps_all_rows(evaluation.vectors, options),
        )
        write_images(evaluation, whole, of_whole, folder / "thumbs", options=options)
        check_record(record, "the evaluation")  # else all of them would be lost with it in the end
    except MachineError:
        raise
    except ClipbenchError as error:
        status: Status = "unavailable" if isinstance(error, Unavailable) else "failed"
        return replace(empty, status=status, reason=str(error), error=kind(error))
    except FOREIGN as error:  # a bug in a plug-in must not cost the other evaluations
        if options.raise_bugs:
            raise
        return replace(empty, status="failed", reason=bug(error, "the task or the model"))
    after = embedder.counts()
    counts = Counts() if before is None or after is None else after - before
    seconds = _seconds(counts, load, time.monotonic() - start, loading_encodes=options.skip_bad_images)
    return replace(record, seconds=seconds, encoded={} if after is None else counts.n_items())


def _answer(task: Task, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
    """Return what a task answers; the reason why a part of the data is missing goes with the error."""
    try:
        return task.evaluate(dataset, embedder, rng)
    except MissingPart as error:
        if error.part not in dataset.missing:
            raise
        raise Unavailable(f"{error}: {dataset.missing[error.part]}") from error


def with_numbers(record: EvaluationRecord, evaluation: Evaluation, seed: int) -> EvaluationRecord:
    """Return the record with metrics, controls and curves; each number has a generator of its own, so none moves another."""
    names = (record.task, record.dataset.id)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is undefined, with its reason
        metrics = {
            name: finite(each.metric(evaluation.samples, generator(seed, *names, name)))
            for name, each in evaluation.measures.items()
        }
        controls = {
            name: finite(each.metric(evaluation.samples, generator(seed, *names, "control", name)))
            for name, each in evaluation.controls.items()
        }
    curves = {name: finite_curve(curve) for name, curve in evaluation.curves.items()}
    return replace(record, metrics=metrics, controls=controls, curves=curves)


def _seconds(counts: Counts, load: float, total: float, *, loading_encodes: bool) -> dict[str, float]:
    encoding = {f"encode_{COUNT_NAMES.get(each, each)}": counts.seconds(each) for each in counts.modalities}
    # Where unreadable images are skipped, they are encoded while loading, to find out which they are.
    rest = total - sum(encoding.values()) + counts.seconds_ahead()
    within = encoding["encode_images"] - counts.seconds_ahead() if loading_encodes else 0.0
    load = min(rest, max(0.0, load - within))
    seconds = {"load": load, **encoding, "score": rest - load}
    return {name: round(value, 3) for name, value in seconds.items()}

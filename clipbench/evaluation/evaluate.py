"""One evaluation: a task on a data set with a model's vectors, recorded whether it goes well or not."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from clipbench.data import DataOptions, Dataset
from clipbench.errors import FOREIGN, ClipbenchError, MachineError, MissingPart, Unavailable, bug, kind
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import Request, build_task, task_class
from clipbench.evaluation.published import Measured, slices_with_published, with_published
from clipbench.evaluation.slices import Sliced, slices_of
from clipbench.evaluation.task import UNRECORDED_DEFAULT, Evaluation, Task, VersionedByData
from clipbench.evaluation.thumbnails import SMALL, SMALL_SIDE, gallery_rows, is_image, point_rows, write_thumbnails
from clipbench.files import atomic_file
from clipbench.models.protocol import Counts, Embedder, image_notes
from clipbench.models.store import default_root
from clipbench.results.record import DatasetRecord, EvaluationRecord, Status, finite, finite_curve
from clipbench.results.run import check_record
from clipbench.seeding import generator

KEPT_ROWS = 2_000
"""Rows of vectors that a run keeps for figures, unless it keeps all."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that every evaluation of a run shares."""

    seed: int = 0
    limit: int | None = None
    """Score a seeded, stratified subset of this many images; a note in the result says so."""
    skip_bad_images: bool = False
    """Leave unreadable images out, and list them, instead of failing the evaluation."""
    keep_arrays: bool = False
    """Keep all vectors in the run, not a sample."""
    n_thumbnails: int = 200
    """Images of an evaluation that small copies are kept of, for galleries; ``thumbnails.POINTS_EACH`` says how many
    for points."""
    raise_bugs: bool = False
    """Let a bug of a plug-in out with its traceback, instead of recording its evaluation as failed."""
    data: DataOptions = field(default_factory=DataOptions)
    command: Sequence[str] = ()
    """The command line, for the record."""

    @property
    def may_be_part(self) -> bool:
        """True where what is measured may be part of the data, which no published value is of."""
        return self.limit is not None or self.skip_bad_images or self.data.allow_partial


def evaluate(
    request: Request, embedder: Embedder, datasets: Datasets, folder: Path, *, stem: str, options: RunOptions
) -> EvaluationRecord:
    """Return the record of one evaluation, its tables and arrays written under ``folder``.

    Args:
        stem: name of its files, without folder and suffix.

    Raises:
        MachineError: the store or the folder cannot be written to, or a worker was killed.
    """
    task = build_task(request)
    empty = _empty_record(request, task, embedder)
    start, before = time.monotonic(), embedder.counts()
    try:
        check_record(empty, "the task")
    except ClipbenchError as error:
        return replace(empty, params={}, status="failed", reason=str(error))
    try:
        dataset = _load(request, embedder, datasets, options)
        digests = embedder.digests(dataset.images)
        load = time.monotonic() - start
        whole = dataset.whole()
        evaluation = _answer(task, whole, embedder, generator(options.seed, request.task, dataset.id))
        record = replace(
            _with_data(empty, task, dataset, digests),
            question=evaluation.question or empty.question,
            scoring=evaluation.scoring or empty.scoring,
        )
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
        record = replace(
            record,
            timings=dict(evaluation.timings),
            metrics=with_published(record.metrics, measured),
            subsets={**evaluation.subsets, **dataset.subsets},
            slices=slices_with_published(sliced.records, measured),
            notes=[
                *dataset.notes,
                *image_notes(embedder, dataset.images),
                *evaluation.notes,
                *sliced.notes,
                *embedder.notes,
            ],
            files={
                **_write_files(evaluation, of_whole, folder, stem=stem, options=options),
                **_write_slices(sliced, folder, stem=stem),
            },
            has_all_rows=len(_kept_rows(evaluation.vectors, options)) == _n_rows(evaluation.vectors),
        )
        _write_images(evaluation, whole, of_whole, folder / "thumbs", options=options)
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


def describe(request: Request, embedder: Embedder, datasets: Datasets, options: RunOptions) -> EvaluationRecord:
    """Return the record of an evaluation with task, parameters and data, without a number: what ``evaluate`` would measure.

    Data that cannot be had have no fingerprint in it.
    """
    task = build_task(request)
    empty = _empty_record(request, task, embedder)
    try:
        dataset = _load(request, embedder, datasets, options)
        return _with_data(empty, task, dataset, embedder.digests(dataset.images))
    except ClipbenchError:
        return empty


def _empty_record(request: Request, task: Task, embedder: Embedder) -> EvaluationRecord:
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
    """Return the fields of a task, without an ``UNRECORDED_DEFAULT``; one that is an object says what is to be recorded of it."""
    values = {
        item.name: getattr(task, item.name)
        for item in fields(task)  # type: ignore[arg-type]
        if not (UNRECORDED_DEFAULT.items() <= item.metadata.items() and getattr(task, item.name) == item.default)
    }
    return {name: value.record() if hasattr(value, "record") else value for name, value in values.items()}


def _load(request: Request, embedder: Embedder, datasets: Datasets, options: RunOptions) -> Dataset:
    """Return the data to score, without unreadable images where those may be skipped."""
    if embedder.dataset is None:
        dataset = datasets.get(request)
        return embedder.readable(dataset) if options.skip_bad_images else dataset
    if request.data is not None:
        raise Unavailable(
            f"an embeddings file holds vectors of its own samples only: ask for {request.task} without @DATA"
        )
    if getattr(task_class(request.task), "needs_model", False):
        raise Unavailable(f"{request.task} encodes further images or texts: it needs the model itself, not vectors")
    return datasets.cut(embedder.dataset)


def _with_data(empty: EvaluationRecord, task: Task, dataset: Dataset, digests: list[str]) -> EvaluationRecord:
    """Return the record with what the data say: their identity, and which version of the task they are asked in."""
    version = task.version_on(dataset.whole()) if isinstance(task, VersionedByData) else task.version
    return replace(empty, task_version=version, dataset=_dataset_record(dataset, digests))


def _dataset_record(dataset: Dataset, digests: list[str]) -> DatasetRecord:
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


def _answer(task: Task, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
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
            name: finite(measure.metric(evaluation.samples, generator(seed, *names, name)))
            for name, measure in evaluation.measures.items()
        }
        controls = {
            name: finite(measure.metric(evaluation.samples, generator(seed, *names, "control", name)))
            for name, measure in evaluation.controls.items()
        }
    curves = {name: finite_curve(curve) for name, curve in evaluation.curves.items()}
    return replace(record, metrics=metrics, controls=controls, curves=curves)


def _seconds(counts: Counts, load: float, total: float, *, loading_encodes: bool) -> dict[str, float]:
    encoding = {f"encode_{modality}": counts.seconds(modality) for modality in counts.modalities}
    # Where unreadable images are skipped, they are encoded while loading, to find out which they are.
    rest = total - sum(encoding.values()) + counts.seconds_ahead()
    within = encoding["encode_images"] - counts.seconds_ahead() if loading_encodes else 0.0
    load = min(rest, max(0.0, load - within))
    seconds = {"load": load, **encoding, "score": rest - load}
    return {name: round(value, 3) for name, value in seconds.items()}


def _write_files(
    evaluation: Evaluation, digests: list[str], folder: Path, *, stem: str, options: RunOptions
) -> dict[str, str]:
    import pandas

    hashes = np.array([*digests, ""], object)
    files = {"samples": f"samples/{stem}.parquet"}
    if len(evaluation.neighbours.get("sample_id", ())):
        files["neighbours"] = f"samples/{stem}-neighbours.parquet"
    for name, path in files.items():
        # A row of the data set means nothing to a reader of results: its content hash does. -1, no image, is the last.
        columns = {
            column: hashes[values] if is_image(column, values) else values
            for column, values in getattr(evaluation, name).items()
        }
        with atomic_file(folder / path) as file:
            pandas.DataFrame(columns).to_parquet(file, index=False)
    kept_rows = _kept_rows(evaluation.vectors, options)
    vectors = {  # all rows are taken as they are: indexing would copy them
        name: rows if len(kept_rows) == len(rows) else rows[kept_rows] for name, rows in evaluation.vectors.items()
    }
    arrays = {**evaluation.arrays, **vectors}
    if arrays:
        files["arrays"] = f"arrays/{stem}.npz"
        with atomic_file(folder / files["arrays"]) as file:
            np.savez(file, allow_pickle=False, **arrays)
    return files


def _write_slices(sliced: Sliced, folder: Path, *, stem: str) -> dict[str, str]:
    """Write the samples of groups of captions: those of all slices of a grouping in one table."""
    import pandas

    files = {}
    for number, (name, tables) in enumerate(sliced.tables.items()):
        files[f"slices/{name}"] = file = f"samples/{stem}-slices-{number}.parquet"
        columns = [
            {column: values for column, values in table.items() if not is_image(column, values)} for table in tables
        ]
        with atomic_file(folder / file) as opened:
            pandas.concat([pandas.DataFrame(table) for table in columns]).to_parquet(opened, index=False)
    return files


def _kept_rows(vectors: Mapping[str, np.ndarray], options: RunOptions) -> Int64[np.ndarray, " n_kept"]:
    """Return a seeded sample of the rows of vectors, the same of each array, or all of them."""
    n_rows = _n_rows(vectors)
    if options.keep_arrays or n_rows <= KEPT_ROWS:
        return np.arange(n_rows)
    return np.sort(generator(options.seed, "vectors").choice(n_rows, KEPT_ROWS, replace=False))


def _n_rows(vectors: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(vectors.values()), ()))


def _write_images(
    evaluation: Evaluation, dataset: Dataset, digests: list[str], folder: Path, *, options: RunOptions
) -> None:
    samples, budget = evaluation.samples, options.n_thumbnails
    n_images = len(dataset.images)
    has_points = bool(evaluation.vectors) and n_images > budget
    if has_points:
        points = point_rows(samples, _kept_rows(evaluation.vectors, options), budget)
        write_thumbnails(dataset, digests, points.tolist(), folder / SMALL, kept=default_root(), side=SMALL_SIDE)
    chosen = gallery_rows(samples, n_images, budget)
    if not has_points or any(name.endswith("margin") for name in samples):
        write_thumbnails(dataset, digests, chosen, folder, kept=default_root())
    if budget and "image" in evaluation.neighbours:
        near = sorted(set(evaluation.neighbours["image"].tolist()) - {-1, *chosen})
        write_thumbnails(dataset, digests, near, folder / SMALL, kept=default_root(), side=SMALL_SIDE)

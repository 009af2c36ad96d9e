"""One evaluation: a task on a data set with a model's vectors, recorded whether it goes well or not."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from clipbench.data import Dataset, without
from clipbench.errors import ClipbenchError, MissingPart, Unavailable
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.published import Measured, with_published
from clipbench.evaluation.task import Evaluation, Task
from clipbench.evaluation.thumbnails import SMALL, SMALL_SIDE, gallery_rows, is_image, point_rows, write_thumbnails
from clipbench.models.embedder import StoreEmbedder, Tally
from clipbench.models.embeddings import EmbeddingsFile
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.seeding import generator

KEPT_ROWS = 2_000
"""Rows of vectors that a run keeps for figures, unless it keeps all."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What holds for every evaluation of a run."""

    seed: int = 0
    skip_bad_images: bool = False
    """Leave unreadable images out, and list them, instead of failing the evaluation."""
    keep_arrays: bool = False
    n_thumbnails: int = 200
    """Images of an evaluation that small copies are kept of, for galleries; ``thumbnails.POINTS_EACH`` says how many
    for points."""
    raise_bugs: bool = False
    """Let a bug of a plug-in out with its traceback, instead of recording its evaluation as failed."""


@runtime_checkable
class DatasetSource(Protocol):
    """Where the data of a request come from."""

    def get(self, request: Request) -> Dataset: ...

    def cut(self, dataset: Dataset) -> Dataset: ...


def evaluate(
    request: Request,
    embedder: StoreEmbedder | EmbeddingsFile,
    datasets: DatasetSource,
    folder: Path,
    *,
    stem: str,
    options: EvaluateOptions,
) -> EvaluationRecord:
    """Return the record of one evaluation, its tables and arrays written under ``folder``.

    Args:
        stem: name of its files, without folder and suffix.
    """
    task = build_task(request)
    record = _blank(request, task, embedder)
    try:
        work = _Work(task, embedder, options)
        return work.measured(record, work.dataset(request, datasets), folder, stem)
    except Unavailable as error:
        return replace(record, status="unavailable", reason=str(error))
    except ClipbenchError as error:
        return replace(record, status="failed", reason=str(error))
    except Exception as error:  # a bug in a plug-in must not cost the other evaluations
        if options.raise_bugs:
            raise
        reason = f"{type(error).__name__}: {error} (a bug in the task or the model: --traceback shows where)"
        return replace(record, status="failed", reason=reason)


def unmeasured(
    request: Request, embedder: StoreEmbedder | EmbeddingsFile, datasets: DatasetSource, options: EvaluateOptions
) -> EvaluationRecord:
    """Return the record of an evaluation with task, parameters and data, as ``evaluate`` would begin it.

    Data that cannot be had have no fingerprint in it.
    """
    task = build_task(request)
    record = _blank(request, task, embedder)
    try:
        dataset = _Work(task, embedder, options).dataset(request, datasets)
        return replace(record, dataset=_dataset_record(dataset, _digests(embedder, dataset)))
    except ClipbenchError:
        return record


def _blank(request: Request, task: Task, embedder: StoreEmbedder | EmbeddingsFile) -> EvaluationRecord:
    own = embedder.dataset.id if isinstance(embedder, EmbeddingsFile) else "no data"
    return EvaluationRecord(
        task=request.task,
        task_version=task.version,
        params=_parameters(task),
        dataset=DatasetRecord(id=request.data or own),
        status="ok",
        question=getattr(task, "question", ""),
        scoring=getattr(task, "scoring", ""),
    )


class _Work:
    """The steps of one evaluation, with a clock running."""

    def __init__(self, task: Task, embedder: StoreEmbedder | EmbeddingsFile, options: EvaluateOptions) -> None:
        self.task = task
        self.embedder = embedder
        self.options = options
        self.start = time.monotonic()
        self.tally = Tally()
        if isinstance(embedder, StoreEmbedder):
            embedder.tally = self.tally

    def dataset(self, request: Request, datasets: DatasetSource) -> Dataset:
        """Return the data to score, without unreadable images where those may be skipped."""
        if isinstance(self.embedder, EmbeddingsFile):
            if request.data is not None:
                raise Unavailable(
                    f"an embeddings file holds vectors of its own samples only: ask for {request.task} without @DATA"
                )
            return datasets.cut(self.embedder.dataset)
        dataset = datasets.get(request)
        if self.options.skip_bad_images:
            readable = self.embedder.readable(dataset.images)
            if not readable.all():
                dataset = _without(dataset, readable, self.embedder.bad_images)
        return dataset

    def measured(self, record: EvaluationRecord, dataset: Dataset, folder: Path, stem: str) -> EvaluationRecord:
        """Return the record with all numbers."""
        digests = _digests(self.embedder, dataset)
        record = replace(record, dataset=_dataset_record(dataset, digests))
        loaded = time.monotonic()
        names = (record.task, dataset.id)
        found = self._found(dataset, generator(self.options.seed, *names))
        measured = Measured(model=self.embedder.info, task=self.task, dataset=dataset)
        metrics = with_published(self._metrics(found, *names), measured)
        controls = {
            name: measure.metric(found.samples, generator(self.options.seed, *names, "control", name))
            for name, measure in found.controls.items()
        }
        files = _write_files(found, digests, folder, stem=stem, options=self.options)
        if isinstance(self.embedder, StoreEmbedder):
            _write_images(found, dataset, digests, folder / "thumbs", options=self.options)
        return replace(
            record,
            seconds=self._seconds(loaded),
            encoded=self.tally.counts() if isinstance(self.embedder, StoreEmbedder) else {},
            metrics=metrics,
            curves=found.curves,
            controls=controls,
            subsets={**found.subsets, **dataset.subsets},
            notes=[*dataset.notes, *found.notes, *_store_notes(self.embedder)],
            files=files,
        )

    def _found(self, dataset: Dataset, rng: np.random.Generator) -> Evaluation:
        try:
            return self.task.evaluate(dataset, self.embedder, rng)
        except MissingPart as error:
            if isinstance(self.embedder, EmbeddingsFile) and error.part in self.embedder.missing:
                raise Unavailable(f"{error}: the file lacks {self.embedder.missing[error.part]}") from error
            raise

    def _metrics(self, found: Evaluation, *names: str) -> dict[str, Metric]:
        return {
            name: measure.metric(found.samples, generator(self.options.seed, *names, name))
            for name, measure in found.measures.items()
        }

    def _seconds(self, loaded: float) -> dict[str, float]:
        images, texts = self.tally.seconds["images"], self.tally.seconds["texts"]
        # Where unreadable images are skipped, they are encoded while loading, to find out which they are.
        rest = time.monotonic() - self.start - images - texts
        load = min(rest, max(0.0, loaded - self.start - (images if self.options.skip_bad_images else 0.0)))
        seconds = {"load": load, "encode_images": images, "encode_texts": texts, "score": rest - load}
        return {name: round(value, 3) for name, value in seconds.items()}


def _parameters(task: Task) -> dict[str, Any]:
    """Return the fields of a task; one that is an object says what is to be recorded of it."""
    values = {item.name: getattr(task, item.name) for item in fields(task)}  # type: ignore[arg-type]
    return {name: value.record() if hasattr(value, "record") else value for name, value in values.items()}


def _dataset_record(dataset: Dataset, digests: list[str]) -> DatasetRecord:
    return DatasetRecord(
        id=dataset.id,
        revision=dataset.revision,
        split=dataset.split,
        n_samples=len(dataset),
        fingerprint=dataset.fingerprint(digests),
        cite=dataset.cite,
    )


def _digests(embedder: StoreEmbedder | EmbeddingsFile, dataset: Dataset) -> list[str]:
    if isinstance(embedder, StoreEmbedder):
        return embedder.digests(dataset.images)
    return [image.digest() for image in dataset.images]


def _without(dataset: Dataset, readable: np.ndarray, causes: Mapping[str, str]) -> Dataset:
    """Leave unreadable images out, with a note that counts them and one for each."""
    bad = np.flatnonzero(~readable)
    kept = without(dataset, bad)
    each = [f"skipped {dataset.images[row].name}: {causes[dataset.images[row].name]}" for row in bad.tolist()]
    return replace(kept, notes=(*kept.notes, *each))


def _store_notes(embedder: StoreEmbedder | EmbeddingsFile) -> list[str]:
    n_damaged = embedder.n_damaged_chunks if isinstance(embedder, StoreEmbedder) else 0
    if not n_damaged:
        return []
    return [f"{n_damaged} damaged files of the store were removed, and their vectors encoded again"]


def _write_files(
    found: Evaluation, digests: list[str], folder: Path, *, stem: str, options: EvaluateOptions
) -> dict[str, str]:
    import pandas

    hashes = np.array([*digests, ""], object)
    # A row of the data set means nothing to a reader of results: its content hash does. -1, no image, is the last.
    columns = {name: hashes[values] if is_image(name, values) else values for name, values in found.samples.items()}
    files = {"samples": f"samples/{stem}.parquet"}
    (folder / "samples").mkdir(exist_ok=True)
    pandas.DataFrame(columns).to_parquet(folder / files["samples"], index=False)
    arrays = {**found.arrays, **_kept(found.vectors, options)}
    if arrays:
        files["arrays"] = f"arrays/{stem}.npz"
        (folder / "arrays").mkdir(exist_ok=True)
        np.savez(folder / files["arrays"], allow_pickle=False, **arrays)
    return files


def _kept(vectors: Mapping[str, np.ndarray], options: EvaluateOptions) -> dict[str, np.ndarray]:
    """Return a seeded sample of the rows, the same of each array, or all of them."""
    chosen = _kept_rows(vectors, options)
    n_rows = len(next(iter(vectors.values()), ()))
    return dict(vectors) if len(chosen) == n_rows else {name: rows[chosen] for name, rows in vectors.items()}


def _kept_rows(vectors: Mapping[str, np.ndarray], options: EvaluateOptions) -> Int64[np.ndarray, " n_kept"]:
    n_rows = len(next(iter(vectors.values()), ()))
    if options.keep_arrays or n_rows <= KEPT_ROWS:
        return np.arange(n_rows)
    return np.sort(generator(options.seed, "vectors").choice(n_rows, KEPT_ROWS, replace=False))


def _write_images(
    found: Evaluation, dataset: Dataset, digests: list[str], folder: Path, *, options: EvaluateOptions
) -> None:
    budget = options.n_thumbnails
    if found.vectors and len(dataset) > budget:
        points = point_rows(found.samples, _kept_rows(found.vectors, options), budget)
        write_thumbnails(dataset, digests, points.tolist(), folder / SMALL, side=SMALL_SIDE)
    else:
        write_thumbnails(dataset, digests, gallery_rows(found.samples, len(dataset), budget), folder)

"""Data, metrics and records for the tests that look at one part of them; the rest is as little as there can be."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench import __version__
from clipbench.data import Dataset
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.testing import INFO, NamedImage, StubEmbedder

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "clip_embeddings" / "modality_gap"


def record_of(task: str = "zero-shot", /, data: str | DatasetRecord = "birds", **parts: Any) -> EvaluationRecord:
    """Return the record of an evaluation that is ok, unless the parts say otherwise."""
    dataset = DatasetRecord(id=data) if isinstance(data, str) else data
    facts = {"task": task, "task_version": 1, "params": {}, "dataset": dataset, "status": "ok"}
    return EvaluationRecord(**{**facts, **parts})


def result_of(*evaluations: EvaluationRecord, **parts: Any) -> Result:
    """Return the result of a run of these evaluations."""
    fields = {"clipbench_version": __version__, "created": "2026-01-02T00:00:00+00:00", "command": ["clipbench", "run"]}
    facts = {**fields, "seed": 0, "environment": {}, "model": {"ref": "m"}, "evaluations": list(evaluations)}
    return Result(**{**facts, **parts})


def data_of(images: Iterable[str], **parts: Any) -> Dataset:
    """Return data of images that are called so."""
    names = list(images)
    return Dataset(**{"id": "by hand", "images": [NamedImage(name) for name in names], "image_ids": names, **parts})


def metrics_of(evaluation: Evaluation) -> dict[str, Metric]:
    """Return each metric and baseline of an evaluation."""
    measures = {**evaluation.measures, **evaluation.baselines}
    return {name: measure.metric(evaluation.samples, np.random.default_rng(0)) for name, measure in measures.items()}


def evaluate_task(task: Task, data: Dataset, embedder: Embedder) -> tuple[Evaluation, dict[str, Metric]]:
    """Return the evaluation of a task on data that it accepts, and each of its metrics and baselines."""
    task.check(data)
    evaluation = task.evaluate(data, embedder, np.random.default_rng(0))
    return evaluation, metrics_of(evaluation)


def assert_at_chance(metrics: Mapping[str, Metric], *but: str) -> None:
    """Assert that all metrics that have a level of chance are at it, and that there are some."""
    at_chance = {name: metric for name, metric in metrics.items() if metric.chance is not None and name not in but}
    assert at_chance
    for name, metric in at_chance.items():
        assert metric.value == pytest.approx(metric.chance, abs=1e-12), name


class ConstantEmbedder(StubEmbedder):
    """An embedder with the same vector for all."""

    info = INFO

    def images(self, images: Sequence[Any]) -> np.ndarray:
        return np.ones((len(images), INFO.embed_dim), np.float32)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), INFO.embed_dim), np.float32)


def unit_vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Return random vectors of length 1."""
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32))


def tied_vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Return vectors of few different values: scores of both signs with many exact ties, and some duplicates."""
    return (np.random.default_rng(seed).integers(-2, 3, (n, dim)) / 4).astype(np.float32)


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    import resource  # Windows has none

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def modules_after(code: str) -> set[str]:
    """Return the modules that a process of its own has imported after some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint()\nprint(*sys.modules)"]
    return {*subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1].split()}


def published_vectors(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of 500 images and texts that Liang et al. published."""
    if not PUBLISHED.exists():
        pytest.skip("published CLIP vectors are not at ../shared/data")
    images, texts = np.load(PUBLISHED / f"{name}.npy")
    return unit(images), unit(texts)

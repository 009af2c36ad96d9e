"""Data, metrics and records for the tests that look at one part of them; the rest is as little as there can be."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench import __version__
from clipbench.data import Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.similarity import unit
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.testing import NamedImage

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "clip_embeddings" / "modality_gap"


def record_of(task: str = "zero-shot", /, data: str | DatasetRecord = "birds", **parts: Any) -> EvaluationRecord:
    """Return the record of an evaluation that is ok, unless the parts say otherwise."""
    dataset = DatasetRecord(id=data) if isinstance(data, str) else data
    facts = {"task": task, "task_version": 1, "params": {}, "dataset": dataset, "status": "ok"}
    return EvaluationRecord(**{**facts, **parts})


def result_of(*evaluations: EvaluationRecord, **parts: Any) -> Result:
    """Return the result of a run of these evaluations."""
    made = {"clipbench_version": __version__, "created": "2026-01-02T00:00:00+00:00", "command": ["clipbench", "run"]}
    facts = {**made, "seed": 0, "environment": {}, "model": {"ref": "m"}, "evaluations": list(evaluations)}
    return Result(**{**facts, **parts})


def data_of(images: Iterable[str], **parts: Any) -> Dataset:
    """Return data of images that are called so."""
    names = list(images)
    return Dataset(**{"id": "by hand", "images": [NamedImage(name) for name in names], "image_ids": names, **parts})


def metrics_of(found: Evaluation) -> dict[str, Metric]:
    """Return each metric and control of an evaluation."""
    measures = {**found.measures, **found.controls}
    return {name: measure.metric(found.samples, np.random.default_rng(0)) for name, measure in measures.items()}


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

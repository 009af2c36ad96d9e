"""Runs that hold all that a format may trip over: undefined values, no intervals, what was not measured, hostile
names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, PublishedValue
from clipbench.results.run import Run, read_run, write_result
from tests.made import record_of, result_of

HOSTILE = 'a|b & 50% of $x_{1}$ #1 \\cmd ~^<b>"q"</b> [c] *d* _e_ -- \u202eשלום 🐈 =1+1\nnext: - line'
MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run folder and reads it back."""

    def make(name: str = "run", *, evaluations: list[EvaluationRecord] | None = None, **changes: Any) -> Run:
        model = {
            "ref": "vit-b-32",
            "id": "open_clip:ViT-B-32-quickgelu/openai",
            "fingerprint": "f00",
            "n_parameters": 7,
        }
        environment = {"device": "cpu", "precision": "fp32", "python": "3.11", "torch": "2.9"}
        facts = {"clipbench_version": "9.1", "created": "2026-11-24T12:00:00+00:00", "seed": 3, "model": model}
        vectors = standard() if evaluations is None else evaluations
        (tmp_path / name).mkdir()
        write_result(result_of(*vectors, **{"environment": environment, **facts, **changes}), tmp_path / name)
        return read_run(tmp_path / name)

    return make


@pytest.fixture
def record() -> Record:
    """Return the function that makes an evaluation."""
    return evaluation


@pytest.fixture
def hostile() -> str:
    """Return a text with what Markdown, TeX, YAML and a terminal may trip over."""
    return HOSTILE


def standard() -> list[EvaluationRecord]:
    """Return one evaluation with numbers of every kind, one without a data set, and one of a task of our own."""
    acc1 = Metric(value=0.625, low=0.5, high=0.75, n=1000, chance=0.1, higher_is_better=True, method="Wilson")
    published = PublishedValue(value=0.63, protocol="p", source="s", is_secondary=False, agrees=True)
    zero_shot = {
        "acc1": Metric(**{**vars(acc1), "published": [published]}),
        "acc5": Metric(value=None, reason="of only 3 classes", higher_is_better=True),
        "ece": Metric(value=0.07, n=1000, reason="no interval: too few samples", higher_is_better=False),
    }
    gap = {
        "gap": Metric(value=0.8514, low=0.8445, high=0.8582, n=500, unit="distance", method="delta method"),
        "drop": Metric(value=-0.1, low=-0.2, high=0.05, n=500, unit="difference", method="bootstrap"),
    }
    return [
        evaluation(
            "zero-shot", "imagenet", zero_shot, baselines={"tie_rate": Metric(value=0.0, n=1000)}, notes=["500 classes"]
        ),
        evaluation("retrieval", "coco", {}, status="unavailable", reason="no folder coco: clipbench data get coco"),
        evaluation("modality-gap", "scenes", gap),
    ]


def evaluation(task: str, data: str, metrics: dict[str, Metric], **parts: Any) -> EvaluationRecord:
    """Return the record of an evaluation."""
    dataset = DatasetRecord(id=data, revision="1", split="test", n_samples=1000, fingerprint="da7a")
    return record_of(task, dataset, **{"params": {"ks": [1, 5]}, "metrics": metrics, **parts})

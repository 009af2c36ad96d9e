"""Speed and memory of the towers in a run: of what was encoded in it, and of nothing else."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipbench.models.encoding import embedder as embedders
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.facts.costs import (
    NONE_ENCODED,
    NOT_ALONE,
    NOT_ASKED,
    NOT_TORCH,
    TOGETHER,
    tower_costs,
)
from clipbench.models.protocol import Call, Counts
from clipbench.results.record import TowerRecord
from clipbench.testing import NamedImage, ToyModel

TEXTS = ["a cat", "a dog", "two words more"]


class Counted(StoreEmbedder):
    """An embedder with calls of known length."""

    calls: tuple[Call, ...] = ()

    def counts(self) -> Counts:
        return Counts(self.calls)


def items(first: int, last: int) -> frozenset[bytes]:
    return frozenset(bytes([each]) for each in range(first, last))


def test_speed_is_that_of_the_items_encoded_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Counted(ToyModel(), tmp_path)
    before = Counts((Call("text", encoded=items(0, 9), seconds=1.0),))
    embedder.calls = (
        *before.calls,
        Call("text", stored=items(0, 9)),
        Call("text", encoded=items(9, 19), seconds=3.0, seconds_loading=1.0),
        Call("text", encoded=items(20, 30), seconds=2.0),
        Call("image", encoded=items(0, 50), seconds=0.1, is_ahead=True),
        Call("audio", encoded=items(0, 8), seconds=4.0),
    )
    with monkeypatch.context() as patch:
        patch.setattr("clipbench.models.facts.costs.current", lambda: SimpleNamespace(n=3))
        found = tower_costs(embedder, before)
    assert (found["text"].n_encoded, found["text"].items_per_second, found["text"].n_processes) == (20, 5.0, 3)
    assert (found["image"].n_encoded, found["image"].n_timed, found["image"].items_per_second) == (50, 0, None)
    assert found["image"].reasons["items_per_second"] == "they were encoded together with those of other models"
    assert found["audio"].items_per_second == 2.0 and found["audio"].flops is None
    embedder.calls = (*embedder.calls, Call("image", encoded=items(50, 53), seconds=1.0))
    later = tower_costs(embedder, before)["image"]
    assert (later.n_encoded, later.n_timed, later.items_per_second) == (53, 3, 3.0)


def test_nothing_encoded_has_no_speed_and_a_cpu_no_memory(tmp_path: Path) -> None:
    StoreEmbedder(ToyModel(), tmp_path).texts(TEXTS)
    embedder = StoreEmbedder(ToyModel(), tmp_path)
    embedder.texts(TEXTS)
    found = tower_costs(embedder, None)
    assert found["text"].n_encoded == 0 and found["text"].items_per_second is None
    assert found["text"].reasons["items_per_second"] == "all vectors came from the cache"
    assert found["image"].reasons["items_per_second"] == "none was asked for"
    assert found["text"].peak_bytes is None and "CUDA" in found["text"].reasons["peak_bytes"]
    embedder.images([NamedImage("a")])
    assert tower_costs(embedder, None)["image"].items_per_second


class OnCuda(ToyModel):
    """A model that says it is on a CUDA device, which this machine need not have."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, device="cuda:1")


def test_memory_of_a_cuda_device_is_the_most_of_each_modality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"now": 0, "peak": 0}

    class Using(OnCuda):
        def encode_images(self, images: Any) -> Any:
            used["peak"] = max(used["peak"], 700 * len(images))
            return super().encode_images(images)

        def encode_texts(self, texts: Any) -> Any:
            used["peak"] = max(used["peak"], 200)
            return super().encode_texts(texts)

    def reset(device: str) -> None:
        assert device == "cuda:1"
        used["peak"] = 100  # the weights

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: used["peak"])
    embedder = StoreEmbedder(Using(), tmp_path, batch_size=2, workers=0)
    embedder.watch_memory()
    embedder.images([NamedImage(str(each)) for each in range(3)])
    embedder.texts(TEXTS)
    embedder.images([NamedImage("another")])
    found = tower_costs(embedder, None)
    assert (found["image"].peak_bytes, found["text"].peak_bytes) == (1400, 200)


def test_memory_on_cuda_is_absent_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak_reason(embedder: StoreEmbedder, name: str) -> str:
        return tower_costs(embedder, None)[name].reasons["peak_bytes"]

    def refuse(device: str) -> None:
        raise AssertionError("it is not ours to reset")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", refuse)
    shared = StoreEmbedder(OnCuda(), tmp_path, workers=0)
    shared.texts(TEXTS)
    assert peak_reason(shared, "text") == NOT_ALONE
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    alone = StoreEmbedder(OnCuda(), tmp_path, workers=0)
    alone.watch_memory()
    alone.texts(TEXTS)
    assert (peak_reason(alone, "text"), peak_reason(alone, "image")) == (NONE_ENCODED, NOT_ASKED)
    alone.texts(["another"])
    assert peak_reason(alone, "text") == NOT_TORCH
    ahead = Counted(OnCuda(), tmp_path)
    ahead.watch_memory()
    ahead.calls = (Call("image", encoded=items(0, 5), seconds=1.0, is_ahead=True),)
    assert peak_reason(ahead, "image") == TOGETHER


def test_sizes_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []

    def count(model: object) -> dict[str, TowerRecord]:
        counted.append(model)
        return {"image": TowerRecord(flops=3), "text": TowerRecord(flops=5)}

    monkeypatch.setattr(embedders, "tower_sizes", count)
    embedder = StoreEmbedder(ToyModel(), tmp_path)
    assert counted == []
    for _ in range(2):
        assert [each.flops for each in tower_costs(embedder, None).values()] == [3, 5]
    assert len(counted) == 1

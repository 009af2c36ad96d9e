"""Batches on a device: how many at a time, what happens where its memory runs out, and what is fetched when.

There is no accelerator here: the CPU plays one. Its copies and its waiting are replaced, and the rest is the code that
runs on CUDA.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipbench.data.dataset import Dataset
from clipbench.errors import ModelError
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.towers.text_tower import TextTower
from clipbench.models.towers.torch_model import (
    BatchSize,
    Placement,
    Tensors,
    TorchModel,
    encode_batches,
    pixel_tower,
    resolve_placement,
)
from clipbench.testing import INFO, count_words
from tests.clipbench.models.test_embedder import images

CPU = torch.device("cpu")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Placement:
    """Return a placement that takes the CPU for a device that computes by itself."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    return Placement(
        device=CPU,
        dtype=torch.float32,
        batch_size=64,
        images=BatchSize(64),
        texts=BatchSize(3),
        is_ahead=True,
    )


class Tower:
    """Sums of each row; it remembers how many rows came at a time, and refuses more than it has memory for."""

    def __init__(self, most: int = 10_000, error: str = "CUDA out of memory. Tried to allocate 2 GiB") -> None:
        self.most, self.error = most, error
        self.n_rows: list[int] = []

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        pixels = inputs["pixels"]
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError(self.error) if "CUDA" in self.error else RuntimeError(self.error)
        self.n_rows.append(len(pixels))
        assert torch.is_inference_mode_enabled()
        return pixels.double().sum(dim=1, keepdim=True)


def batches(*n_rows: int) -> list[dict[str, torch.Tensor]]:
    rows = torch.arange(2 * sum(n_rows), dtype=torch.float32).reshape(-1, 2)
    return [{"pixels": part} for part in torch.split(rows, list(n_rows))]


def check_vectors(values: list[np.ndarray], given: list[dict[str, torch.Tensor]]) -> None:
    assert [array.dtype for array in values] == [np.float32] * len(given)
    for vectors, batch in zip(values, given, strict=True):
        np.testing.assert_array_equal(vectors, batch["pixels"].sum(dim=1, keepdim=True).numpy())


def test_without_an_accelerator_or_with_a_given_number_every_batch_goes_by_itself_and_is_there_at_once() -> None:
    for given, expected in ((None, 64), (5, 5)):
        placement = resolve_placement("cpu", "fp32", given)
        assert (placement.batch_size, placement.images.n, placement.texts.n, placement.is_ahead) == (
            expected,
            expected,
            expected,
            False,
        )

    tower, given_batches, taken = Tower(), batches(64, 63, 64, 10), []

    def loaded() -> Iterator[dict[str, torch.Tensor]]:
        for batch in given_batches:
            taken.append(len(batch["pixels"]))
            yield batch

    placement, result = resolve_placement("cpu", "fp32", None), []
    for vectors in encode_batches(tower, loaded(), placement):
        result.append(vectors)
        assert len(taken) == len(result), "no batch waits for the next"
    check_vectors(result, given_batches)
    assert tower.n_rows == [64, 63, 64, 10]


def test_on_an_accelerator_vectors_are_fetched_once_for_several_batches(
    ahead: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(0, 100, 0.3))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    given, taken, taken_at = batches(*[64] * 7), 0, []

    def loaded() -> Iterator[dict[str, torch.Tensor]]:
        nonlocal taken
        for batch in given:
            taken += 1
            yield batch

    result = []
    for vectors in encode_batches(Tower(), loaded(), ahead):
        result.append(vectors)
        taken_at.append(taken)
    check_vectors(result, given)
    assert taken_at == [4, 4, 4, 4, 7, 7, 7], "a fetch after more than a second, and one in the end"


@pytest.mark.parametrize(
    "error",
    ["CUDA out of memory. Tried to allocate 2 GiB", "[enforce fail] DefaultCPUAllocator: can't allocate memory"],
)
def test_where_the_memory_runs_out_half_as_many_are_taken_from_there_on_and_it_is_said(
    ahead: Placement, error: str
) -> None:
    for place in (ahead, replace(ahead, images=BatchSize(64), is_ahead=False)):
        tower, given = Tower(most=20, error=error), batches(64, 64, 5)
        check_vectors(list(encode_batches(tower, given, place)), given)
        assert tower.n_rows == [16] * 8 + [5]
        assert place.images.note("images", CPU) == (
            "the memory of cpu was not enough for 64 images at a time: they were encoded 16 at a time (batch_size=16)",
        )


def test_a_tower_without_memory_for_one_is_an_error_and_other_errors_are_passed_on(ahead: Placement) -> None:
    with pytest.raises(ModelError, match=r"memory of cpu is not enough for one image .* precision='bf16'"):
        list(encode_batches(Tower(most=0), batches(64), ahead))
    with pytest.raises(RuntimeError, match="shapes"):
        list(encode_batches(Tower(most=0, error="shapes do not fit"), batches(64), ahead))


def test_numbers_go_to_the_device_in_its_precision_and_whole_ones_as_they_are(ahead: Placement) -> None:
    sent = replace(ahead, dtype=torch.bfloat16).send({"pixels": torch.ones(1, 2), "grid": torch.ones(1, 2).long()})
    assert [value.dtype for value in sent.values()] == [torch.bfloat16, torch.int64]


def text_tower(most: int) -> TextTower:
    def encode(tokens: Tensors) -> torch.Tensor:
        if len(tokens["ids"]) > most:
            raise torch.OutOfMemoryError("out of memory")
        return tokens["ids"].sum(dim=1, keepdim=True)

    return TextTower(
        tokenize=lambda texts: {"ids": torch.tensor([[len(text), 0] for text in texts])},
        encode=encode,
        lengths=lambda tokens: tokens["ids"][:, 0],
        count=count_words,
    )


def test_texts_are_halved_likewise_and_come_in_their_order(ahead: Placement) -> None:
    texts = ["aaaa", "a", "aa", "aaaaaaa", "aaa", "aaaaa", "aaaaaa"]
    model = replace(torch_model(ahead), text_tower=text_tower(most=2), info=replace(INFO, embed_dim=1))
    vectors = model.encode_texts(texts)
    assert vectors[:, 0].tolist() == [4, 1, 2, 7, 3, 5, 6]
    assert "was not enough for 3 texts at a time" in str(ahead.texts.note("texts", CPU))


class Failing(torch.nn.Module):
    """A module whose memory is enough for two images."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pixels.flatten(1)[:, :32] + 1


def torch_model(placement: Placement) -> TorchModel:
    module = Failing()
    return TorchModel(
        info=INFO,
        preprocess=lambda image: np.asarray(image.convert("RGB").resize((8, 8)), np.float32).transpose(2, 0, 1),
        image_tower=pixel_tower(module.encode_image),
        text_tower=text_tower(most=9),
        placement=placement,
        module=module,
    )


def test_a_run_goes_on_with_fewer_images_at_a_time_and_its_notes_say_so(ahead: Placement, tmp_path: Path) -> None:
    refs = images(tmp_path, 9)
    (tmp_path / "4.png").write_bytes(b"no image")
    (tmp_path / "5.png").write_bytes(b"no image either")
    readable = [ref for number, ref in enumerate(refs) if number not in (4, 5)]
    dataset = Dataset(id="some", images=refs, image_ids=[ref.name for ref in refs])
    alone = replace(ahead, images=BatchSize(2), is_ahead=False)
    for name, place, is_said in (("ahead", ahead, True), ("alone", alone, False)):
        embedder = StoreEmbedder(torch_model(replace(place, batch_size=2)), tmp_path / name, batch_size=2, workers=0)
        assert len(embedder.readable(dataset).images) == 7, "a batch without a readable image is none for the model"
        expected = [torch_model(alone).encode_images([ref.open()])[0] for ref in readable]
        np.testing.assert_array_equal(embedder.images(readable), np.stack(expected))
        assert any("was not enough for" in note for note in embedder.notes) == is_said

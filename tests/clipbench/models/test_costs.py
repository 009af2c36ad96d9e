"""Parameters and operations of the towers, against formulas worked by hand and published profiles; speed and memory of
a run.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from clipbench import torch_model
from clipbench.models.adapters import python
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.costs import (
    tower_costs,
    tower_sizes,
)
from clipbench.models.introspection.operations import count_operations
from clipbench.models.introspection.price import PriceTag, price_in_subprocess
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Call, Counts, Model
from clipbench.models.reference import load_model
from clipbench.results.record import PriceRecord
from clipbench.testing import NamedImage, ToyModel
from clipbench.training.clip.config import CONFIGS, ClipConfig, Tower


def blocks_flops(tower: Tower, n: int) -> int:
    """Operations of transformer blocks on n tokens: query, key, value and output, two products of attention, and the
    perceptron.
    """
    width = tower.width
    projections, perceptron = 2 * n * width * 4 * width, 2 * n * width * 8 * width
    return tower.layers * (projections + 2 * 2 * n * n * width + perceptron)


def image_flops(config: ClipConfig) -> int:
    n_patches, width = (config.image_size // config.patch_size) ** 2, config.vision.width
    patches = 2 * n_patches * 3 * config.patch_size**2 * width
    return patches + blocks_flops(config.vision, n_patches + 1) + 2 * width * config.embed_dim


def text_flops(config: ClipConfig) -> int:
    return blocks_flops(config.text, config.context_length) + 2 * config.text.width * config.embed_dim


def loaded(reference: str, **options: str) -> Model:
    model = load_model(reference, LoadOptions(device="cpu", options=options))
    assert isinstance(model, Model)
    return model


def test_operations_of_the_bundled_model_are_those_of_its_configuration() -> None:
    model, config = loaded("tiny"), CONFIGS["tiny"]
    image, text = tower_sizes(model)["image"], tower_sizes(model)["text"]
    assert (image.flops, text.flops) == (image_flops(config), text_flops(config))
    assert image.item == "an image of 64 x 64 pixels" and text.item == "a text of 77 tokens, padding included"
    assert image.n_parameters is not None and text.n_parameters is not None
    assert image.n_parameters + text.n_parameters + 1 == model.info.n_parameters  # the temperature is of no tower
    assert image.reasons == text.reasons == {}


def test_operations_by_hand_are_the_published_ones() -> None:
    """docs/model_profile.csv of open_clip: gigaflops of ViT-B-32, B-16 and L-14, a multiply-add as two."""
    published = {"ViT-B-32": (8.82, 5.96), "ViT-B-16": (35.13, 5.96), "ViT-L-14": (162.03, 13.3)}
    for name, (image, text) in published.items():
        assert image_flops(CONFIGS[name]) / 1e9 == pytest.approx(image, rel=2e-3)
        assert text_flops(CONFIGS[name]) / 1e9 == pytest.approx(text, rel=2e-3)


@pytest.mark.slow
def test_open_clip_s_own_profile() -> None:
    """Compare ViT-B-32 and RN50: millions of parameters and gigaflops of each tower."""
    published = {"ViT-B-32": (87.85, 8.82, 63.43, 5.96), "RN50": (38.32, 12.22, 63.69, 5.96)}
    for name, values in published.items():
        sizes = tower_sizes(loaded(f"open_clip:{name}/random"))
        result = [each for size in sizes.values() for each in (size.n_parameters or 0, size.flops or 0)]
        rounded = tuple(round(each / unit, 2) for each, unit in zip(result, (1e6, 1e9) * 2, strict=True))
        assert rounded == values


class Net(nn.Module):
    """Two small towers that share a projection; the text tower attends."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.tokens = nn.Linear(12, 8), nn.Embedding(10, 8)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.shared, self.unused = nn.Linear(8, 4, bias=False), nn.Linear(4, 4)

    def encode_image(self, pixels: Any) -> Any:
        return self.shared(self.pixels(pixels.flatten(1)))

    def encode_text(self, tokens: Any) -> Any:
        return self.shared(self.attend(self.tokens(tokens)).mean(dim=1))


def sizes_of(net: nn.Module) -> dict[str, Any]:
    model = torch_model(
        net, lambda image: np.zeros((3, 2, 2), np.float32), lambda texts: torch.ones(len(texts), 5).long()
    )
    return tower_sizes(python.wrap(model, "mine", batch_size=4))


def test_a_shared_part_counts_in_both_towers_and_an_unused_one_in_none() -> None:
    sizes = sizes_of(Net())
    assert sizes["image"].flops == 2 * 12 * 8 + 2 * 8 * 4
    assert sizes["image"].n_parameters == 12 * 8 + 8 + 32
    block = 2 * 5 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8) + 2 * 2 * 5 * 5 * 8
    assert sizes["text"].flops == block + 2 * 8 * 4
    assert sizes["text"].n_parameters == 80 + 32 + (8 * 24 + 24) + (64 + 8) + (8 * 16 + 16) + (16 * 8 + 8) + 4 * 8


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_attention_counts_whichever_kernel_computes_it(mode: Any) -> None:
    query, net = torch.randn(1, 2, 10, 8), nn.MultiheadAttention(16, 2, batch_first=True).eval()
    tokens = torch.randn(1, 10, 16)
    with mode(), count_operations() as direct:
        nn.functional.scaled_dot_product_attention(query, query, query)
    with mode(), count_operations() as fused:
        net(tokens, tokens, tokens, need_weights=False)
    attention = 2 * 2 * 2 * 10 * 10 * 8
    assert direct.flops == attention and direct.unknown is None
    assert fused.flops == attention + 2 * 10 * 16 * 4 * 16 and torch.backends.mha.get_fastpath_enabled()


def test_what_cannot_be_counted_is_absent_with_the_reason() -> None:
    class Recurrent(Net):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.LSTM(8, 8, batch_first=True)  # type: ignore[assignment]

        def encode_text(self, tokens: Any) -> Any:
            return self.shared(self.attend(self.tokens(tokens))[0].mean(dim=1))

        def encode_image(self, pixels: Any) -> Any:
            if torch._C._len_torch_dispatch_stack():
                raise RuntimeError("not in this mode")
            return super().encode_image(pixels)

    sizes = sizes_of(Recurrent())
    assert sizes["text"].flops is sizes["text"].n_parameters is None
    assert "whose number of operations is unknown" in sizes["text"].reasons["flops"]
    assert "not in this mode" in sizes["image"].reasons["flops"]


def test_a_model_of_which_nothing_is_shown_is_not_run() -> None:
    class Paid(ToyModel):
        def encode_images(self, images: Any) -> Any:
            raise AssertionError("it costs")

    sizes = tower_sizes(Paid())
    assert sizes["image"].flops is None and sizes["image"].reasons["flops"] == "the model does not show this tower"


def test_towers_of_a_pair_are_those_of_its_two_models() -> None:
    pair, tiny = tower_sizes(loaded("pair:tiny+tiny")), tower_sizes(loaded("tiny"))
    assert pair == tiny


def test_counting_leaves_vectors_as_they_are() -> None:
    model, image = loaded("tiny"), Image.new("RGB", (9, 9), (200, 10, 30))
    before = model.encode_images([image]), model.encode_texts(["a dog"])
    tower_sizes(model)
    after = model.encode_images([image]), model.encode_texts(["a dog"])
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


TEXTS = ["a cat", "a dog", "two words more"]


class Counted(StoreEmbedder):
    """An embedder with calls of known length."""

    calls: tuple[Call, ...] = ()

    def counts(self) -> Counts:
        return Counts(self.calls)


def items(first: int, last: int) -> frozenset[bytes]:
    return frozenset(bytes([index]) for index in range(first, last))


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
        patch.setattr("clipbench.models.introspection.costs.current_rounds", lambda: SimpleNamespace(n=3))
        costs = tower_costs(embedder, before)
    assert (costs["text"].n_encoded, costs["text"].items_per_second, costs["text"].n_processes) == (20, 5.0, 3)
    assert (costs["image"].n_encoded, costs["image"].n_timed, costs["image"].items_per_second) == (50, 0, None)
    assert costs["image"].reasons["items_per_second"] == "they were encoded together with the inputs of other models"
    assert costs["audio"].items_per_second == 2.0 and costs["audio"].flops is None
    embedder.calls = (*embedder.calls, Call("image", encoded=items(50, 53), seconds=1.0))
    later = tower_costs(embedder, before)["image"]
    assert (later.n_encoded, later.n_timed, later.items_per_second) == (53, 3, 3.0)


class Slow(ToyModel):
    """A model that takes a known time by its own clock: 10 ms a text, every tenth 90 ms; 20 ms a batch and 5 ms an
    image.
    """

    now, n_texts, most = 0.0, 0, 0

    def encode_texts(self, texts: Any) -> Any:
        self.n_texts += 1
        self.now += 0.09 if self.n_texts % 10 == 0 else 0.01
        return super().encode_texts(texts)

    def encode_images(self, images: Any) -> Any:
        self.most = max(self.most, len(images))
        self.now += 0.02 + 0.005 * len(images)
        return super().encode_images(images)


class TextsAlone(Slow):
    def encode_images(self, images: Any) -> Any:
        raise ValueError("no images here")


class Full(Slow):
    def encode_images(self, images: Any) -> Any:
        if len(images) > 16:
            raise RuntimeError("out of memory")
        return super().encode_images(images)


def price_of(model: Slow) -> PriceRecord:
    tag = PriceTag(clock=lambda: model.now)
    model.now += 3.0
    return tag.price(model)


@pytest.mark.parametrize(("model", "batch", "rate"), [(Slow(), 256, 256 / 1.3), (Full(), 16, 160.0)])
def test_a_price_is_the_time_that_a_model_takes_by_its_clock(
    model: Slow, batch: int, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipbench.models.introspection.price.SIZE", (64, 48))  # drawing photographs takes seconds
    price = price_of(model)
    assert (price.load_seconds, price.vector_bytes) == (3.0, 128)
    assert (price.text_p50, price.text_p95) == (0.01, 0.09)
    assert (price.image_p50, price.image_p95) == (0.025, 0.025)
    assert price.batch_size == batch and price.images_per_second == pytest.approx(rate, rel=1e-3)
    assert {"cpu", "threads", "device"} <= price.machine.keys() and price.reasons == {}
    assert (
        price.memory_bytes is not None and price.memory_bytes < 50e6
    )  # the photographs of the largest batch alone take 236 MB


def test_what_a_model_cannot_encode_has_no_price_and_a_reason() -> None:
    price = price_of(TextsAlone())
    assert price.text_p50 == 0.01 and price.image_p50 is price.images_per_second is price.batch_size is None
    assert all("no images here" in price.reasons[name] for name in ("image_p50", "image_p95", "images_per_second"))


@pytest.mark.slow
def test_a_price_alone_is_that_of_a_process_without_other_models() -> None:
    price = price_in_subprocess("tiny", LoadOptions(device="cpu"))
    assert price.vector_bytes == 512 and price.text_p50 and price.image_p50 and price.machine["device"] == "cpu"


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
    embedder.images([NamedImage(str(index)) for index in range(3)])
    embedder.texts(TEXTS)
    embedder.images([NamedImage("another")])
    costs = tower_costs(embedder, None)
    assert (costs["image"].peak_bytes, costs["text"].peak_bytes) == (1400, 200)

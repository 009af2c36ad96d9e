"""Torch modules: their mode, weights, scale and preprocessing, seen through the adapters that wrap them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import nn

from clipbench import torch_model
from clipbench.checks import behaviour, settings
from clipbench.checks.subject import CheckOutcome, Subject
from clipbench.models.adapters.python import wrap
from clipbench.models.encoding.embedder import StoreEmbedder

Examine = Callable[[Subject], CheckOutcome]


@pytest.fixture(scope="module")
def net(small_clip_folder: Path) -> Any:
    """A small CLIP of open_clip, as its own code builds it."""
    return open_clip.create_model(f"local-dir:{small_clip_folder}")


@pytest.fixture
def outcome(net: Any, tmp_path: Path) -> Callable[..., CheckOutcome]:
    """Return the function that examines the module, wrapped by hand with some settings of the user's own."""

    def examine(check: Examine, preprocess: dict[str, Any] | None = None, **options: Any) -> CheckOutcome:
        settings = open_clip.transform.PreprocessCfg(**{**net.visual.preprocess_cfg, **(preprocess or {})})
        transform = open_clip.transform.image_transform_v2(settings, is_train=False)
        scale = options.pop("logit_scale", net.logit_scale.exp())
        tokenizer = options.pop("tokenizer", open_clip.get_tokenizer("ViT-B-32"))
        model = torch_model(net, transform, tokenizer, logit_scale=scale, context_length=77, **options)
        return check(Subject(StoreEmbedder(wrap(model, "mine", batch_size=8), tmp_path, workers=0)))

    return examine


@pytest.mark.parametrize(
    ("preprocess", "seen"),
    [
        ({"mean": (0.5, 0.5, 0.5)}, "mean 0.5, not 0.481 0.458 0.408"),
        ({"std": (0.5, 0.5, 0.5)}, "std 0.5, not 0.269"),
        ({"resize_mode": "squash"}, "images squashed to a square, not the middle of an image cut out"),
        ({"interpolation": "bilinear"}, "bilinear interpolation, not bicubic"),
    ],
)
def test_a_preprocessing_that_is_not_the_checkpoint_s_is_named(
    preprocess: dict[str, Any], seen: str, outcome: Callable[..., CheckOutcome]
) -> None:
    result = outcome(settings.preprocessing, preprocess)
    assert result.status == "fault" and seen in result.seen and result.seen.count(";") == 0


def declared(net: Any) -> Any:
    from clipbench.models.introspection.modules import declared_preprocessing

    result = declared_preprocessing(net)
    return None if result is None else result[0]


def test_a_scale_that_the_library_does_not_apply_is_named(outcome: Callable[..., CheckOutcome]) -> None:
    result = outcome(settings.scale, logit_scale=100.0)
    assert result.status == "fault" and "differ from the library's own logits" in result.seen
    assert outcome(settings.scale, logit_bias=-5.0).status == "fault"


def test_weights_as_they_were_before_training_are_named(net: Any, outcome: Callable[..., CheckOutcome]) -> None:
    result = outcome(settings.weights)
    assert result.status == "fault" and "of the image tower and the text tower has the weights" in result.seen
    with torch.no_grad():
        net.visual.ln_post.weight += 0.01
    try:
        result = outcome(settings.weights)
        assert result.status == "fault" and "normalization of the text tower has" in result.seen
        with torch.no_grad():
            net.ln_final.bias += 0.01
        assert outcome(settings.weights).status == "ok"
    finally:
        nn.init.ones_(net.visual.ln_post.weight)
        nn.init.zeros_(net.ln_final.bias)


class Dropping:
    """A wrapper that forgets ``eval``."""

    def __init__(self) -> None:
        self.module = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5))  # wide: no vector loses all

    def encode_images(self, images: list[Any]) -> Any:
        return self.module(torch.tensor(np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])).float())

    def encode_texts(self, texts: list[str]) -> Any:
        return self.module(torch.tensor([[float(len(text)), 1.0, 2.0] for text in texts]))

    def internals(self) -> Any:
        from clipbench.models.protocol import Internals

        return Internals(module=self.module)


def test_a_module_in_training_mode_is_named(tmp_path: Path) -> None:
    model = Dropping()
    subject = Subject(StoreEmbedder(wrap(model, "dropping", batch_size=8), tmp_path, workers=0))
    result = behaviour.evaluation_mode(subject)
    assert (
        result.status == "fault"
        and "in training mode while the model encodes: 1 (1 of the module's parts)" in result.seen
    )
    assert behaviour.determinism(subject).status == "fault"
    model.module.eval()
    subject = Subject(StoreEmbedder(wrap(model, "dropping", batch_size=8), tmp_path, workers=0))
    assert behaviour.evaluation_mode(subject).status == "ok" and behaviour.determinism(subject).status == "ok"


def test_a_file_that_states_no_size_declares_no_resizing(tmp_path: Path) -> None:
    from transformers import CLIPConfig

    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    config = CLIPConfig()
    config._name_or_path = str(tmp_path)
    result = declared(SimpleNamespace(config=config))
    assert (result.mean, result.size, result.resize) == ((0.5, 0.5, 0.5), None, None)


def test_a_whole_processor_declares_its_images_and_a_tokenizer_alone_declares_none(tmp_path: Path) -> None:
    from transformers import CLIPConfig

    config = CLIPConfig()
    config._name_or_path = str(tmp_path)
    net = SimpleNamespace(config=config)
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert declared(net) is None
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.4, 0.4]}')
    assert declared(net).mean == (0.4, 0.4, 0.4)
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"image_mean": [0.5, 0.5, 0.5]}}')
    assert declared(net).mean == (0.5, 0.5, 0.5)


def test_images_that_are_reduced_below_the_model_s_size_are_named(net: Any, tmp_path: Path) -> None:
    side = net.visual.preprocess_cfg["size"]
    side = side if isinstance(side, int) else side[0]
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**net.visual.preprocess_cfg), is_train=False
    )

    def reduced(image: Image.Image) -> Any:
        return transform(image.resize((side // 2, side // 2)))

    for preprocess, status in ((transform, "ok"), (reduced, "fault")):
        model = torch_model(net, preprocess, open_clip.get_tokenizer("ViT-B-32"), context_length=77)
        result = settings.preprocessing(Subject(StoreEmbedder(wrap(model, "mine", batch_size=8), tmp_path, workers=0)))
        assert result.status == status, result
        assert ("reduced below" in result.seen) == (status == "fault")

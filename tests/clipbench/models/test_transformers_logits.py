"""transformers models of every family: scale, bias and cosines give the logits of the library's own forward pass."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from clipbench.errors import ModelError
from clipbench.models.adapters.transformers import FEATURES, _scale_and_bias, load
from clipbench.models.options import LoadOptions
from clipbench.models.towers.torch_model import scale_and_bias
from tests.clipbench.models import small_models

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
ENDS = {"eos_token_id": 513, "bos_token_id": 512, "pad_token_id": 513}
TEXT = {**SMALL, **ENDS, "vocab_size": 514, "max_position_embeddings": 12}
BERT = {**TEXT, "pad_token_id": 0}
ROBERTA = {**TEXT, "pad_token_id": 1, "max_position_embeddings": 80, "project_dim": 24}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
GROUPS = {"depths": [1, 1, 1], "num_group_tokens": [4, 4, 0], "num_output_groups": [4, 4, 0]}
EFFICIENT_NET = {"image_size": 32, "width_coefficient": 0.2, "depth_coefficient": 0.2, "hidden_dim": 24}
OPT = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 514, "word_embed_proj_dim": 32}  # fmt: skip


def pair(family: str, text: dict[str, Any] = TEXT, vision: dict[str, Any] = VISION, **others: Any) -> Any:
    """Return a model of random weights with a text and a vision tower."""
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision, **others)
    return getattr(transformers, f"{family}Model")(config)


def joined() -> Any:
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.CLIPVisionConfig(**VISION), transformers.BertConfig(**BERT), projection_dim=24
    )
    return transformers.VisionTextDualEncoderModel(config)


def flava() -> Any:
    config = transformers.FlavaConfig(
        text_config=BERT,
        image_config=VISION,
        multimodal_config=SMALL,
        projection_dim=24,
        hidden_size=32,
        init_codebook=False,
    )
    return transformers.FlavaModel(config)


SUPPORTED: dict[str, Callable[[], Any]] = {
    "aimv2": lambda: pair("Aimv2", projection_dim=24),
    "align": lambda: pair("Align", BERT, EFFICIENT_NET, projection_dim=64),
    "altclip": lambda: pair("AltCLIP", ROBERTA, projection_dim=24),
    "blip": lambda: pair("Blip", {**TEXT, "encoder_hidden_size": 32}, projection_dim=24),
    "chinese_clip": lambda: pair("ChineseCLIP", BERT, projection_dim=24),
    "clip": lambda: pair("CLIP", projection_dim=24),
    "clipseg": lambda: pair("CLIPSeg", projection_dim=24),
    "flava": flava,
    "groupvit": lambda: pair("GroupViT", vision=VISION | GROUPS, projection_dim=24, projection_intermediate_dim=32),
    "metaclip_2": lambda: pair("MetaClip2", projection_dim=24),
    "owlv2": lambda: pair("Owlv2", projection_dim=24),
    "owlvit": lambda: pair("OwlViT", projection_dim=24),
    "siglip": lambda: pair("Siglip"),
    "siglip2": lambda: pair("Siglip2", vision={**SMALL, "patch_size": 8, "num_patches": 16}),
    "vision-text-dual-encoder": joined,
}
"""Every model type of the library with both features methods, except those of ``REFUSED``."""
if hasattr(transformers, "Tipsv2Config"):  # from 5.14 on
    SUPPORTED["tipsv2"] = lambda: pair("Tipsv2")

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "clap": (
        lambda: transformers.ClapModel(
            transformers.ClapConfig(
                text_config=BERT,
                audio_config={
                    "hidden_size": 32,
                    "depths": [1],
                    "num_attention_heads": [2],
                    "patch_embeds_hidden_size": 32,
                },
            )
        ),
        (
            "is not supported, because a model of type 'clap' embeds sounds: "
            "wrap it as python:MODULE:FACTORY with encode_audio"
        ),
    ),
    "blip-2": (
        lambda: pair("Blip2", OPT, qformer_config={**TEXT, "encoder_hidden_size": 32}),
        "is not supported, because its Blip2Model has no logit_scale",
    ),
}

FULL = "the quick brown fox jumps over the lazy dog " * 22
"""More tokens than any context here."""


def save(folder: Path, module: Any) -> Path:
    small_models.randomize(module)
    set_scale(module, 200)
    module.save_pretrained(folder)
    small_models.letters_tokenizer(folder)
    if module.config.model_type == "siglip2":
        transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    else:
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)  # fmt: skip
    return folder


def set_scale(module: Any, scale: float) -> None:
    values = {"logit_scale": math.log(scale), "logit_bias": -12.5, "temperature": 1 / scale}
    for name, value in values.items():
        if hasattr(module, name):
            getattr(module, name).data.fill_(value)


COMMON = ("aimv2", "clip", "siglip", "siglip2")
"""Families that are tested always; the others with the slow tests."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(family, marks=() if family in COMMON else pytest.mark.slow) for family in SUPPORTED],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each family, with random weights and a scale of 200."""
    return save(tmp_path_factory.mktemp("family"), SUPPORTED[request.param]())


def library_logits(model: Any, folder: Path, texts: list[str], images: list[Any], length: int) -> np.ndarray:
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    if model.config.model_type.startswith("siglip"):  # trained without a mask: every token sees the padding
        del tokens["attention_mask"]
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
    with torch.no_grad():
        if model.config.model_type == "flava":  # its contrastive head belongs to the model for pretraining
            full_model = transformers.FlavaForPreTraining(model.config).eval()
            full_model.flava = model
            masked = {"input_ids_masked": tokens["input_ids"], "return_loss": False}
            return np.asarray(full_model(**tokens, **pixels, **masked).contrastive_logits_per_image)
        return np.asarray(model(**tokens, **pixels).logits_per_image)


def units(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_scaled_cosines_are_the_library_s_logits(folder: Path) -> None:
    texts, images = ["a photo of a cat", "dog", FULL], small_models.images()[:3]
    # attention written out, so that no mask gets lost
    library = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    model = load(str(folder), LoadOptions())
    length = model.info.context_length
    assert length is not None
    cosines = units(model.encode_images(images)) @ units(model.encode_texts(texts)).T

    assert (model.info.logit_scale, model.info.logit_bias) == _scale_and_bias(library, "")
    for scale in (200, 50, 0.3):  # above 100 and below 1 a clamp of the library would show
        set_scale(library, scale)
        ours, bias = _scale_and_bias(library, "")
        theirs = library_logits(library, folder, texts, images, length)
        np.testing.assert_allclose(ours * cosines + bias, theirs, atol=5e-6 * max(scale, 1))


def test_a_text_that_fills_the_context_gets_one_vector_alone_and_beside_a_short_one(folder: Path) -> None:
    model = load(str(folder), LoadOptions())

    alone, beside = model.encode_texts([FULL])[0], model.encode_texts([FULL, "dog"])[0]

    assert np.linalg.norm(alone - beside) < 1e-5 * np.linalg.norm(beside)


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_is_not_supported_is_refused_with_the_reason(family: str, tmp_path: Path) -> None:
    build, reason = REFUSED[family]
    folder = save(tmp_path, build())

    with pytest.raises(ModelError, match=reason):
        load(str(folder), LoadOptions())


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, pair("CLIP", {**TEXT, "vocab_size": 100}, projection_dim=24))

    with pytest.raises(ModelError, match=r"the text tower of hf:.* does not take its tokenizer's tokens \(IndexError"):
        load(str(folder), LoadOptions())


@pytest.mark.slow
def test_no_family_of_the_library_is_left_out() -> None:
    classes = {
        kind: getattr(transformers, name) for kind, name in MODEL_MAPPING_NAMES.items() if isinstance(name, str) and hasattr(transformers, name)
    }  # fmt: skip
    dual = {kind for kind, cls in classes.items() if all(name in dir(cls) for name in FEATURES)}

    assert dual == {*SUPPORTED, *REFUSED} - {"clap"}, "a new family: compare its forward pass with ours, then list it"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"logit_scale": 800.0}, "logit_scale 800 and logit_bias 0"),
        ({"logit_scale": math.nan, "logit_bias": -10.0}, "logit_scale nan and logit_bias -10"),
        ({"logit_scale": 4.6, "logit_bias": math.inf}, "logit_scale 4.6 and logit_bias inf"),
        ({"temperature": 0.0}, "temperature 0 and logit_bias 0"),
    ],
)
def test_constants_that_no_training_leaves_are_named(values: dict[str, float], text: str) -> None:
    module = SimpleNamespace(**{name: torch.tensor(value) for name, value in values.items()})
    with pytest.raises(ModelError, match=f"mine has {text}: its training has diverged, or the weights are damaged"):
        scale_and_bias(module, "mine")

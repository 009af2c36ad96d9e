from dataclasses import replace
from typing import Any, cast

import open_clip
import pytest
import torch
from torch import Tensor

from clipbench.training.clip.config import CONFIGS, ClipConfig
from clipbench.training.clip.model import CLIP

RELATIVE = 1e-5


def seeded(config: ClipConfig) -> CLIP:
    torch.manual_seed(0)
    return CLIP(config).eval()


def texts(config: ClipConfig, lengths: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    out = torch.zeros(len(lengths), config.context_length, dtype=torch.int64)
    for row, length in zip(out, lengths, strict=True):
        row[: length - 1] = torch.randint(1, config.vocab_size - 1, (length - 1,), generator=generator)
        row[length - 1] = config.vocab_size - 1
    return out


def pixels(config: ClipConfig, n: int) -> Tensor:
    return torch.randn(n, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(2))


def relative_error(tensor: Tensor, expected: Tensor) -> float:
    return float(((tensor - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-quickgelu"])
@torch.no_grad()
def test_vectors_of_true_sizes_equal_open_clips(name: str) -> None:
    config = CONFIGS[name]
    torch.manual_seed(0)
    theirs: Any = open_clip.create_model(name, load_weights=False).eval()
    ours = seeded(config)
    ours.load_state_dict(theirs.state_dict())  # strict: the same names and shapes
    images, captions = pixels(config, 2), texts(config, (2, 9, 77))
    assert relative_error(ours.encode_image(images), theirs.encode_image(images)) < RELATIVE
    assert relative_error(ours.encode_text(captions), theirs.encode_text(captions)) < RELATIVE


@torch.no_grad()
@pytest.mark.parametrize("for_siglip", [False, True])
def test_a_model_of_ours_loads_into_open_clip(micro: ClipConfig, for_siglip: bool) -> None:
    config = replace(micro, quick_gelu=True)
    config = config.for_siglip() if for_siglip else config
    ours = seeded(config)
    theirs = open_clip.CLIP(**cast(dict[str, Any], config.to_json()["model_cfg"])).eval()
    theirs.load_state_dict(ours.state_dict())
    images, captions = pixels(config, 3), texts(config, (2, 5, 12))
    assert relative_error(ours.encode_image(images), theirs.encode_image(images)) < RELATIVE
    assert relative_error(ours.encode_text(captions), theirs.encode_text(captions)) < RELATIVE
    assert (theirs.logit_bias is None) == (not for_siglip)


@torch.no_grad()
def test_padding_after_the_end_of_a_text_has_no_effect(micro: ClipConfig) -> None:
    model, captions = seeded(micro), texts(micro, (5, 5))
    expected = model.encode_text(captions)
    padded = captions.clone()
    padded[:, 5:] = 7
    assert relative_error(model.encode_text(padded), expected) < RELATIVE
    assert relative_error(model.encode_text(captions[:, :5]), expected) < RELATIVE


def test_initial_weights_have_the_papers_spread() -> None:
    config = CONFIGS["tiny"]
    state = seeded(config).state_dict()
    width, layers = config.text.width, config.text.layers
    block = "transformer.resblocks.1"
    expected = {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        f"{block}.attn.in_proj_weight": width**-0.5,
        f"{block}.attn.out_proj.weight": width**-0.5 * (2 * layers) ** -0.5,
        f"{block}.mlp.c_fc.weight": (2 * width) ** -0.5,
        f"{block}.mlp.c_proj.weight": width**-0.5 * (2 * layers) ** -0.5,
        "text_projection": width**-0.5,
        "visual.positional_embedding": config.vision.width**-0.5,
        "visual.proj": config.vision.width**-0.5,
    }
    for name, spread in expected.items():
        assert float(state[name].std()) == pytest.approx(spread, rel=0.03), name
    assert float(state["logit_scale"]) == pytest.approx(2.6593, abs=1e-4)

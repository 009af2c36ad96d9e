import json

import open_clip
import pytest

from clipbench.errors import ModelError, UsageError
from clipbench.training.clip.config import CONFIGS, ClipConfig, Tower, find_config


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("ViT")])
def test_the_papers_configurations_are_open_clips(name: str) -> None:
    ours, theirs = CONFIGS[name], open_clip.get_model_config(name)
    vision, text = theirs["vision_cfg"], theirs["text_cfg"]
    assert (ours.embed_dim, ours.quick_gelu) == (theirs["embed_dim"], theirs.get("quick_gelu", False))
    assert (ours.image_size, ours.patch_size) == (vision["image_size"], vision["patch_size"])
    assert ours.vision == Tower(width=vision["width"], layers=vision["layers"], heads=vision["width"] // 64)
    assert ours.text == Tower(width=text["width"], layers=text["layers"], heads=text["heads"])
    assert (ours.vocab_size, ours.context_length) == (text["vocab_size"], text["context_length"])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_is_equal_after_json(name: str) -> None:
    for config in (CONFIGS[name], CONFIGS[name].for_siglip()):
        assert ClipConfig.from_json(json.loads(json.dumps(config.to_json())), "config.json") == config


def test_tiny_fits_into_ten_megabytes_as_float32() -> None:
    from clipbench.training.clip.model import CLIP

    n_parameters = sum(parameter.numel() for parameter in CLIP(CONFIGS["tiny"]).parameters())
    assert 1.5e6 < n_parameters < 10e6 / 4


def test_names_are_found_whatever_their_case() -> None:
    assert find_config("VIT-b/32") is CONFIGS["ViT-B-32"]
    with pytest.raises(UsageError, match=r"unknown architecture 'tinny': did you mean 'tiny'\?"):
        find_config("tinny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision": Tower(width=30, layers=1, heads=4)}, "width of 30 is not a multiple of its 4 heads"),
        ({"image_size": 30}, "image size 30 is not a multiple of patch size 8"),
        ({"embed_dim": 0}, "a size of 0: expected all sizes to be 1 to 16,777,216"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(micro: ClipConfig, change: dict[str, object], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(ModelError, match=message):
        replace(micro, **change)  # type: ignore[arg-type]


def test_an_incomplete_description_is_refused(micro: ClipConfig) -> None:
    content = micro.to_json()
    del content["model_cfg"]["text_cfg"]  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"x\.json does not describe a model .*text_cfg.* clipbench train wrote"):
        ClipConfig.from_json(content, "x.json")

"""Configurations of CLIP models: the sizes of both towers, and the named configurations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clipbench.errors import ModelError, UsageError, did_you_mean

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Tower:
    """The size of one transformer."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The configuration of a model, which decides the names and shapes of its weights.

    Raises:
        ModelError: a number is not positive, or one size does not divide another.
    """

    embed_dim: int
    """Dimension of the space that both towers share."""
    image_size: int
    """Side of the square images, in pixels."""
    patch_size: int
    vision: Tower
    text: Tower
    vocab_size: int
    context_length: int = 77
    """Tokens of the longest text, including start and end."""
    quick_gelu: bool = False
    """x * sigmoid(1.702 x) instead of GELU, as in OpenAI's models."""
    init_logit_scale: float = math.log(1 / 0.07)
    init_logit_bias: float | None = None
    """None for a model without bias, as CLIP."""
    mean: tuple[float, float, float] = OPENAI_MEAN
    """Subtracted from red, green and blue in [0, 1]."""
    std: tuple[float, float, float] = OPENAI_STD

    def __post_init__(self) -> None:
        sizes = [self.embed_dim, self.image_size, self.patch_size, self.vocab_size, self.context_length]
        for tower in (self.vision, self.text):
            sizes += [tower.width, tower.layers, tower.heads]
            if tower.heads and tower.width % tower.heads:
                raise ModelError(f"a tower's width of {tower.width} is not a multiple of its {tower.heads} heads")
        if min(sizes) < 1:
            raise ModelError(f"a model with a size of {min(sizes)}: expected all sizes to be 1 or more")
        if self.image_size % self.patch_size:
            raise ModelError(f"image size {self.image_size} is not a multiple of patch size {self.patch_size}")

    def for_siglip(self) -> "ClipConfig":
        """Return the configuration with SigLIP's initial temperature and bias: t' = ln 10, b = -10 (Zhai et al., 2023)."""
        return replace(self, init_logit_scale=math.log(10), init_logit_bias=-10.0)

    def to_json(self) -> dict[str, object]:
        """Return open_clip's description of the same model: ``open_clip.CLIP(**model_cfg)`` builds it."""
        vision, text = self.vision, self.text
        model: dict[str, object] = {
            "embed_dim": self.embed_dim,
            "quick_gelu": self.quick_gelu,
            "init_logit_scale": self.init_logit_scale,
            "init_logit_bias": self.init_logit_bias,
        }
        model["vision_cfg"] = {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "width": vision.width,
            "layers": vision.layers,
            "head_width": vision.width // vision.heads,
        }
        model["text_cfg"] = {
            "context_length": self.context_length,
            "vocab_size": self.vocab_size,
            "width": text.width,
            "layers": text.layers,
            "heads": text.heads,
        }
        return {"model_cfg": model, "preprocess_cfg": {"mean": list(self.mean), "std": list(self.std)}}

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: object) -> "ClipConfig":
        """Return the configuration in the output of ``to_json``.

        Raises:
            ModelError: a part is missing or of another type.
        """
        try:
            return _from_open_clip(content["model_cfg"], content["preprocess_cfg"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{source} does not describe a model ({type(error).__name__}: {error}): expected what clipbench train wrote"
            ) from error


def _from_open_clip(model: Any, preprocess: Any) -> ClipConfig:
    """Return the configuration in untyped JSON; ``from_json`` turns the errors into a ModelError."""
    vision, text, bias = model["vision_cfg"], model["text_cfg"], model["init_logit_bias"]
    return ClipConfig(
        embed_dim=int(model["embed_dim"]),
        image_size=int(vision["image_size"]),
        patch_size=int(vision["patch_size"]),
        vision=Tower(
            width=int(vision["width"]),
            layers=int(vision["layers"]),
            heads=int(vision["width"]) // int(vision["head_width"]),
        ),
        text=Tower(width=int(text["width"]), layers=int(text["layers"]), heads=int(text["heads"])),
        vocab_size=int(text["vocab_size"]),
        context_length=int(text["context_length"]),
        quick_gelu=bool(model["quick_gelu"]),
        init_logit_scale=float(model["init_logit_scale"]),
        init_logit_bias=None if bias is None else float(bias),
        mean=_colour(preprocess["mean"]),
        std=_colour(preprocess["std"]),
    )


def _colour(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


CLIP_VOCABULARY = 49408

_BASE = ClipConfig(
    embed_dim=512,
    image_size=224,
    patch_size=32,
    vision=Tower(width=768, layers=12, heads=12),
    text=Tower(width=512, layers=12, heads=8),
    vocab_size=CLIP_VOCABULARY,
)
_LARGE = ClipConfig(
    embed_dim=768,
    image_size=224,
    patch_size=14,
    vision=Tower(width=1024, layers=24, heads=16),
    text=Tower(width=768, layers=12, heads=12),
    vocab_size=CLIP_VOCABULARY,
)

CONFIGS = {
    # For processor cores: heads of 64 are as cheap in attention as any, and 64 patches an image are few.
    "tiny": ClipConfig(
        embed_dim=128,
        image_size=64,
        patch_size=8,
        vision=Tower(width=128, layers=6, heads=2),
        text=Tower(width=128, layers=4, heads=2),
        vocab_size=1280,
    ),
    "small": ClipConfig(
        embed_dim=256,
        image_size=128,
        patch_size=16,
        vision=Tower(width=384, layers=8, heads=6),
        text=Tower(width=256, layers=6, heads=4),
        vocab_size=4096,
    ),
    "ViT-B-32": _BASE,
    "ViT-B-32-quickgelu": replace(_BASE, quick_gelu=True),
    "ViT-B-16": replace(_BASE, patch_size=16),
    "ViT-B-16-quickgelu": replace(_BASE, patch_size=16, quick_gelu=True),
    "ViT-L-14": _LARGE,
    "ViT-L-14-quickgelu": replace(_LARGE, quick_gelu=True),
}
"""Two small ones of ours, and the paper's under open_clip's names. Smaller vocabularies than CLIP's are learned."""


def find_config(name: str) -> ClipConfig:
    """Return the configuration of a name, in any case, with ``/`` or ``-``.

    Raises:
        UsageError: the name is unknown.

    Example:
        >>> find_config("vit-b/32").vision.width
        768
    """
    wanted = name.replace("/", "-").lower()
    for known, config in CONFIGS.items():
        if known.lower() == wanted:
            return config
    raise UsageError(f"unknown architecture '{name}': {did_you_mean(name, CONFIGS)}")

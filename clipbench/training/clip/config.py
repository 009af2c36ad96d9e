"""Configurations of CLIP models: the sizes of both towers, and the named configurations."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from clipbench.errors import ModelError, UsageError, did_you_mean
from clipbench.untrusted.schema import SchemaError, parse_value

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
MOST = 1 << 24
"""Bound of all sizes of a model: products of a few of them fit 64 bits."""
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
        for size in sizes:
            if not 1 <= size <= MOST:
                raise ModelError(
                    f"a size of the model, such as a width or a number of layers, is {size:,}: expected 1 to {MOST:,}"
                )
        if self.image_size % self.patch_size:
            raise ModelError(f"image size {self.image_size} is not a multiple of patch size {self.patch_size}")

    def for_siglip(self) -> "ClipConfig":
        """Return the configuration with the initial t' = ln 10 and b = -10 of SigLIP (Zhai et al., 2023)."""
        return replace(self, init_logit_scale=math.log(10), init_logit_bias=-10.0)

    def to_json(self) -> dict[str, object]:
        """Return open_clip's description of the same model: ``open_clip.CLIP(**model_cfg)`` builds it."""
        vision, text = self.vision, self.text
        model = {
            "embed_dim": self.embed_dim,
            "quick_gelu": self.quick_gelu,
            "init_logit_scale": self.init_logit_scale,
            "init_logit_bias": self.init_logit_bias,
            "vision_cfg": {
                "image_size": self.image_size,
                "patch_size": self.patch_size,
                "width": vision.width,
                "layers": vision.layers,
                "head_width": vision.width // vision.heads,
            },
            "text_cfg": {"context_length": self.context_length, "vocab_size": self.vocab_size, **asdict(text)},
        }
        return {"model_cfg": model, "preprocess_cfg": {"mean": list(self.mean), "std": list(self.std)}}

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: object) -> "ClipConfig":
        """Return the configuration in the output of ``to_json``.

        Raises:
            ModelError: a part is missing or of another type.
        """
        try:
            file = _part(content, "", {"model_cfg": dict, "preprocess_cfg": dict})
            model = _part(file["model_cfg"], "model_cfg.", _MODEL)
            vision = _part(model.pop("vision_cfg"), "model_cfg.vision_cfg.", _VISION)
            text = _part(model.pop("text_cfg"), "model_cfg.text_cfg.", _TEXT)
            colours = _part(file["preprocess_cfg"], "preprocess_cfg.", {"mean": list[float], "std": list[float]})
        except SchemaError as error:
            raise ModelError(
                f"{source} does not describe a model ({error}): expected what clipbench train wrote"
            ) from error
        mean, std, head_width = tuple(colours["mean"]), tuple(colours["std"]), vision["head_width"]
        if head_width < 1 or {len(mean), len(std)} != {3} or min(std) <= 0:
            raise ModelError(
                f"{source} does not describe a model: expected a head_width of 1 or more, and three numbers each as"
                " mean and std, the latter above 0"
            )
        width = vision["width"]
        return cls(
            **model,
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            vision=Tower(width=width, layers=vision["layers"], heads=width // head_width),
            text=Tower(width=text["width"], layers=text["layers"], heads=text["heads"]),
            vocab_size=text["vocab_size"],
            context_length=text["context_length"],
            mean=mean,
            std=std,
        )


_MODEL: dict[str, Any] = {
    "embed_dim": int,
    "quick_gelu": bool,
    "init_logit_scale": float,
    "init_logit_bias": float | None,
    "vision_cfg": dict,
    "text_cfg": dict,
}
_VISION = dict.fromkeys(("image_size", "patch_size", "width", "layers", "head_width"), int)
_TEXT = dict.fromkeys(("context_length", "vocab_size", "width", "layers", "heads"), int)


def _part(content: Mapping[str, object], prefix: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a part of the file, each of its type. Other keys are ignored."""
    missing = [key for key in kinds if key not in content]
    if missing:
        raise SchemaError(f"{prefix}{missing[0]} is not there")
    return {key: parse_value(kind, content[key], f"{prefix}{key}") for key, kind in kinds.items()}


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
    lowered = name.replace("/", "-").lower()
    for config_name, config in CONFIGS.items():
        if config_name.lower() == lowered:
            return config
    raise UsageError(f"unknown architecture '{name}': {did_you_mean(name, CONFIGS)}")

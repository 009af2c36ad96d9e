"""The parts of a model that lie behind ``Model.encode``, as far as its adapter shows them.

They let ``clipbench doctor`` see what a model is fed, and run it with one setting changed. A model shows them by its
method ``internals() -> Internals``; every part is optional.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

if TYPE_CHECKING:
    import torch

Tokens = Mapping[str, np.ndarray]
"""Inputs of a text tower by name: integers of shape (n_texts, n_tokens)."""

TOWERS = (("encode_image", "encode_text"), ("get_image_features", "get_text_features"))
"""Names of a module's methods for its towers: in open_clip, OpenAI's code and the bundled model, and in transformers."""

Resize = Literal["crop", "squash", "pad"]
"""How an image becomes a square: its middle is cut out, its sides are scaled apart, or bars are added."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The settings of an image preprocessing; None where one is not known."""

    size: tuple[int, int] | None = None
    """Height and width of the input, in pixels."""
    mean: tuple[float, ...] | None = None
    """Subtracted from each channel of an image in [0, 1]."""
    std: tuple[float, ...] | None = None
    """Divides each channel."""
    resize: Resize | None = None
    interpolation: str | None = None
    """``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``."""
    fault: str | None = None
    """Why the settings cannot be stated, such as channels in the order blue, green, red."""


@dataclass(frozen=True, kw_only=True)
class Internals:
    """The parts of a model; None where the adapter does not show one."""

    preprocess: Callable[[Image.Image], Any] | None = None
    """From an RGB image to the input of the image tower, (channels, height, width)."""
    encode_pixels: Callable[[np.ndarray], Float32[np.ndarray, "n_images dim"]] | None = None
    """From preprocessed images, (n_images, channels, height, width), to raw vectors."""
    tokenize: Callable[[Sequence[str]], Tokens] | None = None
    """From texts to the input of the text tower, padded and cut as the adapter does it."""
    encode_tokens: Callable[[Tokens], Float32[np.ndarray, "n_texts dim"]] | None = None
    """From tokens to raw vectors."""
    module: "torch.nn.Module | None" = None
    """The torch module that holds both towers, with its weights and modes."""

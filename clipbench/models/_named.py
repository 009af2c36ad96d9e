"""A stranger's model under the reference that the user gave: all else is passed on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.models.protocol import Model, ModelInfo, PixelModel, count_tokens


@dataclass(frozen=True)
class NamedModel:
    """A model with another info."""

    model: Model
    info: ModelInfo

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        return self.model.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        return self.model.encode_texts(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        return count_tokens(self.model, texts)


@dataclass(frozen=True)
class NamedPixelModel(NamedModel):
    """A model with another info, whose preprocessing runs apart from it."""

    model: PixelModel

    @property
    def preprocess(self) -> Callable[[Image.Image], Float32[np.ndarray, "channels height width"]]:
        return self.model.preprocess

    def encode_pixels(
        self, pixels: Float32[np.ndarray, "n_images channels height width"]
    ) -> Float32[np.ndarray, "n_images dim"]:
        return self.model.encode_pixels(pixels)

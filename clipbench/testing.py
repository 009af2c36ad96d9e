"""Models, images and embedders whose answers are known: for the tests of clipbench, and of your own plug-ins.

None of them needs weights, a network or torch.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.images import ImageRef, content_digest
from clipbench.data.modalities import IMAGE
from clipbench.errors import BadImage
from clipbench.models.protocol import Embedder, Model, ModelInfo, Role, Vectors

INFO = ModelInfo(
    ref="toy",
    id="toy",
    fingerprint="toy",
    family="toy",
    embed_dim=32,
    context_length=77,
    image_size=8,
    logit_scale=100.0,
    logit_bias=0.0,
    n_parameters=0,
)


@lru_cache(maxsize=10_000)
def _vector_of(characters: str, dim: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(characters.encode())).standard_normal(dim)


class ToyModel(Model):
    """A model of deterministic vectors, from pixels and from groups of three characters.

    It counts the images and texts that it encodes, so that a test can see which came from the store.
    """

    def __init__(self, *, embed_dim: int = 32, fingerprint: str = "toy", logit_scale: float | None = 100.0) -> None:
        self.info = replace(INFO, embed_dim=embed_dim, fingerprint=fingerprint, logit_scale=logit_scale)
        self.logit_scale = logit_scale  # where the adapter of Python objects looks for it
        rng = np.random.default_rng(0)
        self._pixel_weights = rng.standard_normal((8 * 8 * 3, embed_dim), np.float32)
        self.encoded_images = 0
        self.encoded_texts = 0

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return self.encode_images(inputs) if modality == IMAGE else self.encode_texts(inputs)

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        self.encoded_images += len(images)
        small = [np.asarray(image.convert("RGB").resize((8, 8)), np.float32).ravel() / 255 - 0.4 for image in images]
        return np.stack(small) @ self._pixel_weights

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        self.encoded_texts += len(texts)
        sums = []
        for text in texts:
            trigrams = [text[start : start + 3] for start in range(max(1, len(text) - 2))]
            sums.append(np.sum([_vector_of(trigram, self.info.embed_dim) for trigram in trigrams], axis=0))
        return np.stack(sums).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        return count_words(texts)


class ConstantModel(ToyModel):
    """A collapsed model: one vector for everything. It must score exactly chance on every task."""

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        return np.ones((len(images), self.info.embed_dim), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        return np.ones((len(texts), self.info.embed_dim), np.float32)


@dataclass(frozen=True)
class NamedImage:
    """An image that is only a name, for a ``FixedEmbedder``. Opened, it is a flat colour made from the name."""

    name: str

    def digest(self) -> str:
        return content_digest(self.name.encode())

    def open(self) -> Image.Image:
        if self.name.startswith("bad"):
            raise BadImage(self.name, "it is bad")
        colour = np.random.default_rng(zlib.crc32(self.name.encode())).integers(0, 256, 3)
        return Image.new("RGB", (16, 16), (int(colour[0]), int(colour[1]), int(colour[2])))


class StubEmbedder(Embedder):
    """An embedder without encoder that counts words as tokens. A subclass adds info, images and texts."""

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        return self.images(items) if modality == IMAGE else self.texts(items)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        return count_words(texts)


class FixedEmbedder(StubEmbedder):
    """Vectors written down by hand: images by name, texts by themselves."""

    def __init__(
        self,
        images: Mapping[str, Sequence[float]],
        texts: Mapping[str, Sequence[float]],
        *,
        logit_scale: float | None = 100.0,
    ) -> None:
        dim = len(next(iter((*images.values(), *texts.values()))))
        self.info = replace(INFO, embed_dim=dim, logit_scale=logit_scale)
        self._images = images
        self._texts = texts

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        return np.array([self._images[image.name] for image in images], np.float32)

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.array([self._texts[text] for text in texts], np.float32)


def count_words(texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
    """Return the token counts of a tokenizer for which each word is a token, with a start and an end token.

    Example:
        >>> count_words(["", "a red cube"])
        array([2, 5])
    """
    return np.array([len(text.split()) + 2 for text in texts], np.int64)

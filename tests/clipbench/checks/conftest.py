"""A small dual encoder that knows colours and shows all its parts, and what can be wrong with it."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from PIL import Image
from torch import nn

from clipbench.data.modalities import IMAGE
from clipbench.data.scenes.world import BACKGROUND_COLOURS, COLOURS
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.preprocessing import make_square
from clipbench.models.protocol import Internals, Model, ModelInfo, Role, Tokens, Vectors
from clipbench.testing import INFO

PALETTE = {
    **{name: rgb for name, rgb in COLOURS.items()},
    **{f"{name} ": rgb for name, rgb in BACKGROUND_COLOURS.items()},
}
NAMES = [name.strip() for name in PALETTE]
RGB = np.array(list(PALETTE.values()), np.float32)
DIM = len(RGB) + 12
SIDE, CONTEXT, N_IDS = 32, 48, 4000
PAD, START, END = 0, 1, 2
HALF = 0.5
Bind = Callable[[Any], StoreEmbedder]


def word_id(word: str) -> int:
    return 10 + zlib.crc32(word.encode()) % (N_IDS - 10)


@cache
def table() -> Float32[np.ndarray, "n_ids dim"]:
    """Return the vector of each token: those of colours lie on the axes of the colours, others are small and random."""
    rows = 0.04 * np.random.default_rng(0).standard_normal((N_IDS, DIM)).astype(np.float32)
    rows[PAD] = 0
    for axis, name in enumerate(NAMES):
        rows[word_id(name), axis] += 1
    return rows


class Gelu(nn.Module):
    """An image tower's perceptron on the fraction of each colour; its weights invert GELU where they were fitted."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"act": activation})
        bias = np.random.default_rng(1).uniform(-4, -0.8, DIM).astype(np.float32)
        self.bias = nn.Parameter(torch.from_numpy(bias))

    def forward(self, shares: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            inner = self.visual["act"](self.bias + 0.06 * shares)
            slope = (nn.functional.gelu(self.bias + 0.01) - nn.functional.gelu(self.bias)) / 0.01
            return (inner - nn.functional.gelu(self.bias)) / slope


@dataclass(kw_only=True)
class ToyClip(Model):
    """A healthy model; each field but the first two is a fault that it may have."""

    info: ModelInfo = field(
        default_factory=lambda: replace(INFO, embed_dim=DIM, image_size=SIDE, context_length=CONTEXT, precision="fp32")
    )
    module: Any = None
    lowers: bool = True
    keeps_end: bool = True
    pads_to_longest: bool = False
    reads_padding: bool = False
    masks: bool = False
    knows: float = 1.0
    """Fraction of words that the vocabulary holds."""
    resize: Any = "crop"
    interpolation: str = "bicubic"
    mean: float = 0.5
    std: float = 0.5
    swaps_channels: bool = False
    noise: float = 0.0
    centres: bool = False
    reverses: bool = False
    images_are: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors
    texts_are: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors
    words: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return self.encode_pixels(inputs) if modality == IMAGE else self.encode_tokens(self.tokenize(inputs))

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text.split()) + 2 for text in texts], np.int64)

    def internals(self) -> Internals:
        return Internals(
            preprocess=self.preprocess,
            encode_pixels=self.encode_pixels,
            tokenize=self.tokenize,
            encode_tokens=self.encode_tokens,
            module=self.module,
        )

    def preprocess(self, image: Image.Image) -> Float32[np.ndarray, "3 height width"]:
        pixels = np.asarray(make_square(image, SIDE, self.resize, self.interpolation), np.float32) / 255
        pixels = pixels[:, :, ::-1] if self.swaps_channels else pixels
        return np.ascontiguousarray(((pixels - self.mean) / self.std).transpose(2, 0, 1))

    def encode_pixels(self, pixels: np.ndarray) -> Float32[np.ndarray, "n_images dim"]:
        rgb = (pixels * HALF + HALF) * 255  # as the healthy preprocessing has it
        flat = rgb.transpose(0, 2, 3, 1).reshape(len(rgb), -1, 3)
        nearest = ((RGB**2).sum(axis=1) - 2 * flat @ RGB.T).argmin(axis=-1)
        shares = np.stack([np.bincount(row, minlength=len(RGB)) for row in nearest]) / nearest.shape[1]
        rough = flat[:, :: flat.shape[1] // 4][:, :4].reshape(len(flat), -1) / 2550
        vectors = np.concatenate([np.sqrt(shares), rough], axis=1).astype(np.float32)
        if self.module is not None:
            vectors = self.module(torch.from_numpy(vectors)).numpy()
        return self._spoiled(self.images_are(vectors))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = []
        for text in texts:
            words = (text.lower() if self.lowers else text).split()
            rng = [word if zlib.crc32(word.encode()[::-1]) % 100 < 100 * self.knows else "?" for word in words]
            ids = [START, *map(word_id, rng), END]
            rows.append(ids if len(ids) <= CONTEXT else [*ids[: CONTEXT - self.keeps_end], *([END] * self.keeps_end)])
        width = max(map(len, rows)) if self.pads_to_longest else CONTEXT
        padded = np.array([row + [PAD] * (width - len(row)) for row in rows], np.int64)
        return {"text": padded, **({"attention_mask": (padded != PAD).astype(np.int64)} if self.masks else {})}

    def encode_tokens(self, tokens: Tokens) -> Float32[np.ndarray, "n_texts dim"]:
        ids, rows = tokens["text"], table().copy()
        for word, vector in self.words.items():
            rows[word_id(word), : len(vector)] += np.array(vector, np.float32)
        weights = 1 + 0.01 * np.arange(ids.shape[1], dtype=np.float32)
        if self.reads_padding:  # a token counts by its place from the end, as the tower was trained on full length
            weights = np.where(np.arange(ids.shape[1], 0, -1) > CONTEXT // 2, 1.0, -1.0).astype(np.float32)
        return self._spoiled(self.texts_are((rows[ids] * weights[:, None]).sum(axis=1).astype(np.float32)))

    def _spoiled(self, vectors: np.ndarray) -> Float32[np.ndarray, "n dim"]:
        if self.noise:
            vectors = vectors + self.noise * np.random.default_rng().standard_normal(vectors.shape)
        if self.centres:
            vectors = vectors - 0.5 * vectors.mean(axis=0)
        return np.ascontiguousarray((vectors[::-1] if self.reverses else vectors).astype(np.float32))


@pytest.fixture(scope="session")
def toy_clip() -> type[ToyClip]:
    """The model that knows colours."""
    return ToyClip


@pytest.fixture(scope="session")
def gelu() -> type[Gelu]:
    """The perceptron of its image tower, with an activation to choose."""
    return Gelu


@pytest.fixture
def embedder(tmp_path: Path) -> Callable[[Any], StoreEmbedder]:
    """Return what binds a model to a store of its own."""
    return partial(StoreEmbedder, root=tmp_path / "store", workers=0)

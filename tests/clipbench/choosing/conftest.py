"""Photographs, and models that know them by their number, of which a pool is made."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.models.protocol import Embedder
from clipbench.testing import INFO


class NoisyModel(Embedder):
    """Finds photograph i of so many first for query i, and is wrong by some noise."""

    def __init__(self, name: str, noise: float, fingerprint: str = "", *, n_images: int) -> None:
        self.info = replace(INFO, ref=name, fingerprint=fingerprint or name, embed_dim=n_images)
        self.noise = noise

    def encode(self, modality: str, items: Sequence[Any], role: object = None) -> np.ndarray:
        rng = np.random.default_rng([len(self.info.ref), len(modality)])
        shape = (len(items), self.info.embed_dim)
        return (np.eye(*shape) + self.noise * rng.normal(size=shape)).astype(np.float32)


@pytest.fixture
def draw_photographs(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that draws so many photographs, every second one in a folder, and returns theirs."""

    def draw(n: int, name: str) -> Path:
        folder = tmp_path / "my photographs"
        for number in range(n):
            path = folder / ("deeper" if number % 2 else "") / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        return folder

    return draw

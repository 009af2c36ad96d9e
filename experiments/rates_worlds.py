"""Simulated models and data: populations of vectors of which the true value of every metric is known.

A world draws a data set of n samples with the vectors of one or two models, for no effect, a small one and a large one;
it gives the true values by sums over a very large population, or over many fresh galleries, in plain numpy. Two models
of a draw see the same samples and differ by their own noise of one law, so that they are exchangeable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from clipbench.data import Dataset
from clipbench.data.images import ImageRef
from clipbench.evaluation.task import Task
from clipbench.testing import INFO, NamedImage, StubEmbedder

EFFECTS = ("none", "small", "large")
Truth = Mapping[str, float]
Vectors = np.ndarray
TextVectors = Mapping[str, np.ndarray] | Callable[[Sequence[str]], Vectors]


class SimulatedModel(StubEmbedder):
    """An embedder of drawn vectors: of images by their row, of texts by themselves."""

    def __init__(
        self, images: Vectors, texts: TextVectors, *, logit_scale: float = 10.0, context_length: int = 77
    ) -> None:
        self._images, self._texts = images.astype(np.float32), texts
        self.info = replace(INFO, embed_dim=images.shape[1], logit_scale=logit_scale, context_length=context_length)

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        return self._images[[int(image.name) for image in images]]

    def texts(self, texts: Sequence[str]) -> Vectors:
        if callable(self._texts):
            return self._texts(texts).astype(np.float32)
        return np.array([self._texts[text] for text in texts], np.float32)


class Draw(NamedTuple):
    """A data set, and what each model makes of it."""

    dataset: Dataset
    models: Sequence[SimulatedModel]


class World(Protocol):
    """A task on data of one law."""

    @property
    def name(self) -> str:
        """Name in the tables."""
        ...

    @property
    def task(self) -> Task:
        """The task, as the suite runs it."""
        ...

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        """Return n samples; effect is one of ``EFFECTS``."""
        ...

    def truth(self, n: int, effect: str) -> Truth:
        """Return the true values of metrics, baselines (``baseline NAME``) and points of curves (``curve NAME X``)."""
        ...


@dataclass(frozen=True)
class Noise:
    """Noise of n vectors: a part that all models share, since a blurred image is blurred for each, and a part of
    each.
    """

    shared: Vectors
    scale: Vectors
    """Size of each vector's noise."""

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int, *, spread: float = 0.3) -> "Noise":
        """Return noise of components of about 1, vectors of which differ in size."""
        return cls(rng.standard_normal((n, dim)), np.exp(spread * rng.standard_normal((n, 1))))

    def of_model(self, rng: np.random.Generator) -> Vectors:
        """Return the noise of one more model."""
        own = rng.standard_normal(self.shared.shape)
        return self.scale * (self.shared + own) / np.sqrt(2)


def images_named(n: int) -> list[NamedImage]:
    """Return images whose names are their rows."""
    return [NamedImage(str(row)) for row in range(n)]


def unit(vectors: Vectors) -> Vectors:
    """Return vectors at length 1, in float64."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def fixed_directions(seed: int, n: int, dim: int) -> Vectors:
    """Return n unit vectors, the same at each call."""
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def untied(scores: Vectors, rng: np.random.Generator) -> Vectors:
    """Return scores whose ties are broken at random, by less than any difference."""
    return np.round(scores, 9) + 1e-10 * rng.random(scores.shape)

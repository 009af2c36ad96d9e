"""Coverage of the intervals of mutual k-NN and CKA between two models.

    python experiments/rates_representations.py     # about ten minutes on a quiet core; a table of
    experiments/coverage.md

Two models show a common part, 16 numbers a sample, by maps of their own, and noise of their own. Samples are alike, or
of ten classes; directions of the noise have equal variances, or such that fall as 1 / k. The truth of mutual k-NN,
which depends on n, is its mean over the simulations; that of CKA is of four populations of 3,000.
"""

import argparse
from functools import cache
from typing import NamedTuple

import numpy as np

from clipbench.metrics.geometry import Estimate
from clipbench.metrics.similarity import unit
from clipbench.metrics.structure import cka, shared_neighbours
from clipbench.stats.intervals import cka_interval, shared_neighbours_interval

LATENT, POPULATION, POPULATIONS = 16, 3_000, 4
COMMON = {"none": 0.0, "weak": 0.5, "strong": 3.0}
"""Size of the common part, where the noise has the size 1."""


class World(NamedTuple):
    """A kind of two models."""

    common: str
    """Key of ``COMMON``; ``rotation`` for a model and its rotation."""
    dim: int
    has_classes: bool = False
    is_steep: bool = False

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of n samples in both models."""
        centre = 0.5  # vectors of a modality lie in a cone
        if self.common == "rotation":
            seen = rng.standard_normal((n, self.dim)) + centre
            return _unit(seen), _unit(2 * seen @ _rotation(self.dim))
        shown = rng.standard_normal((n, LATENT))
        classes, *maps = _fixed(self.dim)
        if self.has_classes:
            shown = 1.5 * classes[rng.integers(10, size=n)] + shown / 2
        spread = np.arange(1, self.dim + 1) ** (-0.5 if self.is_steep else 0.0)
        first, second = (
            COMMON[self.common] * shown @ each / LATENT**0.5 + spread * rng.standard_normal((n, self.dim)) + centre
            for each in maps
        )
        return _unit(first), _unit(second)


WORLDS = [
    *(World(common, dim) for dim in (32, 512) for common in ("none", "weak", "strong", "rotation")),
    *(
        World(common, 32, has_classes=True, is_steep=is_steep)
        for common in ("weak", "strong")
        for is_steep in (False, True)
    ),
]


@cache
def _fixed(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the classes, and the map of each model: the same in all simulations."""
    rng = np.random.default_rng(5)
    return rng.standard_normal((10, LATENT)), rng.standard_normal((LATENT, dim)), rng.standard_normal((LATENT, dim))


@cache
def _rotation(dim: int) -> np.ndarray:
    return np.asarray(np.linalg.qr(np.random.default_rng(5).standard_normal((dim, dim)))[0])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors.astype(np.float32))


def true_cka(world: World) -> float:
    values = [cka(*world.draw(np.random.default_rng((9, seed)), POPULATION)).value for seed in range(POPULATIONS)]
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1_000)
    parser.add_argument("--only", choices=["classes"])
    options = parser.parse_args()
    for world in [each for each in WORLDS if each.has_classes or options.only is None]:
        truth = true_cka(world)
        print(world, f"CKA {truth:.3f}", flush=True)
        for n in (25, 100, 500):
            repeats = options.repeats if n < 500 else options.repeats // 4
            drawn = [world.draw(np.random.default_rng((n, seed)), n) for seed in range(repeats)]
            knn = [shared_neighbours(*pair) for pair in drawn]
            alike = [cka(*pair) for pair in drawn]
            mean = float(np.mean([each.value for each in knn]))
            rates = (
                f"{covered(knn, shared_neighbours_interval, mean)}, by independent shares {naive(drawn, mean):.3f}",
                covered(alike, cka_interval, truth),
            )
            print(f"  n = {n}: mutual k-NN {mean:.3f} {rates[0]}; CKA {rates[1]}", flush=True)


def covered(estimates: list[Estimate], interval: object, truth: float) -> str:
    bounds = [interval(*each) for each in estimates]  # type: ignore[operator]
    held = [low <= truth <= high for low, high, _ in bounds if low is not None]
    width = np.mean([high - low for low, high, _ in bounds if low is not None]) if held else np.nan
    spread = np.std([each.value for each in estimates])
    return (
        f"covered {np.mean(held) if held else np.nan:.3f} of {len(held)}, half width {width / 2:.4f}, spread"
        f" {spread:.4f}"
    )


def naive(drawn: list[tuple[np.ndarray, np.ndarray]], truth: float) -> float:
    """Return how often a mean of the samples' shares, as if they were independent, would cover."""
    held = []
    for pair in drawn[:200]:
        near = []
        for side in pair:
            scores = side @ side.T
            np.fill_diagonal(scores, -np.inf)
            near.append(np.argsort(-scores, axis=1)[:, :10])
        shares = np.array([len(set(a) & set(b)) / 10 for a, b in zip(near[0].tolist(), near[1].tolist(), strict=True)])
        held.append(abs(shares.mean() - truth) <= 1.96 * shares.std(ddof=1) / len(shares) ** 0.5)
    return float(np.mean(held))


if __name__ == "__main__":
    main()

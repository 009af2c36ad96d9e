"""Intervals: Wilson, bootstrap and cluster bootstrap, and the delta method from influences. All seeded, all pure."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Bounds at ``CONFIDENCE``, and how they were made."""

    low: float
    high: float
    method: str


def mean_interval(
    values: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Interval:
    raise NotImplementedError


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    n: int,
    rng: np.random.Generator,
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Interval:
    raise NotImplementedError


def influence_interval(
    value: float,
    influence: Float64[np.ndarray, " n"],
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Interval:
    raise NotImplementedError

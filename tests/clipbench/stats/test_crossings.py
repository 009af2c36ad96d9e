"""Where a curve reaches its target: the interval holds the true position, also of gains that few samples show."""

from collections.abc import Callable
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from clipbench.stats.crossings import crossing_interval

LENGTHS = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 77.0)
SHARE = 0.95
Hits = Callable[[np.random.Generator, int], np.ndarray]
"""Hits of some queries, a row each, at each length."""


def nested(tau: float, recall: float) -> tuple[Hits, np.ndarray]:
    """Return the law of queries that are hits from some length on, and its curve of recall."""
    grown = 1 - np.exp(-(np.array(LENGTHS) - 3) / tau)
    curve = recall * grown / grown[-1]
    return lambda rng, n: (rng.random((n, 1)) < curve).astype(np.float64), curve


def noisy(tau: float, strength: float, shared: float) -> tuple[Hits, np.ndarray]:
    """Return the law of queries whose margin grows, with noise of their own at each length, and its curve of recall."""
    margins = strength * (1 - np.exp(-(np.array(LENGTHS) - 3) / tau)) - 0.8

    def hits(rng: np.random.Generator, n: int) -> np.ndarray:
        of_query, of_length = rng.standard_normal((n, 1)), rng.standard_normal((n, len(LENGTHS)))
        return (margins + np.sqrt(shared) * of_query + np.sqrt(1 - shared) * of_length > 0).astype(np.float64)

    return hits, np.array([NormalDist().cdf(margin) for margin in margins])


LAWS = {
    "nested, soon": nested(8, 0.9),
    "nested, late": nested(20, 0.3),
    "noisy": noisy(20, 1.5, 0.7),
    "hardly noisy": noisy(15, 1.2, 0.99),
}


def coverage(law: str, n: int, n_trials: int, n_each: int = 1) -> float:
    """Return how often the interval holds the true length; queries of a cluster of ``n_each`` are mostly alike."""
    rng, (hits, curve) = np.random.default_rng(n), LAWS[law]
    truth, held, clusters = float(np.interp(SHARE * curve[-1], curve, LENGTHS)), 0, np.arange(n) // n_each
    for _ in range(n_trials):
        rows = hits(rng, n)
        rows = np.where(rng.random((n, 1)) < 0.6, rows[clusters * n_each], rows) if n_each > 1 else rows
        excess = rows - SHARE * rows[:, -1:]
        low, high = crossing_interval(excess, LENGTHS, excess_name="recall minus its share", clusters=clusters).bounds
        held += low - 1e-9 <= truth <= high + 1e-9
    return held / n_trials


def test_a_gain_that_no_sample_shows_still_has_a_width() -> None:
    """All of 25 queries are hits from 10 tokens on: one of twenty others may well need more."""
    rows = np.concatenate([np.zeros((25, 1)), np.ones((25, 7))], axis=1)
    low, high = crossing_interval(rows - SHARE, LENGTHS, excess_name="recall minus its share").bounds
    assert 5 < low < 10 and high == 77


def test_few_samples_hold_the_true_length() -> None:
    assert min(coverage(law, 50, 60) for law in LAWS) >= 0.93  # 0.71 with Student's t of nested queries


@pytest.mark.slow
def test_the_true_length_is_held() -> None:
    rates = {(law, n, 1): coverage(law, n, 2000) for law, n in product(LAWS, (25, 50, 100, 300, 500))}
    rates |= {(law, n, 5): coverage(law, n, 2000, n_each=5) for law, n in product(LAWS, (100, 500))}
    print(rates)
    assert min(rates.values()) >= 0.93, rates

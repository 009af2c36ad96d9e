"""Spearman's rank correlation of two quantities over models: interval, test, and a third quantity held fixed."""

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.stats.intervals import CONFIDENCE, Interval

LEAST, LEAST_GIVEN = 8, 20
"""Points from which an interval covers, without and with a third quantity: of 5 points, it covers 70 to 97 % in
simulations instead of 95, and of 12 points with a third quantity that correlates .95 with both, 78 %
(experiments/coverage.md).
"""
N_RESAMPLES = 10_000
N_PERMUTATIONS = 20_000
EXACT_POINTS = 7
"""Up to this many points, all permutations are counted instead of drawn."""

_BLOCK = 1_000

Points = Float64[np.ndarray, " n"]
Columns = Float64[np.ndarray, "draws n"]
"""Values of the points of each draw."""
Draws = Float64[np.ndarray, " draws"]


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation."""

    value: float
    """In [-1, 1], NaN if one of the quantities is the same for all."""
    interval: Interval
    """Over points. Without bounds, its method is the reason."""
    p: float | None
    """Two-sided p-value of independence, None if a third quantity is held fixed, or the value is NaN."""


def rank_correlation(x: Points, y: Points, rng: np.random.Generator, control: Points | None = None) -> RankCorrelation:
    """Return the rank correlation of two quantities, ties by their mean rank.

    The interval is a percentile bootstrap over points; the test counts permutations of ``y`` that give as large a
    correlation, the observed one among them where they are drawn. With ``control``, it is the partial correlation of
    ranks: what is left of the relation between points of equal ``control``.

    Args:
        x, y: finite, a value a point, of three or more.
        rng: of the resamples and permutations.
        control: a third quantity, which may explain the relation of the two.
    """
    columns = [np.asarray(values, np.float64) for values in (x, y, control) if values is not None]
    n, min_points = len(x), LEAST if control is None else LEAST_GIVEN
    value = float(_correlation(*(values[None] for values in columns))[0])
    if math.isnan(value):
        return RankCorrelation(math.nan, Interval(None, None, "one of the quantities is the same for all"), None)
    p = _p_value(columns[0], columns[1], value, rng) if control is None else None
    if n < min_points:
        return RankCorrelation(value, Interval(None, None, f"{n} points: an interval needs at least {min_points}"), p)
    resamples = (rng.integers(n, size=(_BLOCK, n)) for _ in range(0, N_RESAMPLES, _BLOCK))
    draws = np.concatenate([_correlation(*(values[rows] for values in columns)) for rows in resamples])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail]).tolist()
    return RankCorrelation(value, Interval(low, high, f"percentile bootstrap over {n} points"), p)


def _correlation(x: Columns, y: Columns, control: Columns | None = None) -> Draws:
    """Return the correlation of the ranks in each draw, or NaN if one side has a single value."""
    first, second = _ranks(x), _ranks(y)
    plain = _cosine(first, second)
    if control is None:
        return plain
    third = _ranks(control)
    with_x, with_y = _cosine(first, third), _cosine(second, third)
    return _ratio(plain - with_x * with_y, np.sqrt(np.maximum((1 - with_x**2) * (1 - with_y**2), 0)))


def _ranks(values: Columns) -> Columns:
    """Return ranks less their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1)) - (values.shape[1] + 1) / 2


def _cosine(a: Columns, b: Columns) -> Draws:
    lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    return np.clip(_ratio(np.einsum("ij,ij->i", a, b), lengths), -1, 1)


def _ratio(numerator: Draws, denominator: Draws) -> Draws:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 1e-9)


def _p_value(x: Points, y: Points, value: float, rng: np.random.Generator) -> float:
    """Return the fraction of permutations that correlate at least as much, in either direction."""
    first, second = _ranks(x[None])[0], _ranks(y[None])[0]
    length = math.sqrt(float(first @ first) * float(second @ second))
    if len(x) <= EXACT_POINTS:
        orders = np.array(list(permutations(range(len(x)))))
        return float(np.mean(np.abs(second[orders] @ first) / length >= abs(value) - 1e-12))
    permuted = rng.permuted(np.tile(second, (N_PERMUTATIONS, 1)), axis=1)
    n_as_large = int(np.count_nonzero(np.abs(permuted @ first) / length >= abs(value) - 1e-12))
    return (n_as_large + 1) / (N_PERMUTATIONS + 1)

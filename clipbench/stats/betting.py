"""A difference of two systems that one may look at after every query: a confidence sequence, by betting. All pure.

Whoever judges until a difference is found, and tests it each time, finds one sooner or later. A confidence sequence
holds at all times at once: with a chance of 95 % it contains the truth after every query, whenever one stops.

For each mean that is possible, a gambler bets against it, with a fraction of the wealth on each next value. Were it the
mean, the wealth would not grow; an average over several shares, on higher and on lower values, passes 1 / alpha at any
time with a chance of alpha at most (Ville). The means against which it has not are the interval. For a list whose
queries are asked in random order, each once, the bets are on the mean of the queries that are left, and the interval
closes when none is left.

Source: Waudby-Smith and Ramdas, JRSS B 86 (2024), 1-27: their hedged grid, with and without replacement.
"""

import math
from bisect import bisect_left

import numpy as np

from clipbench.errors import DataError
from clipbench.stats.clusters import Values
from clipbench.stats.intervals import Bounds

SHARES = ((np.arange(24) + 0.5) / 24) ** 2
"""Fractions of the wealth that are bet, denser at small ones, which find small differences."""
NEAR = 1e-5
"""Bounds are found as exactly as this."""
MOST_NEEDED = 1_000_000


def confidence_sequence(differences: Values, *, total: int | None = None, alpha: float = 0.05) -> Bounds:
    """Return bounds of the mean difference that contain it at all times with a chance of 1 - alpha.

    Args:
        differences: in [-1, 1], in the order in which they were seen. Before the first, all is possible.
        total: length of the list of which they are drawn at random without replacement, and whose mean is meant; the
            mean of endless queries of the same kind if None.

    Example:
        >>> low, high = confidence_sequence(np.full(60, 0.2))
        >>> round(low, 3), round(high, 3)
        (0.085, 0.276)

    Raises:
        DataError: a difference is NaN or outside [-1, 1], or there are more than ``total``.
    """
    n = len(differences)
    if n and not np.abs(differences).max() <= 1:
        raise DataError("cannot bound a mean difference: expected values from -1 to 1")
    if total is not None and n > total:
        raise DataError(
            f"cannot bound the mean difference of {total} queries: got {n} differences, expected at most {total}"
        )
    low, high = -1.0, 1.0
    if total is not None:
        low, high = ((float(differences.sum()) + side * (total - n)) / total for side in (-1, 1))
    return _surviving_means(differences, total, low, high, -math.log(alpha)) if n else (low, high)


def log_wealth(differences: Values, mean: float, total: int | None = None) -> Values:
    """Return the logarithm of a gambler's wealth after each value, for bets against a mean with a wealth of 1 at first.

    Args:
        mean: in [-1, 1].
        total: as above. The wealth is infinite once the values that are left cannot have the mean.
    """
    n = len(differences)
    rest = np.full(n, mean)
    if total is not None:
        rest = (total * mean - np.cumsum(differences) + differences) / (total - np.arange(n))
        rest = np.where(np.abs(rest) <= 1 + NEAR, np.clip(rest, -1, 1), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.stack([(1 + side * differences) / (1 + side * rest) for side in (1, -1)])
        ratios = np.where(np.abs(differences - rest) < NEAR, 1.0, ratios)  # also the only value possible, 0 / 0
        wealth = np.cumsum(np.log1p(SHARES[:, None, None] * (ratios - 1)), axis=2).reshape(2 * len(SHARES), n)
        mean_wealth = np.logaddexp.reduce(wealth, axis=0) - math.log(2 * len(SHARES))
    return np.where(np.isnan(mean_wealth), math.inf, mean_wealth)


def _surviving_means(differences: Values, total: int | None, low: float, high: float, limit: float) -> Bounds:
    """Return the means between two bounds against which the wealth never passed a limit: it is convex in the mean."""
    from scipy.optimize import minimize_scalar

    def largest_wealth(mean: float) -> float:
        return min(float(log_wealth(differences, mean, total).max()), 1e6)

    if high - low < NEAR:
        return low, high
    inside = float(minimize_scalar(largest_wealth, bounds=(low, high), method="bounded", options={"xatol": NEAR}).x)
    if largest_wealth(inside) >= limit:
        return inside, inside

    def bound(outside: float) -> float:
        if largest_wealth(outside) < limit:
            return outside
        surviving, rejected = inside, outside
        while abs(surviving - rejected) > NEAR:
            middle = (surviving + rejected) / 2
            surviving, rejected = (middle, rejected) if largest_wealth(middle) < limit else (surviving, middle)
        return rejected

    return bound(low), bound(high)


def queries_needed(differences: Values, difference: float, *, alpha: float = 0.05) -> int | None:
    """Return about how many queries in total would show a mean difference.

    Further differences are taken to vary as the observed ones do, around ``difference``. None for fewer than two
    values, or if no bet grows.

    Args:
        differences: the observed ones.
        difference: above 0 and at most 1.

    Example:
        >>> queries_needed(np.array([0.5, -0.5] * 20), 0.1), queries_needed(np.array([0.2, -0.2] * 20), 0.1)
        (245, 75)
    """
    if len(differences) < 2:
        return None
    shifted = np.clip(differences - differences.mean() + difference, -1, 1)
    growth = np.log1p(SHARES[:, None] * shifted).mean(axis=1)
    if growth.max() <= 0:
        return None

    def is_shown(n: int) -> bool:
        return float(np.logaddexp.reduce(n * growth)) - math.log(2 * len(SHARES)) >= -math.log(alpha)

    n_queries = bisect_left(range(1, MOST_NEEDED), True, key=is_shown) + 1  # a sum of exponentials crosses once
    return n_queries if n_queries < MOST_NEEDED else None

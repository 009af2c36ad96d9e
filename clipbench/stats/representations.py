"""Intervals of mutual k-NN and CKA between two models, from the jackknife; docs/statistics.md has their coverage."""

import math

import numpy as np
from jaxtyping import Float64

from clipbench.stats.clusters import standard_error, student
from clipbench.stats.intervals import CONFIDENCE, SHARES, Interval, influence_interval

UNMOVED = "no sample moves the value"


def shared_neighbours_interval(value: float, influence: Float64[np.ndarray, " n"]) -> Interval:
    """Return the interval of a mutual k-NN: value ± t × jackknife standard error, which is too wide rather than too narrow.

    Samples share neighbours, so that the error of a mean of independent shares would be too small.

    Args:
        influence: of each sample, as ``metrics.shared_neighbours`` returns it.

    Example:
        >>> shared_neighbours_interval(1.0, np.zeros(30)).method
        'no sample moves the value'
    """
    found = influence_interval(value, influence, within=SHARES)
    return found._replace(method=UNMOVED if found.low is None else "jackknife")


def cka_interval(value: float, influence: Float64[np.ndarray, " n"]) -> Interval:
    """Return the interval of a CKA: Fisher's z ± t × jackknife standard error, and back.

    CKA is a correlation, of centred dot products, and as skewed near 1.

    Args:
        value: at most 1.
        influence: of each sample, as ``metrics.cka`` returns it.

    Example:
        >>> low, high, _ = cka_interval(0.9, np.array([-0.3, 0.3] * 50))
        >>> round(low, 3), round(high, 3)
        (0.82, 0.945)
    """
    half = standard_error(influence, times=student((1 + CONFIDENCE) / 2, len(influence)))
    if half is None or abs(value) >= 1:
        return Interval(None, None, UNMOVED)
    z, reach = math.atanh(value), half / (1 - value**2)
    return Interval(math.tanh(z - reach), math.tanh(z + reach), "jackknife of Fisher's z")

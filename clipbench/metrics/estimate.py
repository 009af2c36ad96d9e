"""A value that is a smooth function of means, with the influence of each sample on it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Estimate(NamedTuple):
    """A value and each sample's influence on it: its derivative by the sample's weight, times n; they sum to 0.

    The standard error of the value is sqrt(sum of squared influences) / n (infinitesimal jackknife).
    """

    value: float
    influence: Float64[np.ndarray, " n"]


def undefined(n: int) -> Estimate:
    """Return NaN for the value and for all n influences."""
    return Estimate(float("nan"), np.full(n, np.nan))

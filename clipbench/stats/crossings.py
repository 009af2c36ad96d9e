"""Interval of the place where a curve of means crosses 0, not of a height."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from jaxtyping import Float64

from clipbench.stats.clusters import Clusters, cluster_codes, cluster_sums, student
from clipbench.stats.intervals import CONFIDENCE, Interval, too_few

STEPS = 20
"""Places between two measured ones at which an interval may end."""


def crossing_interval(
    excess: Float64[np.ndarray, "n n_places"], places: Sequence[float], *, what: str, clusters: Clusters = None
) -> Interval:
    """Return the interval of the place at which the mean of an excess, mostly below 0 at the first, reaches 0.

    It is of the places at which Student's interval of the mean contains 0, as Fieller's is of a ratio (JRSS B 16 (1954)).
    Noise lets a curve come near its target early, and resamples of it more so: a bootstrap of the place covers less.

    Args:
        excess: of each sample at each place; lines join their means.
        places: ascending.
        what: name of the excess.

    Example:
        >>> hits = np.array([[0.0, 1.0, 1.0]] * 30 + [[0.0, 0.0, 0.0]] * 30)  # nothing at 5, all at 10
        >>> excess = hits - 0.5 * hits[:, -1:]
        >>> crossing_interval(excess, [5.0, 10.0, 20.0], what="recall less its half")[:2]  # 7.5, give or take a step
        (7.25, 7.75)
    """
    codes, mean = cluster_codes(clusters), excess.mean(axis=0)
    sums = np.column_stack([cluster_sums(column, codes) for column in (excess - mean).T])
    n_units, between = len(sums), np.linspace(0, len(places) - 1, STEPS * (len(places) - 1) + 1)
    if n_units < 2:
        return too_few(codes)
    # Lines between the measured places: of each place, the weights of the one before and of the one after.
    weights = np.column_stack([np.interp(between, np.arange(len(places)), line) for line in np.eye(len(places))])
    error = np.linalg.norm(sums @ weights.T, axis=0) / len(excess) * sqrt(n_units / (n_units - 1))
    half = student((1 + CONFIDENCE) / 2, n_units) * error
    may_reach, may_fall_short = weights @ mean + half >= 0, weights @ mean - half <= 0
    # A step more on either side, so that the value lies within.
    first = max(0, int(may_reach.argmax()) - 1)
    last = min(len(between) - 1, int(np.flatnonzero(may_fall_short).max(initial=-1)) + 1)
    low, high = np.interp(between[[first, last]], np.arange(len(places)), places).tolist()
    unit = "samples" if codes is None else "clusters"
    return Interval(low, high, f"Student's t of {what}, over {n_units} {unit}")

"""Interval of the position at which a curve of means crosses 0, not of a height."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from clipbench.stats.clusters import Clusters, cluster_codes, cluster_sums
from clipbench.stats.estimators import first_position_reaching
from clipbench.stats.intervals import Interval, gains_and_losses, too_few


def crossing_interval(
    excess: Float64[np.ndarray, "n n_positions"],
    positions: Sequence[float],
    *,
    excess_name: str,
    clusters: Clusters = None,
) -> Interval:
    """Return the interval of the position at which the mean of an excess, mostly below 0 at the first, reaches 0.

    It holds every position at which the interval of the mean contains 0, as Fieller's does for a ratio (JRSS B 16
    (1954)). The mean has the interval of its gains and losses, which allows for losses that no sample shows. With
    Student's t, a curve of 25 samples of which none is lost at a position would surely have reached 0 there.

    Args:
        excess: of each sample at each position, in [-1, 1]. Lines join the means, and their bounds.
        positions: ascending.
        excess_name: name of the excess.

    Example:
        >>> hits = np.array([[0.0, 1.0, 1.0]] * 300 + [[0.0, 0.0, 0.0]] * 300)  # nothing at 5, all at 10
        >>> excess = hits - 0.5 * hits[:, -1:]
        >>> low, high, _ = crossing_interval(excess, [5.0, 10.0, 20.0], excess_name="recall less its half")
        >>> round(low, 2), round(high, 2)
        (7.29, 7.71)
    """
    codes = cluster_codes(clusters)
    n_units = len(cluster_sums(excess[:, 0], codes))
    if n_units < 2:
        return too_few(codes)
    lows, highs = np.array([gains_and_losses(column, codes).bounds for column in excess.T]).T
    grid, target = np.array(positions, np.float64), np.zeros(1)
    low = float(first_position_reaching(highs[None], target, grid)[0])
    high = float(
        first_position_reaching(-lows[None, ::-1], target, grid[::-1])[0]
    )  # the last at which the mean may fall short
    unit = "samples" if codes is None else "clusters"
    return Interval(low, high, f"gains and losses of {excess_name} by Wilson, over {n_units} {unit}")

"""The gap of two modalities as a measure, with the columns by which two models are compared: the same in every task."""

from math import isnan

import numpy as np

from clipbench.metrics import Estimate, GapNoise
from clipbench.stats.distances import distance_interval
from clipbench.stats.measures import Smooth


def gap_measure(gap: Estimate, noise: GapNoise, samples: dict[str, np.ndarray], prefix: str = "") -> Smooth:
    """Return the gap with what no gap would show as chance, and add its influences to the samples.

    Args:
        gap: the distance of the two means.
        noise: of the same pairs.
        samples: columns of the pairs, which are added to.
        prefix: of the names of the columns.
    """
    has_spread = not isnan(noise.standard_error)
    samples[f"{prefix}gap_influence"] = gap.influence
    if has_spread:
        samples[f"{prefix}squared_gap_influence"] = noise.influence
    return Smooth(
        value=gap.value,
        influence=f"{prefix}gap_influence",
        squared_influence=f"{prefix}squared_gap_influence" if has_spread else None,
        unit="distance",
        chance=None if isnan(noise.chance) else noise.chance,
        interval=distance_interval(gap.value, noise.squared_gap, noise.standard_error, len(gap.influence)),
    )

"""Evenly spaced samples that stand for all in a figure; a run keeps the images of those that a report draws."""

import numpy as np

MAX_POINTS = 1000
"""Points of a scatter plot, evenly spaced over the vectors that a run keeps."""


def evenly_spaced(n: int, at_most: int) -> list[int]:
    """Return at most ``at_most`` of ``n`` rows, evenly spaced.

    Example:
        >>> evenly_spaced(5, 3), evenly_spaced(2, 3)
        ([0, 2, 4], [0, 1])
    """
    return sorted({round(row) for row in np.linspace(0, n - 1, min(n, at_most)).tolist()})

"""Evenly spaced samples that stand for all in a figure; a run keeps the images of those that a report draws."""

import numpy as np

MAX_POINTS = 1000
"""Pairs in a scatter, evenly spread over the vectors that a run keeps."""


def evenly_spaced(n: int, at_most: int) -> list[int]:
    """Return at most so many rows of ``n``, evenly spread.

    Example:
        >>> evenly_spaced(5, 3), evenly_spaced(2, 3)
        ([0, 2, 4], [0, 1])
    """
    return sorted({round(row) for row in np.linspace(0, n - 1, min(n, at_most)).tolist()})

"""The failures that a report lists, and how many neighbours of each a run keeps."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

LISTED = 24
"""Failures of a gallery."""
NEAREST = 5
"""Neighbours of each."""


def worst(margin: Float64[np.ndarray, " n"], is_failure: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " n_listed"]:
    """Return the rows of the failures that are listed: those of the least margins, in ascending order.

    Example:
        >>> worst(np.array([-0.1, 0.2, -0.3]), np.array([True, False, True]))
        array([2, 0])
    """
    rows = np.flatnonzero(is_failure)
    return rows[np.argsort(margin[rows], kind="stable")][:LISTED]

"""The samples that stand for all in a report: evenly spaced points of figures, and the worst failures of galleries."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

if TYPE_CHECKING:
    import pandas

MAX_POINTS = 1000
"""Points of a scatter plot, evenly spaced over the vectors that a run keeps."""
LISTED = 24
"""Failures of a gallery."""
NEAREST = 5
"""Neighbours of each."""


def worst(margin: Float64[np.ndarray, " n"], is_failure: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " n_listed"]:
    """Return the rows of the listed failures: the smallest margins, in ascending order."""
    rows = np.flatnonzero(is_failure)
    return rows[np.argsort(margin[rows], kind="stable")][:LISTED]


def evenly_spaced(n: int, at_most: int) -> list[int]:
    """Return at most ``at_most`` of ``n`` rows, evenly spaced.

    Example:
        >>> evenly_spaced(5, 3), evenly_spaced(2, 3)
        ([0, 2, 4], [0, 1])
    """
    return sorted({round(row) for row in np.linspace(0, n - 1, min(n, at_most)).tolist()})


def margin_units(table: "pandas.DataFrame") -> list[str]:
    """Return the unit of each sample's margin: ``rank`` if recorded, ``cosine`` otherwise, empty without either.

    Example:
        >>> import pandas
        >>> table = {"d_rank": [3.0, None], "d_cosine_margin": [-0.1, None], "target_cosine": [0.2, 0.3]}
        >>> margin_units(pandas.DataFrame(table)), margin_units(pandas.DataFrame({"margin": [0.5]}))
        (['rank', 'cosine'], [''])
    """
    names = [str(name) for name in table]
    units = np.full(len(table), "cosine" if any(name.endswith("target_cosine") for name in names) else "", object)
    for name in names:
        if f"{name.removesuffix('_rank')}_cosine_margin" in names:
            units[table[name].notna()] = "rank"
    return units.tolist()

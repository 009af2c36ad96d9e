"""The agreement of judges: Krippendorff's alpha of grades."""

from collections.abc import Sequence

import numpy as np


def ordinal_alpha(units: Sequence[Sequence[int]]) -> float | None:
    """Return Krippendorff's alpha for ordinal grades: 1 if all agree, 0 for chance, below 0 if judges differ more.

    It is 1 - observed / expected disagreement. Two grades c < k differ by (n_c / 2 + n_(c+1) + ... + n_k / 2)^2, with
    n_g the number of grades g that can be paired.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).

    Args:
        units: the grades of each document by any number of judges. Documents with one grade are left out.

    Returns:
        None if nothing was graded twice, or if all grades are equal.

    Example:
        >>> ordinal_alpha([[0, 0], [1, 1], [0, 1]])
        0.4444444444444444
    """
    paired = [grades for grades in units if len(grades) > 1]
    values, codes = np.unique([grade for grades in paired for grade in grades], return_inverse=True)
    if len(values) < 2:
        return None
    coincidences = np.zeros((len(values), len(values)))
    for part in np.split(codes, np.cumsum([len(grades) for grades in paired])[:-1]):
        counts = np.bincount(part, minlength=len(values)).astype(np.float64)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(part) - 1)
    totals = coincidences.sum(axis=1)
    middles = np.cumsum(totals) - totals / 2
    squared_distances = (middles[:, None] - middles) ** 2
    expected = (np.outer(totals, totals) * squared_distances).sum() / (totals.sum() - 1)
    return float(1 - (coincidences * squared_distances).sum() / expected)

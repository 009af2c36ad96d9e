"""The part of the gap between the centroids that the choice of pairs makes by itself, as it does where there is no gap.

The squared distance of two means is larger than that of their populations by tr Σ / n on average, Σ the covariance of
the paired differences: 500 pairs of one distribution in 512 dimensions are 0.04 apart, and more where a correction is
fitted on other pairs.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.metrics.geometry import check_paired, gap_vector
from clipbench.metrics.similarity import row_blocks

SPREAD_SAMPLE = 10_000
"""Pairs that tr Σ² is estimated on, evenly spaced among more: it costs n d²."""


class GapNoise(NamedTuple):
    """Unbiased squared gap of the population, and its noise; NaN where there are too few pairs."""

    squared_gap: float
    """|mean difference|² - tr S / n; below 0 about as often as above where there is no gap. From two pairs on."""
    standard_error: float
    """Standard error of ``squared_gap``, from three pairs on."""
    chance: float
    """sqrt(tr S / n), the gap expected of two modalities of one centroid. From two pairs on."""
    influence: Float64[np.ndarray, " n"]
    """n - 1 times the fall of ``squared_gap`` without each pair, less the mean of these (jackknife). From three pairs on.

    Where there is no gap, they make the variance twice as large as it is."""


def gap_noise(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> GapNoise:
    """Return the unbiased squared gap with its standard error, and the gap that no gap would show.

    With δ the mean of the differences of pairs and S their covariance, the variance of the squared gap is estimated as
    4 δ'Sδ / n + 2 tr Σ² / n². The first term counts the noise of δ as gap, so that it is too large where there is
    none; without that excess, an interval covers less than it says for gaps just above noise.

    Example:
        >>> images, texts = np.array([[1, 0], [1, 0]], np.float32), np.array([[0, 1], [0, -1]], np.float32)
        >>> noise = gap_noise(images, texts)  # differences (1, -1) and (1, 1): δ = (1, 0), tr S = 2
        >>> noise.squared_gap, noise.chance
        (0.0, 1.0)
    """
    check_paired(images, texts)
    n = len(images)
    if n < 2:
        return GapNoise(float("nan"), float("nan"), float("nan"), np.full(n, np.nan))
    gap = gap_vector(images, texts)
    trace = along_gap = 0.0
    influence = np.full(n, np.nan)
    for rows in row_blocks(images):
        differences = _differences(images[rows], texts[rows])
        deviations = differences - gap
        trace += float((deviations**2).sum()) / (n - 1)
        along_gap += float(((deviations @ gap) ** 2).sum()) / (n - 1)
        if n > 2:  # the products of a pair's difference with those of all others
            influence[rows] = 2 / (n - 2) * (n * (differences @ gap) - (differences**2).sum(axis=1))
    step = -(-n // SPREAD_SAMPLE)
    variance = 4 * along_gap / n + 2 * _trace_of_square(_differences(images[::step], texts[::step])) / n**2
    return GapNoise(float(gap @ gap) - trace / n, sqrt(variance), sqrt(trace / n), influence - influence.mean())


def _differences(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]
) -> Float64[np.ndarray, "n dim"]:
    return images.astype(np.float64) - texts


def _trace_of_square(differences: Float64[np.ndarray, "n dim"]) -> float:
    """Return the estimate of tr Σ² that is unbiased for normal vectors, at least 0; NaN for fewer than three.

    tr S² is too large by about (tr Σ)² / n, many times tr Σ² in many dimensions. Source: Bai and Saranadasa, Statistica
    Sinica 6 (1996).
    """
    n, dim = differences.shape
    if n < 3:
        return float("nan")
    centred = differences - differences.mean(axis=0)
    # Both products have the same trace and sum of squares.
    product = (centred.T @ centred if dim <= n else centred @ centred.T) / (n - 1)
    of_square = float((product**2).sum()) - float(np.trace(product)) ** 2 / (n - 1)
    return max(0.0, (n - 1) ** 2 / ((n + 1) * (n - 2)) * of_square)

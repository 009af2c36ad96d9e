"""Number of dimensions that vectors fill: effective rank, participation ratio and IsoScore of their covariance.

All three grow with n until n is many times the dimension, so values compare at equal n only, and an interval of their
influences does not cover the population's value; with fewer vectors than dimensions, the covariance is rank-deficient
and the values reflect n more than the model. NaN means undefined: all vectors are equal.
"""

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.metrics.estimate import Estimate, undefined


def effective_rank(vectors: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the effective number of dimensions that the centred vectors fill, in [1, min(n - 1, dim)].

    It is exp of the entropy of the singular values divided by their sum. Source: Roy and Vetterli, 2007. NaN when all
    vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> round(effective_rank(square).value, 6)
        2.0
    """
    n, dim = vectors.shape
    centred = _centred(vectors)
    if not centred.any():
        return undefined(n)
    variances, axes = np.linalg.eigh(centred.T @ centred / n)
    # A zero that rounding left at 1e-17 would count: the entropy is sensitive to small values.
    is_positive = variances > variances[-1] * max(n, dim) * np.finfo(np.float64).eps
    variances, axes = variances[is_positive], axes[:, is_positive]
    singular = np.sqrt(variances)
    p = singular / singular.sum()
    entropy = float(-(p * np.log(p)).sum())
    value = float(np.exp(entropy))
    # d exp(H) = -exp(H) / S × sum of (log p + H) dσ, dσ = dλ / (2 σ), dλ = (projection on the axis)² - λ.
    slopes = -value * (np.log(p) + entropy) / (2 * singular * singular.sum())
    return Estimate(value, ((centred @ axes) ** 2 - variances) @ slopes)


def participation_ratio(vectors: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the squared sum of the covariance's eigenvalues over the sum of their squares, in [1, min(n - 1, dim)].

    It is k when the variance is equal in k directions and 0 in the others. It equals the squared trace over the squared
    Frobenius norm, so no eigenvalue is needed. It is less sensitive to small variances than effective rank. NaN when
    all vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> participation_ratio(square).value
        2.0
    """
    centred = _centred(vectors)
    if not centred.any():
        return undefined(len(vectors))
    covariance = centred.T @ centred / len(vectors)
    trace, squares = float(np.trace(covariance)), float((covariance**2).sum())
    # d covariance = c cᵀ - covariance: the trace moves by |c|² - trace, the sum of squares by 2 (cᵀ C c - squares).
    by_trace = np.einsum("ij,ij->i", centred, centred) - trace
    by_squares = 2 * (np.einsum("ij,ij->i", centred @ covariance, centred) - squares)
    value = trace**2 / squares
    return Estimate(value, value * (2 * by_trace / trace - by_squares / squares))


def isoscore(vectors: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return how evenly the variance is spread over all dimensions, in [0, 1]: 0 all in one direction, 1 isotropic.

    Source: Rudman et al., IsoScore, 2022. Their steps simplify to (PR - 1) / (dim - 1), with PR the participation
    ratio. NaN in one dimension, or when all vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> isoscore(square).value, isoscore(square * np.array([1, 0], np.float32)).value
        (1.0, 0.0)
    """
    n, dim = vectors.shape
    if dim < 2:
        return undefined(n)
    value, influence = participation_ratio(vectors)
    return Estimate((value - 1) / (dim - 1), influence / (dim - 1))


def _centred(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    if not len(vectors):
        return vectors.astype(np.float64)
    return vectors - vectors.mean(axis=0, dtype=np.float64)

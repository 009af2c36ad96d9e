"""Number of dimensions that vectors fill: effective rank, participation ratio and IsoScore of their covariance.

All three grow with n until n is many times the dimension, so values compare at equal n only, and no interval covers the
population's value; with fewer vectors than dimensions, the covariance is rank-deficient and the values reflect n more
than the model. NaN means undefined: all vectors are equal.
"""

import numpy as np
from jaxtyping import Float32, Float64


def effective_rank(vectors: Float32[np.ndarray, "n dim"]) -> float:
    """Return the effective number of dimensions that the centred vectors fill, in [1, min(n - 1, dim)].

    It is exp of the entropy of the singular values divided by their sum. Source: Roy and Vetterli, 2007. NaN when all
    vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> round(effective_rank(square), 6)
        2.0
    """
    n, dim = vectors.shape
    centred = _centred(vectors)
    if not centred.any():
        return float("nan")
    variances = np.linalg.eigvalsh(centred.T @ centred / n)
    # A zero that rounding left at 1e-17 would count: the entropy is sensitive to small values.
    singular = np.sqrt(variances[variances > variances[-1] * max(n, dim) * np.finfo(np.float64).eps])
    p = singular / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def participation_ratio(vectors: Float32[np.ndarray, "n dim"]) -> float:
    """Return the squared sum of the covariance's eigenvalues over the sum of their squares, in [1, min(n - 1, dim)].

    It is k when the variance is equal in k directions and 0 in the others. It equals the squared trace over the squared
    Frobenius norm, so no eigenvalue is needed. It is less sensitive to small variances than effective rank. NaN when
    all vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> participation_ratio(square)
        2.0
    """
    centred = _centred(vectors)
    if not centred.any():
        return float("nan")
    covariance = centred.T @ centred / len(vectors)
    return float(np.trace(covariance)) ** 2 / float((covariance**2).sum())


def isoscore(vectors: Float32[np.ndarray, "n dim"]) -> float:
    """Return how evenly the variance is spread over all dimensions, in [0, 1]: 0 all in one direction, 1 isotropic.

    Source: Rudman et al., IsoScore, 2022. Their steps simplify to (PR - 1) / (dim - 1), with PR the participation
    ratio. NaN in one dimension, or when all vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> isoscore(square), isoscore(square * np.array([1, 0], np.float32))
        (1.0, 0.0)
    """
    dim = vectors.shape[1]
    if dim < 2:
        return float("nan")
    return (participation_ratio(vectors) - 1) / (dim - 1)


def _centred(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    if not len(vectors):
        return vectors.astype(np.float64)
    return vectors - vectors.mean(axis=0, dtype=np.float64)

"""Spread of vectors over the sphere: counts of all cosines, uniformity, and the number of dimensions that they fill.

Cosines and uniformity are over all pairs, in blocks: nothing of size n x n is in memory. Effective rank, participation
ratio and IsoScore grow with n until it is many times the dimension, so values compare at equal n only, and no interval
covers the population's value; with fewer vectors than dimensions they tell of n more than of the model. NaN means
undefined: too few vectors, or all equal.
"""

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.metrics.geometry import Estimate, check_paired, undefined_estimate
from clipbench.metrics.similarity import Images, Texts, Values, Vectors, dot_blocks, squared_lengths

N_BINS = 200
"""Equal bins of [-1, 1]: a hundredth of a cosine each."""


def bin_middles(n_bins: int = N_BINS) -> Float64[np.ndarray, " n_bins"]:
    """Return the cosine in the middle of each bin.

    Example:
        >>> bin_middles(4)
        array([-0.75, -0.25,  0.25,  0.75])
    """
    return (2 * np.arange(n_bins) + 1) / n_bins - 1


def cosine_counts(images: Images, texts: Texts, n_bins: int = N_BINS) -> dict[str, Int64[np.ndarray, " n_bins"]]:
    """Return the number of cosines in each bin, for two images, two texts, and an image with another image's text.

    Two images, or texts, count in both orders, as ``image`` and ``text``. The others are ``cross``.

    A bin contains its lower edge and not its upper one. The last contains 1. Cosines beyond 1 or -1, from rounded
    lengths (1 + 1e-7), count in the outermost bin.

    Raises:
        DataError: the numbers of texts and images differ.

    Example:
        >>> images, texts = np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 0], [0.6, 0.8]], np.float32)
        >>> counts = cosine_counts(images, texts, n_bins=4)
        >>> counts["image"], counts["cross"]  # twice 0; 0.6 and 0
        (array([0, 0, 2, 0]), array([0, 0, 1, 1]))
    """
    check_paired(images, texts)
    sides = {"image": (images, images), "text": (texts, texts), "cross": (images, texts)}
    counts = {name: np.zeros(n_bins, np.int64) for name in sides}
    for name, (x, y) in sides.items():
        for rows, dots in dot_blocks(x, y):
            pair_cosines = dots[np.arange(len(dots)), np.arange(rows.start, rows.stop)]
            counts[name] += cosine_histogram(dots.ravel(), n_bins) - cosine_histogram(pair_cosines, n_bins)
    return counts


def cosine_histogram(cosines: Values, n_bins: int = N_BINS) -> Int64[np.ndarray, " n_bins"]:
    """Return the number of cosines in each bin, by the rules of ``cosine_counts``.

    Example:
        >>> cosine_histogram(np.array([-1.0, 0.0, 0.49, 0.5, 1.0]), n_bins=4)
        array([1, 0, 2, 2])
    """
    positions = np.floor((cosines + 1) * (n_bins / 2))
    np.clip(positions, 0, n_bins - 1, out=positions)
    return np.bincount(positions.astype(np.intp), minlength=n_bins).astype(np.int64)


def uniformity(vectors: Vectors, t: float = 2.0) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over different vectors, in nats.

    It is 0 when all are equal, about -2t when they are spread over the sphere. Source: Wang and Isola, 2020, section
    4.1.2.
    NaN for fewer than two vectors.

    Example:
        >>> round(uniformity(np.array([[1, 0], [0, 1]], np.float32)).value, 6)  # squared distance 2
        -4.0
    """
    return cross_uniformity(vectors, vectors, t)


def cross_uniformity(images: Images, texts: Texts, t: float = 2.0) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over an image and the text of another, in nats.

    Source: the cross-modal uniformity of Fahim et al., 2024. NaN for fewer than two pairs.

    Raises:
        DataError: the numbers of texts and images differ.
    """
    check_paired(images, texts)
    n = len(images)
    if n < 2:
        return undefined_estimate(n)
    by_image, by_text = np.empty(n), np.zeros(n)
    image_lengths, text_lengths = squared_lengths(images), squared_lengths(texts)
    for rows, dots in dot_blocks(images, texts):
        kernel = np.exp(-t * (image_lengths[rows, None] + text_lengths - 2 * dots))
        kernel[np.arange(len(kernel)), np.arange(rows.start, rows.stop)] = 0
        by_image[rows] = kernel.sum(axis=1)
        by_text += kernel.sum(axis=0)
    mean = float(by_image.mean()) / (n - 1)
    return Estimate(float(np.log(mean)), ((by_image + by_text) / (n - 1) - 2 * mean) / mean)


def effective_rank(vectors: Vectors) -> float:
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


def participation_ratio(vectors: Vectors) -> float:
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


def isoscore(vectors: Vectors) -> float:
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


def _centred(vectors: Vectors) -> Float64[np.ndarray, "n dim"]:
    if not len(vectors):
        return vectors.astype(np.float64)
    return vectors - vectors.mean(axis=0, dtype=np.float64)

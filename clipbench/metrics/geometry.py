"""How image and text vectors lie in the shared space: gap, cones, alignment, uniformity, effective rank.

Vectors are unit ones; row i of both sides is a pair. What is a mean over pairs comes as one number a pair; what is a
smooth function of means comes as an ``Estimate``, with the influence of each pair on it. Nothing of size n x n is
held. NaN means undefined: too few samples, or all alike.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.arrays import dot_blocks


class Estimate(NamedTuple):
    """A value and each sample's influence on it: its derivative by the sample's weight, times n; they sum to 0.

    The standard error of the value is sqrt(sum of squared influences) / n (infinitesimal jackknife).
    """

    value: float
    influence: Float64[np.ndarray, " n"]


def gap_vector(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]
) -> Float64[np.ndarray, " dim"]:
    """Return the mean image vector minus the mean text vector; NaN without samples."""
    if not len(images):
        return np.full(images.shape[1], np.nan)
    return images.mean(axis=0, dtype=np.float64) - texts.mean(axis=0, dtype=np.float64)


def modality_gap(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the distance between the mean image vector and the mean text vector, in [0, 2].

    Source: Liang et al., Mind the Gap, 2022 (the means are not renormalised). The square of the estimate is biased
    upwards by the variance of the gap vector, of order 1/n; where the gap is 0 it has no derivative, and all
    influences are 0.

    Example:
        >>> images, texts = np.array([[1, 0], [1, 0]], np.float32), np.array([[0, 1], [0, -1]], np.float32)
        >>> modality_gap(images, texts)
        Estimate(value=1.0, influence=array([0., 0.]))
    """
    gap = gap_vector(images, texts)
    length = float(np.linalg.norm(gap))
    direction = gap / length if length else gap
    along = images @ direction - texts @ direction
    return Estimate(length, along - length)


def cone(vectors: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the mean cosine between different vectors, in [-1/(n - 1), 1]: how narrow their cone is.

    In closed form, (‖sum‖² - sum of squared lengths) / (n (n - 1)). Source: Ethayarajh 2019 (anisotropy), Liang et al.
    2022 (cone effect). NaN for fewer than two vectors.

    Example:
        >>> cone(np.array([[1, 0], [1, 0], [0, 1]], np.float32)).value  # 1, 0 and 0
        0.3333333333333333
    """
    n = len(vectors)
    if n < 2:
        return _undefined(n)
    with_all = vectors @ vectors.sum(axis=0, dtype=np.float64)
    with_others = (with_all - _squared_lengths(vectors)) / (n - 1)
    value = float(with_others.mean())
    return Estimate(value, 2 * (with_others - value))


def pair_cosine(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    """Return the cosine of each pair, in [-1, 1]. Their mean is AlignCLIP's alignment score."""
    return np.einsum("ij,ij->i", images, texts, dtype=np.float64)


def alignment(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"], alpha: float = 2.0
) -> Float64[np.ndarray, " n"]:
    """Return the distance of each pair to the power alpha, in [0, 2**alpha]; their mean is the alignment loss.

    Source: Wang and Isola, 2020, section 4.1.2. With alpha 2 it is 2 - 2 cosine.
    """
    return _pair_squared_distances(images, texts) ** (alpha / 2)


def l2i(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    """Return the distance of each pair, in [0, 2]; their mean is the L2I gap of Schrodi et al., 2025."""
    return np.sqrt(_pair_squared_distances(images, texts))


def rmg(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the relative modality gap, in [0, 1]: 0.5 where pairs are as far apart as items of one modality are.

    With d = (1 - cosine) / 2, RMG = m / (m + (D_image + D_text) / 2), where m is the mean d of pairs and D the mean d
    of different items of a modality. Source: Schrodi et al., Two Effects, One Trigger, 2025, with their code's rule
    that an m of 0 counts as 0.001. NaN for fewer than two pairs, or when all vectors are equal.

    Example:
        >>> images, texts = np.array([[1, 0], [0, 1]], np.float32), np.array([[-1, 0], [0, -1]], np.float32)
        >>> round(rmg(images, texts).value, 6)  # m = 1, both D = 1/2
        0.666667
    """
    n = len(images)
    if n < 2:
        return _undefined(n)
    # d is a quarter of the squared distance, which is exactly 0 for equal vectors where a cosine is 1 ± 1e-8.
    matched = _pair_squared_distances(images, texts) / 4
    within = (_squared_deviations(images) + _squared_deviations(texts)) * n / (n - 1) / 4
    m, d = float(matched.mean()), float(within.mean())
    if m == d == 0:
        return _undefined(n)
    if m == 0:
        m, matched = 1e-3, np.full(n, 1e-3)
    return Estimate(m / (m + d), (d * (matched - m) - m * (within - d)) / (m + d) ** 2)


def uniformity(vectors: Float32[np.ndarray, "n dim"], t: float = 2.0) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over different vectors, in nats.

    0 when all are equal; about -2t when they are spread over the sphere. Source: Wang and Isola, 2020, section 4.1.2.
    NaN for fewer than two vectors.

    Example:
        >>> round(uniformity(np.array([[1, 0], [0, 1]], np.float32)).value, 6)  # squared distance 2
        -4.0
    """
    return cross_uniformity(vectors, vectors, t)


def cross_uniformity(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"], t: float = 2.0
) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over an image and the text of another, in nats.

    The cross-modal uniformity of Fahim et al., 2024. NaN for fewer than two pairs.
    """
    n = len(images)
    if n < 2:
        return _undefined(n)
    by_image, by_text = np.empty(n), np.zeros(n)
    image_lengths, text_lengths = _squared_lengths(images), _squared_lengths(texts)
    for rows, dots in dot_blocks(images, texts):
        kernel = np.exp(-t * (image_lengths[rows, None] + text_lengths - 2 * dots))
        kernel[np.arange(len(kernel)), np.arange(rows.start, rows.stop)] = 0
        by_image[rows] = kernel.sum(axis=1)
        by_text += kernel.sum(axis=0)
    mean = float(by_image.mean()) / (n - 1)
    return Estimate(float(np.log(mean)), ((by_image + by_text) / (n - 1) - 2 * mean) / mean)


def effective_rank(vectors: Float32[np.ndarray, "n dim"]) -> Estimate:
    """Return the effective number of dimensions that the centred vectors fill, in [1, min(n - 1, dim)].

    exp of the entropy of the singular values divided by their sum. Source: Roy and Vetterli, 2007. It grows with n
    until n is many times dim, so values compare at equal n only, and the interval speaks of this n. NaN when all
    vectors are equal.

    Example:
        >>> square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
        >>> round(effective_rank(square).value, 6)
        2.0
    """
    n, dim = vectors.shape
    centred = _centred(vectors)
    if not centred.any():
        return _undefined(n)
    variances, axes = np.linalg.eigh(centred.T @ centred / n)
    # What rounding leaves of a zero would count: an entropy feels each small value.
    kept = variances > variances[-1] * max(n, dim) * np.finfo(np.float64).eps
    variances, axes = variances[kept], axes[:, kept]
    singular = np.sqrt(variances)
    p = singular / singular.sum()
    entropy = float(-(p * np.log(p)).sum())
    value = float(np.exp(entropy))
    # d exp(H) = -exp(H) / S × sum of (log p + H) dσ, dσ = dλ / (2 σ), dλ = (projection on the axis)² - λ.
    slopes = -value * (np.log(p) + entropy) / (2 * singular * singular.sum())
    return Estimate(value, ((centred @ axes) ** 2 - variances) @ slopes)


def _undefined(n: int) -> Estimate:
    return Estimate(float("nan"), np.full(n, np.nan))


def _centred(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    if not len(vectors):
        return vectors.astype(np.float64)
    return vectors - vectors.mean(axis=0, dtype=np.float64)


def _squared_lengths(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    return np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)


def _squared_deviations(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    centred = _centred(vectors)
    return np.einsum("ij,ij->i", centred, centred)


def _pair_squared_distances(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]
) -> Float64[np.ndarray, " n"]:
    difference = images.astype(np.float64) - texts
    return np.einsum("ij,ij->i", difference, difference)

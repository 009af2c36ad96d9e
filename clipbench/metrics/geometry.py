"""Geometry of image and text embeddings in the shared space: gap, cones, cosines and distances of pairs, relative gap.

Vectors have length 1; row i of both sides is a pair. Every measure here costs O(n d) and reads the vectors in blocks;
besides them, only numbers per pair are in memory. ``pair_geometry`` gives all measures from the same few passes. A mean
over pairs is returned as one number a pair, a smooth function of means as an ``Estimate`` with the influence of each
pair on it. NaN means undefined: too few samples, or all alike.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.errors import DataError
from clipbench.metrics.similarity import Images, Texts, Values, Vector, Vectors, row_blocks

Owners = Int64[np.ndarray, " n_owners"]
"""Row of each text's image."""
PerImage = Float64[np.ndarray, " n_images"]
PerText = Float64[np.ndarray, " n_texts"]
SPREAD_SAMPLE = 10_000
"""Pairs that tr Σ² is estimated on, evenly spaced among more: it costs n d²."""


class Estimate(NamedTuple):
    """A value and each sample's influence on it: its derivative by the sample's weight, times n. They sum to 0.

    The standard error of the value is sqrt(sum of squared influences) / n (infinitesimal jackknife).
    """

    value: float
    influence: Values


def undefined_estimate(n: int) -> Estimate:
    """Return NaN for the value and for all n influences."""
    return Estimate(float("nan"), np.full(n, np.nan))


class PairGeometry(NamedTuple):
    """All measures of pairs."""

    gap_vector: Vector
    """The result of the function of its name."""
    modality_gap: Estimate
    """The result of the function of its name. Where the gap is 0 it has no derivative, and all influences are 0."""
    image_cone: Estimate
    """Mean cosine between different images, in [-1/(n - 1), 1]: how narrow their cone is.

    In closed form, (‖sum‖² - sum of squared lengths) / (n (n - 1)). Source: Ethayarajh 2019 (anisotropy), Liang et al.
    2022 (cone effect). NaN for fewer than two.
    """
    text_cone: Estimate
    """The same of texts."""
    cross_cosine: Estimate
    """Mean cosine of an image with the text of another, in [-1, 1]: how close the two cones are.

    In closed form, (sum of images · sum of texts - sum of the pairs' cosines) / (n (n - 1)). NaN for fewer than two
    pairs.
    """
    pair_cosine: Values
    """The result of the function of its name."""
    alignment: Values
    """Squared distance of each pair, in [0, 4]. The mean is the alignment loss of Wang and Isola (2020, 4.1.2)."""
    l2i: Values
    """Distance of each pair, in [0, 2]. Their mean is the L2I gap of Schrodi et al., 2025."""
    rmg: Estimate
    rmg_unhalved: Estimate
    """Both results of ``relative_gaps``."""


def pair_geometry(images: Images, texts: Texts) -> PairGeometry:
    """Return all measures of this module, from two passes over each modality and two over the pairs.

    Raises:
        DataError: the numbers of texts and images differ.

    Example:
        >>> images, texts = np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 0], [0.6, 0.8]], np.float32)
        >>> round(pair_geometry(images, texts).cross_cosine.value, 6)  # 0.6 and 0
        0.3
    """
    check_paired(images, texts)
    means = np.stack([_mean(images), _mean(texts)])
    gap = means[0] - means[1]
    length = float(np.linalg.norm(gap))
    directions = np.stack([*means, gap / length if length else gap], axis=1)
    image_side, text_side = _side(images, means[0], directions), _side(texts, means[1], directions)
    cosines, squared_distances = pair_cosine(images, texts), _pair_squared_distances(images, texts)
    return PairGeometry(
        gap,
        Estimate(length, image_side.products[:, 2] - text_side.products[:, 2]),
        _cone(image_side, means[0], mean_column=0),
        _cone(text_side, means[1], mean_column=1),
        _cross_cosine(image_side.products[:, 1] + text_side.products[:, 0], cosines, float(means[0] @ means[1])),
        cosines,
        squared_distances,
        np.sqrt(squared_distances),
        *_relative_gaps(squared_distances, image_side.squared_deviations, text_side.squared_deviations),
    )


def gap_vector(images: Images, texts: Texts) -> Vector:
    """Return the mean image embedding minus the mean text embedding, or NaN without samples.

    Source: Liang et al., Mind the Gap, 2022.
    """
    return _mean(images) - _mean(texts)


def modality_gap(images: Images, texts: Texts) -> float:
    """Return the distance between the mean image embedding and the mean text embedding, in [0, 2].

    Source: Liang et al., Mind the Gap, 2022 (the means are not renormalised). The square of the estimate is biased
    upwards by the variance of the gap vector, of order 1/n (``gap_noise`` has the unbiased square and its error).

    Example:
        >>> images, texts = np.array([[1, 0], [1, 0]], np.float32), np.array([[0, 1], [0, -1]], np.float32)
        >>> modality_gap(images, texts)
        1.0
    """
    return float(np.linalg.norm(gap_vector(images, texts)))


def pair_cosine(images: Images, texts: Texts) -> Values:
    """Return the cosine of each pair, in [-1, 1]. Their mean is AlignCLIP's alignment score."""
    check_paired(images, texts)
    return np.einsum("ij,ij->i", images, texts, dtype=np.float64)


def cone(vectors: Vectors) -> Estimate:
    """Return the mean cosine between different vectors of one modality, as ``PairGeometry.image_cone`` is.

    Example:
        >>> round(cone(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)).value, 4)  # (0 + 0.6 + 0.8) / 3
        0.4667
    """
    mean = _mean(vectors)
    return _cone(_side(vectors, mean, mean[:, None]), mean, mean_column=0)


def relative_gaps(images: Images, texts: Texts, text_image: Owners | None = None) -> tuple[Estimate, Estimate]:
    """Return the relative modality gap, in [0, 1], and its variant without the halving, at the cost of one.

    With d = (1 - cosine) / 2, RMG = m / (m + (D_image + D_text) / 2), where m is the mean d of pairs and D the mean d
    of different items of a modality. Source: Schrodi et al., Two Effects, One Trigger, 2025, as their code computes it:
    m is over all texts, each with its image, D_image over images, and D_text over all texts, including pairs of texts
    of one image. An m of 0 counts as 0.001. RMG is 0.5, and the variant m / (m + D_image + D_text) a third, where pairs
    are as far apart as items of one modality are. NaN for fewer than two images, or when all vectors are equal. There
    is one influence per image, with all its texts.

    Args:
        text_image: row of each text's image. Row i belongs to row i if it is not given.

    Raises:
        DataError: a text names no image, an image has no text, or no ``text_image`` is given and the counts differ.

    Example:
        >>> images, texts = np.array([[1, 0], [0, 1]], np.float32), np.array([[-1, 0], [0, -1]], np.float32)
        >>> round(relative_gaps(images, texts)[0].value, 6)  # m = 1, both D = 1/2
        0.666667
    """
    if text_image is None:
        check_paired(images, texts)
    else:
        if len(text_image) != len(texts):
            raise DataError(f"text_image has {len(text_image):,} rows: expected {len(texts):,}, one per text")
        check_owners(text_image, len(images))
    squared_distances = _pair_squared_distances(images, texts, text_image)
    image_side, text_side = _side(images, _mean(images)), _side(texts, _mean(texts))
    return _relative_gaps(squared_distances, image_side.squared_deviations, text_side.squared_deviations, text_image)


class _Side(NamedTuple):
    """Statistics of each vector of one modality, given the modality's mean."""

    squared_lengths: Values
    squared_deviations: Values
    """Squared distances from the mean."""
    products: Float64[np.ndarray, "n n_directions"]
    """Dot products of the centred vectors with given directions."""


def _mean(vectors: Vectors) -> Vector:
    if not len(vectors):
        return np.full(vectors.shape[1], np.nan)
    total = np.zeros(vectors.shape[1])
    for rows in row_blocks(vectors):
        total += vectors[rows].sum(axis=0, dtype=np.float64)
    return total / len(vectors)


def _side(
    vectors: Vectors,
    mean: Vector,
    directions: Float64[np.ndarray, "dim n_directions"] | None = None,
) -> _Side:
    n = len(vectors)
    directions = np.empty((len(mean), 0)) if directions is None else directions
    side = _Side(np.empty(n), np.empty(n), np.empty((n, directions.shape[1])))
    for rows in row_blocks(vectors):
        block = vectors[rows].astype(np.float64)
        np.einsum("ij,ij->i", block, block, out=side.squared_lengths[rows])
        block -= mean
        np.einsum("ij,ij->i", block, block, out=side.squared_deviations[rows])
        np.matmul(block, directions, out=side.products[rows])
    return side


def _pair_squared_distances(images: Images, texts: Texts, text_image: Owners | None = None) -> PerText:
    """Return squared distances, from differences: exactly 0 for equal vectors, whose cosine is 1 ± 1e-8."""
    out = np.empty(len(texts))
    for rows in row_blocks(texts):
        difference = texts[rows].astype(np.float64)
        difference -= images[rows if text_image is None else text_image[rows]]
        np.einsum("ij,ij->i", difference, difference, out=out[rows])
    return out


def _cone(side: _Side, mean: Vector, *, mean_column: int) -> Estimate:
    """Return the cone from products of centred vectors with directions, of which ``mean_column`` is their mean."""
    n = len(side.squared_lengths)
    if n < 2:
        return undefined_estimate(n)
    with_all = n * (side.products[:, mean_column] + mean @ mean)
    with_others = (with_all - side.squared_lengths) / (n - 1)
    value = float(with_others.mean())
    return Estimate(value, 2 * (with_others - value))


def _cross_cosine(centred_products: Values, cosines: Values, means_product: float) -> Estimate:
    """Return the cross cosine from each image's product with the mean text plus its text's with the mean image."""
    n = len(cosines)
    if n < 2:
        return undefined_estimate(n)
    with_others = (n * (centred_products + 2 * means_product) - 2 * cosines) / (n - 1)
    value = float(with_others.mean()) / 2
    return Estimate(value, with_others - 2 * value)


def _relative_gaps(
    squared_distances: PerText, image_deviations: PerImage, text_deviations: PerText, text_image: Owners | None = None
) -> tuple[Estimate, Estimate]:
    n_images, n_texts = len(image_deviations), len(text_deviations)
    if n_images < 2:
        return undefined_estimate(n_images), undefined_estimate(n_images)
    # d is a quarter of the squared distance; twice the mean squared deviation is the mean squared distance.
    image_within = image_deviations * n_images / (n_images - 1) / 2
    text_within = text_deviations * n_texts / (n_texts - 1) / 2
    matched = _mean_by_image(squared_distances / 4, n_images, text_image)
    images, texts = _mean_by_image(image_within, n_images, None), _mean_by_image(text_within, n_images, text_image)
    if matched.value == 0:
        matched = Estimate(1e-3 if images.value + texts.value else 0.0, np.zeros(n_images))
    within = Estimate(images.value + texts.value, images.influence + texts.influence)
    return _fraction(matched, Estimate(within.value / 2, within.influence / 2)), _fraction(matched, within)


def _mean_by_image(
    values: Float64[np.ndarray, " n_values"], n_images: int, image: Int64[np.ndarray, " n_values"] | None
) -> Estimate:
    """Return the mean of values with the influence of each image, which has one value, or all those that name it."""
    mean = float(values.mean())
    if image is None:
        return Estimate(mean, values - mean)
    return Estimate(mean, np.bincount(image, values - mean, minlength=n_images) * n_images / len(values))


def _fraction(part: Estimate, rest: Estimate) -> Estimate:
    """Return part / (part + rest)."""
    total = part.value + rest.value
    if total == 0:
        return undefined_estimate(len(part.influence))
    influence = (rest.value * part.influence - part.value * rest.influence) / total**2
    return Estimate(part.value / total, influence)


class GapNoise(NamedTuple):
    """Unbiased squared gap of the population, and the part of the gap that the choice of pairs makes by itself.

    The squared distance of two sample means is larger than the squared distance of their populations by tr Σ / n on
    average, Σ the covariance of the paired differences. For example, the means of 500 pairs of one distribution in 512
    dimensions are 0.04 apart. NaN for too few pairs.
    """

    squared_gap: float
    """|mean difference|² - tr S / n; below 0 about as often as above where there is no gap. From two pairs on."""
    standard_error: float
    """Standard error of ``squared_gap``, from three pairs on."""
    chance: float
    """sqrt(tr S / n), the gap expected of two modalities of one centroid. From two pairs on."""
    influence: Values
    """n - 1 times the fall of ``squared_gap`` without each pair, minus the mean fall (jackknife), from three pairs on.

    Without a gap, they make the variance twice as large as it is."""


def gap_noise(images: Vectors, texts: Vectors) -> GapNoise:
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
        differences = images[rows].astype(np.float64) - texts[rows]
        deviations = differences - gap
        trace += float((deviations**2).sum()) / (n - 1)
        along_gap += float(((deviations @ gap) ** 2).sum()) / (n - 1)
        if n > 2:  # the products of a pair's difference with those of all others
            influence[rows] = 2 / (n - 2) * (n * (differences @ gap) - (differences**2).sum(axis=1))
    step = -(-n // SPREAD_SAMPLE)
    of_square = _trace_of_square(images[::step].astype(np.float64) - texts[::step])
    variance = 4 * along_gap / n + 2 * of_square / n**2
    return GapNoise(float(gap @ gap) - trace / n, sqrt(variance), sqrt(trace / n), influence - influence.mean())


def _trace_of_square(differences: Float64[np.ndarray, "n dim"]) -> float:
    """Return the estimate of tr Σ² that is unbiased for normal vectors, at least 0, or NaN for fewer than three.

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


def check_paired(images: Images, texts: Float32[np.ndarray, "n_texts text_dim"]) -> None:
    """Raise DataError unless the numbers of texts and images are equal: numpy would pair a single one with all."""
    if len(images) != len(texts):
        raise DataError(
            f"{len(images):,} image embeddings and {len(texts):,} text embeddings: expected equal numbers, one pair per"
            " row"
        )


def check_owners(text_image: Owners, n_images: int) -> None:
    """Raise DataError unless each text belongs to an image, and each image has a text."""
    invalid = np.flatnonzero((text_image < 0) | (text_image >= n_images))
    if len(invalid):
        raise DataError(f"text {invalid[0]} belongs to image {text_image[invalid[0]]}: expected 0 to {n_images - 1}")
    textless = np.flatnonzero(np.bincount(text_image, minlength=n_images) == 0)
    if len(textless):
        raise DataError(f"image {textless[0]} has no text: expected at least one for each")

"""Uniformity of vectors on the sphere, over every pair of them, in blocks.

Vectors have length 1. Nothing of size n x n is in memory. NaN means undefined: too few samples.
"""

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.metrics.estimate import Estimate, undefined
from clipbench.metrics.geometry import check_paired
from clipbench.metrics.similarity import dot_blocks


def uniformity(vectors: Float32[np.ndarray, "n dim"], t: float = 2.0) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over different vectors, in nats.

    It is 0 when all are equal, about -2t when they are spread over the sphere. Source: Wang and Isola, 2020, section
    4.1.2.
    NaN for fewer than two vectors.

    Example:
        >>> round(uniformity(np.array([[1, 0], [0, 1]], np.float32)).value, 6)  # squared distance 2
        -4.0
    """
    return cross_uniformity(vectors, vectors, t)


def cross_uniformity(
    images: Float32[np.ndarray, "n_images dim"], texts: Float32[np.ndarray, "n_texts dim"], t: float = 2.0
) -> Estimate:
    """Return the log of the mean of exp(-t × squared distance) over an image and the text of another, in nats.

    Source: the cross-modal uniformity of Fahim et al., 2024. NaN for fewer than two pairs.

    Raises:
        DataError: there are not as many texts as images.
    """
    check_paired(images, texts)
    n = len(images)
    if n < 2:
        return undefined(n)
    by_image, by_text = np.empty(n), np.zeros(n)
    image_lengths, text_lengths = _squared_lengths(images), _squared_lengths(texts)
    for rows, dots in dot_blocks(images, texts):
        kernel = np.exp(-t * (image_lengths[rows, None] + text_lengths - 2 * dots))
        kernel[np.arange(len(kernel)), np.arange(rows.start, rows.stop)] = 0
        by_image[rows] = kernel.sum(axis=1)
        by_text += kernel.sum(axis=0)
    mean = float(by_image.mean()) / (n - 1)
    return Estimate(float(np.log(mean)), ((by_image + by_text) / (n - 1) - 2 * mean) / mean)


def _squared_lengths(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    return np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)

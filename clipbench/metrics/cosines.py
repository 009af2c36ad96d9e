"""Distribution of all cosines, within a modality and across: exact counts in equal bins, in blocks.

Vectors are unit ones. Nothing of size n x n is held.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.metrics.geometry import check_paired, pair_cosine
from clipbench.metrics.similarity import dot_blocks

N_BINS = 200
"""Equal bins of [-1, 1]: a hundredth of a cosine each."""


class CosineCounts(NamedTuple):
    """Number of pairs of vectors with a cosine in each bin."""

    image: Int64[np.ndarray, " n_bins"]
    """Pairs of two images; each counts twice, once in each order."""
    text: Int64[np.ndarray, " n_bins"]
    """Pairs of two texts; each counts twice."""
    cross: Int64[np.ndarray, " n_bins"]
    """An image with the text of another."""
    pair: Int64[np.ndarray, " n_bins"]
    """An image with its own text."""


def bin_middles(n_bins: int = N_BINS) -> Float64[np.ndarray, " n_bins"]:
    """Return the cosine in the middle of each bin.

    Example:
        >>> bin_middles(4)
        array([-0.75, -0.25,  0.25,  0.75])
    """
    return (2 * np.arange(n_bins) + 1) / n_bins - 1


def cosine_counts(
    images: Float32[np.ndarray, "n_images dim"], texts: Float32[np.ndarray, "n_texts dim"], n_bins: int = N_BINS
) -> CosineCounts:
    """Return the exact distribution of all cosines of some pairs, no vector with itself.

    A bin contains its lower edge and not its upper one; the last contains 1. Cosines beyond 1 or -1, from rounded
    lengths (1 + 1e-7), count in the outermost bin.

    Raises:
        DataError: there are not as many texts as images.

    Example:
        >>> images, texts = np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 0], [0.6, 0.8]], np.float32)
        >>> image, text, cross, pair = cosine_counts(images, texts, n_bins=4)
        >>> image, cross, pair  # twice 0; 0.6 and 0; 1 and 0.8
        (array([0, 0, 2, 0]), array([0, 0, 1, 1]), array([0, 0, 0, 2]))
    """
    check_paired(images, texts)
    return CosineCounts(
        _off_diagonal(images, images, n_bins),
        _off_diagonal(texts, texts, n_bins),
        _off_diagonal(images, texts, n_bins),
        cosine_histogram(pair_cosine(images, texts), n_bins),
    )


def cosine_histogram(cosines: Float64[np.ndarray, " n"], n_bins: int = N_BINS) -> Int64[np.ndarray, " n_bins"]:
    """Return the number of cosines in each bin, by the rules of ``cosine_counts``.

    Example:
        >>> cosine_histogram(np.array([-1.0, 0.0, 0.49, 0.5, 1.0]), n_bins=4)
        array([1, 0, 2, 2])
    """
    places = np.floor((cosines + 1) * (n_bins / 2))
    np.clip(places, 0, n_bins - 1, out=places)
    return np.bincount(places.astype(np.intp), minlength=n_bins).astype(np.int64)


def _off_diagonal(
    x: Float32[np.ndarray, "n dim"], y: Float32[np.ndarray, "n dim"], n_bins: int
) -> Int64[np.ndarray, " n_bins"]:
    counts = np.zeros(n_bins, np.int64)
    for rows, dots in dot_blocks(x, y):
        own = dots[np.arange(len(dots)), np.arange(rows.start, rows.stop)]
        counts += cosine_histogram(dots.ravel(), n_bins) - cosine_histogram(own, n_bins)
    return counts

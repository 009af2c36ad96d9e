"""Dimensions that carry the modality gap, and gap and retrieval once they are removed.

Schrodi et al., Two Effects, One Trigger, 2025, find that few dimensions carry the gap. Dimensions are the components of
the vectors as the model gives them: a rotation of the space changes no cosine, but all of these values.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.metrics.geometry import check_paired, gap_vector, modality_gap
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import Images, Texts, Vector, unit

CARRIED = 0.9
"""Fraction of the squared gap whose dimensions are counted."""
_NO_GAP = 1e-6
"""A smaller gap is a rounded zero: components of unit vectors are off by up to 3e-8 each."""


class GapSpectrum(NamedTuple):
    """The mean differences of the dimensions, the largest first."""

    dimensions: Int64[np.ndarray, " dim"]
    """The dimension at each place of the order."""
    mean_differences: Vector
    """Distance of the two means along each. Their squares sum to the squared gap."""
    shares: Vector
    """Fraction of the squared gap in this dimension and those before it, NaN if there is no gap."""

    def n_carrying(self, share: float = CARRIED) -> int | None:
        """Return the fewest dimensions that carry this fraction of the squared gap, or None if there is no gap."""
        if np.isnan(self.shares[-1]):
            return None
        return int(np.argmax(self.shares >= share - 1e-12)) + 1


def gap_spectrum(gap: Vector) -> GapSpectrum:
    """Return the distances of the two means by dimension, the largest first, and their fraction of the squared gap.

    Equal ones are in the order of the dimensions. A gap of NaN (no vectors) gives NaN.

    Args:
        gap: the gap vector (``gap_vector``).

    Example:
        >>> spectrum = gap_spectrum(np.array([0.0, -0.8, 0.6]))
        >>> spectrum.dimensions, spectrum.mean_differences, spectrum.shares.round(2), spectrum.n_carrying()
        (array([1, 2, 0]), array([0.8, 0.6, 0. ]), array([0.64, 1.  , 1.  ]), 2)
    """
    order = np.argsort(-np.abs(gap), kind="stable")
    differences = np.abs(gap[order])
    carried = np.cumsum(differences**2)
    shares = carried / carried[-1] if carried[-1] > _NO_GAP**2 else np.full_like(carried, np.nan)
    return GapSpectrum(order, differences, shares)


def round_numbers(below: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50, ... below a number.

    Example:
        >>> round_numbers(21)
        [1, 2, 5, 10, 20]
    """
    numbers = (step * 10**power for power in range(len(str(below))) for step in (1, 2, 5))
    return [number for number in numbers if number < below]


def ablations(images: Images, texts: Texts) -> dict[int, tuple[float, float, float]]:
    """Return gap and recall@1 without the dimensions that carry most of the gap, by the number removed.

    The numbers are 0 and ``round_numbers``. The remaining components of each vector are scaled to unit length again; a
    number that leaves some vector zero is left out, as its cosines are undefined.

    Args:
        images, texts: unit vectors, row by row a pair.

    Returns:
        The gap, recall@1 of texts over images and recall@1 of images over texts, with ties broken at random.

    Raises:
        DataError: the numbers of texts and images differ.
    """
    check_paired(images, texts)
    order = gap_spectrum(gap_vector(images, texts)).dimensions
    results = {}
    for n_removed in (0, *round_numbers(images.shape[1])):
        dimensions = np.sort(order[n_removed:])
        x, y = images[:, dimensions], texts[:, dimensions]
        if len(x) and x.any(axis=1).all() and y.any(axis=1).all():
            x, y = unit(x), unit(y)
            by_image, by_text = (recall_at_k(ranks, 1) for ranks in cross_ranks(x, y, np.arange(len(x))))
            results[n_removed] = modality_gap(x, y), float(by_text.mean()), float(by_image.mean())
    return results

"""Dimensions that carry the modality gap, and gap and retrieval once they are removed.

Schrodi et al., Two Effects, One Trigger, 2025, find that few dimensions carry the gap. Dimensions are those of the
vectors as the model gives them: a rotation of the space changes no cosine, but all of these values.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.metrics.geometry import check_paired, gap_vector, modality_gap
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit

CARRIED = 0.9
"""Share of the squared gap whose dimensions are counted."""
_NO_GAP = 1e-6
"""A smaller gap is a rounded zero: components of unit vectors are off by up to 3e-8 each."""


class GapSpectrum(NamedTuple):
    """The mean differences of the dimensions, the largest first."""

    dimensions: Int64[np.ndarray, " dim"]
    """The dimension at each place of the order."""
    mean_differences: Float64[np.ndarray, " dim"]
    """Distance of the two means along each; their squares sum to the squared gap."""
    shares: Float64[np.ndarray, " dim"]
    """Share of the squared gap in this dimension and those before it; NaN where there is no gap."""

    def n_carrying(self, share: float = CARRIED) -> int | None:
        """Return the fewest dimensions that carry this share of the squared gap; None where there is no gap."""
        if np.isnan(self.shares[-1]):
            return None
        return int(np.argmax(self.shares >= share - 1e-12)) + 1


class Ablation(NamedTuple):
    """Gap and retrieval after the k dimensions that carry most of the gap are removed from both modalities."""

    n_removed: int
    gap: float
    image_recall: float
    """recall@1 of texts over images, with ties broken at random."""
    text_recall: float
    """recall@1 of images over texts."""


def gap_spectrum(gap: Float64[np.ndarray, " dim"]) -> GapSpectrum:
    """Return the distances of the two means by dimension, the largest first, and their share of the squared gap.

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


def removed_counts(dim: int) -> Iterator[int]:
    """Yield the numbers of dimensions to remove: 0, 1, 2, 5, 10, 20, 50, ..., below all.

    Example:
        >>> list(removed_counts(21))
        [0, 1, 2, 5, 10, 20]
    """
    yield 0
    power = 1
    while power < dim:
        yield from (count for count in (power, 2 * power, 5 * power) if count < dim)
        power *= 10


def ablations(
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    counts: Iterable[int] | None = None,
) -> list[Ablation]:
    """Return gap and recall@1 without the dimensions that carry most of the gap of these pairs, for several counts.

    The remaining components of each vector are scaled to unit length again. A count that leaves some vector zero is
    left out: its cosines are undefined.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        counts: numbers of dimensions to remove; by default ``removed_counts``.

    Raises:
        DataError: there are not as many texts as images.
    """
    check_paired(images, texts)
    order = gap_spectrum(gap_vector(images, texts)).dimensions
    results = []
    for count in removed_counts(images.shape[1]) if counts is None else counts:
        dimensions = np.sort(order[count:])
        x, y = images[:, dimensions], texts[:, dimensions]
        if len(x) and x.any(axis=1).all() and y.any(axis=1).all():
            results.append(_ablation(count, unit(x), unit(y)))
    return results


def _ablation(n_removed: int, images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Ablation:
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    image_recall, text_recall = (float(recall_at_k(ranks, 1).mean()) for ranks in (by_text, by_image))
    return Ablation(n_removed, modality_gap(images, texts), image_recall, text_recall)

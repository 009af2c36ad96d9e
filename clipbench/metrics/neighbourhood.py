"""Who is near whom: hubs that many queries retrieve, and whether a line can tell images from texts.

NaN means undefined.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from clipbench.arrays import score_blocks
from clipbench.errors import UsageError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class Hubness(NamedTuple):
    """How unevenly the first k places of all queries are spread over the gallery."""

    skewness: float
    """Of the number of queries that retrieve an item: 0 when symmetric, above 0 with hubs; NaN when all are equal."""
    largest_hub: float
    """Share of the queries that retrieve the item that most do."""
    never_retrieved: float
    """Share of the gallery that no query retrieves."""


def hubness(
    queries: Float32[np.ndarray, "n_queries dim"], gallery: Float32[np.ndarray, "n_gallery dim"], k: int = 10
) -> Hubness:
    """Return how unevenly the k nearest neighbours of the queries are spread over the gallery.

    Source: Radovanović et al., Hubs in Space, JMLR 11 (2010), eq. 1. Items that tie at place k share the places left,
    as they would on average in random order: the counts are these averages, ``never_retrieved`` its expectation.
    NaN when the gallery has fewer than k items, or there are no queries.

    Args:
        queries: unit vectors (``arrays.unit``, which makes ties exact).
        gallery: unit vectors.
        k: places that count as retrieved.

    Raises:
        UsageError: k is below 1.

    Example:
        >>> gallery = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
        >>> found = hubness(np.array([[1, 0], [0.8, 0.6]], np.float32), gallery, k=1)
        >>> found.largest_hub, round(found.never_retrieved, 4)  # both queries retrieve the first item
        (1.0, 0.6667)
    """
    if k < 1:
        raise UsageError(f"hubness needs k of at least 1, got {k}")
    if len(gallery) < k or not len(queries):
        return Hubness(float("nan"), float("nan"), float("nan"))
    counts, missed = np.zeros(len(gallery)), np.ones(len(gallery))
    for _, scores in score_blocks(queries, gallery):
        chances = _retrieval_chances(scores, k)
        counts += chances.sum(axis=0)
        missed *= (1 - chances).prod(axis=0)
    return Hubness(_skewness(counts), float(counts.max() / len(queries)), float(missed.mean()))


def separability(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    rng: np.random.Generator,
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " n"]:
    """Return for each held-out pair the share of its two vectors whose modality a linear classifier tells.

    A logistic regression (scikit-learn's, L2 penalty with C = 1) is trained on a random half of the pairs; the pairs
    trained on are NaN. The mean of the others is the accuracy: 0.5 by chance, 1 when a hyperplane parts images from
    texts. A vector on the boundary gets the credit of a coin. Source: Fahim et al., It's Not a Modality Gap, 2024
    (who hold out 20 %).

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        rng: draws the half.
        groups: of the pairs; whole groups are held out. All are NaN when there is only one.
    """
    distinct, codes = np.unique(np.arange(len(images)) if groups is None else groups, return_inverse=True)
    drawn = rng.permutation(len(distinct))[: len(distinct) // 2]
    is_trained_on = np.isin(codes, drawn)
    credit = np.full(len(images), np.nan)
    if not len(drawn):
        return credit
    classifier = _fitted(images[is_trained_on], texts[is_trained_on])
    held_out = ~is_trained_on
    image_side = classifier.decision_function(images[held_out].astype(np.float64))
    text_side = classifier.decision_function(texts[held_out].astype(np.float64))
    credit[held_out] = (np.heaviside(image_side, 0.5) + np.heaviside(-text_side, 0.5)) / 2
    return credit


def _retrieval_chances(
    scores: Float32[np.ndarray, "block n_gallery"], k: int
) -> Float64[np.ndarray, "block n_gallery"]:
    """Return the probability that each item is among the first k of each row, ties in random order."""
    last = np.partition(scores, -k, axis=1)[:, -k, None]
    above, level = scores > last, scores == last
    share = (k - above.sum(axis=1)) / level.sum(axis=1)
    return above + level * share[:, None]


def _skewness(counts: Float64[np.ndarray, " n_gallery"]) -> float:
    if np.ptp(counts) < 1e-9:  # equal up to the rounding of shares
        return float("nan")
    deviations = counts - counts.mean()
    return float((deviations**3).mean() / (deviations**2).mean() ** 1.5)


def _fitted(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    vectors = np.concatenate([images, texts]).astype(np.float64)
    is_image = np.repeat([1, 0], [len(images), len(texts)])
    return LogisticRegression(max_iter=10_000).fit(vectors, is_image)

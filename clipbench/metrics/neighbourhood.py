"""Neighbours: hubs that many queries retrieve, and a linear classifier that tells images from texts.

NaN means undefined.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.errors import UsageError
from clipbench.metrics.geometry import gap_vector
from clipbench.metrics.similarity import score_blocks

DIMENSION_SAMPLE = 10_000
"""Pairs, at most, on which the number of dimensions is determined; drawn at random from more."""


class Hubness(NamedTuple):
    """Inequality in the number of queries that have each gallery item among their first k."""

    skewness: float
    """Skewness of the number of queries that retrieve an item; above 0 with hubs, NaN when all are equal."""
    largest_hub: float
    """Share of the queries that retrieve the most retrieved item."""
    never_retrieved: float
    """Share of the gallery that no query retrieves."""


def hubness(
    queries: Float32[np.ndarray, "n_queries dim"], gallery: Float32[np.ndarray, "n_gallery dim"], k: int = 10
) -> Hubness:
    """Return the inequality of the gallery items in how many queries have them among their k nearest neighbours.

    Source: Radovanović et al., Hubs in Space, JMLR 11 (2010), eq. 1. Ties at place k are broken at random: the counts
    and ``never_retrieved`` are expectations. NaN when the gallery has fewer than k items, or there are no queries.

    Args:
        queries: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        gallery: unit vectors.
        k: places that count as retrieved.

    Raises:
        UsageError: k is below 1.

    Example:
        >>> gallery = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
        >>> result = hubness(np.array([[1, 0], [0.8, 0.6]], np.float32), gallery, k=1)
        >>> result.largest_hub, round(result.never_retrieved, 4)  # both queries retrieve the first item
        (1.0, 0.6667)
    """
    if k < 1:
        raise UsageError(f"hubness needs k of at least 1, got {k}")
    if len(gallery) < k or not len(queries):
        return Hubness(float("nan"), float("nan"), float("nan"))
    counts, missed = np.zeros(len(gallery)), np.ones(len(gallery))
    for _, scores in score_blocks(queries, gallery):
        chances = retrieval_chances(scores, k)
        counts += chances.sum(axis=0)
        missed *= (1 - chances).prod(axis=0)
    return Hubness(_skewness(counts), float(counts.max() / len(queries)), float(missed.mean()))


def separability(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, " n"]:
    """Return, for each held-out pair, the share of its two vectors whose modality a linear classifier predicts.

    A logistic regression (L2 penalty with C = 1, as scikit-learn fits it) is trained on a random half of the pairs; the
    pairs trained on are NaN, and one pair alone is too. The mean of the others is the accuracy: 0.5 by chance, 1 when a
    hyperplane separates images from texts. A vector on the boundary counts half. Source: Fahim et al., It's Not a
    Modality Gap, 2024 (who hold out 20 %).

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        rng: draws the half.
    """
    credit = np.full(len(images), np.nan)
    is_trained_on = _half(len(images), rng)
    if not is_trained_on.any():
        return credit
    credit[~is_trained_on] = _held_out_credit(images, texts, is_trained_on)
    return credit


class SeparabilityByDimensions(NamedTuple):
    """Accuracy of a linear classifier of the modality on few dimensions."""

    ks: Int64[np.ndarray, " n_ks"]
    """Dimensions kept: 1, 2, 5, 10, 20, 50, ... and all; empty where no pair can be held out."""
    accuracies: Float64[np.ndarray, " n_ks"]
    """Accuracy on held-out vectors."""
    fewest: int | None
    """Fewest dimensions that reach nearly the accuracy of all; None where no pair can be held out."""


def separability_by_dimensions(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    rng: np.random.Generator,
    *,
    share: float = 0.99,
    at_most: int = DIMENSION_SAMPLE,
) -> SeparabilityByDimensions:
    """Return the held-out accuracy of ``separability`` from the k dimensions whose means differ most, for growing k.

    Dimensions are ranked by the size of their mean difference on the training half, the lower one first among equals.
    ``fewest`` is found by bisection between the first of the ``ks`` whose accuracy reaches ``share`` of the accuracy of
    all dimensions, and the one before it: it reaches that accuracy, and one dimension less does not. Accuracy need not
    grow with every dimension, so a smaller number may happen to reach it as well. Where the modalities cannot be
    separated, every k is at chance, and the number is meaningless.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        rng: draws the sample and the half.
        share: share of the full accuracy, in (0, 1].
        at_most: pairs that are used, drawn from more: some fifteen classifiers are fitted.

    Example:
        >>> rows = np.linspace(-0.1, 0.1, 8, dtype=np.float32)
        >>> images, texts = (np.stack([rows, np.full(8, side, np.float32)], axis=1) for side in (1, -1))
        >>> separability_by_dimensions(images, texts, np.random.default_rng(0))
        SeparabilityByDimensions(ks=array([1, 2]), accuracies=array([1., 1.]), fewest=1)
    """
    if len(images) > at_most:
        chosen = np.sort(rng.choice(len(images), at_most, replace=False))
        images, texts = images[chosen], texts[chosen]
    is_trained_on = _half(len(images), rng)
    if not is_trained_on.any():
        return SeparabilityByDimensions(np.empty(0, np.int64), np.empty(0), None)
    difference = gap_vector(images[is_trained_on], texts[is_trained_on])
    order = np.argsort(-np.abs(difference), kind="stable")

    @cache
    def accuracy(k: int) -> float:
        dimensions = order[:k]
        return float(_held_out_credit(images[:, dimensions], texts[:, dimensions], is_trained_on).mean())

    ks = _dimension_steps(images.shape[1])
    accuracies = [accuracy(k) for k in ks]
    return SeparabilityByDimensions(np.array(ks), np.array(accuracies), _fewest(ks, accuracy, share * accuracies[-1]))


def _half(n: int, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Return a mask of the pairs to train on: half of them, drawn at random; of one pair, none."""
    return np.isin(np.arange(n), rng.permutation(n)[: n // 2])


def _held_out_credit(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    is_trained_on: Bool[np.ndarray, " n"],
) -> Float64[np.ndarray, " n_held_out"]:
    """Return, for each pair that is not trained on, the share of its two vectors that are classified right."""
    normal, offset = _fit_classifier(images[is_trained_on], texts[is_trained_on])
    image_side = images[~is_trained_on].astype(np.float64) @ normal + offset
    text_side = texts[~is_trained_on].astype(np.float64) @ normal + offset
    return (np.heaviside(image_side, 0.5) + np.heaviside(-text_side, 0.5)) / 2


def _dimension_steps(n: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50, ... below n, and n."""
    steps = [step * 10**power for power in range(len(str(n))) for step in (1, 2, 5)]
    return [*(step for step in steps if step < n), n]


def _fewest(ks: Sequence[int], accuracy: Callable[[int], float], enough: float) -> int:
    place = next(place for place, k in enumerate(ks) if accuracy(k) >= enough)
    low, high = (ks[place - 1] if place else 0), ks[place]
    while high - low > 1:  # low does not reach it, high does
        middle = (low + high) // 2
        low, high = (low, middle) if accuracy(middle) >= enough else (middle, high)
    return high


def retrieval_chances(scores: Float32[np.ndarray, "block n_gallery"], k: int) -> Float64[np.ndarray, "block n_gallery"]:
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


def _fit_classifier(
    images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]
) -> tuple[Float64[np.ndarray, " dim"], float]:
    """Return the normal and the offset of the hyperplane of a logistic regression: images lie on the positive side.

    The objective, the solver and its tolerances are those of scikit-learn's ``LogisticRegression``, which takes longer
    to import than a run takes to fit.
    """
    from scipy.optimize import minimize

    vectors = np.concatenate([images, texts]).astype(np.float64)
    sign = np.repeat([1.0, -1.0], [len(images), len(texts)])
    n, dim = vectors.shape

    def loss(weights: Float64[np.ndarray, " dim_and_one"]) -> tuple[float, Float64[np.ndarray, " dim_and_one"]]:
        """Return the mean logistic loss with the penalty of the normal, and its gradient."""
        margin = sign * (vectors @ weights[:dim] + weights[dim])
        wrong = np.exp(-np.logaddexp(0, margin))  # the probability of the other modality
        pull = -sign * wrong / n
        gradient = np.append(vectors.T @ pull + weights[:dim] / n, pull.sum())
        penalty = weights[:dim] @ weights[:dim] / (2 * n)
        return float(np.logaddexp(0, -margin).mean() + penalty), gradient

    fitted = minimize(
        loss,
        np.zeros(dim + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 10_000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * float(np.finfo(float).eps)},
    ).x
    return fitted[:dim], float(fitted[dim])

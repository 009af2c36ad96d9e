"""Pairs of image and caption, and answers of a classifier, that a threshold on the cosine accepts rightly or wrongly.

A cosine of at least the threshold is accepted, so equal cosines are accepted together. They are counted for each image,
so that a precision has an interval over images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from clipbench.metrics.similarity import Images, Labels, Texts, Values, pair_scores, score_blocks

PerThreshold = Float64[np.ndarray, " n_thresholds"]


class Trials(NamedTuple):
    """Cosines of trials, the highest first: all that should be accepted, or all that should not."""

    cosines: Float[np.ndarray, " n_trials"]
    images: Int32[np.ndarray, " n_trials"]
    """The image of each."""
    owners: Int32[np.ndarray, " n_trials"] | None = None
    """The image that the caption of a false pair belongs to, None if a trial is of one image."""
    weights: Float64[np.ndarray, " n_trials"] | None = None
    """The part of a trial that is on this side, None if each is wholly."""


class JudgedTrials(NamedTuple):
    """Trials that a threshold may accept, rightly or wrongly."""

    n_images: int
    right: Trials
    wrong: Trials
    n_right: int
    """Trials that should be accepted."""
    n_wrong: int
    """Trials that should not."""


class AcceptanceRates(NamedTuple):
    """Fractions of each image that thresholds accept. Precision is π right / (π right + (1 - π) wrong), of the
    means.
    """

    thresholds: PerThreshold
    """Cosines, ascending."""
    right: Float64[np.ndarray, "n_images n_thresholds"]
    """Fraction of the trials to accept that is accepted. Its mean over images is the recall."""
    wrong: Float64[np.ndarray, "n_images n_thresholds"]
    """Fraction of the trials to reject that is accepted. Its mean is the rate of false alarms.

    For pairs, an image has its own pairs and its captions' pairs (Hoeffding's projection), and may be below 0."""


def judged_pairs(images: Images, texts: Texts, text_to_image: Int64[np.ndarray, " n_texts"]) -> JudgedTrials:
    """Return all pairs of an image and a text, where the pairs of a text and its own image are true.

    Args:
        images, texts: unit vectors, of at least two images.
        text_to_image: row of each text's image.

    Example:
        >>> x = np.eye(2, dtype=np.float32)
        >>> found = acceptance_rates(judged_pairs(x, x, np.array([0, 1])), np.array([-1.0, 0.0, 1.0]))
        >>> found.right.mean(axis=0), found.wrong.mean(axis=0)
        (array([1., 1., 1.]), array([1., 1., 0.]))
    """
    n_images, n_texts = len(images), len(texts)
    scores = np.concatenate([block for _, block in score_blocks(texts, images)])
    is_false = np.ones(scores.shape, np.bool)
    is_false[np.arange(n_texts), text_to_image] = False
    owners, columns = np.broadcast_to(text_to_image[:, None], scores.shape), np.arange(n_images)
    false = scores[is_false], np.broadcast_to(columns, scores.shape)[is_false], owners[is_false]
    true = pair_scores(images[text_to_image], texts)
    return JudgedTrials(n_images, _sorted_trials(true, text_to_image), _sorted_trials(*false), n_texts, len(false[0]))


def judged_answers(top: Values, without_own: Values, credit: Values) -> JudgedTrials:
    """Return the answers to images, each asked twice: with its class in the list, and without it.

    Without it every answer is wrong, and "none of these" is right. An image that is asked with its class in the list
    counts as right where its class scores highest and reaches the threshold.

    Args:
        top: highest cosine of each image with a class.
        without_own: the highest with a class that is not its own.
        credit: 1 where the true class scores highest, 0 where not, between for ties.

    Example:
        >>> judged = judged_answers(np.array([0.5, 0.3]), np.array([0.2, 0.3]), np.array([1.0, 0.0]))
        >>> found = acceptance_rates(judged, np.array([-1.0, 0.2, 0.3, 0.5]))
        >>> found.right.mean(axis=0), found.wrong.mean(axis=0)
        (array([0.5, 0.5, 0.5, 0.5]), array([1.5, 1.5, 1. , 0. ]))
    """
    n = len(top)
    rows = np.arange(n)
    right = _sorted_trials(top[credit > 0], rows[credit > 0], weights=credit[credit > 0])
    misses = np.concatenate([1 - credit, np.ones(n)])
    is_some = misses > 0
    wrong = _sorted_trials(
        np.concatenate([top, without_own])[is_some], np.concatenate([rows, rows])[is_some], weights=misses[is_some]
    )
    return JudgedTrials(n, right, wrong, n, n)


def _sorted_trials(
    cosines: Float[np.ndarray, " n"], images: Labels, owners: Labels | None = None, weights: Values | None = None
) -> Trials:
    order = np.argsort(-cosines, kind="stable")
    of_owner = None if owners is None else owners[order].astype(np.int32)
    return Trials(cosines[order], images[order].astype(np.int32), of_owner, None if weights is None else weights[order])


def acceptance_rates(judged: JudgedTrials, thresholds: PerThreshold) -> AcceptanceRates:
    """Return the fractions of each image's trials that thresholds accept.

    False pairs share images on both sides, and each is counted for two images. Their noise would be counted twice, so
    each image's deviation from the mean is made smaller by that amount.

    Args:
        thresholds: ascending.
    """
    n = judged.n_images
    right = _counts_above(judged.right, judged.right.images, thresholds, n) * (n / judged.n_right)
    wrong = _counts_above(judged.wrong, judged.wrong.images, thresholds, n) * (n / judged.n_wrong)
    if judged.wrong.owners is None:
        return AcceptanceRates(thresholds, right, wrong)
    rates = wrong.mean(axis=0)
    deviations = (
        wrong + _counts_above(judged.wrong, judged.wrong.owners, thresholds, n) * (n / judged.n_wrong) - 2 * rates
    )
    of_images, of_pairs = (deviations**2).sum(axis=0) / n**2, rates * (1 - rates) / judged.n_wrong
    scale = 1 - np.divide(of_pairs, of_images, out=np.zeros_like(rates), where=of_images > 0)
    return AcceptanceRates(thresholds, right, rates + deviations * np.sqrt(np.maximum(scale, 0.5)))


def _counts_above(
    trials: Trials, images: Int32[np.ndarray, " n_trials"], thresholds: PerThreshold, n: int
) -> Float64[np.ndarray, "n_images n_thresholds"]:
    """Return the number of trials of each image that reach each threshold."""
    ends = np.searchsorted(-trials.cosines.astype(np.float64), -thresholds, side="right").tolist()
    counts, total, start = np.zeros((n, len(thresholds))), np.zeros(n), 0
    for column, end in reversed(list(enumerate(ends))):
        part = slice(start, end)
        weights = None if trials.weights is None else trials.weights[part]
        total, start = total + np.bincount(images[part], weights, n), end
        counts[:, column] = total
    return counts


def precision_at_all(
    judged: JudgedTrials, prevalence: float
) -> tuple[Float64[np.ndarray, " n_cosines"], Float64[np.ndarray, " n_cosines"]]:
    """Return all distinct cosines, ascending, and the precision at each: π TPR / (π TPR + (1 - π) FPR).

    At a prevalence π of 0.5 it is scikit-learn's precision where each true trial weighs 1 / (true trials) and each
    false one 1 / (false trials).

    Example:
        >>> x = np.eye(2, dtype=np.float32)
        >>> precision_at_all(judged_pairs(x, x, np.array([0, 1])), 0.5)
        (array([0., 1.]), array([0.5, 1. ]))
    """
    cosines = np.unique(np.concatenate([judged.right.cosines, judged.wrong.cosines]).astype(np.float64))
    accepted_shares = []
    for trials, n in ((judged.right, judged.n_right), (judged.wrong, judged.n_wrong)):
        weights = np.ones(len(trials.cosines)) if trials.weights is None else trials.weights
        shares = np.concatenate([[0.0], np.cumsum(weights)]) / n  # of the first none, one, two, ... trials
        # The trials are in descending order: a threshold accepts the first of them, down to its own cosine.
        n_accepted = np.searchsorted(-trials.cosines.astype(np.float64), -cosines, side="right")
        accepted_shares.append(shares[n_accepted])
    right, wrong = prevalence * accepted_shares[0], (1 - prevalence) * accepted_shares[1]
    return cosines, right / (right + wrong)


def even_thresholds(judged: JudgedTrials, n: int) -> PerThreshold:
    """Return -1, n cosines to accept, evenly spaced by rank, and n cosines to reject, denser among the highest."""
    right, wrong = np.unique(judged.right.cosines), np.unique(judged.wrong.cosines)[::-1]
    even = np.linspace(0, len(right) - 1, min(len(right), n))
    by_size = np.geomspace(1, max(1, len(wrong)), min(len(wrong), n)) - 1
    chosen = [cosines[rows.round().astype(np.int64)] for cosines, rows in ((right, even), (wrong, by_size))]
    return np.unique(np.concatenate([[-1.0], *chosen]).astype(np.float64))

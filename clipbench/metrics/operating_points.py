"""Pairs of an image and a caption, and answers of a classifier, that a threshold on the cosine accepts rightly or wrongly.

A cosine of at least the threshold is accepted, so equal cosines are accepted together. They are counted for each image, so
that a precision has an interval over images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from clipbench.metrics.similarity import pair_scores, score_blocks

MOST_THRESHOLDS = 400
"""Thresholds that are looked at: so many cosines of what is right, evenly spaced by rank, and so many of what is wrong."""
_SEEN_TEXTS = 200
"""Texts whose cosines with all images stand for all of what is wrong, in the choice of thresholds alone."""


class Accepted(NamedTuple):
    """Pairs of each image that each threshold accepts; precision is Σ right / Σ (right + wrong)."""

    thresholds: Float64[np.ndarray, " n_thresholds"]
    """Cosines, ascending; the first is -1, which accepts all."""
    right: Float64[np.ndarray, "n_images n_thresholds"]
    """Share of what should be accepted that is; its mean over images is the recall."""
    wrong: Float64[np.ndarray, "n_images n_thresholds"]
    """The same of what should not be; its mean is the rate of false alarms. Of pairs, an image has its own and those of its
    captions with other images, less the mean, and may be below 0."""


def accepted_pairs(
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    text_to_image: Int64[np.ndarray, " n_texts"],
) -> Accepted:
    """Return what thresholds accept of all pairs of an image and a text, true and false ones with the same weight in sum.

    So precision is that of a stream in which every second pair is true: TPR / (TPR + FPR), both over all pairs there are.
    It is scikit-learn's where each true pair weighs 1 / (true pairs) and each false one 1 / (false pairs).

    Args:
        images: unit vectors, at least two.
        texts: unit vectors.
        text_to_image: row of each text's image.

    Example:
        >>> x = np.eye(2, dtype=np.float32)
        >>> found = accepted_pairs(x, x, np.array([0, 1]))
        >>> found.thresholds, found.right.mean(axis=0), found.wrong.mean(axis=0)
        (array([-1.,  0.,  1.]), array([1., 1., 1.]), array([1., 1., 0.]))
    """
    n_images, n_texts = len(images), len(texts)
    own = pair_scores(images[text_to_image], texts).astype(np.float64)
    seen = np.linspace(0, n_texts - 1, min(n_texts, _SEEN_TEXTS)).round().astype(np.int64)
    thresholds = _thresholds(own, np.concatenate([block.ravel() for _, block in score_blocks(texts[seen], images)]))
    of_image, of_owner = np.zeros((2, n_images, len(thresholds)))
    for rows, scores in score_blocks(texts, images):
        reached = np.searchsorted(thresholds, scores.astype(np.float64), side="right") - 1
        reached[np.arange(len(scores)), text_to_image[rows]] = -1  # true, and counted elsewhere
        is_false = reached >= 0
        columns = np.broadcast_to(np.arange(n_images), scores.shape)[is_false]
        owners = np.broadcast_to(text_to_image[rows, None], scores.shape)[is_false]
        for counts, image in ((of_image, columns), (of_owner, owners)):
            cells = image * len(thresholds) + reached[is_false]
            np.add(counts, np.bincount(cells, minlength=counts.size).reshape(counts.shape), out=counts)
    n_false = n_texts * (n_images - 1)
    wrong = [_at_least(counts) * (n_images / n_false) for counts in (of_image, of_owner)]
    hits = np.zeros((n_images, len(thresholds)))
    np.add.at(hits, (text_to_image, np.searchsorted(thresholds, own, side="right") - 1), 1.0)
    return Accepted(thresholds, _at_least(hits) * (n_images / n_texts), wrong[0] + wrong[1] - wrong[0].mean(axis=0))


def accepted_answers(
    top: Float64[np.ndarray, " n"], without_own: Float64[np.ndarray, " n"], credit: Float64[np.ndarray, " n"]
) -> Accepted:
    """Return what thresholds accept of the answers to images, each asked twice: with its class in the list, and without it.

    Without it every answer is wrong, and "none of these" is right. An image that is asked with its class in the list counts
    as right where its class scores highest and reaches the threshold.

    Args:
        top: highest cosine of each image with a class.
        without_own: the highest with a class that is not its own.
        credit: 1 where the true class scores highest, 0 where not, between for ties.

    Example:
        >>> found = accepted_answers(np.array([0.5, 0.3]), np.array([0.2, 0.3]), np.array([1.0, 0.0]))
        >>> found.thresholds, found.right.mean(axis=0), found.wrong.mean(axis=0)
        (array([-1. ,  0.2,  0.3,  0.5]), array([0.5, 0.5, 0.5, 0.5]), array([1.5, 1.5, 1. , 0. ]))
    """
    thresholds = _thresholds(top[credit > 0], np.concatenate([without_own, top[credit < 1]]))
    given, unasked = (cosines[:, None] >= thresholds for cosines in (top, without_own))
    return Accepted(thresholds, given * credit[:, None], given * (1 - credit[:, None]) + unasked)


def _thresholds(right: Float[np.ndarray, " n"], wrong: Float[np.ndarray, " m"]) -> Float64[np.ndarray, " n_thresholds"]:
    """Return -1, the cosines of what is right, and those of what is wrong, closest together where few are as high."""
    of_right, of_wrong = np.unique(right), np.unique(wrong)[::-1]
    even = np.linspace(0, len(of_right) - 1, min(len(of_right), MOST_THRESHOLDS))
    by_size = np.geomspace(1, max(1, len(of_wrong)), min(len(of_wrong), MOST_THRESHOLDS)) - 1
    chosen = [each[rows.round().astype(np.int64)] for each, rows in ((of_right, even), (of_wrong, by_size))]
    return np.unique(np.concatenate([[-1.0], *chosen]).astype(np.float64))


def _at_least(counts: Float64[np.ndarray, "n n_thresholds"]) -> Float64[np.ndarray, "n n_thresholds"]:
    """Return how many reach each threshold, from how many have it as the highest that they reach."""
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1]

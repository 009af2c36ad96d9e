"""Classifiers trained on vectors: a regularised softmax, nearest neighbours, and a line between two modalities."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.errors import DataError
from clipbench.metrics.classification import top_k_credit
from clipbench.metrics.geometry import gap_vector
from clipbench.metrics.similarity import (
    Labels,
    Mask,
    Values,
    Vector,
    Vectors,
    row_slices,
    score_blocks,
    top_k_probabilities,
)
from clipbench.metrics.spectrum import round_numbers

C = 10.0
"""Inverse strength of the regularisation. Radford et al. 2021 found 0.316 for ViT-B/32's raw vectors, which are about
10 long; in vectors of length 1 that is 32. Accuracies from 1 to 16 labels a class hardly depend on it between 3 and
300, and it is fixed, so that no test label chooses it.
"""
TOLERANCE = 1e-5
"""Largest derivative of the mean loss at which a fit ends."""
DECIMALS = 6
"""Decimals of scores and votes beyond which two are tied: fits are no more exact."""
N_NEIGHBOURS, TEMPERATURE = 20, 0.07
"""Voters, and the temperature of their weights (Wu et al., CVPR 2018; Caron et al., ICCV 2021)."""
_MOST_STEPS, _BLOCK = 1_000, 4_096
DIMENSION_SAMPLE = 10_000
"""Pairs, at most, on which the number of dimensions is determined; drawn at random from more: some fifteen classifiers
are fitted.
"""
ENOUGH = 0.99
"""Fraction of the accuracy of all dimensions that is enough."""


ByClass = Float64[np.ndarray, "n n_classes"]
"""A number of each vector and class."""
Weights = Float64[np.ndarray, "n_classes dim"]


class Probe(NamedTuple):
    """A linear classifier: the score of class c is x·weights[c] + bias[c]."""

    weights: Weights
    bias: Float64[np.ndarray, " n_classes"]

    def scores(self, vectors: Vectors) -> ByClass:
        """Return the scores of vectors for each class, rounded so that equal ones tie."""
        return np.round(vectors @ self.weights.T + self.bias, DECIMALS)


def fit_probe(
    vectors: Vectors,
    labels: Labels,
    n_classes: int,
    *,
    towards: Weights | None = None,
    c: float = C,
    is_balanced: bool = False,
) -> Probe:
    """Return the weights W, and the bias b, that minimise c Σ loss + ½ Σ (W − towards)².

    The loss of a vector is the cross-entropy of the softmax of its scores. Without ``towards``, that is scikit-learn's
    LogisticRegression, whose bias is not regularised (of two classes, that with C = 2 c). With it, the fit begins there
    and has no bias: with c near 0 it is the classifier of ``towards`` itself. The minimum is the only one, and is found
    by L-BFGS.

    Args:
        vectors: unit vectors to train on.
        labels: row of each vector's class.
        n_classes: at least 2.
        towards: weights that a fit without data would have, 0 by default.
        c: inverse strength of the regularisation.
        is_balanced: weight the losses so that each class has the same sum of weights, as scikit-learn's
            ``class_weight="balanced"`` does. Otherwise, a class with more vectors is predicted more often.

    Raises:
        DataError: there are fewer than two classes, or a label names none.

    Example:
        >>> x = np.array([[1, 0], [0, 1]], np.float32)
        >>> probe = fit_probe(x, np.array([0, 1]), 2, towards=np.array([[0.0, 1.0], [1.0, 0.0]]), c=1e-9)
        >>> probe.scores(x).argmax(axis=1)  # next to no weight on the data: the prior decides, and is wrong
        array([1, 0])
        >>> fit_probe(x, np.array([0, 1]), 2).scores(x).argmax(axis=1)
        array([0, 1])
    """
    if n_classes < 2 or not len(labels) or labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(
            f"cannot fit a probe to {n_classes} classes and {len(labels)} labels: expected 2 classes or more, and one"
            f" or more labels, each from 0 to {n_classes - 1}"
        )
    x = vectors.astype(np.float64)
    offsets = None if towards is None else x @ towards.T
    # The minimum differs from ``towards`` within the span of the vectors only: fewer of them than dimensions need no
    # more.
    basis = None
    if len(x) < x.shape[1]:
        basis, upper = np.linalg.qr(x.T)
        x = upper.T
    of_class = _class_weights(labels, n_classes, is_balanced=is_balanced)
    weights, bias = _minimise(x, offsets, labels, of_class, c)
    weights = weights if basis is None else weights @ basis.T
    return Probe(weights if towards is None else towards + weights, bias)


def _minimise(
    x: Float64[np.ndarray, "n dim"],
    offsets: ByClass | None,
    labels: Labels,
    of_class: Float64[np.ndarray, " n_classes"],
    c: float,
) -> tuple[Weights, Float64[np.ndarray, " n_classes"]]:
    """Return weights and bias of the least loss. Scores have the offsets, if any, instead of a bias.

    Args:
        of_class: weight of the loss of each class's vectors.
    """
    from scipy.optimize import minimize

    n, n_classes = len(x), len(of_class)
    size = n_classes * x.shape[1]
    decay = 1 / (c * n)
    blocks = list(row_slices(n, _BLOCK))

    def objective(parameters: Float64[np.ndarray, " size"]) -> tuple[float, Float64[np.ndarray, " size"]]:
        weights, bias = parameters[:size].reshape(n_classes, -1), parameters[size:]
        loss, slope, bias_slope = decay / 2 * float((weights**2).sum()), decay * weights, np.zeros(n_classes)
        for rows in blocks:  # never all scores at once
            scores = x[rows] @ weights.T + (bias if offsets is None else offsets[rows])
            scores -= scores.max(axis=1, keepdims=True)
            true_entries = np.arange(len(scores)), labels[rows]
            weight = of_class[labels[rows]]
            shares = np.exp(scores)
            totals = shares.sum(axis=1)
            loss += float(((np.log(totals) - scores[true_entries]) * weight).sum()) / n
            shares /= totals[:, None]
            shares[true_entries] -= 1
            shares *= weight[:, None]
            slope += shares.T @ x[rows] / n
            bias_slope += shares.sum(axis=0) / n
        return loss, slope.ravel() if offsets is not None else np.concatenate([slope.ravel(), bias_slope])

    start = np.zeros(size if offsets is not None else size + n_classes)
    solution = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS, "gtol": TOLERANCE, "ftol": 0.0}
    ).x
    return solution[:size].reshape(n_classes, -1), np.zeros(n_classes) if offsets is not None else solution[size:]


def neighbour_votes(
    queries: Vectors,
    vectors: Float32[np.ndarray, "n_train dim"],
    labels: Int64[np.ndarray, " n_train"],
    n_classes: int,
    *,
    k: int = N_NEIGHBOURS,
    is_balanced: bool = False,
) -> ByClass:
    """Return each class's fraction of the votes of a query's k nearest vectors, rounded so that equal shares tie.

    A neighbour votes with the weight exp(cosine / 0.07). Those that tie for the last of the k places share them.

    Args:
        queries: unit vectors.
        vectors: unit vectors of known classes, all of which vote if there are no more than k.
        labels: row of each vector's class.
        is_balanced: divide the votes of a class by the number of its vectors, so that a class of many vectors does not
            win by their number.

    Example:
        >>> x = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
        >>> neighbour_votes(x[:1], x[1:], np.array([0, 1]), 2, k=1)  # both are as near: half a place each
        array([[0.5, 0.5]])
    """
    votes, k = np.zeros((len(queries), n_classes)), min(k, len(vectors))
    of_class = _class_weights(labels, n_classes, is_balanced=is_balanced)
    for rows, scores in score_blocks(queries, vectors):
        chances = top_k_probabilities(scores, k)
        query, voter = np.nonzero(chances)
        nearness = scores[query, voter].astype(np.float64) - scores.max(axis=1)[query]
        np.add.at(votes[rows], (query, labels[voter]), chances[query, voter] * np.exp(nearness / TEMPERATURE))
    votes *= of_class
    return np.round(votes / votes.sum(axis=1, keepdims=True), DECIMALS)


def _class_weights(labels: Labels, n_classes: int, *, is_balanced: bool) -> Float64[np.ndarray, " n_classes"]:
    """Return the weight of a vector of each class: 1, or inverse to the class size and 1 on average over vectors."""
    if not is_balanced:
        return np.ones(n_classes)
    sizes = np.bincount(labels, minlength=n_classes)
    return np.where(sizes > 0, len(labels) / (np.count_nonzero(sizes) * np.maximum(sizes, 1)), 0.0)


def first_credit(scores: ByClass, classes: Labels) -> Values:
    """Return 1 if a class scores highest, 0 if another does, and the expectation of a random choice for a tie.

    Args:
        scores: of each vector for each class.
        classes: row of the class that each vector is asked about, such as its true one.

    Example:
        >>> first_credit(np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]]), np.array([1, 1]))
        array([0. , 0.5])
    """
    class_scores = scores[np.arange(len(scores)), classes][:, None]
    return top_k_credit((scores > class_scores).sum(axis=1), (scores == class_scores).sum(axis=1) - 1)


def separability(images: Vectors, texts: Vectors, rng: np.random.Generator) -> Values:
    """Return, for each held-out pair, the fraction of its two vectors whose modality a linear classifier predicts.

    A logistic regression (L2 penalty with C = 1, as scikit-learn fits it) is trained on a random half of the pairs; the
    pairs trained on are NaN, and so is a single pair. The mean of the others is the accuracy: 0.5 by chance, 1 when a
    hyperplane separates images from texts. A vector on the boundary counts half. Source: Fahim et al., It's Not a
    Modality Gap, 2024 (who hold out 20 %).

    Args:
        images, texts: unit vectors, row by row a pair.
        rng: draws the half.
    """
    credit = np.full(len(images), np.nan)
    is_trained_on = _training_half(len(images), rng)
    if not is_trained_on.any():
        return credit
    credit[~is_trained_on] = _held_out_credit(images, texts, is_trained_on)
    return credit


class SeparabilityByDimensions(NamedTuple):
    """Accuracy of a linear classifier of the modality on few dimensions."""

    ks: Int64[np.ndarray, " n_ks"]
    """Dimensions kept: 1, 2, 5, 10, 20, 50, ... and all, empty if no pair can be held out."""
    accuracies: Float64[np.ndarray, " n_ks"]
    """Accuracy on held-out vectors."""
    fewest: int | None
    """Fewest dimensions that reach nearly the accuracy of all, None if no pair can be held out."""


def separability_by_dimensions(images: Vectors, texts: Vectors, rng: np.random.Generator) -> SeparabilityByDimensions:
    """Return the held-out accuracy of ``separability`` from the k dimensions whose means differ most, for growing k.

    Dimensions are ranked by the size of their mean difference on the training half, the lower one first among equals.
    ``fewest`` is found by bisection between the first of the ``ks`` whose accuracy reaches 99 % of the accuracy of all
    dimensions, and the one before it: it reaches that accuracy, and one dimension less does not. Accuracy need not
    grow with every dimension, so a smaller number may happen to reach it as well. Where the modalities cannot be
    separated, every k is at chance, and the number is meaningless.

    Args:
        images, texts: unit vectors, row by row a pair.
        rng: draws the sample and the half.

    Example:
        >>> rows = np.linspace(-0.1, 0.1, 8, dtype=np.float32)
        >>> images, texts = (np.stack([rows, np.full(8, side, np.float32)], axis=1) for side in (1, -1))
        >>> separability_by_dimensions(images, texts, np.random.default_rng(0))
        SeparabilityByDimensions(ks=array([1, 2]), accuracies=array([1., 1.]), fewest=1)
    """
    if len(images) > DIMENSION_SAMPLE:
        chosen = np.sort(rng.choice(len(images), DIMENSION_SAMPLE, replace=False))
        images, texts = images[chosen], texts[chosen]
    is_trained_on = _training_half(len(images), rng)
    if not is_trained_on.any():
        return SeparabilityByDimensions(np.empty(0, np.int64), np.empty(0), None)
    difference = gap_vector(images[is_trained_on], texts[is_trained_on])
    order = np.argsort(-np.abs(difference), kind="stable")

    @cache
    def accuracy(k: int) -> float:
        dimensions = order[:k]
        return float(_held_out_credit(images[:, dimensions], texts[:, dimensions], is_trained_on).mean())

    ks = [*round_numbers(images.shape[1]), images.shape[1]]
    accuracies = [accuracy(k) for k in ks]
    return SeparabilityByDimensions(
        np.array(ks), np.array(accuracies), _bisect_dimensions(ks, accuracy, ENOUGH * accuracies[-1])
    )


def _training_half(n: int, rng: np.random.Generator) -> Mask:
    """Return a mask of the pairs to train on: half of them, drawn at random, or none of one pair."""
    return np.isin(np.arange(n), rng.permutation(n)[: n // 2])


def _held_out_credit(images: Vectors, texts: Vectors, is_trained_on: Mask) -> Float64[np.ndarray, " n_held_out"]:
    """Return, for each pair that is not trained on, the fraction of its two vectors that are classified right."""
    normal, offset = _fit_classifier(images[is_trained_on], texts[is_trained_on])
    image_side = images[~is_trained_on].astype(np.float64) @ normal + offset
    text_side = texts[~is_trained_on].astype(np.float64) @ normal + offset
    return (np.heaviside(image_side, 0.5) + np.heaviside(-text_side, 0.5)) / 2


def _bisect_dimensions(ks: Sequence[int], accuracy: Callable[[int], float], enough: float) -> int:
    position = next(position for position, k in enumerate(ks) if accuracy(k) >= enough)
    low, high = (ks[position - 1] if position else 0), ks[position]
    while high - low > 1:  # low does not reach it, high does
        middle = (low + high) // 2
        low, high = (low, middle) if accuracy(middle) >= enough else (middle, high)
    return high


def _fit_classifier(images: Vectors, texts: Vectors) -> tuple[Vector, float]:
    """Return the normal and the offset of the hyperplane of a logistic regression: images are on the positive side.

    Objective, solver and tolerances are the same as in scikit-learn's ``LogisticRegression``, whose import takes longer
    than the fits of a run.
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

"""Zero-shot classification: per-sample scores, accuracy with random tie-breaking, calibration and average precision.

Scores are cosines of an image with each class, and a logit is scale × cosine + bias. Scale and bias change no order,
and the bias cancels in a softmax, so only the scale enters, and only in confidences. A tie scores the expectation under
random tie-breaking. NaN means undefined.

An image may have several right classes (``RightClasses``). A prediction is then right if it is one of them, as for
ImageNet's ReaL labels (Beyer et al., Are we done with ImageNet?, 2020).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from clipbench.errors import DataError, UsageError
from clipbench.metrics.similarity import Images, Labels, Mask, Values, score_blocks

Prompts = Float32[np.ndarray, "n_classes dim"]
"""The vector of each class."""
RightClasses = Int64[np.ndarray, "n_images n_most"]
"""The rows of each image's right classes, ascending, then -1."""


class ClassScores(NamedTuple):
    """Per-sample results of classification."""

    better: Labels
    """Classes that score strictly above the true one, or above the best of several right ones."""
    tied: Labels
    """Other classes, right or wrong, that score exactly as this one does."""
    predicted: Labels
    """The class with the highest score, the lowest row among equals, for display only."""
    confidence: Values
    """Softmax probability of the highest score, in (0, 1], NaN without a logit scale."""
    margin: Float32[np.ndarray, " n_images"]
    """Score of the true class minus the best wrong one's, a difference of cosines: negative when wrong. Infinite if all
    classes are right.
    """
    true_score: Float32[np.ndarray, " n_images"]
    """Score of the true class, or of the best of several."""
    top: Float32[np.ndarray, " n_images"]
    """The highest score, the score of ``predicted``."""
    is_first: Bool[np.ndarray, "n_images n_most"]
    """True for each right class that has the highest score, also if it is tied. One column if images have one class."""
    tied_right: Labels
    """The right ones of ``tied``."""

    def credit(self, k: int = 1) -> Values:
        """Return ``top_k_credit`` of the true classes."""
        return top_k_credit(self.better, self.tied, k, self.tied_right)


def class_scores(
    images: Images,
    classes: Prompts,
    labels: Int64[np.ndarray, " n_images"] | RightClasses,
    *,
    logit_scale: float | None = None,
) -> ClassScores:
    """Return the per-sample results of images against the classes.

    Args:
        images: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        classes: unit vectors, one per class.
        labels: row of each image's true class, or the rows of its right classes, of which each image has one or more.
        logit_scale: the model's own, above 0, None if it has none.

    Raises:
        DataError: there are fewer than two classes, or a label names none.
        UsageError: the scale is not a finite number above 0.

    Example:
        >>> images = np.array([[1, 0], [1, 0]], np.float32)
        >>> classes = np.array([[0.6, 0.8], [1, 0], [0.6, -0.8]], np.float32)
        >>> result = class_scores(images, classes, np.array([1, 0]), logit_scale=1.0)
        >>> result.better, result.tied, result.predicted
        (array([0, 1]), array([0, 1]), array([1, 1]))
        >>> float(result.confidence[0].round(4))  # e / (e + 2 exp(0.6))
        0.4272
    """
    right = labels[:, None] if labels.ndim == 1 else labels
    _check(right, len(classes), logit_scale)
    n = len(images)
    better, tied, predicted, tied_right = np.zeros((4, n), np.int64)
    confidence, (margin, true_score, top) = np.full(n, np.nan), np.zeros((3, n), np.float32)
    is_first = np.zeros(right.shape, bool)
    for rows, scores in score_blocks(images, classes):
        block_rows, block_right = np.arange(len(scores)), right[rows]
        right_scores = np.where(block_right >= 0, scores[block_rows[:, None], block_right], -np.inf)
        true_score[rows] = block_true_score = right_scores.max(axis=1)
        tied_right[rows] = (right_scores == block_true_score[:, None]).sum(axis=1) - 1
        better[rows] = (scores > block_true_score[:, None]).sum(axis=1)
        tied[rows] = (scores == block_true_score[:, None]).sum(axis=1) - 1
        predicted[rows] = best = scores.argmax(axis=1)
        top[rows] = block_top = scores[block_rows, best]
        is_first[rows] = right_scores == block_top[:, None]
        if logit_scale is not None:
            below = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
            confidence[rows] = 1 / np.exp(logit_scale * below).sum(axis=1)
        image, column = np.nonzero(block_right >= 0)
        scores[image, block_right[image, column]] = -np.inf
        margin[rows] = block_true_score - scores.max(axis=1)
    return ClassScores(better, tied, predicted, confidence, margin, true_score, top, is_first, tied_right)


def top_k_credit(better: Labels, tied: Labels, k: int = 1, tied_right: Labels | None = None) -> Values:
    """Return the probability that a right class is among the first k, ties in random order.

    With k of at least the number of classes it is 1.

    Args:
        better: classes above the best right one.
        tied: other classes that score as it does.
        k: number of first classes.
        tied_right: right classes among ``tied``, by default none.

    Example:
        >>> top_k_credit(np.array([0, 0, 1]), np.array([0, 3, 0]))
        array([1.  , 0.25, 0.  ])
        >>> top_k_credit(np.array([0]), np.array([3]), 2, np.array([1]))  # two of four are right: 1 less 2/4 x 1/3
        array([0.83333333])
    """
    of_one = np.clip((k - better) / (tied + 1), 0.0, 1.0)
    if tied_right is None or not tied_right.any():
        return of_one
    return np.where(tied_right > 0, any_drawn(tied + 1, tied_right + 1, k - better), of_one)


def any_drawn(n: Labels, n_right: Labels, k: Labels) -> Values:
    """Return the probability that k of n items, drawn at random without replacement, hold one or more right ones.

    Example:
        >>> any_drawn(np.array([4, 4, 4]), np.array([2, 2, 1]), np.array([1, 3, 0]))
        array([0.5, 1. , 0. ])
    """
    none = np.ones(len(n))
    for n_drawn in range(int(np.max(k, initial=0))):
        n_left, n_wrong = np.maximum(n - n_drawn, 1), np.maximum(n - n_right - n_drawn, 0)
        none = np.where(k > n_drawn, none * (n_wrong / n_left), none)
    return np.where(n_right == 1, np.clip(k / n, 0.0, 1.0), np.where(k == 1, n_right / n, 1 - none))


def mean_per_class_recall(credit: Values, labels: Labels) -> float:
    """Return the mean over classes of their samples' mean credit, over the classes that have samples.

    scikit-learn's balanced accuracy where nothing is tied. NaN without samples.

    Example:
        >>> mean_per_class_recall(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 0, 2]))  # (2/3 + 0) / 2
        0.3333333333333333
    """
    if not len(labels):
        return float("nan")
    counts = np.bincount(labels)
    present = counts > 0
    return float((np.bincount(labels, credit)[present] / counts[present]).mean())


def recall_influence(credit: Values, labels: Labels) -> Values:
    """Return the influence of each sample on ``mean_per_class_recall``, corrected for classes of few samples.

    The influence is the derivative by the sample's weight, times n: its distance from its class's recall, weighted by
    the class's fraction of the mean. In a class of k samples that distance is too small by sqrt((k - 1) / k), for which
    it is corrected (HC2 of MacKinnon and White, Journal of Econometrics 29 (1985)). The only sample of a class has no
    distance, and is compared with the mean of the other classes.

    Example:
        >>> recall_influence(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 2, 2])).round(4)  # (1/2 + 1) / 2
        array([ 0.7071, -0.7071,  0.    ,  0.    ])
        >>> recall_influence(np.array([1.0, 0.0, 0.0]), np.array([0, 1, 2]))  # 1 - 0, 0 - 1 / 2
        array([ 1. , -0.5, -0.5])
    """
    sizes = np.bincount(labels)
    recall = np.bincount(labels, credit) / np.maximum(sizes, 1)
    n_classes = np.count_nonzero(sizes)
    other_mean = (recall.sum() - recall) / max(n_classes - 1, 1)
    centre = np.where(sizes > 1, recall, other_mean)
    share = len(labels) / (n_classes * np.sqrt(sizes * np.maximum(sizes - 1, 1))[labels])
    return (credit - centre[labels]) * share


class MacroF1(NamedTuple):
    """The F1 score of each class that has samples, and their mean."""

    value: float
    by_class: Float64[np.ndarray, " n_present"]
    n_samples: Int64[np.ndarray, " n_present"]
    influence: Values
    """Influence of each sample on the value: its derivative by the sample's weight, times n."""


def macro_f1(predicted: Labels, labels: Labels) -> MacroF1:
    """Return the mean F1 score of the classes that have samples, as WILDS scores iWildCam.

    F1 of a class is twice its hits over the number of its samples and of its predictions; predictions of a class that
    has no sample only lower the recall of others. NaN without samples.

    Example:
        >>> macro_f1(np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])).value  # (2 / 3 + 2 / 4) / 2
        0.5833333333333333
    """
    n, n_classes = len(labels), int(max(labels.max(initial=-1), predicted.max(initial=-1))) + 1
    n_labelled, n_predicted, hits = (
        np.bincount(rows, minlength=n_classes) for rows in (labels, predicted, labels[predicted == labels])
    )
    present = n_labelled > 0
    sizes = np.maximum(n_labelled + n_predicted, 1)
    f1 = np.where(present, 2 * hits / sizes, 0.0)
    weight = np.where(present, n / sizes, 0.0) / max(1, np.count_nonzero(present))
    influence = 2 * weight[labels] * (predicted == labels) - (f1 * weight)[labels] - (f1 * weight)[predicted]
    value = float(f1[present].mean()) if n else float("nan")
    return MacroF1(value, f1[present], n_labelled[present].astype(np.int64), influence)


def macro_f1_changes(before: Labels, after: Labels, labels: Labels) -> Values:
    """Return each sample's part in a difference of ``macro_f1``, times its class's size and the number of classes.

    So the mean over classes of their means is the difference, as it is for hits and mean per-class recall. A
    class with h hits, of which s samples and predictions are, changes by 2 (dh - h ds / s) s / (s of one x s of the
    other), with the mean h and s of both models: exactly, and linear in the samples.

    Args:
        before, after: predictions of both models.

    Example:
        >>> changes = macro_f1_changes(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 1]))
        >>> changes.round(4).tolist()  # 1 and 1 to 2/3 and 2/3
        [0.0, -1.3333, 0.0]
    """
    n_classes = int(max(codes.max(initial=-1) for codes in (before, after, labels))) + 1
    n_labelled = np.bincount(labels, minlength=n_classes)
    n_predicted, hits = (
        np.array([np.bincount(rows, minlength=n_classes) for rows in pair])
        for pair in ((before, after), (labels[before == labels], labels[after == labels]))
    )
    sizes = np.maximum(n_labelled + n_predicted, 1)
    f1 = 2 * hits.sum(axis=0) / sizes.sum(axis=0)
    weight = np.where(n_labelled > 0, sizes.mean(axis=0) / sizes.prod(axis=0), 0.0)
    gained = (after == labels).astype(np.float64) - (before == labels)
    return n_labelled[labels] * (2 * weight[labels] * gained - (f1 * weight)[after] + (f1 * weight)[before])


def confidence_bins(confidence: Values, n_bins: int = 15) -> Labels:
    """Return the bin of each confidence: of equal width, (l, u]; the first also holds 0.

    Example:
        >>> confidence_bins(np.array([0.0, 0.5, 0.9]), n_bins=2)
        array([0, 0, 1])
    """
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)


class Reliability(NamedTuple):
    """The bins of a reliability diagram (``confidence_bins``)."""

    n_samples: Int64[np.ndarray, " n_bins"]
    confidence: Float64[np.ndarray, " n_bins"]
    """Mean confidence in each bin, NaN in an empty one."""
    accuracy: Float64[np.ndarray, " n_bins"]
    """Mean credit in each bin, NaN in an empty one."""


def reliability(confidence: Values, credit: Values, n_bins: int = 15) -> Reliability:
    """Return mean confidence and accuracy in bins of confidence.

    Example:
        >>> reliability(np.array([0.3, 0.5, 0.9]), np.array([0.0, 1.0, 1.0]), n_bins=2)
        Reliability(n_samples=array([2, 1]), confidence=array([0.4, 0.9]), accuracy=array([0.5, 1. ]))
    """
    bins = confidence_bins(confidence, n_bins)
    n_samples = np.bincount(bins, minlength=n_bins)
    divisor = np.where(n_samples > 0, n_samples, np.nan)
    means = (np.bincount(bins, values, minlength=n_bins) / divisor for values in (confidence, credit))
    return Reliability(n_samples, *means)


def expected_calibration_error(confidence: Values, credit: Values, n_bins: int = 15) -> float:
    """Return the mean over samples of the gap between accuracy and confidence in their bin, in [0, 1].

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3. It is biased upwards where bins hold few
    samples. NaN without samples.

    Example:
        >>> round(expected_calibration_error(np.array([0.3, 0.5, 0.9]), np.array([0.0, 1.0, 1.0]), n_bins=2), 6)
        0.1
    """
    if not len(confidence):
        return float("nan")
    n_samples, mean_confidence, accuracy = reliability(confidence, credit, n_bins)
    return float(np.nansum(n_samples * np.abs(accuracy - mean_confidence)) / len(confidence))


def average_precision(scores: Float[np.ndarray, " n"], positives: Mask) -> float:
    """Return the mean over positives of the precision at their position, in expectation over the order of ties.

    In a block of g equal scores, r of them positive, after a others with b positives, the item at place j of the block
    is positive with probability r/g, and then (j - 1)(r - 1)/(g - 1) positives of the block are before it on
    average. scikit-learn's value where nothing is tied. NaN without positives.

    Example:
        >>> average_precision(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]))  # (1/1 + 2/3) / 2
        0.8333333333333333
        >>> average_precision(np.array([0.5, 0.5]), np.array([True, False]))  # 1 or 1/2, at random
        0.75
    """
    if not positives.any():
        return float("nan")
    _, block, g = np.unique(-scores, return_inverse=True, return_counts=True)
    r = np.bincount(block, positives)
    return float(_expected_precisions(g, r).sum() / r.sum())


def chance_average_precision(n_positives: int, n: int) -> float:
    """Return the average precision of a constant model over n items, or NaN without positives.

    It is above n_positives / n, because the first places weigh most.

    Example:
        >>> chance_average_precision(1, 2)
        0.75
    """
    return average_precision(np.zeros(n), np.arange(n) < n_positives)


class MeanAveragePrecision(NamedTuple):
    """mAP over the classes that have positives, NaN when none has."""

    value: float
    chance: float
    """Score of a constant model."""
    influence: Values
    """n - 1 times the fall of the value without the image, less the mean of these (jackknife)."""
    by_class: Float64[np.ndarray, " n_scored"]
    """Average precision of each class that has positives."""
    spreads: Float64[np.ndarray, " n_scored"]
    """Variance of each class's precisions, whose mean is its average precision."""
    n_positives: Int64[np.ndarray, " n_scored"]


def mean_average_precision(
    images: Images, classes: Prompts, positives: Bool[np.ndarray, "n_images n_classes"]
) -> MeanAveragePrecision:
    """Return the mean over classes of the average precision of the images, ranked by their score with the class.

    Args:
        images, classes: unit vectors.
        positives: True for each class that is true of the image.
    """
    n = len(images)
    values, spreads, chances, changes, single_positives = [], [], [], np.zeros(n), []
    for rows, scores in score_blocks(classes, images):
        for line, column in zip(scores, positives[:, rows].T, strict=True):
            if column.any():
                values.append(average_precision(line, column))
                chances.append(chance_average_precision(int(column.sum()), n))
                spreads.append(precision_spread(line, column))
                changes += precision_changes(line, column)
                single_positives += [(values[-1], column)] if column.sum() == 1 else []
    if not values:
        none = np.empty(0)
        return MeanAveragePrecision(np.nan, np.nan, np.full(n, np.nan), none, none, none.astype(np.int64))
    # Without its only positive, a class is no part of the mean.
    for value, column in single_positives if len(values) > 1 else []:
        changes[column] += value - (sum(values) - value) / (len(values) - 1)
    influence = (n - 1) * (changes - changes.mean()) / len(values)
    return MeanAveragePrecision(
        float(np.mean(values)),
        float(np.mean(chances)),
        influence,
        np.array(values),
        np.array(spreads),
        positives.sum(axis=0)[positives.any(axis=0)],
    )


def precision_spread(scores: Float32[np.ndarray, " n"], positives: Mask) -> float:
    """Return the variance over positives of the precision at their position, with ties in order.

    Example:
        >>> round(precision_spread(np.array([3, 2, 1], np.float32), np.array([True, False, True])), 4)  # of 1 and 2/3
        0.0278
    """
    (positions,) = np.nonzero(positives[np.argsort(-scores, kind="stable")])
    return float((np.arange(1, len(positions) + 1) / (positions + 1)).var())


def precision_changes(scores: Float32[np.ndarray, " n"], positives: Mask) -> Values:
    """Return the fall of the average precision without each image, or 0 for a single positive.

    Ties are taken in order. With few positives the derivative by an item's weight is too small: a positive left out of
    three weighs half as much again.

    Example:
        >>> precision_changes(np.array([3, 2, 1], np.float32), np.array([True, False, True]))  # 5/6 less 1/2, 1 and 1
        array([ 0.33333333, -0.16666667, -0.16666667])
    """
    order = np.argsort(-scores, kind="stable")
    hit = positives[order].astype(np.float64)
    rank, hits = np.arange(1, len(hit) + 1), np.cumsum(hit)
    n_positives = hits[-1]
    value = (hit * hits / rank).sum() / n_positives
    above = np.cumsum(hit * hits / rank) - hit * hits / rank
    # Items further down are a rank higher without one of those before them, and have a hit less if it was one.
    without_other, without_hit = (hit * precisions / np.maximum(rank - 1, 1) for precisions in (hits, hits - 1))
    below_other, below_hit = (precisions.sum() - np.cumsum(precisions) for precisions in (without_other, without_hit))
    left = np.where(hit == 1, (above + below_hit) / max(n_positives - 1, 1), (above + below_other) / n_positives)
    changes = np.empty(len(hit))
    changes[order] = np.where((hit == 1) & (n_positives == 1), 0.0, value - left)
    return changes


def _expected_precisions(g: Int64[np.ndarray, " n_blocks"], r: Float64[np.ndarray, " n_blocks"]) -> Values:
    """Return, for each position, the probability that it holds a positive times the precision there if so."""
    a, b = np.cumsum(g) - g, np.cumsum(r) - r
    position = np.arange(1, g.sum() + 1)
    before = position - 1 - np.repeat(a, g)
    expected_share = np.repeat((r - 1) / np.maximum(g - 1, 1), g)
    return np.repeat(r / g, g) * (np.repeat(b, g) + 1 + before * expected_share) / position


def _check(right: RightClasses, n_classes: int, logit_scale: float | None) -> None:
    if n_classes < 2:
        raise DataError(f"zero-shot classification needs at least 2 classes, got {n_classes}")
    is_invalid = (right < 0) | (right >= n_classes)
    is_invalid[:, 1:] &= right[:, 1:] != -1  # only the first is always there
    invalid = np.argwhere(is_invalid)
    if len(invalid):
        image, column = invalid[0]
        raise DataError(f"image {image} has label {right[image, column]}: expected 0 to {n_classes - 1}")
    if logit_scale is not None and not (np.isfinite(logit_scale) and logit_scale > 0):
        raise UsageError(f"logit scale {logit_scale}: expected a finite number above 0")

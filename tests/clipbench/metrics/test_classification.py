"""Class scores against the full matrix, scikit-learn where nothing is tied, and every order where something is."""

from collections.abc import Callable
from itertools import pairwise, permutations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, top_k_accuracy_score

from clipbench.errors import DataError, UsageError
from clipbench.metrics import similarity as arrays
from clipbench.metrics.classification import (
    ClassScores,
    average_precision,
    class_scores,
    expected_calibration_error,
    macro_f1,
    macro_f1_changes,
    mean_per_class_recall,
    recall_influence,
    top_k_credit,
)
from clipbench.stats.clusters import standard_error
from clipbench.stats.significance import t_test
from tests.made import tied_vectors, unit_vectors


def labels_of(n: int, n_classes: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(n_classes, size=n)


def full_matrix(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return (images.astype(np.float64) @ classes.astype(np.float64).T).astype(np.float32)


def naive_class_scores(scores: np.ndarray, labels: np.ndarray, scale: float) -> ClassScores:
    rows = []
    for line, label in zip(scores, labels, strict=True):
        other_scores = np.delete(line, label)
        probabilities = scipy.special.softmax(scale * line.astype(np.float64) + 3)
        better, tied = sum(other_scores > line[label]), sum(other_scores == line[label])
        first, margin = list(line).index(max(line)), line[label] - max(other_scores)
        one_class = ([line[label] == max(line)], 0)
        rows.append((better, tied, first, max(probabilities), margin, line[label], max(line), *one_class))
    return ClassScores(*(np.array(column) for column in zip(*rows, strict=True)))


# Class scores and accuracy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize(("n", "n_classes", "dim"), [(1, 2, 3), (80, 10, 4), (50, 100, 20)])
@pytest.mark.parametrize("block_elements", [1, 300, 1 << 23])
def test_class_scores_agree_with_the_full_matrix(
    make: Callable[[int, int, int], np.ndarray],
    n: int,
    n_classes: int,
    dim: int,
    block_elements: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    images, classes, labels = make(n, dim, 0), make(n_classes, dim, 1), labels_of(n, n_classes)
    scores = class_scores(images, classes, labels, logit_scale=18.5)
    expected = naive_class_scores(full_matrix(images, classes), labels, 18.5)
    for name in ("better", "tied", "predicted", "margin", "true_score", "top", "is_first", "tied_right"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(scores.confidence, expected.confidence, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 5])
def test_accuracy_is_that_of_scikit_learn_where_nothing_is_tied(k: int) -> None:
    images, classes, labels = unit_vectors(500, 16, 0), unit_vectors(20, 16, 1), labels_of(500, 20)
    scores = class_scores(images, classes, labels, logit_scale=100.0)
    assert not scores.tied.any()
    expected = top_k_accuracy_score(labels, full_matrix(images, classes), k=k, labels=range(20))
    assert top_k_credit(scores.better, scores.tied, k).mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4, 9])
@pytest.mark.parametrize(("better", "tied"), [(0, 0), (0, 3), (1, 2), (3, 3), (5, 0)])
def test_top_k_credit_is_the_mean_over_all_orders_of_the_tied(better: int, tied: int, k: int) -> None:
    values = [better + 1 + order.index(0) for order in permutations(range(tied + 1))]
    credit = top_k_credit(np.array([better]), np.array([tied]), k)
    assert credit[0] == pytest.approx(np.mean([value <= k for value in values]), abs=1e-14)


def test_mean_per_class_recall_is_balanced_accuracy_where_nothing_is_tied() -> None:
    images, classes, labels = unit_vectors(300, 16, 0), unit_vectors(20, 16, 1), labels_of(300, 15)
    scores = class_scores(images, classes, labels, logit_scale=100.0)
    recall = mean_per_class_recall(top_k_credit(scores.better, scores.tied), labels)
    # scikit-learn warns of predicted classes without samples; ours leaves them out as it does.
    is_present = np.isin(scores.predicted, labels)
    predicted = np.where(is_present, scores.predicted, (labels + 1) % 15)
    assert recall == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)


def test_the_influence_on_the_recall_is_its_derivative_by_the_weight_of_a_sample_made_up_for_small_classes() -> None:
    draws = np.random.default_rng(3)
    labels, credit = draws.choice([0, 1, 1, 4], 40), draws.choice([0.0, 0.5, 1.0], 40)

    def weighted(weights: np.ndarray) -> float:
        means = [np.average(credit[labels == label], weights=weights[labels == label]) for label in np.unique(labels)]
        return float(np.mean(means))

    step = 1e-6
    slopes = [(weighted(1 + step * row) - weighted(1 - step * row)) / (2 * step) for row in np.eye(40)]
    sizes = np.array([(labels == label).sum() for label in labels])
    result = recall_influence(credit, labels) * np.sqrt((sizes - 1) / sizes)
    assert result == pytest.approx(40 * np.array(slopes), abs=1e-6)


SIZES = {
    "one of each": [1] * 40,
    "two of each": [2] * 30,
    "mostly one": [1] * 40 + [2] * 5,
    "one alone": [1, 40],
    "many": [20, 20, 60],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_models_that_are_as_good_seldom_differ_in_recall_however_few_the_samples_of_a_class(sizes: list[int]) -> None:
    labels, draws, n_trials = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(5), 400
    n_alarms = 0
    for _ in range(n_trials):
        chances = draws.uniform(0.2, 0.8, len(labels))
        pair = (draws.random((2, len(labels))) < chances).astype(np.float64)
        base, candidate = (mean_per_class_recall(credit, labels) for credit in pair)
        moved = recall_influence(pair[1], labels) - recall_influence(pair[0], labels)
        if (error := standard_error(moved)) is not None:
            n_alarms += t_test(candidate - base, error, len(labels)) <= 0.05
    assert n_alarms <= scipy.stats.binom.isf(0.0005, n_trials, 0.05)  # 37 of 400


# Calibration ----------------------------------------------------------------------------------------------------------


def naive_calibration_error(confidence: np.ndarray, credit: np.ndarray, n_bins: int) -> float:
    edges, total = np.linspace(0, 1, n_bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(credit[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("n_bins", [1, 10, 15, 40])
def test_the_calibration_error_agrees_with_a_loop_over_bins(n_bins: int) -> None:
    draws = np.random.default_rng(0)
    confidence = np.concatenate([draws.random(500), np.linspace(0, 1, 16)[1:]])  # some on the edges
    credit = (draws.random(515) < confidence**2).astype(np.float64)
    expected = naive_calibration_error(confidence, credit, n_bins)
    assert expected_calibration_error(confidence, credit, n_bins) == pytest.approx(expected, abs=1e-12)


# Average precision ----------------------------------------------------------------------------------------------------


def precision_at_positives(positives: tuple[bool, ...]) -> float:
    values = [sum(positives[: index + 1]) / (index + 1) for index, is_positive in enumerate(positives) if is_positive]
    return sum(values) / len(values)


@pytest.mark.parametrize(("n", "n_positives"), [(1, 1), (10, 1), (200, 40), (5000, 60)])
def test_average_precision_is_that_of_scikit_learn_where_nothing_is_tied(n: int, n_positives: int) -> None:
    draws = np.random.default_rng(n)
    scores = draws.permutation(n) / n - 0.7  # mostly negative
    positives = draws.permutation(n) < n_positives
    expected = average_precision_score(positives, scores)
    assert average_precision(scores, positives) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 0, 0]),
        ([3, 2, 2, 2, 1, 1], [0, 1, 1, 0, 1, 0]),
        ([3, 3, 2, 1, 1, 1], [1, 0, 0, 0, 1, 1]),
        ([-1, -1, -2, -2, -2], [1, 1, 0, 0, 1]),
    ],
)
def test_average_precision_of_ties_is_the_mean_over_all_orders(scores: list[int], positives: list[int]) -> None:
    """Every order of all items, those kept in which scores do not rise."""
    items = list(zip(scores, positives, strict=True))
    orders = [order for order in permutations(items) if all(a[0] >= b[0] for a, b in pairwise(order))]
    expected = np.mean([precision_at_positives(tuple(bool(item[1]) for item in order)) for order in orders])
    result = average_precision(np.array(scores, np.float64), np.array(positives, bool))
    assert result == pytest.approx(expected, abs=1e-14)


# Bad input ------------------------------------------------------------------------------------------------------------


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="needs at least 2 classes, got 1"):
        class_scores(tied_vectors(3, 2, 0), tied_vectors(1, 2, 1), np.zeros(3, np.int64), logit_scale=1.0)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_without_a_class_is_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"image 1 has label {label}: expected 0 to 3"):
        class_scores(tied_vectors(3, 2, 0), tied_vectors(4, 2, 1), np.array([0, label, 2]), logit_scale=1.0)


@pytest.mark.parametrize("scale", [0.0, -100.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match=f"logit scale {scale}: expected a finite number above 0"):
        class_scores(tied_vectors(3, 2, 0), tied_vectors(4, 2, 1), np.array([0, 1, 2]), logit_scale=scale)


# Macro F1 -------------------------------------------------------------------------------------------------------------


def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_have_samples() -> None:
    labels, predicted = labels_of(300, 12, 0) // 2 * 2, labels_of(300, 15, 1)  # classes 1, 3, ... are never true
    predicted = np.where(labels_of(300, 2, 2) > 0, labels, predicted)
    result = macro_f1(predicted, labels)
    assert result.value == pytest.approx(f1_score(labels, predicted, average="macro", labels=np.unique(labels)))
    assert result.influence.sum() == pytest.approx(0.0, abs=1e-9)


def test_changes_of_macro_f1_add_up_to_the_difference_that_scikit_learn_has() -> None:
    labels, before, after = labels_of(200, 12, 0) // 2 * 2, labels_of(200, 15, 1), labels_of(200, 15, 2)
    after = np.where(labels_of(200, 3, 3) > 0, labels, after)
    scores = [f1_score(labels, each, average="macro", labels=np.unique(labels)) for each in (before, after)]
    changes = macro_f1_changes(before, after, labels)
    assert np.mean([changes[labels == each].mean() for each in np.unique(labels)]) == pytest.approx(
        scores[1] - scores[0]
    )
    assert changes[before == after] == pytest.approx(0)


def test_the_influences_on_macro_f1_are_its_derivatives() -> None:
    labels, predicted = labels_of(40, 4, 0), labels_of(40, 5, 1)
    score = macro_f1(predicted, labels)
    again = np.repeat(np.arange(40), 4000)
    for row in (0, 7, 20):
        heavier = np.append(again, row)
        change = (macro_f1(predicted[heavier], labels[heavier]).value - score.value) * len(heavier)
        assert change == pytest.approx(score.influence[row], rel=1e-2, abs=1e-3)

"""Several right classes per image: equal to naive loops over all orders of ties, and to simulated guesses."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from clipbench.metrics.classification import any_drawn, class_scores, macro_f1, mean_per_class_recall, recall_influence
from clipbench.metrics.several_classes import (
    chance_of_hit,
    chance_of_recall,
    class_parts,
    macro_f1_of_several,
    mean_recall,
    most_frequent_share,
)

N_CLASSES = 6


def random_right(rng: np.random.Generator, n: int, most: int = 4) -> tuple[list[list[int]], np.ndarray]:
    sets = [sorted(rng.choice(N_CLASSES, rng.integers(1, most + 1), replace=False).tolist()) for _ in range(n)]
    right = np.full((n, most), -1)
    for image, classes in enumerate(sets):
        right[image, : len(classes)] = classes
    return sets, right


def tied_vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return unit vectors with few different directions, whose scores are often exactly equal."""
    return np.eye(4, dtype=np.float32)[rng.integers(4, size=n)]


def orders(scores: np.ndarray) -> list[list[int]]:
    """Return every order of the classes by descending score, ties in each order."""
    return [
        list(order)
        for order in permutations(range(len(scores)))
        if all(scores[first] >= scores[second] for first, second in pairwise(order))
    ]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_credit_is_the_mean_over_all_orders_of_the_tied(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes = tied_vectors(rng, 20), tied_vectors(rng, N_CLASSES)
    sets, right = random_right(rng, 20)
    scores = class_scores(images, classes, right)
    expected = []
    for image, right_set in zip(images @ classes.T, sets, strict=True):
        hits = [any(label in right_set for label in order[:k]) for order in orders(image)]
        expected.append(np.mean(hits))
    np.testing.assert_allclose(scores.credit(k), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_of_the_best_right_class_and_the_best_wrong_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(N_CLASSES, 5)).astype(np.float32)
    sets, right = random_right(rng, 30)
    scores = class_scores(images, classes, right)
    for row, (line, right_set) in enumerate(zip(images @ classes.T, sets, strict=True)):
        best, wrong = max(line[right_set]), max(np.delete(line, right_set))
        assert scores.true_score[row] == pytest.approx(best, abs=1e-5)
        assert scores.margin[row] == pytest.approx(best - wrong, abs=1e-5)
        assert scores.better[row] == sum(line > best)
        assert scores.is_first[row].sum() == (line.argmax() in right_set)


def test_one_class_per_image_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    images, classes, labels = tied_vectors(rng, 60), tied_vectors(rng, N_CLASSES), rng.integers(N_CLASSES, size=60)
    padded = np.column_stack([labels, np.full((60, 2), -1)])
    one, several = (class_scores(images, classes, right, logit_scale=9.0) for right in (labels, padded))
    for name in ("better", "tied", "predicted", "confidence", "margin", "true_score", "top"):
        np.testing.assert_array_equal(getattr(one, name), getattr(several, name), err_msg=name)
    for k in (1, 3, 5):
        np.testing.assert_array_equal(one.credit(k), several.credit(k))
    parts = class_parts(padded, several.is_first, several.tied + 1)
    recall = mean_recall(parts, 60)
    assert recall.value == pytest.approx(mean_per_class_recall(one.credit(), labels), abs=1e-12)
    np.testing.assert_allclose(recall.influence, recall_influence(one.credit(), labels), atol=1e-12)
    f1, expected = macro_f1_of_several(several.predicted, padded), macro_f1(one.predicted, labels)
    assert f1.value == pytest.approx(expected.value, abs=1e-12)
    np.testing.assert_allclose(f1.influence, expected.influence, atol=1e-12)


def naive_counts(sets: list[list[int]], predicted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and the hits that count for each class, by the rule in words."""
    sizes, hits = np.zeros((2, N_CLASSES))
    for right_set, label in zip(sets, predicted, strict=True):
        if label in right_set:
            sizes[label] += 1
            hits[label] += 1
        else:
            sizes[right_set] += 1 / len(right_set)
    return sizes, hits


@pytest.mark.parametrize("seed", range(5))
def test_recall_and_f1_equal_naive_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets, right = random_right(rng, 50)
    predicted = rng.integers(N_CLASSES, size=50)
    sizes, hits = naive_counts(sets, predicted.tolist())
    parts = class_parts(right, right == predicted[:, None], np.ones(50, np.int64))
    present = sizes > 0
    assert mean_recall(parts, 50).value == pytest.approx((hits[present] / sizes[present]).mean(), abs=1e-12)
    f1 = 2 * hits / (sizes + np.bincount(predicted, minlength=N_CLASSES))
    assert macro_f1_of_several(predicted, right).value == pytest.approx(f1[present].mean(), abs=1e-12)
    assert parts.by_class(parts.size).sum() == pytest.approx(50)


def test_parts_of_tied_images_are_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(4)
    images, classes = tied_vectors(rng, 40), tied_vectors(rng, N_CLASSES)
    sets, right = random_right(rng, 40)
    scores = class_scores(images, classes, right)
    assert (scores.tied > 0).any()
    sizes, hits = np.zeros((2, N_CLASSES))
    for line, right_set in zip(images @ classes.T, sets, strict=True):
        firsts = np.flatnonzero(line == line.max())
        for first in firsts.tolist():
            one_size, one_hit = naive_counts([right_set], [first])
            sizes += one_size / len(firsts)
            hits += one_hit / len(firsts)
    parts = class_parts(right, scores.is_first, scores.tied + 1)
    np.testing.assert_allclose(np.bincount(parts.label, parts.size, N_CLASSES), sizes, atol=1e-12)
    np.testing.assert_allclose(np.bincount(parts.label, parts.hits, N_CLASSES), hits, atol=1e-12)


def test_influences_are_derivatives() -> None:
    rng = np.random.default_rng(1)
    sets, right = random_right(rng, 400)
    predicted = np.where(rng.random(400) < 0.6, right[:, 0], rng.integers(N_CLASSES, size=400))
    sizes, hits = naive_counts(sets, predicted.tolist())
    f1 = 2 * hits / (sizes + np.bincount(predicted, minlength=N_CLASSES))
    recall = mean_recall(class_parts(right, right == predicted[:, None], np.ones(400, np.int64)), 400)
    macro = macro_f1_of_several(predicted, right)
    for image in range(0, 400, 37):
        one_size, one_hit = naive_counts([sets[image]], [int(predicted[image])])
        step = 1e-6
        more_sizes, more_hits = sizes + step * one_size, hits + step * one_hit
        change = ((more_hits / more_sizes).mean() - (hits / sizes).mean()) / step * 400
        assert recall.influence[image] == pytest.approx(change, rel=0.02, abs=0.02)
        more_predicted = np.bincount(predicted, minlength=N_CLASSES) + step * (np.arange(N_CLASSES) == predicted[image])
        change = ((2 * more_hits / (more_sizes + more_predicted)).mean() - f1.mean()) / step * 400
        assert macro.influence[image] == pytest.approx(change, abs=1e-3)


def test_chance_is_what_guesses_score() -> None:
    rng = np.random.default_rng(2)
    sets, right = random_right(rng, 300)
    n_draws = 400
    order = rng.random((n_draws, 300, N_CLASSES)).argsort(axis=-1)
    for k in (1, 2, 5):
        is_hit = (order[..., :k, None] == np.where(right < 0, -2, right)[None, :, None, :]).any(axis=(-1, -2))
        by_draw = is_hit.mean(axis=1)
        error = by_draw.std() / np.sqrt(n_draws)
        assert chance_of_hit(right, N_CLASSES, k) == pytest.approx(by_draw.mean(), abs=4 * error)
    recalls = []
    for guesses in order[..., 0]:
        sizes, hits = naive_counts(sets, guesses.tolist())
        recalls.append((hits / sizes).mean())
    error = np.std(recalls) / np.sqrt(n_draws)
    assert chance_of_recall(right, N_CLASSES) == pytest.approx(np.mean(recalls), abs=4 * error + 0.002)


def test_a_constant_model_scores_chance() -> None:
    _, right = random_right(np.random.default_rng(3), 50)
    images, classes = np.ones((50, 2), np.float32), np.ones((N_CLASSES, 2), np.float32)
    scores = class_scores(images, classes, right)
    for k in (1, 5):
        assert scores.credit(k).mean() == chance_of_hit(right, N_CLASSES, k)
    parts = class_parts(right, scores.is_first, scores.tied + 1)
    assert mean_recall(parts, 50).value == chance_of_recall(right, N_CLASSES)


def test_the_most_frequent_class_is_right_as_often_as_it_is_listed() -> None:
    sets, right = random_right(np.random.default_rng(6), 50)
    assert most_frequent_share(right) == max(np.mean([label in right_set for right_set in sets]) for label in range(6))


@pytest.mark.parametrize(("n", "n_right", "k"), [(5, 2, 3), (6, 3, 1), (6, 1, 4), (4, 4, 2), (7, 2, 7), (5, 3, 0)])
def test_a_draw_holds_a_right_one_as_often_as_counting_says(n: int, n_right: int, k: int) -> None:
    has_right_one = [min(order[:k], default=n) < n_right for order in permutations(range(n))]
    result = any_drawn(np.array([n]), np.array([n_right]), np.array([k]))
    assert result[0] == pytest.approx(np.mean(has_right_one), abs=1e-12)

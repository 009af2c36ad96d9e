"""Operating points: what thresholds accept, as scikit-learn counts it, by hand, and with ties."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from clipbench.metrics.operating_points import Accepted, accepted_answers, accepted_pairs
from clipbench.metrics.similarity import unit
from clipbench.stats.operating_points import operating_point, precision_recall


def world(n: int, each: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shown, owner = rng.standard_normal((n, 12)), np.repeat(np.arange(n), each)
    images = unit((shown + noise * rng.standard_normal((n, 12))).astype(np.float32))
    return images, unit((shown[owner] + noise * rng.standard_normal((n * each, 12))).astype(np.float32)), owner


@pytest.mark.parametrize(("n", "each", "noise"), [(30, 1, 0.5), (25, 3, 1.0), (12, 2, 3.0)])
def test_precision_and_recall_of_pairs_are_scikit_learn_s(n: int, each: int, noise: float) -> None:
    images, texts, owner = world(n, each, noise)
    accepted = accepted_pairs(images, texts, owner)
    found = precision_recall(accepted)
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    is_true = np.arange(n)[:, None] == owner
    weights = np.where(is_true, 1 / is_true.sum(), 1 / (~is_true).sum())
    precision, recall, at = precision_recall_curve(is_true.ravel(), scores.ravel(), sample_weight=weights.ravel())
    rows = np.searchsorted(at.astype(np.float64), accepted.thresholds - 1e-12)
    assert found.precision == pytest.approx(precision[rows]) and found.recall == pytest.approx(recall[rows])
    best = max(recall[:-1][precision[:-1] >= 0.8], default=0.0)
    assert max(found.recall[found.precision >= 0.8], default=0.0) == pytest.approx(best)


def test_pairs_by_hand_and_equal_cosines_are_accepted_together() -> None:
    images = np.array([[1, 0], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)  # of images 0, 1 and 1
    accepted = accepted_pairs(images, texts, np.array([0, 1, 1]))
    # True pairs: 1, 0.8, 0.6. False ones: text 0 with image 1 (0), text 1 with image 0 (0.6), text 2 with image 0 (0.8).
    found = precision_recall(accepted)
    assert accepted.thresholds == pytest.approx([-1, 0, 0.6, 0.8, 1])
    assert found.recall == pytest.approx([1, 1, 1, 2 / 3, 1 / 3])
    assert accepted.wrong.mean(axis=0) == pytest.approx([1, 1, 2 / 3, 1 / 3, 0])
    assert found.precision == pytest.approx([1 / 2, 1 / 2, 3 / 5, 2 / 3, 1])


def test_the_parts_of_images_are_those_of_their_row_and_of_their_texts() -> None:
    images, texts, owner = world(8, 2, 1.0)
    accepted = accepted_pairs(images, texts, owner)
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    k = len(accepted.thresholds) // 2
    wrong = (scores >= accepted.thresholds[k]) & (np.arange(8)[:, None] != owner)
    of_texts = np.array([wrong[:, owner == image].sum() for image in range(8)])
    share = 8 / (16 * 7)
    assert accepted.wrong[:, k] == pytest.approx(share * (wrong.sum(axis=1) + of_texts) - wrong.sum() / (16 * 7))


def test_answers_by_hand() -> None:
    # Right at 0.9, with 0.4 for the best other class; wrong at 0.7; a tie for the first place at 0.5.
    accepted = accepted_answers(np.array([0.9, 0.7, 0.5]), np.array([0.4, 0.7, 0.5]), np.array([1.0, 0.0, 0.5]))
    found = precision_recall(accepted)
    assert accepted.thresholds.tolist() == [-1, 0.4, 0.5, 0.7, 0.9]
    assert found.recall == pytest.approx([0.5, 0.5, 0.5, 1 / 3, 1 / 3])
    assert found.precision == pytest.approx([1.5 / 6, 1.5 / 6, 1.5 / 5, 1 / 3, 1])


def test_a_constant_model_accepts_all_or_nothing() -> None:
    same = np.tile(unit(np.ones((1, 4), np.float32)), (5, 1))
    found = precision_recall(accepted_pairs(same, same, np.arange(5)))
    assert found.precision == pytest.approx([0.5, 0.5]) and found.recall == pytest.approx([1, 1])
    answers = precision_recall(accepted_answers(np.ones(4), np.ones(4), np.full(4, 0.25)))
    assert answers.precision == pytest.approx([0.125, 0.125])


def test_the_order_of_images_and_texts_does_not_matter() -> None:
    images, texts, owner = world(10, 2, 1.0)
    one = accepted_pairs(images, texts, owner)
    order, of_texts = np.random.default_rng(1).permutation(10), np.random.default_rng(2).permutation(20)
    place = np.argsort(order)
    other = accepted_pairs(images[order], texts[of_texts], place[owner[of_texts]])
    assert other.thresholds.tolist() == one.thresholds.tolist()
    assert other.right == pytest.approx(one.right[order]) and other.wrong == pytest.approx(one.wrong[order])


def test_the_threshold_is_the_lowest_with_the_precision_and_its_interval_holds_it() -> None:
    accepted = accepted_pairs(*world(200, 1, 0.6))
    found = precision_recall(accepted)
    point = operating_point(accepted, found, 0.9)
    assert point is not None
    k = int(np.searchsorted(accepted.thresholds, point.threshold))
    assert found.precision[k] >= 0.9 > found.precision[:k].max()
    low, high, _ = point.interval
    assert low is not None and high is not None and low <= point.threshold <= high
    below, above, _ = point.recall_interval
    assert below is not None and above is not None and below < point.recall < above
    assert abs(point.influence.mean()) < 1e-9


def test_a_few_that_are_right_by_luck_have_no_threshold() -> None:
    right = np.array([[1.0, 1.0]] * 2 + [[1.0, 0.0]] * 18)
    wrong = np.array([[1.0, 0.0]] * 20)
    accepted = Accepted(np.array([-1.0, 0.5]), right, wrong)
    found = precision_recall(accepted)
    assert found.precision[1] == 1 and found.low[1] < 0.5
    assert operating_point(accepted, found, 0.9) is None


def test_what_is_wrong_is_no_more_above_a_threshold_than_at_it() -> None:
    """Nothing wrong is accepted by the second threshold; its bound is the first's, which a few alarms tell well."""
    rng = np.random.default_rng(0)
    wrong = np.column_stack([rng.random(100) * 0.002, np.zeros(100)])
    found = precision_recall(Accepted(np.array([-1.0, 0.5]), np.ones((100, 2)), wrong))
    assert found.low[1] == pytest.approx(found.low[0]) and found.low[0] > 0.99

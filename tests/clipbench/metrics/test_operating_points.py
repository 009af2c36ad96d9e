"""Operating points: what thresholds accept, as scikit-learn counts it, by hand, and with ties."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from clipbench.metrics.operating_points import (
    AcceptanceRates,
    acceptance_rates,
    even_thresholds,
    judged_answers,
    judged_pairs,
    precision_at_all,
)
from clipbench.metrics.similarity import unit
from clipbench.stats.threshold_intervals import SURE, operating_point, precision_recall


def world(n: int, index: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shown, owner = rng.standard_normal((n, 12)), np.repeat(np.arange(n), index)
    images = unit((shown + noise * rng.standard_normal((n, 12))).astype(np.float32))
    return images, unit((shown[owner] + noise * rng.standard_normal((n * index, 12))).astype(np.float32)), owner


@pytest.mark.parametrize("prevalence", [0.5, 0.01, 0.9])
@pytest.mark.parametrize(("n", "index", "noise"), [(30, 1, 0.5), (25, 3, 1.0), (12, 2, 3.0)])
def test_precision_and_recall_of_pairs_are_scikit_learn_s(n: int, index: int, noise: float, prevalence: float) -> None:
    images, texts, owner = world(n, index, noise)
    judged = judged_pairs(images, texts, owner)
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    is_true = np.arange(n)[:, None] == owner
    weights = np.where(is_true, prevalence / is_true.sum(), (1 - prevalence) / (~is_true).sum())
    precision, recall, at = precision_recall_curve(is_true.ravel(), scores.ravel(), sample_weight=weights.ravel())
    cosines, result = precision_at_all(judged, prevalence)
    assert cosines == pytest.approx(at) and result == pytest.approx(precision[:-1])
    coarse = acceptance_rates(judged, even_thresholds(judged, 50))
    rows = np.searchsorted(at.astype(np.float64), coarse.thresholds - 1e-12)
    of_coarse = precision_recall(coarse, prevalence)
    assert of_coarse.precision == pytest.approx(precision[rows]) and of_coarse.recall == pytest.approx(recall[rows])


def test_pairs_by_hand_and_equal_cosines_are_accepted_together() -> None:
    images = np.array([[1, 0], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)  # of images 0, 1 and 1
    judged = judged_pairs(images, texts, np.array([0, 1, 1]))
    # True pairs: 1, 0.8, 0.6. False ones: text 0 with image 1 (0), text 1 with image 0 (0.6), text 2 with image 0 (0.8).
    cosines, precision = precision_at_all(judged, 0.5)
    assert cosines == pytest.approx([0, 0.6, 0.8, 1]) and precision == pytest.approx([1 / 2, 3 / 5, 2 / 3, 1])
    rates = acceptance_rates(judged, cosines)
    assert rates.right.mean(axis=0) == pytest.approx([1, 1, 2 / 3, 1 / 3])
    assert rates.wrong.mean(axis=0) == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_an_image_has_its_row_and_that_of_its_texts_less_what_is_counted_twice() -> None:
    images, texts, owner = world(8, 2, 1.0)
    judged = judged_pairs(images, texts, owner)
    at = float(np.median(judged.wrong.cosines))
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    wrong = (scores >= at) & (np.arange(8)[:, None] != owner)
    of_texts = np.array([wrong[:, owner == image].sum() for image in range(8)])
    rate = wrong.sum() / (16 * 7)
    deviations = 8 / (16 * 7) * (wrong.sum(axis=1) + of_texts) - 2 * rate
    spread, twice = (deviations**2).sum() / 64, rate * (1 - rate) / (16 * 7)
    result = acceptance_rates(judged, np.array([at])).wrong[:, 0]
    assert result == pytest.approx(rate + deviations * np.sqrt(max(1 - twice / spread, 0.5)))


def test_answers_by_hand() -> None:
    # Right at 0.9, with 0.4 for the best other class; wrong at 0.7; a tie for the first place at 0.5.
    judged = judged_answers(np.array([0.9, 0.7, 0.5]), np.array([0.4, 0.7, 0.5]), np.array([1.0, 0.0, 0.5]))
    rates = acceptance_rates(judged, np.array([-1, 0.4, 0.5, 0.7, 0.9]))
    assert rates.right.mean(axis=0) == pytest.approx([0.5, 0.5, 0.5, 1 / 3, 1 / 3])
    assert precision_recall(rates).precision == pytest.approx([1.5 / 6, 1.5 / 6, 1.5 / 5, 1 / 3, 1])


def test_a_constant_model_accepts_all_or_nothing() -> None:
    same = np.tile(unit(np.ones((1, 4), np.float32)), (5, 1))
    assert precision_at_all(judged_pairs(same, same, np.arange(5)), 0.5)[1] == pytest.approx([0.5])
    answers = judged_answers(np.ones(4), np.ones(4), np.full(4, 0.25))
    assert precision_at_all(answers, 0.5)[1] == pytest.approx([0.125])


@pytest.mark.parametrize(("wanted", "prevalence"), [(0.9, 0.5), (0.95, 0.5), (0.9, 0.05)])
def test_the_threshold_is_the_lowest_with_the_precision_and_its_interval_holds_it(
    wanted: float, prevalence: float
) -> None:
    judged = judged_pairs(*world(200, 1, 0.6))
    coarse = acceptance_rates(judged, even_thresholds(judged, 40))
    point = operating_point(judged, coarse, precision_recall(coarse, prevalence, confidence=SURE), wanted, prevalence)
    assert point is not None
    right, wrong = (trials.cosines.astype(np.float64) for trials in (judged.right, judged.wrong))

    def precision(at: float) -> float:
        true, false = prevalence * (right >= at).mean(), (1 - prevalence) * (wrong >= at).mean()
        return float(true / (true + false))

    assert point.threshold == min(at for at in np.concatenate([right, wrong]).tolist() if precision(at) >= wanted)
    low, high, _ = point.interval
    assert low is not None and high is not None and low < point.threshold < high
    at_ends = precision_recall(acceptance_rates(judged, np.array([low, high])), prevalence, confidence=SURE)
    assert at_ends.high[0] >= wanted and at_ends.low[1] >= wanted
    below, above, _ = point.recall_interval
    assert below is not None and above is not None and below < point.recall < above
    assert abs(point.influence.mean()) < 1e-9


def test_a_threshold_among_four_million_pairs_is_exact() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 32))
    images, texts = (unit((vectors + 0.5 * rng.standard_normal(vectors.shape)).astype(np.float32)) for _ in range(2))
    judged = judged_pairs(images, texts, np.arange(2000))
    cosines, precision = precision_at_all(judged, 0.5)
    assert cosines[int(np.argmax(precision >= 0.95))] == pytest.approx(0.28721, abs=5e-6)


def test_a_few_that_are_right_by_luck_have_no_threshold() -> None:
    right = np.array([[1.0, 1.0]] * 2 + [[1.0, 0.0]] * 18)
    wrong = np.array([[1.0, 0.0]] * 20)
    result = precision_recall(AcceptanceRates(np.array([-1.0, 0.5]), right, wrong))
    assert result.precision[1] == 1 and result.low[1] < 0.5
    judged = judged_answers(np.repeat([0.6, 0.1], [2, 18]), np.full(20, 0.2), np.repeat([1.0, 0.0], [2, 18]))
    coarse = acceptance_rates(judged, even_thresholds(judged, 40))
    assert operating_point(judged, coarse, precision_recall(coarse, confidence=SURE), 0.9) is None


def test_what_is_wrong_is_no_more_above_a_threshold_than_at_it() -> None:
    """Nothing wrong is accepted by the second threshold; its bound is the first's, which a few alarms tell well."""
    rng = np.random.default_rng(0)
    wrong = np.column_stack([rng.random(100) * 0.002, np.zeros(100)])
    result = precision_recall(AcceptanceRates(np.array([-1.0, 0.5]), np.ones((100, 2)), wrong))
    assert result.low[1] == pytest.approx(result.low[0]) and result.low[0] > 0.99

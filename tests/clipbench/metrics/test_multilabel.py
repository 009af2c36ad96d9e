"""mAP: against scikit-learn, chance for a constant model, and influences against leaving one out by weight."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clipbench.metrics.multilabel import average_precision_influence, mean_average_precision
from clipbench.metrics.similarity import score_blocks, unit


def vectors(seed: int, n: int, dim: int = 6) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32))


def test_it_is_scikit_learn_s_mean_over_classes_with_positives() -> None:
    images, classes = vectors(0, 60), vectors(1, 4)
    positives = np.random.default_rng(2).random((60, 4)) < 0.3
    positives[:, 3] = False
    ((_, scores),) = score_blocks(images, classes)
    expected = [average_precision_score(positives[:, c], scores[:, c]) for c in range(3)]
    assert mean_average_precision(images, classes, positives).value == pytest.approx(np.mean(expected), abs=1e-12)


def test_a_constant_model_scores_chance() -> None:
    same = unit(np.ones((30, 5), np.float32))
    positives = np.random.default_rng(0).random((30, 3)) < 0.4
    found = mean_average_precision(same, same[:3], positives)
    assert found.value == pytest.approx(found.chance, abs=1e-12)


def test_influence_is_the_derivative_by_an_item_s_weight() -> None:
    rng = np.random.default_rng(3)
    scores = rng.standard_normal(40).astype(np.float32)
    positives = rng.random(40) < 0.4
    influence = average_precision_influence(scores, positives)
    step = 1e-6
    for item in range(40):
        weights = np.ones(40)
        weights[item] += step
        up = average_precision_score(positives, scores, sample_weight=weights)
        weights[item] -= 2 * step
        down = average_precision_score(positives, scores, sample_weight=weights)
        assert influence[item] == pytest.approx(40 * (up - down) / (2 * step), abs=1e-5)
    assert abs(influence.sum()) < 1e-9


def test_without_positives_it_is_undefined() -> None:
    assert np.isnan(mean_average_precision(vectors(0, 5), vectors(1, 2), np.zeros((5, 2), bool)).value)

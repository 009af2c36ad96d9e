"""mAP: against scikit-learn, chance for a constant model, and influences against leaving images out one by one."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clipbench.metrics.classification import mean_average_precision, precision_changes
from clipbench.metrics.similarity import score_blocks
from tests.made import unit_vectors


def test_it_is_scikit_learn_s_mean_over_classes_with_positives() -> None:
    images, classes = unit_vectors(60, 6, 0), unit_vectors(4, 6, 1)
    positives = np.random.default_rng(2).random((60, 4)) < 0.3
    positives[:, 3] = False
    ((_, scores),) = score_blocks(images, classes)
    expected = [average_precision_score(positives[:, c], scores[:, c]) for c in range(3)]
    assert mean_average_precision(images, classes, positives).value == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("n_positives", [1, 2, 16])
def test_changes_are_those_of_scoring_the_others_alone(n_positives: int) -> None:
    rng = np.random.default_rng(n_positives)
    scores, positives = rng.standard_normal(40).astype(np.float32), np.arange(40) < n_positives
    changes = precision_changes(scores, positives)
    for item in range(40):
        is_other = np.arange(40) != item
        if positives[is_other].any():
            left = average_precision_score(positives[is_other], scores[is_other])
            assert changes[item] == pytest.approx(average_precision_score(positives, scores) - left, abs=1e-12)
        else:
            assert changes[item] == 0


def test_influences_are_the_jackknife_s_where_a_class_may_lose_its_only_positive() -> None:
    images, classes = unit_vectors(30, 6, 4), unit_vectors(3, 6, 5)
    positives = np.random.default_rng(6).random((30, 3)) < [0.0, 0.2, 0.5]
    positives[7, 0] = True
    result = mean_average_precision(images, classes, positives)
    rows = [np.arange(30) != item for item in range(30)]
    left = np.array([mean_average_precision(images[row], classes, positives[row]).value for row in rows])
    expected = 29 * (left.mean() - left)
    expected[7] = result.influence[7]  # the other classes change too when the image of the first is left out
    assert result.influence == pytest.approx(expected, abs=0.02)
    assert result.influence[7] == pytest.approx(29 * (left.mean() - left[7]), abs=0.2)
    assert abs(result.influence.sum()) < 1e-9


def test_without_positives_it_is_undefined() -> None:
    assert np.isnan(mean_average_precision(unit_vectors(5, 6, 0), unit_vectors(2, 6, 1), np.zeros((5, 2), bool)).value)

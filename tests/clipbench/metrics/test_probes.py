"""Probes: equal to scikit-learn where it has the same objective, the minimum of their own where it has none, and fair
votes.
"""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from clipbench.errors import DataError
from clipbench.metrics.probes import fit_probe, neighbour_votes
from clipbench.metrics.similarity import unit

SHAPES = [(10, 40, 5), (60, 8, 3), (24, 24, 2)]
"""Vectors, dimensions, classes: fewer vectors than dimensions, more, and as many."""


def world(n: int, dim: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((n, dim)).astype(np.float32)), rng.permutation(np.arange(n) % n_classes)


@pytest.mark.parametrize(("n", "dim", "n_classes"), SHAPES)
def test_a_linear_probe_is_scikit_learn_s_logistic_regression(n: int, dim: int, n_classes: int) -> None:
    x, labels = world(n, dim, n_classes)
    probe = fit_probe(x, labels, n_classes)
    strength = 10 if n_classes > 2 else 20  # of two classes, theirs has one vector of weights, the difference of ours
    theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(x.astype(np.float64), labels)
    vectors = unit(np.random.default_rng(1).standard_normal((50, dim)).astype(np.float32))
    ours = softmax(vectors @ probe.weights.T + probe.bias, axis=1)
    assert ours == pytest.approx(theirs.predict_proba(vectors.astype(np.float64)), abs=2e-3)
    assert (ours.argmax(axis=1) == theirs.predict(vectors.astype(np.float64))).all()


def test_with_classes_of_equal_weight_a_probe_is_scikit_learn_s_balanced_one_and_the_larger_class_has_no_say() -> None:
    x, labels = world(60, 8, 3)
    labels = np.where(np.arange(60) < 40, 0, labels)
    probe = fit_probe(x, labels, 3, is_balanced=True)
    theirs = LogisticRegression(C=10, tol=1e-9, max_iter=10_000, class_weight="balanced").fit(
        x.astype(np.float64), labels
    )
    vectors = unit(np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32))
    ours = softmax(vectors @ probe.weights.T + probe.bias, axis=1)
    assert ours == pytest.approx(theirs.predict_proba(vectors.astype(np.float64)), abs=2e-3)
    same, labels = np.tile(unit(np.ones((1, 6), np.float32)), (32, 1)), np.array([0] * 30 + [1] * 2)
    for scores in (
        fit_probe(same, labels, 2, is_balanced=True).scores(same),
        neighbour_votes(same, same, labels, 2, is_balanced=True),
    ):
        assert (scores == scores[:, :1]).all()
    assert (
        fit_probe(same, labels, 2).scores(same)[0].argmax() == neighbour_votes(same, same, labels, 2)[0].argmax() == 0
    )


def gradient(weights: np.ndarray, x: np.ndarray, labels: np.ndarray, towards: np.ndarray, c: float) -> np.ndarray:
    """Return the derivative of the objective, over c n, with all scores at once."""
    shares = softmax(x @ weights.T, axis=1) - np.eye(len(towards))[labels]
    return (shares.T @ x + (weights - towards) / c) / len(x)


@pytest.mark.parametrize(("n", "dim", "n_classes"), SHAPES)
def test_a_probe_that_starts_at_prompts_ends_where_its_objective_has_no_slope(n: int, dim: int, n_classes: int) -> None:
    x, labels = world(n, dim, n_classes)
    towards = 20 * unit(np.random.default_rng(2).standard_normal((n_classes, dim)).astype(np.float32)).astype(
        np.float64
    )
    probe = fit_probe(x, labels, n_classes, towards=towards)
    assert np.abs(gradient(probe.weights, x.astype(np.float64), labels, towards, 10)).max() < 2e-5
    assert np.abs(gradient(towards, x.astype(np.float64), labels, towards, 10)).max() > 1e-3
    assert not probe.bias.any()


def test_without_weight_on_the_data_a_probe_is_its_prior_and_with_much_it_fits_them() -> None:
    x, labels = world(10, 40, 5)
    towards = np.roll(np.eye(5), 1, axis=0)[labels].T @ x.astype(np.float64)  # the vectors of another class
    assert fit_probe(x, labels, 5, towards=towards, c=1e-9).weights == pytest.approx(towards, abs=1e-6)
    assert (fit_probe(x, labels, 5, towards=towards, c=1e4).scores(x).argmax(axis=1) == labels).all()


def test_equal_vectors_give_every_class_the_same_score_and_vote() -> None:
    x, labels = np.tile(unit(np.ones((1, 6), np.float32)), (9, 1)), np.arange(9) % 3
    for scores in (
        fit_probe(x, labels, 3).scores(x),
        fit_probe(x, labels, 3, towards=np.ones((3, 6))).scores(x),
        neighbour_votes(x, x, labels, 3, k=4),
    ):
        assert (scores == scores[:, :1]).all()


def test_the_nearest_vote_with_their_weights() -> None:
    x, labels = world(40, 6, 4)
    queries = unit(np.random.default_rng(4).standard_normal((15, 6)).astype(np.float32))
    for row, votes in enumerate(neighbour_votes(queries, x, labels, 4, k=7)):
        cosines = (queries[row] @ x.T).astype(np.float64)
        nearest = np.argsort(-cosines)[:7]
        weights = np.bincount(labels[nearest], np.exp(cosines[nearest] / 0.07), minlength=4)
        assert votes == pytest.approx(weights / weights.sum(), abs=1e-5)


def test_of_few_vectors_all_vote_and_those_at_the_border_share_the_places_left() -> None:
    x = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    weights = np.array([1.0, np.exp(-1 / 0.07)])
    votes = neighbour_votes(x[:1], x, np.array([0, 1, 1, 2]), 3, k=2)  # one place for three vectors: 1/3 each
    total = weights.sum()
    assert votes[0] == pytest.approx([weights[0] / total, weights[1] * 2 / 3 / total, weights[1] / 3 / total], abs=1e-6)
    assert neighbour_votes(x[:1], x[:2], np.array([0, 1]), 2, k=20)[0].argmax() == 0


def test_a_probe_needs_two_classes_and_labels_of_them() -> None:
    with pytest.raises(DataError, match="cannot fit a probe to 1 classes and 2 labels: expected 2 classes or more"):
        fit_probe(np.eye(2, dtype=np.float32), np.array([0, 0]), 1)
    with pytest.raises(DataError, match="and one or more labels, each from 0 to 1"):
        fit_probe(np.eye(2, dtype=np.float32), np.array([0, 2]), 2)

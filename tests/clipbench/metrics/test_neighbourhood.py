"""Hubness against sorted lists and every order of ties; separability of clouds whose overlap is known."""

from itertools import permutations

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression

from clipbench.metrics import similarity as arrays
from clipbench.metrics.probes import _fit_classifier, separability, separability_by_dimensions
from clipbench.metrics.similarity import unit
from clipbench.metrics.structure import hubness
from tests.made import published_vectors


def smooth(n: int, dim: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Hubness --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("block_elements", [1, 500, 1 << 23])
def test_hubness_counts_how_often_each_item_is_near(
    k: int, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    queries, gallery = smooth(80, 5, 0), smooth(60, 5, 1)
    counts = np.zeros(60)
    for query in queries.astype(np.float64):
        for item in sorted(range(60), key=lambda item: -float(query @ gallery[item]))[:k]:
            counts[item] += 1
    estimator = hubness(queries, gallery, k)
    assert estimator.skewness == pytest.approx(scipy.stats.skew(counts), abs=1e-12)
    assert estimator.largest_hub == pytest.approx(counts.max() / 80, abs=1e-12)
    assert estimator.never_retrieved == pytest.approx((counts == 0).mean(), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_at_the_last_place_are_shared_as_in_random_order(k: int) -> None:
    """One query; items score 1, .5, .5, .5, 0. In each order of the three equal ones, the first k are retrieved."""
    gallery = np.array([[0.5, 1], [1, 0], [0.5, 0], [0, 1], [0.5, -1]], np.float32)
    retrieved = np.array([np.isin(np.arange(5), [1, *order, 3][:k]) for order in permutations([0, 2, 4])])
    estimator = hubness(np.array([[1, 0]], np.float32), gallery, k)
    assert estimator.never_retrieved == pytest.approx(1 - retrieved.mean(), abs=1e-12)
    assert estimator.skewness == pytest.approx(scipy.stats.skew(retrieved.mean(axis=0)), abs=1e-12)


def test_independent_queries_miss_an_item_with_the_product_of_their_chances() -> None:
    gallery = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    estimator = hubness(np.array([[1, 0], [1, 0]], np.float32), gallery, 1)
    assert estimator.never_retrieved == pytest.approx((0.25 + 0.25 + 1) / 3, abs=1e-12)
    assert estimator.largest_hub == 0.5


def test_a_gallery_smaller_than_k_has_no_hubness() -> None:
    assert np.isnan(hubness(smooth(5, 3, 0), smooth(9, 3, 1), 10)).all()
    assert np.isnan(hubness(smooth(5, 3, 0)[:0], smooth(9, 3, 1), 2)).all()
    estimator = hubness(smooth(5, 3, 0), smooth(9, 3, 1), 9)
    assert np.isnan(estimator.skewness) and estimator[1:] == (1, 0)


# Separability ---------------------------------------------------------------------------------------------------------


def test_two_cones_are_separable() -> None:
    images, texts = smooth(100, 16, 0), smooth(100, 16, 1)
    images[:, 0], texts[:, 0] = 3, -3
    credit = separability(unit(images), unit(texts), rng())
    assert np.isnan(credit).sum() == 50
    assert np.nanmean(credit) == 1


def test_overlapping_modalities_are_told_apart_as_often_as_the_best_line_can() -> None:
    """On a circle, images at +45° and texts at -45° from an axis, each spread by 45°: Φ(1) on the right side."""
    angles = rng(3).normal(0, np.pi / 4, (2, 4000)) + np.array([[np.pi / 4], [-np.pi / 4]])
    images, texts = (np.stack([np.cos(side), np.sin(side)], axis=1).astype(np.float32) for side in angles)
    best = scipy.stats.norm.cdf(1) - scipy.stats.norm.cdf(-3)
    credit = separability(unit(images), unit(texts), rng())
    assert np.nanmean(credit) == pytest.approx(best, abs=3 * np.sqrt(best * (1 - best) / 4000))


def test_one_pair_cannot_be_held_out() -> None:
    assert np.isnan(separability(smooth(1, 4, 0), smooth(1, 4, 1), rng())).tolist() == [True]


# Separability by number of dimensions ---------------------------------------------------------------------------------


def apart(n: int, differences: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors whose means differ by about these amounts, each dimension spread by 1."""
    draws = np.random.default_rng(seed)
    half = np.array(differences) / 2
    images, texts = (draws.standard_normal((n, len(half))) + side * half for side in (1, -1))
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def best_dimensions(images: np.ndarray, texts: np.ndarray, is_trained_on: np.ndarray) -> list[int]:
    """Return dimensions by the size of their mean difference in the training half, by a plain sort."""
    size = [
        abs(float(images[is_trained_on, d].mean() - texts[is_trained_on, d].mean())) for d in range(images.shape[1])
    ]
    return sorted(range(len(size)), key=lambda d: -size[d])


def accuracy_of(images: np.ndarray, texts: np.ndarray, is_trained_on: np.ndarray, kept: list[int]) -> float:
    """Return the held-out accuracy of a logistic regression on some dimensions, by scikit-learn's own score."""
    both = np.concatenate([images, texts])[:, kept].astype(np.float64)
    is_image, is_held_out = np.repeat([1, 0], len(images)), ~np.tile(is_trained_on, 2)
    model = LogisticRegression(max_iter=10_000).fit(both[~is_held_out], is_image[~is_held_out])
    return float(model.score(both[is_held_out], is_image[is_held_out]))


@pytest.mark.parametrize("by", [[0.0] * 6, [0.3, 0.0, 1.0, 0.0, 0.1, 0.0], [40.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
def test_the_classifier_is_that_of_scikit_learn(by: list[float]) -> None:
    images, texts = apart(150, by)
    normal, offset = _fit_classifier(images, texts)
    model = LogisticRegression(max_iter=10_000, tol=1e-9).fit(
        np.concatenate([images, texts]).astype(np.float64), np.repeat([1, 0], 150)
    )
    length = float(np.linalg.norm(model.coef_[0])) + 0.01  # of modalities that nothing tells apart it is near zero
    assert normal == pytest.approx(model.coef_[0], abs=2e-2 * length)
    assert offset == pytest.approx(model.intercept_[0], abs=2e-2 * length)


def test_accuracy_by_dimensions_is_that_of_classifiers_on_the_dimensions_kept() -> None:
    images, texts = apart(300, [0.1, 2.0, 0.0, 1.0, 0.5, 1.5, 0.0, 0.2, 0.0, 0.7, 0.3, 0.0])
    is_trained_on = np.isnan(separability(images, texts, rng()))  # the same seed draws the same half
    accuracies = separability_by_dimensions(images, texts, rng())
    assert accuracies.ks.tolist() == [1, 2, 5, 10, 12]
    order = best_dimensions(images, texts, is_trained_on)
    expected = [accuracy_of(images, texts, is_trained_on, order[:k]) for k in range(1, 13)]
    assert accuracies.accuracies.tolist() == pytest.approx([expected[k - 1] for k in accuracies.ks])
    assert accuracies.accuracies[-1] == np.nanmean(separability(images, texts, rng()))
    assert accuracies.fewest is not None and expected[accuracies.fewest - 1] >= 0.99 * expected[-1]
    assert expected[accuracies.fewest - 2] < 0.99 * expected[-1]


def test_real_modalities_need_two_dimensions() -> None:
    """Schrodi et al., 2025: few dimensions drive the gap."""
    accuracies = separability_by_dimensions(*published_vectors("features_clip"), rng())
    assert accuracies.fewest == 2 and accuracies.accuracies[:3].round(3).tolist() == [0.976, 1, 1]


def test_a_larger_set_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench.metrics.probes.DIMENSION_SAMPLE", 40)
    images, texts = apart(60, [1.0, 0.5, 0.0])
    accuracies = separability_by_dimensions(images, texts, rng(3))
    draws = rng(3)
    chosen = np.sort(draws.choice(60, 40, replace=False))
    expected = np.nanmean(separability(images[chosen], texts[chosen], draws))
    assert accuracies.accuracies[-1] == expected


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_have_no_dimensions(n: int) -> None:
    images, texts = apart(n, [1.0, 0.0])
    accuracies = separability_by_dimensions(images, texts, rng())
    assert (len(accuracies.ks), len(accuracies.accuracies), accuracies.fewest) == (0, 0, None)

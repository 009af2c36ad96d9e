"""Hubness against sorted lists and every order of ties; separability of clouds whose overlap is known."""

from itertools import permutations

import numpy as np
import pytest
import scipy.stats

from clipbench import arrays
from clipbench.arrays import unit
from clipbench.errors import UsageError
from clipbench.metrics import hubness, separability


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
    found = hubness(queries, gallery, k)
    assert found.skewness == pytest.approx(scipy.stats.skew(counts), abs=1e-12)
    assert found.largest_hub == pytest.approx(counts.max() / 80, abs=1e-12)
    assert found.never_retrieved == pytest.approx((counts == 0).mean(), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_at_the_last_place_are_shared_as_in_random_order(k: int) -> None:
    """One query; items score 1, .5, .5, .5, 0. In each order of the three equal ones, the first k are retrieved."""
    gallery = np.array([[0.5, 1], [1, 0], [0.5, 0], [0, 1], [0.5, -1]], np.float32)
    retrieved = np.array([np.isin(np.arange(5), [1, *order, 3][:k]) for order in permutations([0, 2, 4])])
    found = hubness(np.array([[1, 0]], np.float32), gallery, k)
    assert found.never_retrieved == pytest.approx(1 - retrieved.mean(), abs=1e-12)
    assert found.skewness == pytest.approx(scipy.stats.skew(retrieved.mean(axis=0)), abs=1e-12)


def test_independent_queries_miss_an_item_with_the_product_of_their_chances() -> None:
    gallery = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = hubness(np.array([[1, 0], [1, 0]], np.float32), gallery, 1)
    assert found.never_retrieved == pytest.approx((0.25 + 0.25 + 1) / 3, abs=1e-12)
    assert found.largest_hub == 0.5


def test_a_constant_model_has_no_hubs() -> None:
    constant = smooth(1, 16, 0)
    found = hubness(constant.repeat(70, axis=0), constant.repeat(30, axis=0), 10)
    assert np.isnan(found.skewness)
    assert found.largest_hub == pytest.approx(1 / 3, abs=1e-12)
    assert found.never_retrieved == pytest.approx((2 / 3) ** 70, rel=1e-9)


def test_a_gallery_smaller_than_k_has_no_hubness() -> None:
    assert np.isnan(hubness(smooth(5, 3, 0), smooth(9, 3, 1), 10)).all()
    assert np.isnan(hubness(smooth(5, 3, 0)[:0], smooth(9, 3, 1), 2)).all()
    whole = hubness(smooth(5, 3, 0), smooth(9, 3, 1), 9)
    assert np.isnan(whole.skewness) and whole[1:] == (1, 0)


def test_k_below_1_is_refused() -> None:
    with pytest.raises(UsageError, match="hubness needs k of at least 1, got 0"):
        hubness(smooth(5, 3, 0), smooth(9, 3, 1), 0)


# Separability ---------------------------------------------------------------------------------------------------------


def test_two_cones_are_separable() -> None:
    images, texts = smooth(100, 16, 0), smooth(100, 16, 1)
    images[:, 0], texts[:, 0] = 3, -3
    credit = separability(unit(images), unit(texts), rng())
    assert np.isnan(credit).sum() == 50
    assert np.nanmean(credit) == 1


def test_modalities_of_one_distribution_are_told_apart_by_chance() -> None:
    credit = separability(smooth(4000, 4, 0), smooth(4000, 4, 1), rng())
    assert np.nanmean(credit) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(4000))


def test_overlapping_modalities_are_told_apart_as_often_as_the_best_line_can() -> None:
    """On a circle, images at +45° and texts at -45° from an axis, each spread by 45°: Φ(1) on the right side."""
    angles = rng(3).normal(0, np.pi / 4, (2, 4000)) + np.array([[np.pi / 4], [-np.pi / 4]])
    images, texts = (np.stack([np.cos(side), np.sin(side)], axis=1).astype(np.float32) for side in angles)
    best = scipy.stats.norm.cdf(1) - scipy.stats.norm.cdf(-3)
    credit = separability(unit(images), unit(texts), rng())
    assert np.nanmean(credit) == pytest.approx(best, abs=3 * np.sqrt(best * (1 - best) / 4000))


def test_a_constant_model_gets_the_credit_of_a_coin() -> None:
    constant = smooth(1, 64, 5).repeat(101, axis=0)
    credit = separability(constant, constant, rng())
    assert set(credit[~np.isnan(credit)]) == {0.5}


def test_what_was_trained_on_is_not_scored() -> None:
    """In 512 dimensions a line separates any 100 vectors; scored on its training half it would reach 1."""
    credit = separability(smooth(100, 512, 0), smooth(100, 512, 1), rng())
    assert np.nanmean(credit) == pytest.approx(0.5, abs=0.15)


def test_groups_are_held_out_whole() -> None:
    groups = np.array([f"image {row // 5}" for row in range(100)])
    credit = separability(smooth(100, 8, 0), smooth(100, 8, 1), rng(), groups=groups)
    by_group = np.isnan(credit).reshape(20, 5)
    assert (by_group == by_group[:, :1]).all()
    assert by_group[:, 0].sum() == 10


def test_one_pair_or_group_cannot_be_held_out() -> None:
    images, texts = smooth(6, 4, 0), smooth(6, 4, 1)
    assert np.isnan(separability(images[:1], texts[:1], rng())).tolist() == [True]
    assert np.isnan(separability(images, texts, rng(), groups=np.zeros(6, np.int64))).all()


def test_a_seed_draws_the_same_half() -> None:
    images, texts = smooth(40, 4, 0), smooth(40, 4, 1)
    first, second, other = (separability(images, texts, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (np.isnan(first) != np.isnan(other)).any()

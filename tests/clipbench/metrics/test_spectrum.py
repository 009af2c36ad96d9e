"""The spectrum of the gap and the ablation of its dimensions, against loops in plain numpy."""

import numpy as np
import pytest

from clipbench.errors import DataError
from clipbench.metrics.geometry import gap_vector, modality_gap
from clipbench.metrics.similarity import unit
from clipbench.metrics.spectrum import ablations, gap_spectrum, round_numbers
from tests.made import published_vectors

SOURCES = ["random", "features_clip", "features_clip_random"]


def pairs(source: str) -> tuple[np.ndarray, np.ndarray]:
    if source == "random":
        draws = np.random.default_rng(0)
        images = draws.standard_normal((40, 8)) + np.linspace(0, 2, 8)
        texts = images + draws.standard_normal((40, 8)) - np.linspace(1.5, 0, 8)
        return unit(images.astype(np.float32)), unit(texts.astype(np.float32))
    return published_vectors(source)


@pytest.mark.parametrize("source", SOURCES)
def test_squares_of_the_mean_differences_sum_to_the_squared_gap(source: str) -> None:
    images, texts = pairs(source)
    spectrum = gap_spectrum(gap_vector(images, texts))
    by_dimension = [
        abs(float(x.astype(float).mean() - y.astype(float).mean())) for x, y in zip(images.T, texts.T, strict=True)
    ]
    assert spectrum.mean_differences.tolist() == pytest.approx(sorted(by_dimension, reverse=True), abs=1e-12)
    assert (spectrum.mean_differences**2).sum() == pytest.approx(modality_gap(images, texts) ** 2, rel=1e-12)
    np.testing.assert_allclose(np.array(by_dimension)[spectrum.dimensions], spectrum.mean_differences, atol=1e-12)
    carried, needed = 0.0, 0
    while carried < 0.9 * sum(each**2 for each in by_dimension):
        carried, needed = carried + sorted(by_dimension, reverse=True)[needed] ** 2, needed + 1
    assert spectrum.n_carrying() == needed


def test_without_a_gap_nothing_carries_it() -> None:
    for gap in (np.zeros(4), np.full(4, 1e-9), np.full(4, np.nan)):
        spectrum = gap_spectrum(gap)
        assert spectrum.n_carrying() is None and np.isnan(spectrum.shares).all()


@pytest.mark.parametrize("length", [2e-6, 1e-4])
def test_a_small_gap_is_still_one(length: float) -> None:
    """Components of float32 vectors of unit length are off by up to 3e-8: this is no rounding."""
    spectrum = gap_spectrum(np.array([0.0, 0.6, 0.8]) * length)
    assert spectrum.n_carrying() == 2 and spectrum.shares.tolist() == pytest.approx([0.64, 1, 1])


def test_equal_differences_share_alike() -> None:
    spectrum = gap_spectrum(np.array([0.1, -0.1, 0.1, 0.1, 0.1, -0.1, 0.1, 0.1, 0.1, 0.1]))
    assert spectrum.dimensions.tolist() == list(range(10))
    assert spectrum.n_carrying() == 9 and spectrum.n_carrying(0.5) == 5 and spectrum.n_carrying(1.0) == 10


@pytest.mark.parametrize(
    ("dim", "counts"), [(1, []), (2, [1]), (51, [1, 2, 5, 10, 20, 50]), (6, [1, 2, 5]), (10, [1, 2, 5])]
)
def test_dimensions_are_removed_in_ones_twos_and_fives(dim: int, counts: list[int]) -> None:
    assert round_numbers(dim) == counts


@pytest.mark.parametrize("source", SOURCES)
def test_ablation_is_what_a_loop_over_smaller_vectors_finds(source: str) -> None:
    images, texts = pairs(source)
    result = ablations(images, texts)
    differences = np.abs(images.astype(float).mean(axis=0) - texts.astype(float).mean(axis=0))
    for count, got in list(result.items())[:4]:
        kept_dimensions = np.argsort(-differences)[count:]
        x, y = (
            side[:, kept_dimensions] / np.linalg.norm(side[:, kept_dimensions], axis=1, keepdims=True)
            for side in (images.astype(float), texts.astype(float))
        )
        gap = np.linalg.norm(x.mean(axis=0) - y.mean(axis=0))
        scores = (x @ y.T).round(9)  # vectors of this data tie nowhere
        true_scores = np.diag(scores)
        text_recall = np.mean([(row > right).sum() == 0 for row, right in zip(scores, true_scores, strict=True)])
        image_recall = np.mean([(row > right).sum() == 0 for row, right in zip(scores.T, true_scores, strict=True)])
        assert got == pytest.approx((gap, image_recall, text_recall), abs=1e-6)


def test_ties_after_an_ablation_have_the_credit_of_a_coin() -> None:
    images = np.array([[0.6, 0.8, 0], [0.6, 0, 0.8], [0.8, 0.6, 0]], np.float32)
    texts = np.array([[-0.6, 0.8, 0], [-0.6, 0, 0.8], [-0.8, 0.6, 0]], np.float32)
    _, image_recall, text_recall = ablations(images, texts)[1]  # without the first, pairs 0 and 2 are alike
    assert image_recall == text_recall == pytest.approx(2 / 3)


def test_a_vector_of_which_nothing_is_left_has_no_ablation() -> None:
    images = np.array([[1, 0], [0.6, 0.8]], np.float32)
    texts = np.array([[-1, 0], [-0.6, 0.8]], np.float32)
    assert list(ablations(images, texts)) == [0]


def test_unequal_counts_and_no_pairs() -> None:
    images, texts = pairs("random")
    with pytest.raises(DataError, match="40 image embeddings and 1 text embeddings"):
        ablations(images, texts[:1])
    assert ablations(images[:0], texts[:0]) == {}

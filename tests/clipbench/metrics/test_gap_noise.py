"""The unbiased squared gap, its error and the gap of no gap: by plain sums, and the coverage of the interval."""

import numpy as np
import pytest

from clipbench.metrics.geometry import SPREAD_SAMPLE, gap_noise, modality_gap
from clipbench.metrics.similarity import unit
from clipbench.stats.distances import distance_interval

Pairs = tuple[np.ndarray, np.ndarray]


def population(dim: int, shift: float, n: int = 4_000) -> Pairs:
    """Unit vectors of a falling spectrum; without a shift texts are the images in another order, so that the gap is
    0.
    """
    rng = np.random.default_rng(dim)
    images = rng.standard_normal((n, dim)) / np.arange(1, dim + 1) ** 0.25 + 0.3
    texts = images[rng.permutation(n)].copy()
    texts[:, 0] += shift
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def coverage(pairs: Pairs, n: int, n_samples: int) -> float:
    images, texts = pairs
    truth = float(np.linalg.norm(images.mean(axis=0, dtype=np.float64) - texts.mean(axis=0, dtype=np.float64)))
    rng, covered = np.random.default_rng(n), 0
    for _ in range(n_samples):
        rows = rng.integers(len(images), size=n)
        gap, noise = modality_gap(images[rows], texts[rows]), gap_noise(images[rows], texts[rows])
        low, high, _ = distance_interval(gap, noise.squared_gap, noise.standard_error, n)
        assert low is not None and high is not None and low <= gap <= high
        covered += low - 1e-7 <= truth <= high
    return covered / n_samples


@pytest.mark.parametrize(("n", "dim"), [(9, 4), (6, 20)])
def test_noise_is_that_of_plain_sums(n: int, dim: int) -> None:
    rng = np.random.default_rng(n)
    images, texts = (rng.standard_normal((n, dim)).astype(np.float32) for _ in range(2))
    differences = images.astype(np.float64) - texts
    mean, s = differences.mean(axis=0), np.cov(differences.T)
    of_square = (n - 1) ** 2 / ((n + 1) * (n - 2)) * (np.trace(s @ s) - np.trace(s) ** 2 / (n - 1))
    noise = gap_noise(images, texts)
    assert noise.chance == pytest.approx(np.sqrt(np.trace(s) / n))
    assert noise.squared_gap == pytest.approx(mean @ mean - np.trace(s) / n)
    assert noise.standard_error**2 == pytest.approx(4 * mean @ s @ mean / n + 2 * max(0, of_square) / n**2)


def test_more_pairs_than_the_sample_have_nearly_the_error_of_all() -> None:
    rng = np.random.default_rng(0)
    images, texts = (rng.standard_normal((2 * SPREAD_SAMPLE, 3)).astype(np.float32) for _ in range(2))
    s = np.cov((images - texts).T)
    mean = (images - texts).mean(axis=0)
    variance = 4 * mean @ s @ mean / len(images) + 2 * np.trace(s @ s) / len(images) ** 2
    assert gap_noise(images, texts).standard_error ** 2 == pytest.approx(variance, rel=0.02)


def test_one_pair_has_no_noise_and_two_have_no_error() -> None:
    eye = np.eye(2, dtype=np.float32)
    assert np.isnan(gap_noise(eye[:1], eye[1:])[:3]).all()
    two = gap_noise(eye, eye[::-1])
    assert np.isnan(two[:3]).tolist() == [False, True, False] and np.isnan(two.influence).all()


def test_influences_are_what_leaving_a_pair_out_changes() -> None:
    rng = np.random.default_rng(1)
    images, texts = (rng.standard_normal((30, 4)).astype(np.float32) for _ in range(2))
    rows = [np.arange(30) != pair for pair in range(30)]
    left = np.array([gap_noise(images[row], texts[row]).squared_gap for row in rows])
    assert gap_noise(images, texts).influence == pytest.approx(29 * (left.mean() - left), abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_interval_covers_a_gap_and_no_gap(shift: float) -> None:
    assert coverage(population(64, shift), n=100, n_samples=200) >= 0.91


@pytest.mark.parametrize(("n", "shift"), [(3, 10.0), (3, 0.0), (5, 10.0)])
def test_the_interval_of_few_pairs_covers(n: int, shift: float) -> None:
    assert coverage(population(64, shift), n=n, n_samples=400) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("dim", [64, 512])
@pytest.mark.parametrize("n", [3, 4, 5, 8, 10, 100, 1_000])
@pytest.mark.parametrize("shift", [0.0, 0.5, 10.0])
def test_coverage_of_no_gap_a_small_and_a_large_one(dim: int, n: int, shift: float) -> None:
    rate = coverage(population(dim, shift), n=n, n_samples=1_000)
    print(f"d {dim} n {n} shift {shift}: {rate}")
    assert rate >= 0.93

"""Mutual k-NN and CKA: the naive definitions, what leaves both alone, and the level of chance."""

import numpy as np
import pytest

from clipbench.errors import DataError, UsageError
from clipbench.metrics import cka, mutual_neighbours
from clipbench.metrics.similarity import unit

Pair = tuple[np.ndarray, np.ndarray]


def pair(n: int = 60, dim: int = 8, noise: float = 1.0, seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, dim))
    return tuple(unit((shared + noise * rng.standard_normal((n, dim)) + shift).astype(np.float32)) for shift in (1, -1))  # type: ignore[return-value]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_mutual_neighbours_are_the_overlap_of_two_lists(k: int) -> None:
    x, y = pair()
    lists = []
    for side in (x, y):
        scores = side.astype(float) @ side.T.astype(float)
        np.fill_diagonal(scores, -np.inf)
        lists.append([set(row[:k]) for row in np.argsort(-scores, axis=1).tolist()])
    expected = np.mean([len(a & b) / k for a, b in zip(*lists, strict=True)])
    assert mutual_neighbours(x, y, k) == pytest.approx(expected)


def test_cka_is_the_unbiased_estimator_of_song_et_al_summed_over_quadruples() -> None:
    """HSIC as the mean of K_ij (L_ij + L_kl - 2 L_ik) over four different samples, the definition of the estimator."""
    x, y = pair(7, 3)
    kernels = [side.astype(float) @ side.T.astype(float) for side in (x, y)]
    index = np.array(np.meshgrid(*[np.arange(7)] * 4, indexing="ij")).reshape(4, -1)
    i, j, k, m = index[:, [len(set(each)) == 4 for each in index.T.tolist()]]

    def hsic(first: np.ndarray, second: np.ndarray) -> float:
        return float((first[i, j] * (second[i, j] + second[k, m] - 2 * second[i, k])).mean())

    expected = hsic(*kernels) / np.sqrt(hsic(kernels[0], kernels[0]) * hsic(kernels[1], kernels[1]))
    assert cka(x, y) == pytest.approx(expected)


def test_rotation_scale_shift_and_order_change_nothing() -> None:
    x, y = pair()
    rng = np.random.default_rng(3)
    turn, order = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32), rng.permutation(len(x))
    assert cka(3 * x @ turn + 2, y) == pytest.approx(cka(x, y), abs=1e-5)
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y))
    assert mutual_neighbours(unit(x @ turn), y) == pytest.approx(mutual_neighbours(x, y))
    assert mutual_neighbours(x[order], y[order]) == pytest.approx(mutual_neighbours(x, y))
    assert cka(x, x) == pytest.approx(1) and mutual_neighbours(x, x) == pytest.approx(1)


def test_spaces_with_nothing_in_common_are_at_chance_with_fewer_samples_than_dimensions_too() -> None:
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = (unit(rng.standard_normal((20, 64)).astype(np.float32)) for _ in range(2))
        found.append((cka(x, y), mutual_neighbours(x, y, 5)))
    alike, shared = np.mean(found, axis=0)
    assert alike == pytest.approx(0, abs=0.01) and shared == pytest.approx(5 / 19, abs=0.01)


def test_equal_vectors_share_neighbours_by_chance_and_have_no_cka() -> None:
    constant = unit(np.ones((11, 4), np.float32))
    assert mutual_neighbours(constant, constant, 2) == pytest.approx(2 / 10)
    assert np.isnan(cka(constant, constant))


def test_too_few_samples_are_undefined_and_unequal_numbers_an_error() -> None:
    x, y = pair(3)
    assert np.isnan(cka(x, y)) and np.isnan(mutual_neighbours(x, y, 3))
    with pytest.raises(UsageError, match="k of at least 1, got 0"):
        mutual_neighbours(x, y, 0)
    for measure in (cka, mutual_neighbours):
        with pytest.raises(DataError, match="3 image vectors and 2 text vectors"):
            measure(x, y[:2])

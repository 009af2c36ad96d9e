"""Mutual k-NN and CKA: the naive definitions, what leaves both alone, and the level of chance."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from clipbench.errors import DataError
from clipbench.metrics.similarity import unit
from clipbench.metrics.structure import cka, mutual_neighbours, shared_neighbours

Pair = tuple[np.ndarray, np.ndarray]


def pair(n: int = 60, dim: int = 8, noise: float = 1.0, seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, dim))
    return tuple(unit((shared + noise * rng.standard_normal((n, dim)) + shift).astype(np.float32)) for shift in (1, -1))  # type: ignore[return-value]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_mutual_neighbours_are_the_overlap_of_two_lists(k: int) -> None:
    x, y = pair()
    assert mutual_neighbours(x, y, k) == pytest.approx(overlap(x, y, k))


def test_cka_is_the_unbiased_estimator_of_song_et_al_summed_over_quadruples() -> None:
    """HSIC as the mean of K_ij (L_ij + L_kl - 2 L_ik) over four different samples, the definition of the estimator."""
    x, y = pair(7, 3)
    kernels = [side.astype(float) @ side.T.astype(float) for side in (x, y)]
    index = np.array(np.meshgrid(*[np.arange(7)] * 4, indexing="ij")).reshape(4, -1)
    i, j, k, m = index[:, [len(set(value)) == 4 for value in index.T.tolist()]]

    def hsic(first: np.ndarray, second: np.ndarray) -> float:
        return float((first[i, j] * (second[i, j] + second[k, m] - 2 * second[i, k])).mean())

    expected = hsic(*kernels) / np.sqrt(hsic(kernels[0], kernels[0]) * hsic(kernels[1], kernels[1]))
    assert cka(x, y).value == pytest.approx(expected)


def test_too_few_samples_are_undefined_and_unequal_numbers_an_error() -> None:
    x, y = pair(3)
    assert np.isnan(cka(x, y).value) and np.isnan(mutual_neighbours(x, y, 3))
    assert np.isnan(shared_neighbours(x, y, 2).value)
    for measure in (cka, mutual_neighbours, shared_neighbours):
        with pytest.raises(DataError, match="3 image embeddings and 2 text embeddings"):
            measure(x, y[:2])


def overlap(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Mutual k-NN by loops over lists that are sorted by score, then by row."""
    lists = []
    for side in (x, y):
        scores = (side.astype(float) @ side.T.astype(float)).astype(np.float32)
        other_rows = [[j for j in range(len(side)) if j != i] for i in range(len(side))]
        lists.append([set(sorted(rows, key=lambda j: (-scores[i, j], j))[:k]) for i, rows in enumerate(other_rows)])
    return float(np.mean([len(a & b) / k for a, b in zip(*lists, strict=True)]))


def without_each(measure: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The influences of the jackknife, each sample left out in turn."""
    left = np.array([measure(np.delete(x, i, axis=0), np.delete(y, i, axis=0)) for i in range(len(x))])
    return (len(x) - 1) * (left.mean() - left)


@pytest.mark.parametrize("has_ties", [False, True])
def test_neighbours_that_two_models_share_are_those_of_two_sorted_lists_also_without_each_sample(
    has_ties: bool,
) -> None:
    x, y = pair(14, 4)
    if has_ties:
        x, y = np.round(x), np.round(y)
        x[~x.any(axis=1), 0] = y[~y.any(axis=1), 1] = 1
        x, y = unit(x), unit(y)
    for k in (1, 4, 10):
        value, influence = shared_neighbours(x, y, k)
        assert value == pytest.approx(overlap(x, y, k))
        assert influence == pytest.approx(without_each(lambda a, b: overlap(a, b, k), x, y), abs=1e-9)  # noqa: B023


def test_the_cka_of_two_models_is_that_of_all_and_of_all_but_each_sample() -> None:
    x, y = pair(12, 5)
    assert cka(x, y).influence == pytest.approx(without_each(lambda a, b: cka(a, b).value, x, y))


@pytest.mark.parametrize("n", [5, 9, 40, 300])
def test_a_cka_is_undefined_for_vectors_that_are_equal_but_one_and_its_influences_for_all_but_two(n: int) -> None:
    for seed in range(5):
        x, y = pair(n, seed=seed)
        x[2:] = x[2]
        assert np.isfinite(cka(x, y).value) and np.isnan(cka(x, y).influence).all()
        assert np.isnan(cka(x[1:], y[1:]).value) and np.isnan(cka(y[1:], x[1:]).value)


def test_a_model_is_like_itself_whatever_its_ties_and_like_its_rotation() -> None:
    x, _ = pair(40)
    x[20:] = x[:20]  # each image twice
    turned = unit(x @ np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0].astype(np.float32))
    for measure in (shared_neighbours, cka):
        value, influence = measure(x, x)
        assert value == 1.0 and np.abs(influence).max() < 1e-12
    assert shared_neighbours(x, turned, 9).value == pytest.approx(1, abs=0.02)  # rounding breaks some ties anew
    assert cka(x, turned).value == pytest.approx(1, abs=1e-6)


def test_shuffled_samples_have_a_cka_of_0_with_a_spread_that_the_number_alone_decides() -> None:
    x, y = pair(6, 3, noise=0.3)
    values = [cka(x, y[list(order)]).value for order in permutations(range(6))]  # all 720
    assert np.mean(values) == pytest.approx(0, abs=1e-9)
    assert np.std(values) == pytest.approx(np.sqrt(2 / (6 * 3)))


def test_spaces_with_nothing_in_common_share_k_of_all_others_with_fewer_samples_than_dimensions_too() -> None:
    result = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y, z = (unit(rng.standard_normal((20, dim)).astype(np.float32)) for dim in (64, 16, 64))
        result.append((cka(x, y).value, shared_neighbours(x, y, 5).value, cka(x, z).value, mutual_neighbours(x, z, 5)))
    assert np.mean(result, axis=0) == pytest.approx([0, 5 / 19] * 2, abs=0.01)
    constant = unit(np.ones((20, 4), np.float32))
    assert np.isnan(cka(constant, x).value) and shared_neighbours(constant, constant, 5).value == 1.0

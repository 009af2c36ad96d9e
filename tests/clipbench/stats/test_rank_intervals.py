"""Rank intervals against the naive version, and how often they contain all true ranks."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from clipbench.stats.intervals import wilson
from clipbench.stats.mean_law import law_of_mean
from clipbench.stats.rank_intervals import model_pairs, new_task_interval, pair_p_values, rank_bounds


def naive_p_values(credits: np.ndarray, n_draws: int) -> list[float]:
    """Return the test of each pair and a step-down over normal laws of all pairs, one pair at a time."""
    pairs = list(combinations(range(credits.shape[1]), 2))
    changes = {pair: credits[:, pair[0]] - credits[:, pair[1]] for pair in pairs}
    alone = {
        pair: float(law_of_mean(change.mean(), change - change.mean(), None, largest=1.0).p_values()[0])
        for pair, change in changes.items()
    }
    observed = {pair: -float(scipy.stats.norm.ppf(p / 2)) for pair, p in alone.items()}
    weights = np.random.default_rng(0).normal(size=(n_draws, len(credits)))
    drawn = {pair: np.abs(weights @ (change - change.mean())) / (change.std() * 3) for pair, change in changes.items()}
    left, largest, p_values = sorted(pairs, key=lambda pair: -observed[pair]), 0.0, {}
    for step, pair in enumerate(left):
        sizes = np.max([drawn[other] for other in left[step:]], axis=0)
        largest = max(largest, float((sizes >= observed[pair]).mean()))
        p_values[pair] = max(largest, alone[pair])
    return [p_values[pair] for pair in pairs]


@pytest.mark.parametrize("seed", range(4))
def test_p_values_are_those_of_each_pair_corrected_by_normal_laws_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    credits = np.round((rng.random((9, 4)) + np.array([0.6, 0.3, 0.0, 0.0])) / 1.6, 2)
    p_values = pair_p_values(credits, None, rng, n_draws=40_000)
    assert np.allclose(p_values, naive_p_values(credits, 40_000), atol=0.01)


def test_samples_of_a_cluster_count_as_one() -> None:
    rng = np.random.default_rng(0)
    credits = (rng.random((8, 3)) < [0.9, 0.5, 0.4]).astype(float)
    repeated = np.repeat(credits, 5, axis=0)
    clustered = pair_p_values(repeated, np.repeat(np.arange(8), 5), np.random.default_rng(1))
    assert np.allclose(clustered, pair_p_values(credits, None, np.random.default_rng(1)))
    assert (pair_p_values(repeated, None, rng) < clustered).any()


def test_p_values_do_not_depend_on_shift_scale_and_order_of_models() -> None:
    credits = np.random.default_rng(0).random((60, 5)) + np.array([0.4, 0.2, 0.1, 0.0, 0.0])
    before = pair_p_values(credits, None, np.random.default_rng(1), n_draws=40_000)
    after = pair_p_values(3 * credits[:, ::-1] + 7, None, np.random.default_rng(1), n_draws=40_000)
    first, second = model_pairs(5)
    matrix = np.zeros((5, 5))
    matrix[first, second] = matrix[second, first] = after
    assert np.allclose(before, matrix[::-1, ::-1][first, second], atol=0.01)


def test_equal_models_share_their_ranks_and_are_never_separated() -> None:
    credits = np.tile((np.arange(30) < 20)[:, None].astype(float), 4)
    p_values = pair_p_values(credits, None, np.random.default_rng(0))
    bounds = rank_bounds(credits.mean(axis=0), p_values)
    assert (bounds.rank == 2.5).all() and (bounds.low == 1).all() and (bounds.high == 4).all()


def test_an_untested_pair_separates_nobody() -> None:
    bounds = rank_bounds(np.array([0.9, 0.1, 0.5]), np.array([np.nan, 0.001, 1.0]))
    assert bounds.low.tolist() == [1, 1, 2] and bounds.high.tolist() == [2, 3, 3]


def test_a_model_that_was_first_on_six_tasks_need_not_be_on_others() -> None:
    low, high, _ = new_task_interval(np.ones(6), 5)
    bound = wilson(0, 6, confidence=1 - 0.05 / 5).high
    assert bound is not None and (low, high) == pytest.approx((1.0, 1 + 4 * bound)) and bound > 0.4
    assert new_task_interval(np.ones(5), 5).low is None


@pytest.mark.simulation
@pytest.mark.parametrize("n_models", [3, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [0.0, 0.03])
def test_all_true_ranks_are_inside_at_once(n_models: int, step: float) -> None:
    rng, n_inside, n_simulations = np.random.default_rng(n_models), 0, 300
    values = 0.7 - step * np.arange(n_models)
    best = 1 + (values[:, None] > values).sum(axis=0)
    worst = n_models - (values[:, None] > values).sum(axis=1)
    for _ in range(n_simulations):
        shared = rng.standard_normal((80, 1))
        parts = 0.8 * shared + 0.6 * rng.standard_normal((80, n_models))
        hits = (parts < np.quantile(parts, 0.5) + 2.2 * (values - 0.5)).astype(float)
        bounds = rank_bounds(hits.mean(axis=0), pair_p_values(hits, None, rng, n_draws=500))
        n_inside += bool((bounds.low <= best).all() and (bounds.high >= worst).all())
    assert n_inside / n_simulations >= 0.91  # .95 less three standard errors

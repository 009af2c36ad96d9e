"""Rank correlation: against scipy, permutations counted one by one, and how often its interval covers."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from clipbench.stats import rank_correlation as module
from clipbench.stats.rank_correlation import rank_correlation


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_value_is_scipys_with_ties_and_without(levels: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(levels, size=(2, 40)).astype(np.float64)
    assert rank_correlation(x, y, rng).value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_with_a_third_quantity_it_is_the_correlation_of_what_a_line_through_its_ranks_leaves() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=30)
    x, y = z + rng.normal(size=30), z + rng.normal(size=30)
    ranks = [stats.rankdata(rank) for rank in (x, y, z)]
    left = [rank - np.polyval(np.polyfit(ranks[2], rank, 1), ranks[2]) for rank in ranks[:2]]
    correlation = rank_correlation(x, y, rng, z)
    assert correlation.value == pytest.approx(np.corrcoef(np.stack(left))[0, 1])
    assert correlation.p is None
    assert correlation.value < rank_correlation(x, y, rng).value  # the third is behind most of it


def test_the_p_value_of_few_points_is_the_share_of_all_orders() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 6))
    value = stats.spearmanr(x, y).statistic
    of_orders = [abs(stats.spearmanr(x, list(order)).statistic) for order in permutations(y)]
    assert rank_correlation(x, y, rng).p == pytest.approx(np.mean(np.array(of_orders) >= abs(value) - 1e-12))


def test_the_p_value_of_more_points_is_near_scipys() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    y = 0.4 * x + rng.normal(size=30)
    assert rank_correlation(x, y, rng).p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.01)


def test_few_points_have_no_interval_and_equal_ones_no_value() -> None:
    rng = np.random.default_rng(4)
    few = rank_correlation(np.arange(7.0), np.arange(7.0), rng)
    assert (few.value, few.interval.low) == (1.0, None)
    assert few.interval.method == "7 points: an interval needs at least 8"
    correlation = rank_correlation(np.arange(19.0), rng.normal(size=19), rng, rng.normal(size=19))
    assert correlation.interval.method == "19 points: an interval needs at least 20"
    equal = rank_correlation(np.ones(9), np.arange(9.0), rng)
    assert np.isnan(equal.value) and equal.p is None
    assert equal.interval.method == "one of the quantities is the same for all"


FEW = [(12, 0.0, 0.0), (12, 0.6, 0.0), (20, 0.0, 0.95)]
ALL = [
    *((n, rho, 0.0) for n in (8, 12, 20, 50) for rho in (0.0, 0.3, 0.6, 0.9)),
    *((n, rho, third) for n in (20, 50) for third in (0.9, 0.95) for rho in (0.0, 0.3, 0.8)),
]


@pytest.mark.parametrize(
    ("laws", "n_simulations"), [(FEW, 100), pytest.param(ALL, 1000, marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_the_interval_covers_and_raises_no_false_alarm(
    laws: list[tuple[int, float, float]], n_simulations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of normal laws, whose correlation of ranks is known; the third quantity, if it correlates with both, is held
    fixed.
    """
    monkeypatch.setattr(module, "N_RESAMPLES", 1000)
    monkeypatch.setattr(module, "N_PERMUTATIONS", 1000)
    rng = np.random.default_rng(5)
    for n, rho, third in laws:
        rest = np.sqrt(1 - third**2)
        both, one = 6 / np.pi * np.arcsin(np.array([third**2 + rest**2 * rho, third]) / 2)  # Kruskal 1958
        truth = (both - one**2) / (1 - one**2)
        n_covered = n_alarms = 0
        for _ in range(n_simulations):
            x, e, z = rng.normal(size=(3, n))
            columns = [third * z + rest * each for each in (x, rho * x + np.sqrt(1 - rho**2) * e)]
            correlation = rank_correlation(columns[0], columns[1], rng, z if third else None)
            low, high, _ = correlation.interval
            assert low is not None and high is not None and (correlation.p is None) == (third > 0)
            n_covered += low <= truth <= high
            n_alarms += not low <= 0 <= high if correlation.p is None else correlation.p <= 0.05
        print(
            f"n {n}, correlation {rho}, {third} with a third: covered {n_covered / n_simulations:.3f}, excludes 0"
            f" {n_alarms / n_simulations:.3f}"
        )
        margin = 3 * (0.95 * 0.05 / n_simulations) ** 0.5
        assert n_covered / n_simulations > 0.93 - margin
        assert rho > 0 or n_alarms / n_simulations < 0.05 + margin

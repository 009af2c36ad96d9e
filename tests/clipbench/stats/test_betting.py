"""The confidence sequence: against a naive game, against all means one by one, and by simulation of who stops when it
suits.
"""

from itertools import pairwise

import numpy as np
import pytest

from clipbench.errors import DataError
from clipbench.stats.betting import SHARES, confidence_sequence, log_wealth, queries_needed


@pytest.mark.parametrize("total", [None, 8, 12])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.1, 0.6])
def test_wealth_is_that_of_a_game_played_value_by_value(total: int | None, mean: float) -> None:
    values = np.random.default_rng(1).uniform(-0.8, 0.9, 8)
    wealth = [[1.0 / (2 * len(SHARES)), 1.0 / (2 * len(SHARES)), share] for share in SHARES]
    expected = []
    for n, value in enumerate(values):
        m = (1 + mean) / 2 if total is None else ((1 + mean) / 2 * total - ((1 + values[:n]) / 2).sum()) / (total - n)
        x = (1 + value) / 2
        if not 0 <= m <= 1:
            expected.append(np.inf)
            continue
        for each in wealth:
            each[0] *= 1 + each[2] / m * (x - m)
            each[1] *= 1 - each[2] / (1 - m) * (x - m)
        expected.append(sum(each[0] + each[1] for each in wealth))
    assert np.exp(log_wealth(values, mean, total)) == pytest.approx(expected)


@pytest.mark.parametrize("total", [None, 90])
def test_bounds_are_the_means_that_were_never_bet_away(total: int | None) -> None:
    values = np.random.default_rng(2).choice([-0.5, 0.0, 0.5], 60, p=[0.2, 0.3, 0.5])
    low, high = confidence_sequence(values, total=total)
    surviving_means = [m for m in np.linspace(-1, 1, 2001) if log_wealth(values, m, total).max() < np.log(20)]
    assert (low, high) == pytest.approx((surviving_means[0], surviving_means[-1]), abs=1.1e-3)
    before = [confidence_sequence(values[:n], total=total) for n in range(1, len(values) + 1)]
    assert all(a[0] <= b[0] + 2e-5 and b[1] <= a[1] + 2e-5 for a, b in pairwise(before))


def test_a_list_that_is_judged_whole_is_known_and_nothing_is_before_the_first() -> None:
    values = np.array([0.5, -1.0, 1.0, 0.25])
    assert confidence_sequence(values, total=4) == pytest.approx((values.mean(), values.mean()), abs=2e-5)
    assert confidence_sequence(values[:0], total=4) == confidence_sequence(values[:0]) == (-1.0, 1.0)


@pytest.mark.parametrize("values", [np.array([0.0, 1.5]), np.array([np.nan]), np.zeros(5)])
def test_what_no_difference_can_be_is_refused(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot bound"):
        confidence_sequence(values, total=4)


@pytest.mark.parametrize("total", [None, 200])
def test_who_looks_after_every_query_is_misled_in_one_of_twenty_at_most(total: int | None) -> None:
    """The truth is 0, and of the list every query but the last is asked."""
    rng, n_wrong = np.random.default_rng(3), 0
    for _ in range(400):
        values = rng.permutation(np.repeat([-0.6, -0.2, 0.0, 0.2, 0.6], 40))[: 199 if total else 200]
        values = values if total else rng.choice(values, 400)
        n_wrong += bool((log_wealth(values, 0.0, total) >= np.log(20)).any())
    assert n_wrong <= 20 + 2 * 4.4  # two standard errors


@pytest.mark.simulation
def test_as_many_queries_as_are_said_to_be_needed_show_a_difference_in_half_of_all_cases_or_more() -> None:
    rng = np.random.default_rng(4)
    seen = rng.choice([-0.5, 0.0, 0.5], 50)
    n = queries_needed(seen, 0.1)
    assert n is not None and queries_needed(seen[:1], 0.1) is None
    drawn = [rng.choice(seen - seen.mean() + 0.1, n) for _ in range(200)]
    n_shown = sum(confidence_sequence(each)[0] > 0 for each in drawn)
    assert 100 <= n_shown <= 150  # more than half, as an earlier look counts too

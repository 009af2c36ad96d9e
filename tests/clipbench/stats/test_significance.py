"""Tests of a paired difference: against other libraries, naive versions and values worked by hand."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from clipbench.stats import significance


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(gained: int, lost: int) -> None:
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert significance.mcnemar(gained, lost).p_value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("gained", "lost"), [(0, 100_000), (49_000, 51_000), (400_000, 401_500), (1, 9_999)])
def test_mcnemar_holds_for_as_many_samples_as_there_are(gained: int, lost: int) -> None:
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue
    assert significance.mcnemar(gained, lost).p_value == pytest.approx(expected, rel=1e-8, abs=0)


@pytest.mark.parametrize("n", [2, 11, 400])
def test_the_t_test_of_a_mean_is_the_textbook_one(n: int) -> None:
    rows = np.random.default_rng(n).normal(0.3, 1, n)
    expected = scipy.stats.ttest_1samp(rows, 0.0).pvalue
    assert significance.t_test(float(rows.mean()), float(scipy.stats.sem(rows)), n) == pytest.approx(expected, rel=1e-9)


def rejected_by_steps(p_values: list[float], alpha: float) -> set[int]:
    """Holm's procedure as he states it: from the smallest on, until one is too large."""
    names: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        names.add(index)
    return names


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.4))
@example([], 0.05)
@example([0.3], 0.3)
def test_corrected_p_values_reject_what_holm_s_steps_reject(p_values: list[float], alpha: float) -> None:
    corrected = significance.holm(p_values)
    ours = {k for k, p_value in enumerate(corrected) if p_value <= alpha}
    edge = {k for k, p_value in enumerate(corrected) if abs(p_value - alpha) < 1e-12}
    assert ours - edge == rejected_by_steps(p_values, alpha) - edge
    assert all(p_value <= after <= 1 for p_value, after in zip(p_values, corrected, strict=True))


@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.8), (0.05, 0.95)])
def test_the_detectable_difference_is_found_with_the_power_that_is_said(alpha: float, power: float) -> None:
    result = significance.PairedPower(standard_error=0.3, n_units=100_000_000).at(alpha, power)
    assert result is not None
    limit = scipy.stats.norm.isf(alpha / 2) * 0.3
    assert scipy.stats.norm.sf(limit, loc=result, scale=0.3) == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(("n", "alpha"), [(50, 0.05), (120, 0.05 / 14), (1000, 0.05 / 14)])
def test_samples_that_hardly_change_show_a_loss_that_is_large_enough_for_the_test(n: int, alpha: float) -> None:
    power = significance.PairedPower(standard_error=None, n_units=n, unit_size=1.0, least_p=2.0 ** (1 - n))
    loss = power.at(alpha)
    assert loss is not None
    n_lost = np.random.default_rng(0).binomial(n, loss, 4000)
    n_shown = sum(significance.mcnemar(0, int(lost)).p_value <= alpha for lost in n_lost)
    assert n_shown / 4000 == pytest.approx(0.8, abs=0.02)


def test_too_few_samples_show_no_loss_and_no_detectable_difference_is_0() -> None:
    five = significance.PairedPower(standard_error=0.1, n_units=5, unit_size=1.0, least_p=2.0**-4)
    assert five.at(0.05) is None and five.at(0.1) is not None
    assert significance.PairedPower(standard_error=None, n_units=50).at(0.05) is None


@pytest.mark.parametrize("n", [6, 11, 30])
def test_of_few_samples_more_is_needed_and_the_power_is_that_of_the_t_test(n: int) -> None:
    result = significance.PairedPower(standard_error=1 / np.sqrt(n), n_units=n).at(0.05)
    assert result is not None
    limit = scipy.stats.t.ppf(0.975, n - 1)
    assert scipy.stats.nct.sf(limit, n - 1, result * np.sqrt(n)) == pytest.approx(0.8, abs=0.02)

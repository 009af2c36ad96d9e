"""Tests of a paired difference: against other libraries, naive versions and values worked by hand."""

import itertools

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


def test_flips_of_zeros_and_ones_are_mcnemar_s() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([1.0] * 7 + [-1.0] * 2 + [0.0] * 40)
    assert significance.flip_test(rows, None, rng).p_value == pytest.approx(significance.mcnemar(7, 2).p_value)
    many = np.array([1.0] * 60 + [-1.0] * 37 + [0.0] * 400)
    expected = significance.mcnemar(60, 37).p_value
    error = np.sqrt(expected / significance.N_DRAWS)
    assert significance.flip_test(many, None, rng).p_value == pytest.approx(expected, abs=4 * error)


def naive_permutation_p(sums: np.ndarray) -> float:
    totals = [abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) for signs in flips(len(sums))]
    return float(np.mean(np.array(totals) >= abs(sums.sum()) - 1e-9))


def flips(n: int) -> itertools.product:  # type: ignore[type-arg]
    return itertools.product((1, -1), repeat=n)


@pytest.mark.parametrize("seed", range(5))
def test_few_units_are_counted_not_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, clusters = rng.normal(0.3, 1, 30), rng.integers(0, 9, 30)
    sums = np.array([rows[clusters == each].sum() for each in np.unique(clusters)])
    found = significance.flip_test(rows, clusters, rng).p_value
    assert found == pytest.approx(naive_permutation_p(sums))
    assert found == significance.flip_test(rows, clusters, np.random.default_rng(99)).p_value


@pytest.mark.parametrize("values", [(-1.5, -1, -0.5, 0.5, 1, 1.5), None])
def test_drawn_flips_approach_the_counted_ones(
    values: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(0.4, 1, 60) if values is None else rng.choice(values, 60) + 0.5 * (rng.random(60) < 0.3)
    clusters = np.arange(60) % 11
    expected = significance.flip_test(rows, clusters, rng).p_value
    monkeypatch.setattr(significance, "EXACT_UNITS", 0)
    found = significance.flip_test(rows, clusters, rng, n_draws=100_000).p_value
    assert 0.02 < expected < 0.9
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 100_000))


def test_units_of_one_size_are_drawn_as_those_of_many_are() -> None:
    rng = np.random.default_rng(2)
    rows = rng.choice([-1.0, -0.5, 0.5, 1.0], 400, p=[0.2, 0.25, 0.25, 0.3])
    alike = significance.flip_test(rows, None, rng).p_value
    apart = significance.flip_test(rows + rng.normal(0, 1e-6, 400), None, rng).p_value  # 400 sizes: byte by byte
    assert alike == pytest.approx(apart, abs=4 * np.sqrt(2 * alike / significance.N_DRAWS))


def test_blocks_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).normal(0.1, 1, 203)
    whole = significance.flip_test(rows, None, np.random.default_rng(0), n_draws=5001).p_value
    monkeypatch.setattr(significance, "_BLOCK_BYTES", 100)
    parts = significance.flip_test(rows, None, np.random.default_rng(0), n_draws=5001).p_value
    assert parts == pytest.approx(whole, abs=0.02)
    expected = scipy.stats.norm.sf(abs(rows.sum()) / np.linalg.norm(rows)) * 2
    assert parts == pytest.approx(expected, abs=0.025)


def test_no_p_value_is_zero_however_large_the_difference() -> None:
    rng = np.random.default_rng(4)
    assert significance.flip_test(rng.normal(9, 1, 500), None, rng, n_draws=999).p_value == pytest.approx(1 / 1000)


def test_clusters_without_a_difference_and_equal_columns_say_nothing() -> None:
    rng = np.random.default_rng(5)
    assert significance.flip_test(np.zeros(20), None, rng).p_value == 1
    assert significance.flip_test(np.array([0.3, -0.3, 0.1, -0.1]), np.array([0, 0, 1, 1]), rng).p_value == 1
    rows = np.array([0.5, 0.4, 0.7, 0.2, 0.9])
    padded = np.concatenate([rows, np.zeros(100)])
    assert (
        significance.flip_test(padded, None, rng).p_value == significance.flip_test(rows, None, rng).p_value == 2 / 32
    )


def test_sums_in_another_order_are_the_same_size() -> None:
    rows = np.array([0.1, 0.2, 0.3, -0.6])  # 0.1 + 0.2 + 0.3 - 0.6 is 1e-16 in floating point
    assert significance.flip_test(rows, None, np.random.default_rng(0)).p_value == 1


def test_the_sign_and_the_scale_of_a_difference_do_not_matter() -> None:
    rows = np.random.default_rng(6).normal(0.2, 1, 300)
    found = [significance.flip_test(factor * rows, None, np.random.default_rng(0)).p_value for factor in (1, -1, 8)]
    assert found[0] == found[2] == pytest.approx(found[1], abs=0.01)


@pytest.mark.parametrize("n", [2, 11, 400])
def test_the_t_test_of_a_mean_is_the_textbook_one(n: int) -> None:
    rows = np.random.default_rng(n).normal(0.3, 1, n)
    expected = scipy.stats.ttest_1samp(rows, 0.0).pvalue
    assert significance.t_test(float(rows.mean()), float(scipy.stats.sem(rows)), n) == pytest.approx(expected, rel=1e-9)


def rejected_by_steps(p_values: list[float], alpha: float) -> set[int]:
    """Holm's procedure as he states it: from the smallest on, until one is too large."""
    found: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        found.add(index)
    return found


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.4))
@example([], 0.05)
@example([0.3], 0.3)
def test_corrected_p_values_reject_what_holm_s_steps_reject(p_values: list[float], alpha: float) -> None:
    corrected = significance.holm(p_values)
    ours = {k for k, each in enumerate(corrected) if each <= alpha}
    edge = {k for k, each in enumerate(corrected) if abs(each - alpha) < 1e-12}
    assert ours - edge == rejected_by_steps(p_values, alpha) - edge
    assert all(each <= after <= 1 for each, after in zip(p_values, corrected, strict=True))


@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.8), (0.05, 0.95)])
def test_the_detectable_difference_is_found_with_the_power_that_is_said(alpha: float, power: float) -> None:
    found = significance.PairedPower(standard_error=0.3, n_units=100_000_000).at(alpha, power)
    assert found is not None
    limit = scipy.stats.norm.isf(alpha / 2) * 0.3
    assert scipy.stats.norm.sf(limit, loc=found, scale=0.3) == pytest.approx(power, abs=1e-6)


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
    found = significance.PairedPower(standard_error=1 / np.sqrt(n), n_units=n).at(0.05)
    assert found is not None
    limit = scipy.stats.t.ppf(0.975, n - 1)
    assert scipy.stats.nct.sf(limit, n - 1, found * np.sqrt(n)) == pytest.approx(0.8, abs=0.02)

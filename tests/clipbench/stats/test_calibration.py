"""Calibration errors: the interval contains the true one, whatever it is, and the value."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.metrics.classification import expected_calibration_error
from clipbench.results.record import Metric
from clipbench.stats.calibration import CalibrationError, calibration_estimate
from clipbench.stats.differences import paired_difference
from clipbench.stats.estimators import Estimator

Law = Callable[[np.ndarray], np.ndarray]

CONFIDENCES: dict[str, Law] = {  # quantile functions
    "even": lambda u: 0.1 + 0.9 * u,
    "high": lambda u: 1 - 0.9 * u**3,
    "nearly sure": lambda u: 1 - 0.02 * u**2,
}
ACCURACIES: dict[str, Law] = {  # the probability of being right at a confidence
    "0": lambda p: p,
    ".03": lambda p: np.maximum(p - 0.03, 0),
    ".1": lambda p: np.maximum(p - 0.1, 0),
    "both ways": lambda p: np.clip(p + 0.06 * np.sin(20 * p), 0, 1),
}


class Rate(NamedTuple):
    truth: float
    mean: float
    mean_noise: float
    coverage: float


def rate(confidence: Law, accuracy: Law, n: int, n_trials: int, *, cluster_size: int = 1) -> Rate:
    """Return the fraction of simulated tables whose interval contains the error of the whole population.

    Samples of a cluster share confidence and outcome.
    """
    rng = np.random.default_rng(0)
    truth = true_error(confidence, accuracy)
    values, noises, hits = [], [], 0
    for _ in range(n_trials):
        p = np.repeat(confidence(rng.random(n // cluster_size)), cluster_size)
        right = np.repeat(rng.random(n // cluster_size), cluster_size) < accuracy(p)
        clusters = np.repeat(np.arange(n // cluster_size), cluster_size)
        estimate = calibration_estimate(p, right.astype(np.float64), clusters=clusters)
        hits += estimate.low <= truth <= estimate.high
        values.append(estimate.value)
        noises.append(estimate.noise)
    return Rate(truth, float(np.mean(values)), float(np.mean(noises)), hits / n_trials)


def true_error(confidence: Law, accuracy: Law) -> float:
    p = confidence((np.arange(20_000) + 0.5) / 20_000)
    return expected_calibration_error(p, accuracy(p))


FEW = [("even", accuracy, 300) for accuracy in ("0", ".03", ".1")]
ALL = [(confidence, accuracy, n) for confidence in CONFIDENCES for accuracy in ACCURACIES for n in (100, 300, 1000)]


@pytest.mark.parametrize(("laws", "n_trials"), [(FEW, 200), pytest.param(ALL, 1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cluster_size", [1, 4])
def test_the_interval_contains_the_true_error_whatever_it_is(
    laws: list[tuple[str, str, int]], n_trials: int, cluster_size: int
) -> None:
    for confidence, accuracy, n in laws:
        result = rate(CONFIDENCES[confidence], ACCURACIES[accuracy], n, n_trials, cluster_size=cluster_size)
        assert result.coverage >= 0.945, (confidence, accuracy, n, result)


@pytest.mark.parametrize(("n", "cluster_size"), [(100, 1), (1000, 1), (1000, 4)])
def test_the_noise_is_the_mean_error_of_a_calibrated_model(n: int, cluster_size: int) -> None:
    result = rate(CONFIDENCES["even"], ACCURACIES["0"], n, 200, cluster_size=cluster_size)
    assert result.mean_noise == pytest.approx(result.mean, rel=0.05)


def test_a_calibrated_model_s_interval_reaches_zero_where_the_noise_is_a_few_percent() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 1.0, 1000)
    metric = CalibrationError(confidence="p", credit="right").metric(
        {"p": p, "right": (rng.random(1000) < p).astype(np.float64)}, rng
    )
    assert metric.value is not None and metric.high is not None
    assert metric.low == 0 and 0.02 < metric.value < metric.high
    assert metric.statistic is not None and metric.statistic.columns == ["p", "right"]


def test_models_that_are_surely_right_may_still_err_as_often_as_none_in_n_allows() -> None:
    estimate = calibration_estimate(np.ones(100), np.ones(100))
    assert (estimate.value, estimate.low) == (0, 0) and 0.03 < estimate.high < 0.04


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 5)), min_size=1, max_size=40),
    st.booleans(),
)
def test_the_interval_contains_the_value(rows: list[tuple[float, float, int]], has_clusters: bool) -> None:
    confidence, credit, clusters = (np.array(column) for column in zip(*rows, strict=True))
    estimate = calibration_estimate(confidence, credit, clusters=clusters if has_clusters else None)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.value == expected_calibration_error(confidence, credit)


@pytest.mark.parametrize(
    ("clusters", "reason"),
    [
        (None, None),
        (np.array(["a", "a"]), "no interval: an interval needs at least two clusters"),
        (np.array(["a", "b"]), None),
    ],
)
def test_one_cluster_bounds_nothing(clusters: np.ndarray | None, reason: str | None) -> None:
    samples = {"p": np.array([0.5, 0.7]), "right": np.array([1.0, 0.0])}
    if clusters is not None:
        samples["cluster"] = clusters
    metric = CalibrationError(confidence="p", credit="right").metric(samples, np.random.default_rng(0))
    assert metric.value == pytest.approx(0.6) and metric.reason == reason and (metric.low is None) == bool(reason)


# Two models -----------------------------------------------------------------------------------------------------------

ERRORS = {"no": (0.055, 0.055), "small": (0.055, 0.047), "large": (0.05, 0.15)}


def compared_rates(
    accuracies: tuple[float, float], errors: tuple[float, float], n: int, n_trials: int
) -> dict[str, float]:
    """Return how often the interval of a difference holds the true one, and how often it excludes 0 in either
    direction.

    Confidences are even around the accuracy plus the error. Those of the second model spread less, so that its bins are
    less noisy. Most outcomes are shared.
    """
    rng, named = np.random.default_rng(n), Estimator("expected_calibration_error", ("p", "right"))
    truth, held, rejected, wrong = errors[1] - errors[0], 0, 0, 0
    for _ in range(n_trials):
        luck, tables = rng.random(n), []
        for accuracy, error, reach in zip(accuracies, errors, (0.32, 0.05), strict=True):
            p = accuracy + error + reach * rng.uniform(-1, 1, n)
            chance = np.where(rng.random(n) < 0.7, luck, rng.random(n))
            tables.append({"p": p, "right": (chance < p - error).astype(np.float64)})
        metrics = [Metric(value=named(table), statistic=named.record()) for table in tables]
        test = paired_difference(*metrics, before=tables[0], after=tables[1], clusters=None, rng=rng)
        low, high = test.interval.bounds
        assert test.p_value is not None and (test.p_value <= 0.05) == (not low <= 0 <= high)
        held += low <= truth <= high
        rejected += test.p_value <= 0.05
        wrong += (low > 0 > truth) or (high < 0 < truth)
    return {"held": held / n_trials, "rejected": rejected / n_trials, "wrong": wrong / n_trials}


def test_models_of_one_calibration_error_do_not_differ_though_all_else_does() -> None:
    rates = compared_rates((0.38, 0.62), ERRORS["no"], 350, 150)
    assert rates["held"] >= 0.95 and rates["rejected"] <= 0.05, rates  # models exchanged: 0.1 rejected
    assert compared_rates((0.38, 0.62), ERRORS["large"], 2000, 20)["rejected"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("accuracies", [(0.38, 0.62), (0.5, 0.5)])
@pytest.mark.parametrize("n", [350, 2000])
@pytest.mark.parametrize("effect", ERRORS)
def test_a_difference_of_calibration_errors_is_held(accuracies: tuple[float, float], n: int, effect: str) -> None:
    rates = compared_rates(accuracies, ERRORS[effect], n, 2000)
    print(accuracies, n, effect, rates)
    assert rates["held"] >= 0.93 and rates["wrong"] <= 0.03, rates
    if effect == "no":
        assert rates["rejected"] <= 0.06, rates

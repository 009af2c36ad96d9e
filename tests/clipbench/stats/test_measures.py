"""Measures: the value, the interval that is right for the samples, and undefined ones said as such."""

import numpy as np
import pytest

from clipbench.stats.measures import Definition, Fixed, Mean, Smooth, Statistic, Within, define


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("unit", ["fraction", "difference"])
def test_a_column_out_of_the_range_of_its_unit_has_its_value_in_its_interval(unit: str) -> None:
    samples = {"of 20": np.array([10.0, 20.0, 15.0, 30.0]), "i": np.array([-8.75, 1.25, -3.75, 11.25])}
    for measure in (
        Mean(column="of 20", unit=unit),
        Statistic(function=lambda rows: float(rows["of 20"].mean()), columns=("of 20",), unit=unit),
        Smooth(value=18.75, influence="i", unit=unit),
    ):
        metric = measure.metric(samples, rng())
        assert metric.value == 18.75 and metric.low < 18.75 < metric.high  # type: ignore[operator]
    partly_outside = Mean(column="x", unit=unit).metric({"x": np.array([0.5, 0.9, 1.4])}, rng())
    assert partly_outside.high > 1  # type: ignore[operator]


def test_a_statistic_sees_only_rows_in_which_its_first_column_is_there() -> None:
    samples = {"rank": np.array([1.0, np.nan, 3.0, 8.0]), "other": np.array([1.0, 2.0, 3.0, 4.0])}
    seen_rows = []

    def median(rows: dict[str, np.ndarray]) -> float:
        seen_rows.append(rows["other"])
        return float(np.median(rows["rank"]))

    metric = Statistic(function=median, columns=("rank", "other"), unit="rank").metric(samples, rng())  # type: ignore[arg-type]
    assert (metric.value, metric.n, metric.unit) == (3.0, 3, "rank")
    assert all(2.0 not in rows for rows in seen_rows)
    assert metric.low is not None and metric.high is not None and 1 <= metric.low <= 3 <= metric.high <= 8


def test_a_column_without_values_is_undefined_and_says_so() -> None:
    empty = {"hit": np.array([np.nan, np.nan])}
    for measure in (Mean(column="hit"), Statistic(function=lambda rows: 0.0, columns=("hit",))):
        metric = measure.metric(empty, rng())
        assert metric.value is None and metric.reason == "no sample has a value for 'hit'"


def test_a_smooth_value_gets_its_interval_from_influences() -> None:
    values = np.random.default_rng(2).normal(3.0, 1.0, 400)
    metric = Smooth(value=float(values.mean()), influence="i", unit="distance").metric(
        {"i": values - values.mean()}, rng()
    )
    half = 1.965927 * values.std(ddof=1) / 20
    assert metric.low == pytest.approx(values.mean() - half, rel=1e-6)  # t with 399 degrees of freedom
    assert metric.high == pytest.approx(values.mean() + half, rel=1e-6)


def test_the_interval_of_a_smooth_fraction_stays_in_range() -> None:
    metric = Smooth(value=0.999, influence="i", unit="fraction").metric({"i": np.array([-3.0, 3.0, 0.0])}, rng())
    assert 0 < metric.low < 0.999 < metric.high < 1  # type: ignore[operator]


def test_a_measure_hands_its_meaning_to_its_metric_defined_or_not() -> None:
    meaning = {"title": "Hits", "description": "Fraction of hits.", "baseline_of": "acc", "is_headline": True}
    measures = (
        Mean(column="hit", **meaning),  # type: ignore[arg-type]
        Statistic(function=lambda rows: float(rows["hit"].max()), columns=("hit",), **meaning),  # type: ignore[arg-type]
        Smooth(value=0.5, influence="hit", unit="fraction", **meaning),  # type: ignore[arg-type]
        Fixed(value=None, reason="none", **meaning),  # type: ignore[arg-type]
        Mean(column="none", **meaning),  # type: ignore[arg-type]
    )
    for measure in measures:
        metric = measure.metric({"hit": np.array([0.0, 1.0, 1.0]), "none": np.full(3, np.nan)}, rng())
        assert (metric.title, metric.description, metric.baseline_of) == ("Hits", "Fraction of hits.", ["acc"])
        assert metric.is_headline


def test_a_table_defines_metrics_by_the_name_after_their_subset() -> None:
    table = {"acc": Definition("Accuracy", "Share.", is_headline=True), "ties": Definition("Ties", "Ties.", "acc")}
    measures = define({name: Mean(column="hit") for name in ("acc", "swap/acc", "swap/ties", "other")}, table)
    metrics = {name: measure.metric({"hit": np.array([0.0, 1.0])}, rng()) for name, measure in measures.items()}
    assert {name: (metric.title, metric.is_headline) for name, metric in metrics.items()} == {
        "acc": ("Accuracy", True),
        "swap/acc": ("Accuracy", False),
        "swap/ties": ("Ties", False),
        "other": ("", False),
    }
    assert metrics["swap/ties"].baseline_of == ["swap/acc"]


def test_a_baseline_within_a_label_set_is_of_the_metric_of_that_set() -> None:
    measure = Within(prefix="kind/", measure=Mean(column="tied", baseline_of="acc1"))
    assert measure.metric({"kind/tied": np.array([0.0, 1.0])}, rng()).baseline_of == ["kind/acc1"]

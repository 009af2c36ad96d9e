"""Estimators: found again by the record that a result holds of them."""

from collections.abc import Callable

import numpy as np
import pytest

from clipbench.metrics.classification import expected_calibration_error
from clipbench.results.record import StatisticRecord
from clipbench.stats.estimators import ESTIMATORS, Estimator
from clipbench.stats.measures import Statistic, Within


def test_every_statistic_is_found_again_by_its_record() -> None:
    estimators = {
        "median": Estimator("median", ("x",)),
        "expected_calibration_error": Estimator("expected_calibration_error", ("x", "y")),
        "first_length_reaching": Estimator("first_length_reaching", ("x", "y"), {"lengths": [1, 2], "share": 0.9}),
        "labels_reaching": Estimator("labels_reaching", ("x", "y", "z"), {"labels": [1, 2]}),
    }
    assert set(estimators) == set(ESTIMATORS)
    for value in estimators.values():
        assert Estimator.from_record(value.record()) == value


@pytest.mark.parametrize(
    "record",
    [
        None,
        StatisticRecord(name="mode", columns=["x"]),  # of a later version
        StatisticRecord(name="median", columns=["x", "y"]),
        StatisticRecord(name="median", columns=["x"], parameters={"axis": 0}),
        StatisticRecord(name="first_length_reaching", columns=["x"], parameters={"share": 0.9}),
    ],
)
def test_a_record_that_is_not_understood_is_no_statistic(record: StatisticRecord | None) -> None:
    assert Estimator.from_record(record) is None


def test_a_metric_says_which_statistic_it_is_with_the_columns_of_its_label_set() -> None:
    samples = {"kind/rank": np.array([1.0, 2, 5]), "sample_id": np.array(["a", "b", "c"], object)}
    metric = Within(
        prefix="kind/", measure=Statistic(function=Estimator("median", ("rank",)), columns=("rank",))
    ).metric(samples, np.random.default_rng(0))
    assert metric.value == 2
    assert metric.statistic == StatisticRecord(name="median", columns=["kind/rank"])


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11])
def test_the_median_is_numpy_s(n: int) -> None:
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 6, n) / 3
        assert Estimator("median", ("x",))({"x": values}) == np.median(values)


def test_values_of_many_draws_are_those_of_their_rows() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.random((2, 30)).round(1)
    hits = np.sort(rng.integers(0, 2, (3, 30)), axis=0).astype(np.float64)
    samples = {"x": x, "y": y, **{f"at {row}": hit for row, hit in enumerate(hits)}}
    length = Estimator("first_length_reaching", ("at 0", "at 1", "at 2"), {"lengths": [1, 2, 4], "share": 0.9})

    def length_of(rows: np.ndarray) -> float:
        recall = hits[:, rows].mean(axis=1)
        return float(np.interp(0.9 * recall[2], recall, [1.0, 2.0, 4.0]))

    labels = Estimator("labels_reaching", ("at 0", "at 1", "at 2", "y"), {"labels": [1, 2, 4]})

    def labels_of(rows: np.ndarray) -> float:
        return float(np.exp(np.interp(y[rows].mean(), hits[:, rows].mean(axis=1), np.log([1.0, 2.0, 4.0]))))

    of_rows: list[tuple[Estimator, Callable[[np.ndarray], float]]] = [
        (Estimator("median", ("x",)), lambda rows: float(np.median(x[rows]))),
        (Estimator("expected_calibration_error", ("x", "y")), lambda r: expected_calibration_error(x[r], y[r])),
        (length, length_of),
        (labels, labels_of),
    ]
    draws = rng.integers(30, size=(50, 30))
    counts = np.array([np.bincount(rows, minlength=30) for rows in draws])
    for named, of in of_rows:
        assert named.over_draws(samples)(counts) == pytest.approx([of(rows) for rows in draws])


@pytest.mark.parametrize("n", [1, 7, 601])
@pytest.mark.parametrize("size", [1, 5])
def test_differences_under_exchange_are_those_of_the_exchanged_rows(n: int, size: int) -> None:
    """Also where hardly anything is exchanged, so that medians lie far from the middle of all values."""
    rng = np.random.default_rng(n)
    units = np.arange(n) // size
    hits = {f"at {row}": each for row, each in enumerate(np.sort(rng.integers(0, 5, (3, n, 2)) / 4, axis=0))}
    both = {"x": rng.integers(0, 9, (n, 2)) - [0.0, 5.0], "p": rng.random((n, 2)), "y": rng.integers(0, 3, (n, 2)) / 2}
    both |= hits
    is_exchanged = rng.random((12, units[-1] + 1)) < np.linspace(0, 1, 12)[:, None]
    for estimator in (
        Estimator("median", ("x",)),
        Estimator("expected_calibration_error", ("p", "y")),
        Estimator("first_length_reaching", tuple(hits), {"lengths": [1, 2, 4], "share": 0.9}),
        Estimator("labels_reaching", (*hits, "y"), {"labels": [1, 2, 4]}),
    ):
        base, candidate = ({name: columns[:, side] for name, columns in both.items()} for side in (0, 1))
        result = estimator.difference(base, candidate, units)(is_exchanged)
        for row, found_in_row in zip(is_exchanged[:, units], result, strict=True):
            one = {name: np.where(row, candidate[name], base[name]) for name in both}
            other = {name: np.where(row, base[name], candidate[name]) for name in both}
            assert found_in_row == pytest.approx(estimator(other) - estimator(one), abs=1e-12, nan_ok=True)


def test_medians_of_resamples_are_found_far_from_the_middle_too() -> None:
    values, rng = np.random.default_rng(0).random(2000), np.random.default_rng(1)
    order = np.argsort(values)
    counts = rng.integers(0, 3, (3, 2000))
    counts[0, order[:1200]], counts[1, order[1200:]] = 0, 0
    result = Estimator("median", ("x",)).over_draws({"x": values})(counts)
    assert result.tolist() == [np.median(np.repeat(values, row)) for row in counts]

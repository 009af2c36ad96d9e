"""Value, interval and n can be true together, for every kind of measure, whatever the table; and rates at rare
events.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test
from clipbench.metrics.classification import mean_per_class_recall, recall_influence
from clipbench.results.record import Metric
from clipbench.stats import intervals, significance
from clipbench.stats.calibration import CalibrationError
from clipbench.stats.differences import PairedTest
from clipbench.stats.estimators import Estimator
from clipbench.stats.measures import Mean, Measure, Smooth, Statistic, Within

RANGES = {"fraction": (0.0, 1.0), "difference": (-1.0, 1.0)}
ROUNDING = 1e-12

Table = dict[str, np.ndarray]


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    """Draw fewer resamples of statistics, of which no coverage is measured here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "STATISTIC_RESAMPLES", 60)
        patch.setattr(significance, "N_EXCHANGES", significance.N_FIRST_EXCHANGES)
        yield


@st.composite
def tables(draw: st.DrawFn, n: int | None = None) -> Table:
    """Return a small table: hits, credits with ties, differences, confidences, classes and clusters, or without."""
    n = draw(st.integers(1, 12)) if n is None else n
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    chance = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    hit, other = ((rng.random(n) < chance).astype(np.float64) for _ in range(2))
    credit = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.2, 1.0])), 1 / 3, hit)
    table = {
        "hit": hit,
        "credit": credit,
        "rounded": np.abs(hit - rng.random(n) * 1e-11),
        "drop": other - hit,
        "cosine": rng.uniform(-1, 1, n),
        "rank": rng.integers(1, 4, n).astype(np.float64),
        "confidence": rng.uniform(0.1, 1, n),
        "class": rng.integers(0, draw(st.sampled_from([1, 2, n])), n),
        "image": rng.integers(0, draw(st.sampled_from([1, n])), n),
    }
    if draw(st.booleans()):
        table["cluster"] = np.arange(n) // draw(st.integers(1, n))
    if draw(st.booleans()):
        table["hit"] = np.where(rng.random(n) < 0.2, np.nan, table["hit"])
    table["recall_influence"] = recall_influence(table["credit"], table["class"])
    return table


def measures_of(table: Table) -> dict[str, Measure]:
    recall = mean_per_class_recall(table["credit"], table["class"])
    return {
        "hits": Mean(column="hit"),
        "credits": Mean(column="credit"),
        "credits of images": Mean(column="credit", image="image"),
        "rounded hits": Mean(column="rounded"),
        "drop": Mean(column="drop", unit="difference"),
        "cosine": Mean(column="cosine", unit="cosine"),
        "recall": Smooth(value=recall, influence="recall_influence", unit="fraction"),
        "median": Statistic(function=Estimator("median", ("rank",)), columns=("rank",), unit="rank"),
        "ece": CalibrationError(confidence="confidence", credit="credit"),
        "within": Within(prefix="of/", measure=Mean(column="credit")),
    }


@settings(max_examples=25, deadline=None)
@given(tables())
def test_a_value_lies_in_its_interval_and_both_in_the_range_of_the_unit(table: Table) -> None:
    for name, measure in measures_of(table).items():
        metric = measure.metric({**table, "of/credit": table["credit"]}, np.random.default_rng(0))
        if metric.value is None:
            assert metric.low is None and metric.high is None and metric.reason, name
            continue
        assert metric.n >= 1, name
        value, most = RANGES.get(metric.unit, (-np.inf, np.inf))
        assert value - ROUNDING <= metric.value <= most + ROUNDING, name
        if metric.low is None or metric.high is None:
            assert metric.reason, name
        else:
            assert value <= metric.low <= metric.value + ROUNDING, name
            assert metric.value - ROUNDING <= metric.high <= most, name
            assert metric.unit not in RANGES or metric.low < metric.high, name


def paired(before: np.ndarray, after: np.ndarray) -> PairedTest:
    frames = (pandas.DataFrame({"hit": column}) for column in (before, after))
    metrics = [Metric(value=float(column.mean()), column="hit") for column in (before, after)]
    rng = np.random.default_rng(0)
    return paired_test(*metrics, tables=Tables(*frames), rng=rng)


def test_hits_that_differ_by_rounding_do_not_differ() -> None:
    hits = np.array([0.0, 1.0] * 20)
    result = paired(hits, np.abs(hits - 1e-10))
    assert (result.p_value, result.test) == (1.0, "exact McNemar, 0 gained and 0 lost")
    thirds = np.full(40, 1 / 3)
    assert paired(thirds, thirds + 1e-14).p_value == 1.0


def test_all_right_in_three_classes_of_one_image_leaves_room_for_doubt() -> None:
    table = {"i": recall_influence(np.ones(3), np.arange(3))}
    metric = Smooth(value=1.0, influence="i", unit="fraction").metric(table, np.random.default_rng(0))
    assert metric.low == pytest.approx(intervals.wilson(3.0, 3).low) and metric.high == 1


Simulation = Callable[[np.random.Generator, int, float], intervals.Interval]


def _paired_difference(rng: np.random.Generator, n: int, chance: float) -> intervals.Interval:
    return paired(np.zeros(n), (rng.random(n) < chance).astype(np.float64)).interval


def _clustered(rng: np.random.Generator, n: int, chance: float) -> intervals.Interval:
    clusters = np.arange(n) // 4
    of_cluster = rng.beta(2 * chance, 2 * (1 - chance), n // 4)
    return intervals.mean_interval((rng.random(n) < of_cluster[clusters]).astype(np.float64), clusters=clusters)


def _recall(rng: np.random.Generator, n: int, chance: float, per_class: int) -> intervals.Interval:
    labels = np.arange(n) // per_class
    # Half of the classes are easier than the others by as much as they can be, up to 0.2.
    by = min(0.2, chance, 1 - chance) * np.where(labels % 2, 1, -1)
    credit = (rng.random(n) < chance + by).astype(np.float64)
    sizes = np.bincount(labels)
    trials = intervals.trials_of_means(np.bincount(labels, credit) / sizes, sizes)
    value = mean_per_class_recall(credit, labels)
    measure = Smooth(value=value, influence="i", unit="fraction", most_trials=trials)
    metric = measure.metric({"i": recall_influence(credit, labels)}, rng)
    return intervals.Interval(metric.low, metric.high, "")


SIMULATIONS: dict[str, tuple[Simulation, tuple[float, ...]]] = {
    **{f"recall, {k} a class": (partial(_recall, per_class=k), (0.5, 0.9)) for k in (1, 2)},
    "hits in clusters of 4": (_clustered, (0.01, 0.03, 0.1, 0.5)),
    "paired difference": (_paired_difference, (0.0, 0.005, 0.01, 0.1)),
}
"""Simulated intervals by name, and the true values that they should cover."""


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize(
    ("name", "truth"), [(name, truth) for name, (_, truths) in SIMULATIONS.items() for truth in truths]
)
def test_intervals_of_rare_events_cover(name: str, truth: float, n: int) -> None:
    """At least 92 % (of 1,000, three standard errors are 2 %); where nothing happens, more than 95 %."""
    rng, n_covered = np.random.default_rng(5), 0
    for _ in range(1000):
        low, high = SIMULATIONS[name][0](rng, n, truth).bounds
        n_covered += low - ROUNDING <= truth <= high + ROUNDING
    print(f"coverage: {name}, {truth}, n = {n}: {n_covered / 1000}")
    assert n_covered >= 920

"""The paired test of estimators, such as a median: by exchanging the samples of the two models."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas
import pytest
import scipy.stats

from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test
from clipbench.metrics.geometry import gap_noise, pair_geometry
from clipbench.metrics.similarity import unit
from clipbench.results.record import Metric
from clipbench.stats import significance
from clipbench.stats.differences import NO_BOUNDS, PairedTest
from clipbench.stats.estimators import Estimator

MEDIAN = Estimator("median", ("rank",))


def compared(estimator: Estimator, before: pandas.DataFrame, after: pandas.DataFrame, seed: int = 0) -> PairedTest:
    metrics = [
        Metric(
            value=estimator({name: table[name].to_numpy() for name in estimator.columns}),
            unit="rank" if estimator is MEDIAN else "dimensions",
            statistic=estimator.record(),
        )
        for table in (before, after)
    ]
    rng = np.random.default_rng(seed)
    return paired_test(*metrics, tables=Tables(before, after), rng=rng)


def ranks(rng: np.random.Generator, n: int, shift: float) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    shared = rng.lognormal(3, 1, n)
    columns = [np.ceil(shared * np.exp(by) * rng.lognormal(0, 0.3, n)) for by in (0.0, shift)]
    before, after = (pandas.DataFrame({"rank": column}) for column in columns)
    return before, after


@pytest.mark.slow
def test_the_standard_error_is_the_spread_under_exchange_as_scipy_has_it() -> None:
    before, after = ranks(np.random.default_rng(3), 200, 0.2)
    result = compared(MEDIAN, before, after)
    null = scipy.stats.permutation_test(
        [before["rank"].to_numpy(), after["rank"].to_numpy()],
        lambda one, other: float(np.median(other) - np.median(one)),
        permutation_type="samples",
        n_resamples=1000,
        vectorized=False,
        random_state=0,
    ).null_distribution
    # Of 500 and of 1,000 draws, spreads are known to 3 and 2 %.
    assert standard_error(result) == pytest.approx(np.sqrt(np.mean(null**2)), rel=0.12)
    assert result.test == "models exchanged in 200 samples"


def test_models_that_give_the_same_are_tested_and_not_told_apart() -> None:
    before, _ = ranks(np.random.default_rng(9), 30, 0.3)
    result = compared(MEDIAN, before, before)
    assert result.power is not None
    assert (result.p_value, result.power.standard_error, result.power.at(0.05)) == (1.0, None, None)
    assert (result.interval.low, result.interval.high, result.bounds) == (None, None, NO_BOUNDS)


def test_exchanges_and_resamples_without_a_value_are_left_out() -> None:
    """Each model finds two of twelve queries: where a resample or an exchange leaves it none, there is no length."""
    early, late = (np.isin(np.arange(12), difference).astype(np.float64) for difference in ((0, 1), (2, 3)))
    before = pandas.DataFrame({"at/5": early, "at/9": early})
    after = pandas.DataFrame({"at/5": np.zeros(12), "at/9": late})
    estimator = Estimator("first_length_reaching", ("at/5", "at/9"), {"lengths": [5, 9], "share": 0.9})
    difference = compared(estimator, before, after)
    assert difference.p_value is not None and 0 < difference.p_value <= 1
    assert "left out" in difference.interval.method


def test_no_samples_are_not_tested() -> None:
    empty = pandas.DataFrame({"rank": np.full(5, np.nan)})
    metric = Metric(value=1.0, statistic=MEDIAN.record())
    rng = np.random.default_rng(0)
    paired_result = paired_test(metric, metric, tables=Tables(empty, empty), rng=rng)
    assert (paired_result.n, paired_result.p_value, paired_result.test) == (
        0,
        None,
        "no test: no sample has a value in both runs",
    )


def test_a_difference_beyond_the_range_of_its_unit_lies_in_its_interval() -> None:
    """As of a plugin's column of points out of 30 that is called a fraction."""
    before = pandas.DataFrame({"x": [10.0, 12.0, 9.0, 11.0], "i": [-0.5, 1.5, -1.5, 0.5]})
    after = pandas.DataFrame({"x": [20.0, 25.0, 19.0, 22.0], "i": [-1.5, 3.5, -2.5, 0.5]})
    for name in ({"column": "x"}, {"influence": "i"}):
        metrics = (Metric(value=float(table["x"].mean()), **name) for table in (before, after))  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        low, high, _ = paired_test(*metrics, tables=Tables(before, after), rng=rng).interval
        assert low is not None and high is not None and low < 11 < high


def test_a_difference_that_is_undefined_is_not_significant() -> None:
    paired_result = significance.exchange_test(
        lambda is_exchanged: np.where(is_exchanged[:, 0], 1.0, np.nan), 30, np.random.default_rng(0)
    )
    assert paired_result.p_value == 1 and np.isnan(paired_result.standard_error)


def test_clusters_are_exchanged_whole() -> None:
    before, after = ranks(np.random.default_rng(7), 60, 0.3)
    alone = compared(MEDIAN, before, after)
    fivefold = [table.loc[table.index.repeat(5)].reset_index(drop=True) for table in (before, after)]
    first, second = (table.assign(cluster=np.arange(300) // 5) for table in fivefold)
    clustered = compared(MEDIAN, first, second)
    assert clustered.test == "models exchanged in 60 clusters"
    assert standard_error(clustered) == pytest.approx(standard_error(alone), rel=0.1)


def standard_error(paired_test: PairedTest) -> float:
    assert paired_test.power is not None and paired_test.power.standard_error is not None
    return paired_test.power.standard_error


def test_what_cannot_be_exchanged_is_not_tested_and_says_why() -> None:
    before, after = ranks(np.random.default_rng(9), 30, 0.3)
    one = compared(MEDIAN, before[:1], after[:1])
    assert (one.p_value, one.test) == (None, "no test: an interval needs at least two samples")
    other = after.assign(rank=np.where(np.arange(30) == 3, np.nan, after["rank"]))
    metric = Metric(value=1.0, statistic=MEDIAN.record())
    rng = np.random.default_rng(0)

    def test_of(base: Metric, candidate: Metric, tables: Tables) -> str:
        return paired_test(base, candidate, tables=tables, rng=rng).test

    assert test_of(metric, metric, Tables(before, other)) == "no test: the runs have values for different samples"
    assert test_of(metric, metric, Tables(before, after.drop(columns="rank"))).startswith(
        "no test: no per-sample values"
    )
    longer = Metric(value=1.0, statistic=Estimator("median", ("other",)).record())
    paired_result = test_of(metric, longer, Tables(before, after))
    assert paired_result == "no test: the runs compute it from different columns"


def two_ranks(rng: np.random.Generator, n: int, shift: float) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return two models of one law whose medians are 1, 1.5 or 2: half of the ranks are 1, the others 2."""
    before, after = (pandas.DataFrame({"rank": rng.integers(1, 3, n).astype(np.float64)}) for _ in range(2))
    return before, after


def test_the_p_value_of_a_median_of_few_values_is_that_of_the_exchanges() -> None:
    """The medians are 2 and 1. Each exchange gives both models about 522 ones of 1,000, and below 500 the median is 2:
    two standard deviations of the 11 that exchanging half of the samples has, on either side, so p is near 0.05."""
    rng = np.random.default_rng(0)
    before, after = (
        pandas.DataFrame({"rank": rng.permutation(np.repeat([1.0, 2.0], [ones, 1000 - ones]))}) for ones in (499, 545)
    )
    result = compared(MEDIAN, before, after)
    assert result.p_value is not None and 0.02 < result.p_value < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("make", [ranks, two_ranks])
def test_models_that_are_as_good_raise_no_more_false_alarms_than_alpha(
    make: Callable[..., tuple[pandas.DataFrame, pandas.DataFrame]], n: int
) -> None:
    rng = np.random.default_rng(11)
    before_after = [make(rng, n, 0.0) for _ in range(1000)]
    p_values = [exchange_p(before, after, k) for k, (before, after) in enumerate(before_after)]
    n_alarms = sum(p <= 0.05 for p in p_values)
    print(f"false alarms of {make.__name__}, n = {n}: {n_alarms / 10} %")
    assert n_alarms <= scipy.stats.binom.isf(0.001, 1000, 0.05)


def exchange_p(before: pandas.DataFrame, after: pandas.DataFrame, seed: int) -> float:
    one, other = ({"rank": table["rank"].to_numpy()} for table in (before, after))
    n = len(before)
    difference = MEDIAN.difference(one, other, np.arange(n))
    return significance.exchange_test(difference, n, np.random.default_rng(seed)).p_value


# Distances ------------------------------------------------------------------------------------------------------------


def clouds(
    rng: np.random.Generator, n: int, spread: float, gap: float, dim: int = 32
) -> tuple[Metric, pandas.DataFrame]:
    """Return the gap of pairs, as the task records it."""
    images, texts = (
        unit((np.eye(dim)[0] + spread * rng.standard_normal((n, dim)) / np.sqrt(dim)).astype(np.float32))
        for _ in range(2)
    )
    texts = unit((texts + gap * np.eye(dim)[1]).astype(np.float32))
    result, noise = pair_geometry(images, texts).modality_gap, gap_noise(images, texts)
    metric = Metric(value=result.value, chance=noise.chance, unit="distance", influence="i", squared_influence="s")
    return metric, pandas.DataFrame({"i": result.influence, "s": noise.influence})


def gaps_compared(seed: int, *, n: int = 60, gaps: tuple[float, float] = (0, 0)) -> tuple[PairedTest, Metric, Metric]:
    rng = np.random.default_rng(seed)
    (one, before), (other, after) = (clouds(rng, n, spread, gap) for spread, gap in zip((0.2, 1.0), gaps, strict=True))
    return paired_test(one, other, tables=Tables(before, after), rng=rng), one, other


def test_models_without_a_gap_do_not_differ_though_one_spreads_more() -> None:
    alarms, alarms_of_gaps, holds = 0, 0, 0
    for seed in range(100):
        result, one, other = gaps_compared(seed)
        assert result.p_value is not None and result.interval.low is not None and result.interval.high is not None
        assert result.test == "t-test (delta method) of the unbiased squared distances"
        assert one.value is not None and other.value is not None
        assert result.interval.low <= other.value - one.value <= result.interval.high
        alarms += result.p_value <= 0.05
        holds += result.interval.low <= 0 <= result.interval.high
        without = [replace(vectors_of_model, squared_influence=None) for vectors_of_model in (one, other)]
        rng = np.random.default_rng(seed)
        tables = Tables(*(clouds(rng, 60, spread, 0)[1] for spread in (0.2, 1.0)))
        plain = paired_test(*without, tables=tables, rng=rng)
        alarms_of_gaps += plain.p_value is not None and plain.p_value <= 0.05
    assert alarms <= 7 and holds >= 93 and alarms_of_gaps > 75


def test_a_difference_of_gaps_is_found_and_its_interval_is_that_of_the_delta_method() -> None:
    result, one, other = gaps_compared(0, n=400, gaps=(0.5, 0.8))
    assert result.p_value is not None and result.p_value < 1e-6
    rng = np.random.default_rng(0)
    tables = Tables(*(clouds(rng, 400, spread, gap)[1] for spread, gap in ((0.2, 0.5), (1.0, 0.8))))
    plain = paired_test(
        *(replace(metric, squared_influence=None) for metric in (one, other)),
        tables=tables,
        rng=rng,
    )
    assert plain.interval.low is not None and plain.interval.high is not None
    assert result.interval.low is not None and result.interval.high is not None
    width = plain.interval.high - plain.interval.low
    assert result.interval.high - result.interval.low == pytest.approx(width, rel=0.15)
    unbiased = [np.sqrt(metric.value**2 - metric.chance**2) for metric in (one, other)]  # type: ignore[operator]
    middle = (result.interval.low + result.interval.high) / 2
    assert middle == pytest.approx(unbiased[1] - unbiased[0], abs=0.1 * width)

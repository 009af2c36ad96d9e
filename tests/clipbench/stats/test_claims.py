"""Claims that a statement may make: against other libraries' tests, and by simulations under the null hypothesis."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from clipbench.results.record import Metric
from clipbench.stats import claims
from clipbench.stats.intervals import wilson
from clipbench.stats.measures import Mean
from clipbench.stats.significance import ALPHA


def share(hits: float, n: int, *, chance: float | None = None, higher_is_better: bool | None = True) -> Metric:
    """Return a share with Wilson's interval."""
    low, high, _ = wilson(float(hits), n)
    return Metric(value=float(hits) / n, low=low, high=high, n=n, chance=chance, higher_is_better=higher_is_better)


def cosine(value: float, error: float) -> Metric:
    return Metric(value=value, low=value - 1.96 * error, high=value + 1.96 * error, n=100, unit="cosine")


def test_comparisons_of_one_statement_are_corrected_together() -> None:
    assert claims.claimed([0.02]) == [True]
    assert claims.claimed([0.02, 0.04, None]) == [True, True, False]
    assert claims.claimed([0.02, 0.03, 0.04]) == [False, False, False]
    assert claims.claimed([0.02], alpha=0.01) == [False]
    assert claims.claimed([]) == []


@pytest.mark.parametrize(
    ("hits", "n", "chance"), [(30, 100, 0.2), (3, 100, 0.01), (0, 60, 0.1), (60, 60, 0.9), (5, 9, 0.1)]
)
def test_a_share_is_tested_against_chance_by_the_binomial(hits: int, n: int, chance: float) -> None:
    interval = wilson(float(hits), n)
    is_within = interval.low <= chance <= interval.high  # type: ignore[operator]
    expected = 1.0 if is_within else scipy.stats.binomtest(hits, n, chance).pvalue
    assert claims.p_against(share(hits, n), chance) == pytest.approx(expected, rel=1e-6)


def test_any_other_value_is_tested_by_the_normal_law() -> None:
    assert claims.p_against(cosine(0.5, 0.1), 0.25) == pytest.approx(2 * scipy.stats.norm.sf(2.5), rel=1e-3)
    one, other = cosine(0.5, 0.03), cosine(0.4, 0.04)
    assert claims.p_between(one, other) == pytest.approx(2 * scipy.stats.norm.sf(2.0), rel=1e-3)


@pytest.mark.parametrize("counts", [(30, 100, 10, 80), (0, 50, 9, 50), (50, 50, 40, 50), (3, 20, 2, 40)])
def test_two_shares_are_tested_by_the_corrected_chi_square(counts: tuple[int, int, int, int]) -> None:
    hits, n, others, m = counts
    table = [[hits, n - hits], [others, m - others]]
    expected = scipy.stats.chi2_contingency(table, correction=True).pvalue
    assert claims.p_of_shares(hits, n, others, m) == pytest.approx(expected, rel=1e-6)
    # Of metrics, only the intervals tell how many samples there were.
    assert claims.p_between(share(hits, n), share(others, m)) == pytest.approx(expected, rel=1e-6)


def test_fewer_samples_are_behind_a_wider_interval() -> None:
    low, high, _ = wilson(0.5 * 20, 20)  # clusters of five that are alike
    clustered = Metric(value=0.5, low=low, high=high, n=100)
    assert claims.p_between(clustered, share(15, 50)) == pytest.approx(claims.p_of_shares(10, 20, 15, 50), rel=1e-6)


@pytest.mark.parametrize(("hits", "n"), [(1, 3), (2, 5), (6, 6), (3, 40), (37, 40), (20, 60)])
def test_a_share_is_worth_as_many_trials_as_its_interval_says(hits: int, n: int) -> None:
    """The p-value is the binomial's of the trials that are read off the interval; of clusters these are fewer than
    n.
    """
    low, high, _ = wilson(hits, n)
    chance = 0.999 if hits / n < 0.9 else 0.001
    expected = scipy.stats.binomtest(hits, n, chance).pvalue
    for n_samples in (n, 10 * n) if n > 6 else (n,):
        p_value = claims.p_against(Metric(value=hits / n, low=low, high=high, n=n_samples), chance)
        assert p_value == pytest.approx(expected, rel=0.05)


def test_the_p_value_of_half_a_hit_more_is_between_its_neighbours() -> None:
    binomial = scipy.stats.binom(40, 0.3)
    few, many = (claims.p_against(share(hits, 40), 0.3) for hits in (2.5, 20.5))
    assert few is not None and 2 * binomial.cdf(2) < few < 2 * binomial.cdf(3)
    assert many is not None and 2 * binomial.sf(20) < many < 2 * binomial.sf(19)


def test_fewer_trials_than_samples_need_not_be_whole() -> None:
    low, high, _ = wilson(0.5 * 20.5, 20.5)
    p_value = claims.p_against(Metric(value=0.5, low=low, high=high, n=100), 0.2)
    assert p_value == pytest.approx(2 * scipy.stats.beta.cdf(0.2, 0.5 * 20.5, 0.5 * 20.5 + 1), rel=1e-6)


@pytest.mark.parametrize(
    "metric", [Metric(value=None), Metric(value=0.5), Metric(value=0.5, low=0.5, high=0.5, unit="cosine")]
)
def test_what_has_no_width_is_not_tested(metric: Metric) -> None:
    assert claims.p_against(metric, 0.1) is None
    assert claims.p_between(metric, share(12, 20)) is None
    assert claims.against_chance(metric) == [None]


def test_an_interval_that_contains_chance_claims_nothing_whatever_the_test_says() -> None:
    assert claims.p_against(Metric(value=0.5, low=0.3, high=0.7, n=10_000), 0.31) == 1.0


@pytest.mark.parametrize("n", [3, 5, 8, 10, 25, 100, 400])
@pytest.mark.parametrize("chance", [0.01, 1 / 12, 0.1, 0.2, 0.5, 0.9])
def test_the_interval_of_a_share_excludes_chance_exactly_where_the_binomial_test_rejects_it(
    n: int, chance: float
) -> None:
    """Summed over all numbers of hits; the bounds of Wilson alone exclude a chance of 1 % in 6.8 % of samples of
    400.
    """
    metrics = [claims.align_with_test(share(hits, n, chance=chance)) for hits in range(n + 1)]
    excluded = np.array([not metric.low <= chance <= metric.high for metric in metrics])  # type: ignore[operator]
    assert scipy.stats.binom(n, chance).pmf(range(n + 1))[excluded].sum() <= 0.05
    rejected = [scipy.stats.binomtest(hits, n, chance).pvalue <= 0.05 for hits in range(n + 1)]
    assert excluded.tolist() == rejected


def test_an_interval_that_the_test_widens_says_so() -> None:
    metric = Mean(column="hit", chance=0.5).metric({"hit": np.repeat([1.0, 0.0], [60, 40])}, np.random.default_rng(0))
    assert (metric.low, metric.method) == (0.5, "Wilson, chance by the exact test")
    assert claims.against_chance(metric) == ["level"]


def test_a_direction_is_needed_for_better_and_worse_and_not_for_above() -> None:
    metric = share(80, 100, chance=0.5, higher_is_better=None)
    assert claims.against_chance(metric) == [None] and claims.above_chance(metric) == [True]
    assert claims.against_chance(share(80, 100, chance=0.5, higher_is_better=False)) == ["worse"]


def test_metrics_of_one_statement_stand_to_chance_by_tests_of_all_of_them() -> None:
    weak = share(61, 100, chance=0.5)  # p = 0.035
    assert claims.against_chance(weak) == ["better"]
    assert claims.against_chance(weak, share(50, 100, chance=0.5)) == ["level", "level"]
    assert claims.above_chance(weak, share(50, 100, chance=0.5)) == [False, False]


def test_the_order_names_what_differs_from_all_others() -> None:
    metrics = {"a": share(20, 100), "b": share(24, 100), "c": share(90, 100)}
    assert claims.order(metrics) == claims.Order(highest="c", lowest=None, ends=("a", "c"))
    assert claims.order({**metrics, "d": share(89, 100)}) == claims.Order(None, None, ("a", "c"))
    assert claims.order({"a": share(20, 100), "b": share(24, 100)}) == claims.Order(None, None, None)
    assert claims.order({"a": share(20, 100), "b": share(80, 100)}) == claims.Order("b", "a", ("a", "b"))
    assert claims.order({"a": share(20, 100), "b": Metric(value=0.9)}) == claims.Order(None, None, None)


def subsets(rng: np.random.Generator, k: int, n: int, p: float) -> bool:
    """Return whether any order of subsets of one law is claimed."""
    result = claims.order({str(index): share(rng.binomial(n, p), n) for index in range(k)})
    return any(result)


def chance_level(rng: np.random.Generator, k: int, n: int, p: float) -> bool:
    """Return whether any of some metrics at chance is said to be better or worse."""
    standings = claims.against_chance(*(share(rng.binomial(n, p), n, chance=p) for _ in range(k)))
    return any(each in ("better", "worse") for each in standings)


def cosines(rng: np.random.Generator, k: int, n: int, p: float) -> bool:
    """Return whether any order of means of one law is claimed."""
    values = rng.normal(0, 1, (k, n))
    means, errors = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(n)
    return any(claims.order({str(j): cosine(means[j], errors[j]) for j in range(k)}))


NULLS: dict[str, Callable[[np.random.Generator, int, int, float], bool]] = {
    "subsets": subsets,
    "chance": chance_level,
    "cosines": cosines,
}


@pytest.mark.parametrize("n_simulations", [60, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "k", "n", "p"), [*itertools.product(NULLS, (2, 7), (100, 1000), (0.5, 0.02))])
def test_a_statement_claims_falsely_in_five_percent_at_most(
    kind: str, k: int, n: int, p: float, n_simulations: int
) -> None:
    rng = np.random.default_rng([k, n, round(100 * p)])
    false = sum(NULLS[kind](rng, k, n, p) for _ in range(n_simulations))
    assert false <= scipy.stats.binom.ppf(0.999, n_simulations, ALPHA)


def test_a_clear_effect_is_claimed() -> None:
    rng = np.random.default_rng(0)
    orders = [
        claims.order(
            {name: share(rng.binomial(250, p), 250) for name, p in zip("abcd", (0.2, 0.5, 0.5, 0.8), strict=True)}
        )
        for _ in range(50)
    ]
    assert sum((order.lowest, order.highest) == ("a", "d") for order in orders) >= 49


def test_six_hits_of_two_clusters_are_two_hits() -> None:
    samples = {"hit": np.ones(6), "cluster": np.repeat([0, 1], 3)}
    metric = Mean(column="hit").metric(samples, np.random.default_rng(0))
    assert claims.p_against(metric, 0.2) == pytest.approx(0.04)  # 0.2²

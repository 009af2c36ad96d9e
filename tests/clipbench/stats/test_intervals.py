"""Intervals: published values, coverage in simulations, clusters, and what is done where nothing can be said."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from clipbench.errors import DataError
from clipbench.seeding import generator
from clipbench.stats import intervals
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import (
    DIFFERENCES,
    Interval,
    bootstrap_interval,
    influence_interval,
    mean_interval,
    of_rows,
    wilson,
)
from clipbench.stats.measures import Mean, Smooth, Statistic

COVERED = pytest.approx(0.95, abs=0.02)
"""Three standard errors of a coverage from 1,000 simulations: sqrt(.95 × .05 / 1000) = 0.007; of 400, two."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def coverage(interval_of: Callable[[np.random.Generator], Interval], truth: float, *, n: int = 1000) -> float:
    draws = rng(1)
    bounds = [interval_of(draws).bounds for _ in range(n)]
    return float(np.mean([low <= truth <= high for low, high in bounds]))


def clustered_sample(draws: np.random.Generator, n_clusters: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Zeros and ones with mean 0.5 in clusters of 1 to 5 that share a difficulty, so that their mean varies."""
    clusters = np.repeat(np.arange(n_clusters), draws.integers(1, 6, n_clusters))
    values = (draws.random(len(clusters)) < draws.beta(0.5, 0.5, n_clusters)[clusters]).astype(np.float64)
    return values, clusters


# Wilson ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 20), (40, 40), (4, 8), (15, 148), (81, 263), (495, 500), (25_000, 50_000)]
)
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(float(successes), n).bounds == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_another_confidence_reaches_every_kind_of_interval() -> None:
    expected = scipy.stats.binomtest(40, 100).proportion_ci(0.98, method="wilson")
    assert wilson(40.0, 100, confidence=0.98).bounds == pytest.approx((expected.low, expected.high), abs=1e-14)
    hits = np.repeat([1.0, 0.0, -1.0], [6, 80, 14])
    of = {"hits": np.abs(hits), "credits": np.abs(hits) / 2, "changes": hits, "no change": np.zeros(100)}
    for name, values in of.items():
        within = intervals.SHARES if name in ("hits", "credits") else intervals.DIFFERENCES
        for clusters in (None, np.arange(100) // 2):
            wide, usual, default = (
                mean_interval(values, clusters=clusters, within=within, **options).bounds
                for options in ({"confidence": 0.98}, {"confidence": 0.95}, {})
            )
            assert usual == default and wide[0] < usual[0] and wide[1] > usual[1], name
    wide, usual = (mean_interval(hits, within=None, confidence=level).bounds for level in (0.98, 0.95))
    assert wide[0] < usual[0] < usual[1] < wide[1]


@pytest.mark.parametrize(("successes", "n"), [(1, 1), (3, 7), (1, 29), (2, 500)])
def test_of_few_hits_wilson_has_the_exact_one_sided_bound(successes: int, n: int) -> None:
    exact = scipy.stats.binomtest(successes, n).proportion_ci(0.9, "exact")
    few, many = wilson(float(successes), n).bounds, wilson(float(n - successes), n).bounds
    assert few[0] == pytest.approx(exact.low, rel=1e-9)
    assert many == pytest.approx((1 - few[1], 1 - few[0]), rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 10, 1234, 50_000])
def test_wilson_ends_at_0_and_1_exactly(n: int) -> None:
    assert wilson(0.0, n).low == 0
    assert wilson(float(n), n).high == 1


def test_wilson_refuses_no_trials() -> None:
    with pytest.raises(DataError, match="proportion of 0 trials: expected at least 1"):
        wilson(0.0, 0)


# Means ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [300, 5000])
def test_the_interval_of_a_mean_has_the_width_of_the_normal_one(n: int) -> None:
    values = rng(2).random(n)
    low, high = mean_interval(values, within=None).bounds
    half = intervals.Z * values.std() / np.sqrt(n)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_the_interval_of_a_mean_over_clusters_has_the_width_of_the_linearised_ratio() -> None:
    values, clusters = clustered_sample(rng(3), n_clusters=2000)
    low, high = mean_interval(values, clusters=clusters, within=None).bounds
    residuals = np.bincount(clusters, values - values.mean())
    half = intervals.Z * np.sqrt((residuals**2).sum()) / len(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


@pytest.mark.parametrize("per_cluster", [1, 4])
def test_of_symmetric_values_the_interval_of_a_mean_is_student_s(per_cluster: int) -> None:
    values = scipy.stats.norm.ppf((np.arange(11) + 0.5) / 11)
    clusters = None if per_cluster == 1 else np.repeat(np.arange(11), per_cluster)
    low, high = mean_interval(np.repeat(values, per_cluster), clusters=clusters, within=None).bounds
    half = scipy.stats.t.ppf(0.975, 10) * values.std(ddof=1) / np.sqrt(11)
    assert (low, high) == pytest.approx((-half, half))


def test_samples_repeated_within_clusters_add_no_certainty() -> None:
    values = rng(4).random(400)
    for within in (None, intervals.SHARES):
        single = mean_interval(values, within=within).bounds
        clusters = np.repeat(np.arange(400), 5)
        fivefold = mean_interval(np.repeat(values, 5), clusters=clusters, within=within).bounds
        assert fivefold == pytest.approx(single, abs=1e-12 if within is None else 1e-4)  # df of few or many clusters


@pytest.mark.parametrize("is_clustered", [False, True])
def test_a_mean_interval_depends_on_neither_order_nor_cluster_names(is_clustered: bool) -> None:
    values, clusters = rng(7).random(500), rng(8).integers(0, 100, 500)
    order = rng(9).permutation(500)
    names = np.array([f"image {(cluster * 37) % 101}" for cluster in clusters])
    for within in (None, intervals.SHARES):
        first = mean_interval(values, clusters=clusters if is_clustered else None, within=within)
        second = mean_interval(values[order], clusters=names[order] if is_clustered else None, within=within)
        assert first.bounds == pytest.approx(second.bounds, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_clean_sweep_gets_wilson_over_clusters(value: float) -> None:
    interval = mean_interval(np.full(50, value), clusters=np.repeat(np.arange(10), 5))
    assert interval.bounds == wilson(10 * value, 10).bounds
    assert interval.method == "Wilson over 10 clusters"


def test_any_other_constant_without_a_range_has_no_width_and_says_so() -> None:
    values = np.full(50, 0.1)  # whose mean is not 0.1 to the last bit
    expected = Interval(values.mean(), values.mean(), "all values are equal")
    assert mean_interval(values, within=None) == expected


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_differences_of_none_are_bounded_by_the_exact_limit_of_what_no_sample_shows(n: int) -> None:
    limit = scipy.stats.binomtest(0, n).proportion_ci(method="exact").high
    zeros = np.zeros(n)
    assert intervals.unchanged_interval(0.0, n, intervals.DIFFERENCES).bounds == pytest.approx((-limit, limit))
    if n > 1:
        bounds = mean_interval(zeros, within=intervals.DIFFERENCES).bounds
        assert bounds == pytest.approx((-limit, limit))
        in_clusters = mean_interval(np.repeat(zeros, 3), clusters=np.repeat(np.arange(n), 3), within=(-1.0, 1.0))
        assert in_clusters.bounds == pytest.approx((-limit, limit))
    low, high = intervals.unchanged_interval(0.25, n, intervals.SHARES).bounds
    assert (low, high) == pytest.approx((0.25 * (1 - limit), 0.25 + 0.75 * limit))


def test_hits_with_a_rounding_error_are_hits() -> None:
    values = np.array([1 - 1e-10, 1e-12, 1.0, 0.0, 1.0])
    assert mean_interval(values) == wilson(3.0, 5)


def test_few_hits_in_clusters_have_wilson_s_interval_with_the_effective_number_of_samples() -> None:
    values, clusters = np.zeros(400), np.repeat(np.arange(100), 4)
    values[:4] = 1  # all hits in one cluster: as much is known as of one hit in 100 independent samples
    interval = mean_interval(values, clusters=clusters)
    assert interval.bounds == pytest.approx(wilson(1.0, 100).bounds)
    assert interval.method == "Wilson of 100 effective samples over 100 clusters"


def test_only_clusters_with_a_hit_know_the_spread_of_few_hits() -> None:
    values, clusters = np.zeros(4000), np.repeat(np.arange(1000), 4)
    values[[0, 4, 8, 12]] = 1  # a hit in each of four clusters: independent, so far as four can tell
    interval = mean_interval(values, clusters=clusters)
    trials = 3999 * (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 1.25 * 4)) ** 2
    assert interval.bounds == pytest.approx(wilson(0.001 * trials, trials).bounds, rel=0.01)


def test_one_image_that_ties_has_an_interval_as_a_mean_of_classes() -> None:
    metric = Smooth(
        value=1 / 18,
        influence="i",
        unit="fraction",
        most_trials=intervals.trials_of_means(np.array([1 / 18]), np.ones(1)),
    ).metric({"i": np.zeros(1)}, rng())
    assert (metric.low, metric.high) == wilson(1 / 18, 1).bounds


def test_means_of_few_samples_that_are_all_right_count_as_little_more_than_the_rest() -> None:
    recalls, sizes = np.array([1.0, 0.5]), np.array([3, 300])
    trials = intervals.trials_of_means(recalls, sizes)
    # The first counts as 3 right of 3 and 3 right of 4: 6 of 7. Its variance is most of that of the mean, 0.75.
    variance = (6 / 7 * 1 / 7 / 3 + 153 / 304 * 151 / 304 / 300) / 4
    assert trials == pytest.approx(0.75 * 0.25 / variance)
    assert intervals.trials_of_means(np.array([0.3, 0.7]), np.array([10_000, 10_000])) == pytest.approx(
        0.25 / (0.21 / 20_000), rel=1e-3
    )
    assert intervals.trials_of_means(np.ones(3), np.array([10, 10, 10])) == pytest.approx(30)  # all are right


def test_one_value_or_cluster_has_no_interval_unless_it_is_right_or_wrong() -> None:
    assert mean_interval(np.array([0.3])) == Interval(None, None, "an interval needs at least two samples")
    one_cluster = mean_interval(np.array([0.0, 1.0]), clusters=np.array(["a", "a"]))
    assert one_cluster == Interval(None, None, "an interval needs at least two clusters")
    assert mean_interval(np.array([1.0])) == wilson(1.0, 1)


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="mean of no values"):
        mean_interval(np.array([]))


# Coverage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "mean"), [(5, 0.971), (7, 0.966), (13, 0.959), (25, 0.956), (100, 0.952)])
def test_wilson_covers(n: int, mean: float) -> None:
    """Exactly, from the binomial probability of every outcome, as the coverage of a discrete count jumps with p."""
    low, high = np.array([wilson(float(successes), n).bounds for successes in range(n + 1)]).T

    def covered(shares: np.ndarray) -> np.ndarray:
        is_covered = (low[:, None] <= shares) & (shares <= high[:, None])
        total: np.ndarray = (scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, shares) * is_covered).sum(axis=0)
        return total

    assert covered(np.linspace(0.0005, 0.9995, 2000)).mean() == pytest.approx(mean, abs=0.001)
    beside_bounds = np.concatenate([low - 1e-9, high + 1e-9])
    assert covered(beside_bounds[(beside_bounds > 0) & (beside_bounds < 1)]).min() > (0.92 if n >= 25 else 0.89)


SKEWED: dict[str, tuple[float, Callable[[np.random.Generator], np.ndarray]]] = {
    "mostly 0": (0.3, lambda draws: (draws.random(50) < 0.3) * draws.exponential(size=50)),
    "exponential": (1.0, lambda draws: draws.exponential(size=25)),
    "cosines near 1": (6 / 7, lambda draws: 1 - draws.beta(1, 6, 25)),
}
"""True mean, and a draw of few values; a bootstrap covers 0.90, 0.92 and 0.94."""


@pytest.mark.parametrize(
    ("law", "size", "n"),
    [("mostly 0", 2, 1000)] + [pytest.param(law, 1, 4000, marks=pytest.mark.slow) for law in SKEWED],
)
def test_the_interval_of_a_skewed_mean_covers(law: str, size: int, n: int) -> None:
    truth, drawn = SKEWED[law]

    def simulated(draws: np.random.Generator) -> Interval:
        values = np.repeat(drawn(draws), size)
        return mean_interval(values, clusters=np.arange(len(values)) // size, within=None)

    assert coverage(simulated, truth, n=n) > 0.93


CHANGES = [
    (100, 1, 0.005, 0.0),
    (50, 2, 0.02, 0.02),
    (100, 1, 0.01, 0.01),
    (100, 1, 0.05, 0.0),
    (30, 10, 0.1, 0.1),
    (300, 4, 0.005, 0.0),
]
"""Clusters, samples of each, shares that are gained and lost: beta law, half as alike as can be."""


@pytest.mark.parametrize("law", [CHANGES[0], *(pytest.param(law, marks=pytest.mark.slow) for law in CHANGES[1:])])
def test_a_difference_is_covered_where_hardly_a_sample_changes(law: tuple[int, int, float, float]) -> None:
    n, size, gained, lost = law
    clusters = np.repeat(np.arange(n), size)

    def simulated(draws: np.random.Generator) -> Interval:
        of_cluster = draws.dirichlet([max(gained, 1e-9), max(lost, 1e-9), 1 - gained - lost], n)
        at, change = draws.random(n * size), of_cluster[clusters]
        values = np.where(at < change[:, 0], 1.0, np.where(at < change[:, 0] + change[:, 1], -1.0, 0.0))
        return mean_interval(values, clusters=clusters, within=intervals.DIFFERENCES)

    assert coverage(simulated, gained - lost) >= 0.93


def test_changes_of_credits_of_which_none_stands_out_have_the_interval_of_their_own_spread() -> None:
    even = rng(0).uniform(-0.2, 0.2, 120)
    own, one_stands_out = (mean_interval(values, within=None).bounds for values in (even, np.append(even, 1.0)))
    assert mean_interval(even, within=intervals.DIFFERENCES).bounds == own
    low, high = mean_interval(np.append(even, 1.0), within=intervals.DIFFERENCES).bounds
    assert high - low > 1.3 * (one_stands_out[1] - one_stands_out[0])
    for few in (even[:4], np.where(np.arange(120) < 20, even, 0.0)):
        assert mean_interval(few, within=intervals.DIFFERENCES).method.startswith("gains and losses by Wilson")


def test_the_interval_of_a_difference_is_newcombe_s() -> None:
    values = np.repeat([1.0, -1.0, 0.0], [12, 5, 83])
    (gain_low, gain_high), (loss_low, loss_high) = (wilson(hits, 100).bounds for hits in (12.0, 5.0))
    correlation = -np.sqrt(0.12 * 0.05 / 0.88 / 0.95)
    a, b = 0.12 - gain_low, loss_high - 0.05
    low, high = mean_interval(values, within=intervals.DIFFERENCES).bounds
    assert low == pytest.approx(0.07 - np.sqrt(a**2 + b**2 - 2 * correlation * a * b), abs=5e-4)
    a, b = gain_high - 0.12, 0.05 - loss_low
    assert high == pytest.approx(0.07 + np.sqrt(a**2 + b**2 - 2 * correlation * a * b), abs=5e-4)
    mirrored = mean_interval(-values, within=intervals.DIFFERENCES).bounds
    assert mirrored == pytest.approx((-high, -low))
    twofold = mean_interval(2 * values, within=(-2.0, 2.0)).bounds
    assert twofold == pytest.approx((2 * low, 2 * high))


@pytest.mark.parametrize("hardly_any", [0.01, 0.1])
def test_the_interval_of_credits_covers_where_a_bootstrap_does_not(hardly_any: float) -> None:
    def simulated(draws: np.random.Generator, within: intervals.Range) -> Interval:
        credits = np.where(draws.random(100) < hardly_any, draws.choice([0.0, 0.5], 100), 1.0)
        return mean_interval(credits, within=within)

    truth = 1 - 0.75 * hardly_any
    assert coverage(lambda draws: simulated(draws, intervals.SHARES), truth) > 0.93
    if hardly_any == 0.01:
        assert coverage(lambda draws: simulated(draws, None), truth) < 0.7


RARE = [(200, 10, 0.01, 0.5), (30, 10, 0.05, 0.5), (100, 5, 0.02, 0.5), (15, 20, 0.1, 0.5), (50, 20, 0.02, 0.2)]
"""Clusters, samples of each, fraction of hits, and how alike those of a cluster are (of a beta law, 1 / (1 + a + b))."""


def rare_hits(n_clusters: int, size: int, chance: float, likeness: float) -> Callable[[np.random.Generator], Interval]:
    clusters, few = np.repeat(np.arange(n_clusters), size), 1 / likeness - 1

    def simulated(draws: np.random.Generator) -> Interval:
        of_cluster = draws.beta(few * chance, few * (1 - chance), n_clusters)
        hits = (draws.random(len(clusters)) < of_cluster[clusters]).astype(np.float64)
        return mean_interval(hits, clusters=clusters)

    return simulated


@pytest.mark.parametrize(("n", "n_documents"), [(25, 1000), (100, 1000), (100, 20_000)])
def test_reciprocal_ranks_that_are_nearly_all_small_are_covered(n: int, n_documents: int) -> None:
    """Before, in 0.52 to 0.72: a few near 1 make most of the mean, and samples without one know nothing of their
    spread.
    """
    ranks = np.random.default_rng(n).integers(1, n_documents + 1, (300, n))
    truth = float((1 / np.arange(1, n_documents + 1)).mean())
    bounds = [intervals.mean_interval(1 / rank).bounds for rank in ranks]
    assert np.mean([low <= truth <= high for low, high in bounds]) > 0.95


@pytest.mark.parametrize(
    ("law", "n"),
    [*((law, 300) for law in RARE[:2]), *(pytest.param(law, 2000, marks=pytest.mark.slow) for law in RARE)],
)
def test_rare_hits_in_clusters_are_covered(law: tuple[int, int, float, float], n: int) -> None:
    covered = coverage(rare_hits(*law), law[2], n=n)
    print(f"coverage: {law}: {covered}")
    assert covered >= (0.93 if n < 1000 else 0.94)


def test_the_cluster_bootstrap_covers_and_ignoring_clusters_does_not() -> None:
    def clustered(draws: np.random.Generator) -> Interval:
        values, clusters = clustered_sample(draws)
        return mean_interval(values, clusters=clusters)

    def naive(draws: np.random.Generator) -> Interval:
        return mean_interval(clustered_sample(draws)[0])

    assert coverage(clustered, 0.5) == COVERED
    assert coverage(naive, 0.5) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("is_clustered", [False, True])
def test_the_bootstrap_of_a_statistic_covers(is_clustered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "STATISTIC_RESAMPLES", 300)

    def simulated(draws: np.random.Generator) -> Interval:
        clusters = np.repeat(np.arange(100), 3)
        values = draws.standard_normal(100)[clusters] + draws.standard_normal(300)
        if not is_clustered:
            values, clusters = draws.standard_normal(100), np.arange(100)
        median = Estimator("median", ("x",)).over_draws({"x": values})
        return bootstrap_interval(median, len(values), draws, clusters=clusters)

    assert coverage(simulated, 0.0, n=400) == COVERED


@pytest.mark.parametrize("is_clustered", [False, True])
def test_the_delta_method_covers(is_clustered: bool) -> None:
    """The ratio of two means: mean(a) / mean(b) with influence (a - ratio × b) / mean(b)."""

    def simulated(draws: np.random.Generator) -> Interval:
        clusters = np.repeat(np.arange(80), 3)
        shared = draws.random((80, 2))[clusters] if is_clustered else 0
        a, b = (1 + shared + draws.random((240, 2))).T
        ratio = a.mean() / b.mean()
        influence = (a - ratio * b) / b.mean()
        return influence_interval(float(ratio), influence, clusters=clusters if is_clustered else None)

    assert coverage(simulated, 1.0) == COVERED


# Bootstrap of a statistic ---------------------------------------------------------------------------------------------


def test_clusters_are_drawn_whole() -> None:
    clusters = np.array(["b", "a", "b", "c", "b", "c"])
    members = {"a": [1], "b": [0, 2, 4], "c": [3, 5]}
    drawn_clusters: list[np.ndarray] = []

    def statistic(index: np.ndarray) -> float:
        drawn_clusters.append(index)
        return 0.0

    bootstrap_interval(of_rows(statistic), 6, rng(), clusters=clusters)
    for index in drawn_clusters:
        counts = np.bincount(index, minlength=6)
        times = {name: counts[rows[0]] for name, rows in members.items()}
        assert sum(times.values()) == 3
        assert all((counts[rows] == times[name]).all() for name, rows in members.items())


def test_the_bootstrap_of_a_mean_is_the_mean_interval() -> None:
    values = rng(11).random(400)
    low, high = bootstrap_interval(of_rows(lambda index: float(values[index].mean())), 400, rng()).bounds
    half = intervals.Z * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.12 * half)


def test_resamples_without_a_value_are_left_out_and_counted() -> None:
    is_rare = np.arange(100) < 2

    def statistic(index: np.ndarray) -> float:
        return 1.0 if is_rare[index].any() else float("nan")

    low, high, method = bootstrap_interval(of_rows(statistic), 100, rng())
    assert (low, high) == (1.0, 1.0)
    n_defined, n_undefined = (int(word) for word in method.replace(";", "").split() if word.isdigit())
    assert n_defined + n_undefined == intervals.STATISTIC_RESAMPLES
    assert n_undefined == pytest.approx(1000 * 0.98**100, abs=40)  # three standard errors


def test_a_value_undefined_in_most_resamples_has_no_interval() -> None:
    def statistic(index: np.ndarray) -> float:
        return 1.0 if (index == 0).sum() > 1 else float("nan")

    low, high, method = bootstrap_interval(of_rows(statistic), 100, rng())
    assert (low, high) == (None, None)
    assert method.startswith("the value is undefined in 7")


# Influences -----------------------------------------------------------------------------------------------------------


def test_the_influence_interval_of_a_mean_is_the_textbook_one() -> None:
    values = rng(12).random(50)
    low, high = influence_interval(float(values.mean()), values - values.mean()).bounds
    half = scipy.stats.t.ppf(0.975, 49) * scipy.stats.sem(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-12)


def test_influences_are_summed_within_clusters() -> None:
    influence, clusters = np.array([1.0, 1, -1, -1, 2, -2]), np.array(["x", "x", "y", "y", "z", "z"])
    # Sums 2, -2, 0 over n = 6, times sqrt(3/2).
    half = 4.302653 * np.sqrt(8) / 6 * np.sqrt(1.5)  # t with two degrees of freedom, from a table
    interval = influence_interval(0.5, influence, clusters=clusters)
    assert interval.bounds == pytest.approx((0.5 - half, 0.5 + half))
    assert interval.method == "delta method over 3 clusters"


def test_without_influence_or_a_second_sample_there_is_no_interval() -> None:
    assert influence_interval(0.0, np.zeros(10)).method.startswith("the delta method has no width here")
    assert influence_interval(0.0, np.full(10, 1e-17)).low is None
    assert influence_interval(0.0, np.array([0.5])).low is None
    assert influence_interval(0.0, np.array([])).low is None


# Generators and metrics -----------------------------------------------------------------------------------------------


def test_a_generator_depends_on_seed_and_names_only() -> None:
    calls = [(0, ()), (1, ()), (0, ("a",)), (0, ("b",)), (0, ("a", "b")), (0, ("ab",)), (0, ("b", "a")), (-1, ("a",))]
    draws = [generator(seed, *names).integers(2**62) for seed, names in calls]
    assert len(set(draws)) == len(calls)
    assert draws == [generator(seed, *names).integers(2**62) for seed, names in calls]


def test_a_generator_is_the_same_in_every_process() -> None:
    assert generator(0, "retrieval", "median_rank").integers(1000, size=4).tolist() == [761, 867, 930, 289]


def test_a_nan_never_becomes_a_metric() -> None:
    samples = {"credit": np.array([0.3, 0.4]), "influence": np.full(2, np.nan)}
    statistic = Statistic(function=lambda _: float("nan"), columns=("credit",))
    smooth = Smooth(value=float("nan"), influence="influence", unit="cosine")
    for metric in (statistic.metric(samples, rng()), smooth.metric(samples, rng())):
        assert metric.value is None
        assert metric.reason == "the value is undefined for these samples"


@pytest.mark.parametrize("largest", [1.0, 1 + 5e-7])
def test_cosines_of_which_some_are_one_or_a_rounding_error_above_have_no_bound_beyond(largest: float) -> None:
    cosines = np.array([largest, largest, largest, 0.2])
    metric = Mean(column="cosine", unit="cosine").metric({"cosine": cosines}, rng())
    assert metric.value is not None and metric.low is not None
    assert (metric.high, metric.low >= -1) == (1.0, True)
    assert metric.value + (metric.value - metric.low) > 1  # it would be without the limit


def test_three_hits_are_three_whatever_their_mean_times_n_is() -> None:
    values = np.repeat([1.0, 0.0], [3, 184])
    assert values.mean() * 187 > 3
    assert mean_interval(values)[:2] == wilson(3.0, 187)[:2]


def test_the_bound_of_less_than_a_hit_is_not_far_below_that_of_one() -> None:
    low, bound_of_hit = (wilson(hits, 100).bounds[0] for hits in (0.5, 1.0))
    assert 1e-4 < low <= bound_of_hit


def test_gains_in_clusters_know_no_more_than_hits_in_clusters() -> None:
    gains = np.array([[1.0, 0.0]] * 99 + [[1.0, 1.0]]).ravel()
    codes = np.repeat(np.arange(100), 2)
    of_hits = mean_interval(gains, clusters=codes)
    of_gains = mean_interval(gains, clusters=codes, within=DIFFERENCES)
    assert of_gains.bounds == pytest.approx(of_hits.bounds, abs=0.03)

"""Slices: worst, distance and mean of some worked by hand, and simulations of how often their intervals hold."""

from collections.abc import Callable, Iterator
from itertools import product
from math import inf
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from clipbench.stats.slices import Slice, slice_mean, slice_range, worst_slice

HITS = {"de": np.array([1.0] * 40), "sw": np.array([1.0] * 10 + [0.0] * 30), "ja": np.array([1.0, 0.0] * 20)}
EPSILON = 1e-9


def slices_of(values: dict[str, np.ndarray]) -> dict[str, Slice]:
    return {name: Slice.of_mean(value) for name, value in values.items()}


def test_bounds_of_hits_are_those_of_the_exact_test() -> None:
    for hits, n, tail in ((0, 10, 0.025), (0, 8, 0.001), (3, 10, 0.01), (8, 8, 0.025), (10, 10, 0.001)):
        low, high = Slice.of_mean(np.repeat([1.0, 0.0], [hits, n - hits])).bounds(tail)
        exact = stats.binomtest(hits, n).proportion_ci(1 - 2 * tail, method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


def test_bounds_of_other_values_are_student_s() -> None:
    values = np.array([0.1, 0.4, 0.6, 0.9])  # of no skewness
    low, high = Slice.of_mean(values, within=None).bounds(0.01)
    expected = stats.t.interval(0.98, 3, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert Slice.of_mean(np.array([0.3]), within=None).bounds(0.025) == (-inf, inf)


def test_bounds_of_values_out_of_range_hold_the_value() -> None:
    low, high = Slice.of_mean(np.array([10.0, 20.0, 15.0, 30.0])).bounds(0.025)
    assert low < 18.75 < high


def test_the_worst_slice_is_named_and_its_interval_allows_for_the_choice() -> None:
    name, value, (low, high, method) = worst_slice(slices_of(HITS))
    assert (name, value) == ("sw", 0.25)
    assert low == pytest.approx(stats.binomtest(10, 40).proportion_ci(0.95, "exact").low)
    assert high == pytest.approx(stats.binomtest(10, 40).proportion_ci(1 - 0.05 / 3, "exact").high)
    assert "3 slices" in method
    name, value, interval = worst_slice(slices_of(HITS), higher_is_better=False)
    assert (name, value, interval.high) == ("de", 1.0, 1.0)


def test_slices_that_differ_are_apart_and_equal_ones_may_be_one() -> None:
    value, interval = slice_range(slices_of(HITS))
    assert value == 0.75 and 0.4 < interval.bounds[0] < value < interval.bounds[1] <= 1
    value, interval = slice_range(slices_of({"a": HITS["ja"], "b": HITS["ja"]}))
    assert (value, interval.low) == (0.0, 0.0)


def test_each_slice_has_the_same_weight_in_the_mean() -> None:
    value, (low, high, _) = slice_mean(slices_of({"a": np.ones(400), "b": np.zeros(4)}))
    assert value == 0.5 and low is not None and low < 0.5 < high  # type: ignore[operator]


def test_images_that_slices_share_widen_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(0).random(50)
    images = np.arange(50)
    apart = {name: Slice.of_mean(values, images + 50 * k) for k, name in enumerate("abc")}
    shared = {name: Slice.of_mean(values, images) for name in "abc"}
    (_, one), (_, other) = slice_mean(apart), slice_mean(shared)
    assert (other.high - other.low) / (one.high - one.low) == pytest.approx(np.sqrt(3), rel=0.01)  # type: ignore[operator]


def test_a_slice_of_which_nothing_is_known_leaves_no_interval() -> None:
    result = {"a": Slice.of_mean(np.array([0.2]), within=None), "b": Slice.of_mean(np.array([0.2, 0.4]), within=None)}
    for interval in (worst_slice(result).interval, slice_range(result)[1], slice_mean(result)[1]):
        assert interval.low is None and "too few samples" in interval.method


Draw = Callable[[np.random.Generator, np.ndarray, int], Iterator[Slice]]


def independent_hits(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    for k, truth in enumerate(truths):
        size = n if k % 2 else n // 2
        yield Slice.of_mean((rng.random(size) < truth).astype(np.float64))


def hits_on_shared_images(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    """The same images in every slice, as captions in several languages have, so that slices are alike."""
    images = rng.standard_normal(n)
    for truth in truths:
        own_part = 0.7 * images + np.sqrt(1 - 0.49) * rng.standard_normal(n)
        yield Slice.of_mean((own_part < NormalDist().inv_cdf(truth)).astype(np.float64), clusters=np.arange(n))


def several_samples_of_an_image(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    """Five samples of each image, as of its five captions, that are alike."""
    for truth in truths:
        yield _alike(rng, truth, np.repeat(rng.standard_normal(n // 5), 5))


def several_samples_of_shared_images(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    """Five samples of each image in every slice, as of captions in several languages, so that slices are alike too."""
    images = np.repeat(rng.standard_normal(n // 5), 5)
    for truth in truths:
        yield _alike(rng, truth, images)


def _alike(rng: np.random.Generator, truth: float, of_image: np.ndarray) -> Slice:
    """Return hits of which those of an image are alike, five in a row: normal values correlate by 0.5."""
    own_part = np.sqrt(0.5) * (of_image + rng.standard_normal(len(of_image)))
    return Slice.of_mean(
        (own_part < NormalDist().inv_cdf(truth)).astype(np.float64), clusters=np.arange(len(of_image)) // 5
    )


def of_3_to_500_samples(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    """Slices of very unequal sizes, whatever n is: the first has 3 samples, and the last 500."""
    for truth, size in zip(truths, np.geomspace(3, 500, len(truths)).astype(int), strict=True):
        yield Slice.of_mean((rng.random(size) < truth).astype(np.float64))


def of_500_to_3_samples(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    """The same, with the worst slice the largest."""
    yield from list(of_3_to_500_samples(rng, truths[::-1], n))[::-1]


def with_wide_tails(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    for truth in truths:
        yield Slice.of_mean(truth + 0.2 * rng.standard_t(5, n), within=None)


def skewed(rng: np.random.Generator, truths: np.ndarray, n: int) -> Iterator[Slice]:
    for truth in truths:
        yield Slice.of_mean(truth + 0.2 * (rng.exponential(size=n) - 1), within=None)


SPREADS = {"no": 0.0, "small": 0.05, "large": 0.25}


def rates(draw: Draw, n_slices: int, n: int, spread: float, *, n_tables: int, base: float = 0.7) -> dict[str, float]:
    """Return how often the intervals hold the true worst value, distance and mean, and how often slices are told
    apart.
    """
    rng = np.random.default_rng(n_slices * n)
    truths = base + spread * np.linspace(-1, 1, n_slices)
    targets = {"worst": truths.min(), "distance": np.ptp(truths), "mean": truths.mean()}
    held = dict.fromkeys([*targets, "apart"], 0)
    for _ in range(n_tables):
        slices = {str(k): drawn_slice for k, drawn_slice in enumerate(draw(rng, truths, n))}
        intervals = {
            "worst": worst_slice(slices).interval,
            "distance": slice_range(slices)[1],
            "mean": slice_mean(slices)[1],
        }
        for name, (low, high) in ((name, interval.bounds) for name, interval in intervals.items()):
            held[name] += low - EPSILON <= targets[name] <= high + EPSILON
        held["apart"] += intervals["distance"].bounds[0] > 0
    return {name: count / n_tables for name, count in held.items()}


def test_intervals_hold_in_a_few_tables() -> None:
    result = rates(independent_hits, 8, 100, 0.0, n_tables=100)
    assert result["worst"] >= 0.9 and result["distance"] >= 0.9 and result["mean"] >= 0.87 and result["apart"] <= 0.08
    assert rates(independent_hits, 8, 100, 0.25, n_tables=20)["apart"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        independent_hits,
        hits_on_shared_images,
        several_samples_of_an_image,
        several_samples_of_shared_images,
        of_3_to_500_samples,
        of_500_to_3_samples,
        with_wide_tails,
    ],
)
def test_intervals_hold_as_the_docs_say(draw: Draw) -> None:
    ns = (500,) if draw in (of_3_to_500_samples, of_500_to_3_samples) else (30, 100, 1000)
    for n_slices, n, spread in product((2, 8, 24), ns, SPREADS.values()):
        # Of clusters each table takes longer: with fewer of them, the least of 27 rates lies farther below 0.95 by chance.
        n_tables = 300 if draw in (several_samples_of_an_image, several_samples_of_shared_images) else 1000
        least = 0.945 if n_tables == 1000 else 0.925
        result = rates(draw, n_slices, n, spread, n_tables=n_tables)
        assert result["worst"] >= least and result["distance"] >= least, (n_slices, n, spread, result)
        assert result["mean"] >= least - 0.015, (n_slices, n, spread, result)
        if spread == 0:
            assert result["apart"] <= 0.035, (n_slices, n, result)


@pytest.mark.slow
def test_the_worst_of_slices_of_skewed_values_is_held() -> None:
    assert rates(skewed, 24, 30, 0.0, n_tables=300)["worst"] >= 0.88  # 0.67 with bounds that know no skewness


@pytest.mark.slow
@pytest.mark.parametrize("base", [0.02, 0.98])
def test_intervals_hold_near_the_ends(base: float) -> None:
    for n_slices, n in product((2, 8, 24), (30, 100, 1000)):
        result = rates(independent_hits, n_slices, n, 0.0, n_tables=1000, base=base)
        assert min(result["worst"], result["distance"], result["mean"]) >= 0.93, (n_slices, n, result)
        assert result["apart"] <= 0.035, (n_slices, n, result)

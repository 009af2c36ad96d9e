"""Uncertainty of a difference of two models: an interval and a p-value of one test, from the samples of both. All pure.

The interval is of the differences that are not rejected, 0 by the test of the p-value, so that it excludes 0 exactly
where p is at most 5 %. design/intervals.md has the test of each kind of metric.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from clipbench.metrics.classification import recall_influence
from clipbench.metrics.threads import in_threads
from clipbench.results.record import Metric
from clipbench.stats import intervals, significance
from clipbench.stats.calibration import CalibrationEstimate, calibration_difference_interval, calibration_estimate
from clipbench.stats.clusters import NEGLIGIBLE, Codes, Values, cluster_sums, snap_to_integers, standard_error
from clipbench.stats.distances import distance_difference_interval
from clipbench.stats.estimators import CHANGES, Estimator, Samples
from clipbench.stats.intervals import ONE_SIDED, ONE_SIDED_WILSON, Bounds, Interval, IntervalAt, Range
from clipbench.stats.mean_law import UNSEEN_OF_ONE_SIDE, LawPower, Power, law_of_mean, method_of_law
from clipbench.stats.significance import ALPHA, PairedPower, is_significant

RANGES: Mapping[str, Range] = {"fraction": intervals.DIFFERENCES, "difference": (-2.0, 2.0)}
"""Smallest and largest difference of two values of a unit. No other unit has both."""


class OneSidedBounds(NamedTuple):
    """The lower and the upper bound of a difference, each missed with a chance of 5 %. None if the samples show
    none.
    """

    low: float | None
    high: float | None


NO_BOUNDS = OneSidedBounds(None, None)


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Interval and test of a difference, from the samples of both models."""

    n: int
    """Samples with a value in both runs."""
    interval: Interval
    test: str
    """Name of the test behind the p-value, or the reason why there is none."""
    bounds: OneSidedBounds = NO_BOUNDS
    """One-sided bounds of the difference at 95 %, by the method of the interval."""
    p_value: float | None = None
    """P-value of this test, uncorrected: the interval excludes 0 exactly if it is at most 5 %."""
    power: Power | None = None
    """What the test can show, None without a test."""
    is_identical: bool = False
    """True if all samples have the same values in both runs."""
    at_level: Callable[[float], Interval] | None = field(default=None, compare=False)
    """The interval that misses with another chance than 5 %, such as after a correction for many tests. It excludes 0
    exactly if ``p_value`` is at most this chance. None for metrics that are neither hits nor means.
    """


def untested(reason: str, n: int) -> PairedTest:
    """Return neither interval nor test of n samples, with the reason."""
    return PairedTest(n=n, interval=Interval(None, None, f"no paired interval: {reason}"), test=f"no test: {reason}")


def paired_difference(
    base: Metric, candidate: Metric, *, before: Samples, after: Samples, clusters: Codes, rng: np.random.Generator
) -> PairedTest:
    """Return interval and test of the candidate's value less the base's, by the kind of the metric.

    Args:
        base, candidate: with a value, and the names of their columns.
        before: the columns of the base, by name, without samples that have no value.
        after: the columns of the candidate, for the same samples.
    """
    paired = _paired_test(base, candidate, before, after, clusters, rng)
    if candidate.value != base.value or any((before[name] != after[name]).any() for name in before):
        return paired
    n_units = paired.n if clusters is None else int(clusters.max()) + 1
    test = f"equal in all {n_units} {_unit_noun(clusters)}"
    return replace(_without_empty_interval(paired), test=test, p_value=1.0, is_identical=True)


def _without_empty_interval(paired: PairedTest) -> PairedTest:
    """Return a test without its interval if that has no width, as all samples are equal or change alike."""
    low, high, _ = paired.interval
    if low is None or high is None or low < high:
        return paired
    same = "change by the same amount" if low else "are equal"
    reason = f"all samples {same}, which does not show how much others may change"
    return replace(paired, interval=Interval(None, None, reason), bounds=NO_BOUNDS)


def _one_sided_bounds(interval: Interval, interval_at: IntervalAt, *, confidence: float = ONE_SIDED) -> OneSidedBounds:
    """Return the bounds of the interval that misses each with a chance of 5 %, within a two-sided interval.

    Args:
        confidence: of the interval that misses each with this chance.
    """
    low, high, _ = interval_at(confidence)
    if low is None or high is None or interval.low is None or interval.high is None:
        return NO_BOUNDS
    return OneSidedBounds(max(low, interval.low), min(high, interval.high))


def _paired_test(
    base: Metric, candidate: Metric, before: Samples, after: Samples, clusters: Codes, rng: np.random.Generator
) -> PairedTest:
    assert base.value is not None and candidate.value is not None, base
    value = candidate.value - base.value
    within = intervals.applicable_range(RANGES.get(base.unit), value)
    estimator = Estimator.from_record(base.statistic)
    if estimator is not None:
        if estimator.name == "expected_calibration_error":
            return _test_calibration(estimator, (before, after), clusters, within)
        if estimator.name in CHANGES:
            return _test_parts(estimator, value, (before, after), clusters, within)
        return _test_statistic(estimator, value, (before, after), clusters, within, rng)
    if base.column is not None and base.column in before:
        credits, candidate_credits = snap_to_integers(before[base.column]), snap_to_integers(after[base.column])
        return _test_means(credits, candidate_credits, clusters, within)
    rows = {name: after[name] - before[name] for name in before}
    if base.squared_influence in rows and base.chance is not None and candidate.chance is not None:
        values = (base.value, candidate.value)
        squares = (base.value**2 - base.chance**2, candidate.value**2 - candidate.chance**2)
        return _test_distances(values, squares, rows[str(base.squared_influence)], clusters)
    return _test_influences(value, rows[str(base.influence)], clusters, within)


def _test_means(before: Values, after: Values, clusters: Codes, within: Range) -> PairedTest:
    """Return McNemar's exact test of independent hits, and the law of the mean of other changes."""
    rows = after - before
    rows[np.abs(rows) < NEGLIGIBLE] = 0.0
    if clusters is None and bool(np.isin((before, after), (0.0, 1.0)).all()):
        return _test_hits(rows, within)
    mean = float(rows.mean())
    return _test_law(mean, rows - mean, clusters, within, largest=None if within is None else 1.0)


def _test_hits(rows: Values, within: Range) -> PairedTest:
    """Return McNemar's exact test of independent hits, and the interval of their gains and losses."""
    n, mean = len(rows), float(rows.mean())
    gained, lost = int((rows > 0).sum()), int((rows < 0).sum())
    test = significance.mcnemar(gained, lost)
    power = PairedPower(
        standard_error=standard_error(rows - mean),
        n_units=n,
        margin=1 / n if gained + lost else 0.0,  # half the step between two totals
        unit_size=1.0,
        least_p=2.0 ** (1 - n),  # all differ in the same direction
    )

    def interval_at(confidence: float) -> Interval:
        return intervals.mean_interval(rows, within=within, confidence=confidence)

    def at_level(alpha: float) -> Interval:
        test = significance.mcnemar(gained, lost, alpha=alpha)
        return _with_zero_by_test(interval_at(1 - alpha), mean, test, n, alpha=alpha)

    interval = _with_zero_by_test(interval_at(intervals.CONFIDENCE), mean, test, n)
    confidence = ONE_SIDED_WILSON if gained + lost else ONE_SIDED
    paired = PairedTest(
        n=n,
        interval=interval,
        bounds=_one_sided_bounds(interval, interval_at, confidence=confidence),
        test=f"exact McNemar, {gained} gained and {lost} lost",
        p_value=test.p_value,
        power=power,
        at_level=at_level,
    )
    return _without_empty_interval(paired)


def _test_law(
    value: float,
    influence: Values,
    clusters: Codes,
    within: Range,
    *,
    largest: float | None,
    weights: Values | None = None,
) -> PairedTest:
    """Return interval and test of a mean of changes, or a mean of means, which may be skewed (``stats.mean_law``)."""
    n_units = len(cluster_sums(influence, clusters))
    if n_units < 2:
        interval = intervals.too_few(clusters)
        return PairedTest(n=len(influence), interval=interval, test=f"no test: {interval.method}")
    law = law_of_mean(value, influence, clusters, largest=largest, weights=weights)
    method = method_of_law(n_units, clusters)

    def at_level(alpha: float) -> Interval:
        low, high = (float(bound[0]) for bound in law.bounds(alpha / 2))
        return Interval(low, high, method).clipped(within)

    low, high = (float(bound[0]) for bound in law.bounds(intervals.TAIL))
    interval = Interval(low, high, method).clipped(within)
    least, most = (float(bound[0]) for bound in law.bounds(ALPHA, unseen=UNSEEN_OF_ONE_SIDE))
    paired = PairedTest(
        n=len(influence),
        interval=interval,
        bounds=OneSidedBounds(max(low, least), min(high, most)),
        test=f"interval of {_count_of_units(n_units, clusters)}, inverted",
        p_value=float(law.p_values()[0]),
        power=LawPower(law=law, standard_error=standard_error(influence, clusters), n_units=n_units, largest=largest),
        at_level=at_level,
    )
    return _without_empty_interval(paired)


def _with_zero_by_test(
    interval: Interval, value: float, test: significance.NullTest, n: int, *, alpha: float = ALPHA
) -> Interval:
    """Return an interval that contains 0 exactly if the test does not reject it.

    The test holds its level only under the hypothesis of no difference, where nothing has to be estimated. Inverted for
    other differences it is too sure (design/intervals.md). If only the interval contains 0, its end moves to the
    largest distance from the value that the test does not reject.

    Args:
        n: divisor that turns sizes of the test into differences.
        alpha: level of the test, by which the interval misses.
    """
    low, high, method = interval
    if low is None or high is None or is_significant(test.p_value, alpha) == (not low <= 0 <= high):
        return interval
    reach = test.largest / n
    if not is_significant(test.p_value, alpha):
        low, high = min(low, 0.0), max(high, 0.0)
    elif value > 0:
        low = value - reach
    else:
        high = value + reach
    return Interval(low, high, f"{method}, 0 by the test")


def _test_influences(value: float, rows: Values, clusters: Codes, within: Range) -> PairedTest:
    def interval_at(confidence: float) -> Interval:
        return intervals.influence_interval(value, rows, clusters=clusters, within=within, confidence=confidence)

    interval = interval_at(intervals.CONFIDENCE)
    error, n_units = standard_error(rows, clusters), len(cluster_sums(rows, clusters))
    if error is None:
        test = f"no test: {interval.method}"
        if within is None or n_units < 2:
            return PairedTest(n=len(rows), interval=interval, test=test)
        unchanged_at = _unchanged_intervals(value, n_units, within)
        interval = unchanged_at(intervals.CONFIDENCE)
        return PairedTest(n=len(rows), interval=interval, bounds=_one_sided_bounds(interval, unchanged_at), test=test)
    return PairedTest(
        n=len(rows),
        interval=interval,
        bounds=_one_sided_bounds(interval, interval_at),
        test="t-test (delta method)",
        p_value=significance.t_test(value, error, n_units),
        power=PairedPower(standard_error=error, n_units=n_units),
    )


def _unchanged_intervals(value: float, n_units: int, within: Bounds) -> IntervalAt:
    """Return the intervals of a value that no sample changes, by their confidence."""
    return lambda confidence: intervals.unchanged_interval(value, n_units, within, tail=(1 - confidence) / 2)


def _test_distances(
    values: tuple[float, float], squares: tuple[float, float], rows: Values, clusters: Codes
) -> PairedTest:
    """Return the t-test of the unbiased squares, as noise makes distances differ if the spreads of vectors do.

    Where the distances differ the other way, the noise is as large as the difference, and nothing is claimed.
    """

    def interval_at(confidence: float) -> Interval:
        return distance_difference_interval(values, squares, rows, clusters, confidence=confidence)

    interval = interval_at(intervals.CONFIDENCE)
    error, n_units, total = standard_error(rows, clusters), len(cluster_sums(rows, clusters)), sum(values)
    if error is None:
        return PairedTest(n=len(rows), interval=interval, test=f"no test: {interval.method}")
    change = squares[1] - squares[0]
    is_one_way = change * (values[1] - values[0]) > 0
    return PairedTest(
        n=len(rows),
        interval=interval,
        bounds=_one_sided_bounds(interval, interval_at),
        test="t-test (delta method) of the unbiased squared distances",
        p_value=significance.t_test(change, error, n_units) if is_one_way else 1.0,
        power=PairedPower(standard_error=error / total if total else None, n_units=n_units),
    )


def _test_parts(
    estimator: Estimator, value: float, samples: tuple[Samples, Samples], clusters: Codes, within: Range
) -> PairedTest:
    """Return interval and test of a mean over parts, in which gains of one part may make up for losses of another."""
    first, second = estimator.columns
    labels = samples[0][second].astype(np.int64)
    changes = CHANGES[estimator.name](np.stack([table[first] for table in samples]), labels)
    _, parts = np.unique(labels, return_inverse=True)
    changes[np.abs(changes) < NEGLIGIBLE] = 0.0
    sizes = np.bincount(parts)
    weights = 1 / (len(sizes) * sizes[parts])
    return _test_law(value, recall_influence(changes, parts), clusters, within, largest=1.0, weights=weights)


def _test_calibration(
    estimator: Estimator, samples: tuple[Samples, Samples], clusters: Codes, within: Range
) -> PairedTest:
    """Return the interval of the difference of two calibration errors, and the test that it is when inverted.

    An exchange of the models' samples would test that they are alike in accuracy and confidence too.
    """

    def estimate_of(table: Samples) -> CalibrationEstimate:
        columns = [table[name] for name in estimator.columns]
        return calibration_estimate(*columns, clusters=clusters, **estimator.parameters)

    before, after = estimate_of(samples[0]), estimate_of(samples[1])
    n, rows = len(before.influence), after.influence - before.influence
    if before.n_units < 2:
        interval = intervals.too_few(clusters)
        return PairedTest(n=n, interval=interval, test=f"no test: {interval.method}")

    def interval_at(confidence: float) -> Interval:
        return calibration_difference_interval(before, after, clusters, confidence=confidence)

    interval = interval_at(intervals.CONFIDENCE).clipped(within)
    power = PairedPower(
        standard_error=standard_error(rows, clusters), n_units=before.n_units, least_p=significance.LEAST_P
    )
    return PairedTest(
        n=n,
        interval=interval,
        bounds=_one_sided_bounds(interval, interval_at),
        test=f"interval of both true errors of {before.n_units} {_unit_noun(clusters)}, inverted",
        p_value=significance.p_value_by_inversion(interval_at),
        power=power,
    )


def _test_statistic(
    estimator: Estimator,
    value: float,
    samples: tuple[Samples, Samples],
    clusters: Codes,
    within: Range,
    rng: np.random.Generator,
) -> PairedTest:
    """Return the test by exchanging the two models' samples, and the interval of a paired bootstrap.

    Raises:
        LookupError, TypeError, ValueError: the columns do not fit the statistic.
    """
    n = len(samples[0][estimator.columns[0]])
    units = np.arange(n) if clusters is None else clusters
    n_units = int(units.max()) + 1
    of_before, of_after = (estimator.over_draws(table) for table in samples)
    exchanged, bootstrap_rng = estimator.difference(*samples, units), rng.spawn(1)[0]

    def bootstrap() -> IntervalAt:
        return intervals.bootstrap_intervals(
            lambda counts: of_after(counts) - of_before(counts), n, bootstrap_rng, clusters=clusters
        )

    def exchange() -> significance.NullTest:
        return significance.exchange_test(exchanged, n_units, rng)

    # Both take most of their time for random numbers, each from a generator of its own.
    results: dict[Any, Any] = {}
    in_threads(lambda part: results.update({part: part()}), [exchange, bootstrap])
    test: significance.NullTest = results[exchange]
    interval_at: IntervalAt = results[bootstrap]
    interval = _with_zero_by_test(interval_at(intervals.CONFIDENCE), value, test, 1)
    if interval.low is None:
        return PairedTest(n=n, interval=interval, test=f"no test: {interval.method}")
    if value == interval.low == interval.high == 0 and within is not None:
        interval_at = _unchanged_intervals(value, n_units, within)
        interval = interval_at(intervals.CONFIDENCE)
    interval = interval.clipped(within)
    power = PairedPower(
        standard_error=test.standard_error if test.standard_error > 0 else None,
        n_units=n_units,
        least_p=max(2.0 ** (1 - n_units), 1 / (1 + significance.N_EXCHANGES)),
    )
    return PairedTest(
        n=n,
        interval=interval,
        bounds=_one_sided_bounds(interval, interval_at),
        test=f"models exchanged in {n_units} {_unit_noun(clusters)}",
        p_value=test.p_value,
        power=power,
    )


def _count_of_units(n: int, clusters: Codes) -> str:
    return f"{n} {_unit_noun(clusters) if n != 1 else _unit_noun(clusters).removesuffix('s')}"


def _unit_noun(clusters: Codes) -> str:
    return "samples" if clusters is None else "clusters"

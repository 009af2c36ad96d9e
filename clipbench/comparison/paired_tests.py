"""The paired interval and test of one metric of two models on the same samples, and the samples that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from clipbench.comparison.align import Tables
from clipbench.comparison.records import Difference, Flips
from clipbench.errors import ClipbenchError
from clipbench.metrics.threads import in_threads
from clipbench.results.record import Metric
from clipbench.seeding import generator
from clipbench.stats import intervals, significance
from clipbench.stats.clusters import NEGLIGIBLE, cluster_codes, cluster_sums, standard_error, without_rounding
from clipbench.stats.distances import distance_difference_interval
from clipbench.stats.estimators import Estimator

if TYPE_CHECKING:
    import pandas

Codes = Int64[np.ndarray, " n"] | None
"""Cluster of each sample; None where each is its own."""
Columns = Mapping[str, np.ndarray]

RANGES: Mapping[str, intervals.Range] = {"fraction": intervals.DIFFERENCES, "difference": (-2.0, 2.0)}
"""Smallest and largest difference of two values of a unit; no other unit has both."""
UNRECORDED = "no per-sample values are recorded"
RECORDED = ("column", "influence", "weighted_column", "squared_influence", "statistic")
"""Fields of a metric that say which samples it is made of."""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Interval and test of a difference, from the samples of both models."""

    n: int
    """Samples with a value in both runs."""
    interval: intervals.Interval
    test: str
    """Name of the test behind the p-value, or the reason why there is none."""
    p_value: float | None = None
    standard_error: float | None = None
    """Standard error of the difference; None where the data cannot tell."""
    n_units: int = 0
    """Samples, or clusters, behind the standard error."""
    margin: float = 0.0
    """Added to a detectable difference because totals are discrete: half the step between two of them, over n."""
    flips: Flips | None = None

    def detectable(self, alpha: float) -> float | None:
        """Return the smallest true difference that this test finds with 80 % power; None where the data cannot tell."""
        if self.p_value is None or self.standard_error is None:
            return None
        return significance.detectable(self.standard_error, self.n_units, alpha=alpha) + self.margin


@dataclass(frozen=True)
class Generators:
    """Random numbers for interval and test, separate so that neither changes the other."""

    interval: np.random.Generator
    test: np.random.Generator


def difference(
    metrics: tuple[Metric, Metric], *, evaluation: str, name: str, tables: Tables, seed: int, alpha: float
) -> Difference:
    """Return the candidate's value less the base's with its paired interval and test; both have a value.

    Args:
        metrics: base and candidate; one of an old run, which did not record its columns, takes those of the other.
        evaluation: name of the evaluation, or of a slice of it.
        name: of the metric. The random numbers depend on both names and the seed.
        tables: samples of base and candidate.
        seed: of the run.
        alpha: level of the detectable difference.

    Raises:
        ClipbenchError: the samples are not what the metric says of them.
    """
    base, candidate = metrics
    interval, test = (generator(seed, evaluation, name, purpose) for purpose in ("difference", "test"))
    try:
        paired = paired_test(
            _with_columns_of(candidate, base),
            _with_columns_of(base, candidate),
            tables=tables,
            generators=Generators(interval, test),
        )
    except ClipbenchError as error:
        raise ClipbenchError(
            f"{evaluation}/{name} cannot be compared: {error}: a run is damaged, make it again"
        ) from error
    return Difference(
        evaluation=evaluation,
        name=name,
        base=base,
        candidate=candidate,
        value=_change(base, candidate),
        low=paired.interval.low,
        high=paired.interval.high,
        n=paired.n,
        method=paired.interval.method,
        test=paired.test,
        p_value=paired.p_value,
        detectable=paired.detectable(alpha),
        flips=paired.flips,
    )


def _with_columns_of(other: Metric, metric: Metric) -> Metric:
    """Return a metric of an old run, which did not record its columns, with those that the other run recorded."""
    is_known = any(getattr(metric, name) is not None for name in RECORDED)
    return metric if is_known else replace(metric, **{name: getattr(other, name) for name in RECORDED})


def paired_test(base: Metric, candidate: Metric, *, tables: Tables, generators: Generators) -> PairedTest:
    """Return interval, test and flips of the candidate's value less the base's, from the columns that both tables have.

    A mean of independent zeros and ones is tested by McNemar's exact test, any other mean by flipping the signs of the
    differences, whole clusters together, a mean of means likewise with each sample as the mean weighs it; a smooth
    function of means by the t-test of its influences (delta method), a distance by that of its unbiased square; an
    estimator such as a median by its differences when the models' samples are exchanged. A metric that names no column
    has neither interval nor test.

    Args:
        base: with a value.
        candidate: with a value.
        tables: of base and candidate; clusters are the base's.
    """
    estimator, other = (Estimator.from_record(each.statistic) for each in (base, candidate))
    if estimator is not None and other is not None:
        if estimator != other:
            return _untested("the runs compute it from different columns", 0)
        names: tuple[str | None, ...] = estimator.columns
        if any(name not in table for name in names for table in tables):
            return _untested(UNRECORDED, base.n)
    else:
        estimator = None
        names = (base.column, base.influence, base.weighted_column, base.squared_influence)
    known = [name for name in names if name is not None and all(name in table for table in tables)]
    if not known or (estimator is None and not {base.column, base.influence} & set(known)):
        return _untested(UNRECORDED, base.n)
    return _test_of_columns((base, candidate), known, estimator, tables, generators)


def _test_of_columns(
    metrics: tuple[Metric, Metric],
    names: Sequence[str],
    estimator: Estimator | None,
    tables: Tables,
    generators: Generators,
) -> PairedTest:
    """Return the test that suits the metric, on the samples where the first column has a value in both runs."""
    before, after = ({name: _numbers(table, name) for name in names} for table in tables)
    is_defined, is_defined_after = (np.isfinite(columns[names[0]]) for columns in (before, after))
    if (is_defined != is_defined_after).any():
        n = int((is_defined & is_defined_after).sum())
        return _untested("the runs have values for different samples", n)
    if not is_defined.any():
        reason = "no sample has a value in both runs"
        return replace(_untested(reason, 0), interval=intervals.Interval(None, None, reason))
    before, after = ({name: column[is_defined] for name, column in columns.items()} for columns in (before, after))
    clusters = cluster_codes(tables.base["cluster"].to_numpy()[is_defined]) if "cluster" in tables.base else None
    base, value = metrics[0], _change(*metrics)
    within = intervals.applicable(RANGES.get(base.unit), value)
    if estimator is not None:
        return _within(_test_of_estimator(estimator, value, before, after, clusters, generators), value, within)
    if base.column not in names:
        rows = {name: after[name] - before[name] for name in names}
        return _test_of_smooth(metrics, rows, clusters, generators, within)
    one, other = (without_rounding(columns[names[0]]) for columns in (before, after))
    test = _test_of_means(one, other, clusters, generators, within)
    are_credits = all(bool(((column >= 0) & (column <= 1)).all()) for column in (one, other))
    if base.unit != "fraction" or not are_credits:
        return test
    return replace(test, flips=_flips(tables.base.index.to_numpy()[is_defined], one, other))


def _numbers(table: "pandas.DataFrame", name: str) -> Float64[np.ndarray, " n"]:
    try:
        return table[name].to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise ClipbenchError(f"the column '{name}' of its samples is not of numbers") from error


def _test_of_smooth(
    metrics: tuple[Metric, Metric],
    rows: Mapping[str, Float64[np.ndarray, " n"]],
    clusters: Codes,
    generators: Generators,
    within: intervals.Range,
) -> PairedTest:
    """Return the test of a value that is no mean of samples, from the differences of its columns."""
    base = metrics[0]
    if base.squared_influence in rows and all(_squared(each) is not None for each in metrics):
        return _test_of_distances(metrics, rows[str(base.squared_influence)], clusters)
    test = _test_of_influences(_change(*metrics), rows[str(base.influence)], clusters, within)
    if base.weighted_column not in rows:
        return test
    # Student's t is too sure where few samples differ.
    weighted = rows[str(base.weighted_column)]
    error = standard_error(weighted - weighted.mean(), clusters)
    test = replace(test, standard_error=error, n_units=len(cluster_sums(weighted, clusters)))
    return replace(test, **_flip_test(weighted, clusters, generators.test)._asdict())


def _change(base: Metric, candidate: Metric) -> float:
    assert base.value is not None and candidate.value is not None, base
    return candidate.value - base.value


def _within(test: PairedTest, value: float, within: intervals.Range) -> PairedTest:
    """Return a test whose interval lies within a range, and has a width though no sample changed."""
    if within is not None and value == test.interval.low == test.interval.high == 0 and test.n_units:
        return replace(test, interval=intervals.unchanged_interval(value, test.n_units, within))
    return replace(test, interval=test.interval.clipped(within))


def _untested(reason: str, n: int) -> PairedTest:
    return PairedTest(
        n=n, interval=intervals.Interval(None, None, f"no paired interval: {reason}"), test=f"no test: {reason}"
    )


def _test_of_means(
    before: Float64[np.ndarray, " n"],
    after: Float64[np.ndarray, " n"],
    clusters: Codes,
    generators: Generators,
    within: intervals.Range,
) -> PairedTest:
    rows = after - before
    rows[np.abs(rows) < NEGLIGIBLE] = 0.0
    if clusters is None and np.isin((before, after), (0.0, 1.0)).all():
        gained, lost = int((rows > 0).sum()), int((rows < 0).sum())
        test = f"exact McNemar, {gained} gained and {lost} lost"
        flipped = _FlipTest(significance.mcnemar_exact(gained, lost), test, _margin(rows, len(rows)))
    else:
        flipped = _flip_test(rows, clusters, generators.test)
    return PairedTest(
        n=len(rows),
        interval=intervals.mean_interval(rows, clusters=clusters, within=within),
        standard_error=standard_error(rows - rows.mean(), clusters),
        n_units=len(cluster_sums(rows, clusters)),
        **flipped._asdict(),
    )


class _FlipTest(NamedTuple):
    p_value: float
    test: str
    margin: float


def _flip_test(rows: Float64[np.ndarray, " n"], clusters: Codes, rng: np.random.Generator) -> _FlipTest:
    sums = cluster_sums(rows, clusters)
    p_value = significance.permutation_p(rows, clusters, rng)
    return _FlipTest(p_value, f"sign flips of {len(sums)} {_unit(clusters)}", _margin(sums, len(rows)))


def _margin(sums: Float64[np.ndarray, " n_units"], n: int) -> float:
    """Return half the step between two totals, over n: a flip moves them by twice its unit's size, or more."""
    sizes = np.abs(sums[np.abs(sums) > NEGLIGIBLE])
    return float(sizes.min(initial=np.inf)) / n if len(sizes) else 0.0


def _test_of_influences(
    value: float, rows: Float64[np.ndarray, " n"], clusters: Codes, within: intervals.Range
) -> PairedTest:
    interval = intervals.influence_interval(value, rows, clusters=clusters, within=within)
    error, n_units = standard_error(rows, clusters), len(cluster_sums(rows, clusters))
    if error is None:
        test = f"no test: {interval.method}"
        if within is not None and n_units > 1:
            interval = intervals.unchanged_interval(value, n_units, within)
        return PairedTest(n=len(rows), interval=interval, test=test)
    return PairedTest(
        n=len(rows),
        interval=interval,
        test="t-test (delta method)",
        p_value=significance.t_test(value, error, n_units),
        standard_error=error,
        n_units=n_units,
    )


def _test_of_distances(metrics: tuple[Metric, Metric], rows: Float64[np.ndarray, " n"], clusters: Codes) -> PairedTest:
    """Return the t-test of the unbiased squares: distances themselves differ by noise alone where vectors spread differently."""
    squares, values = (_squared(each) or 0.0 for each in metrics), (each.value or 0.0 for each in metrics)
    (one, other), n_units = tuple(squares), len(cluster_sums(rows, clusters))
    first, second = tuple(values)
    interval = distance_difference_interval((first, second), (one, other), rows, clusters)
    error = standard_error(rows, clusters)
    if error is None:
        return PairedTest(n=len(rows), interval=interval, test=f"no test: {interval.method}")
    total = first + second
    return PairedTest(
        n=len(rows),
        interval=interval,
        test="t-test (delta method) of the unbiased squared distances",
        p_value=significance.t_test(other - one, error, n_units),
        standard_error=error / total if total else None,
        n_units=n_units,
    )


def _squared(metric: Metric) -> float | None:
    """Return the unbiased square of a distance; None where its noise is not known."""
    return None if metric.value is None or metric.chance is None else metric.value**2 - metric.chance**2


def _test_of_estimator(
    estimator: Estimator, value: float, before: Columns, after: Columns, clusters: Codes, generators: Generators
) -> PairedTest:
    """Return a paired bootstrap's interval, and the test by exchanging the two models' samples."""
    n = len(before[estimator.columns[0]])
    units = np.arange(n) if clusters is None else clusters
    n_units = int(units.max()) + 1
    try:
        of_before, of_after = (estimator.of(rows) for rows in (before, after))
        exchanged = estimator.difference(before, after, units)
        exchanged(np.zeros((1, n_units), np.bool))
    except (LookupError, TypeError, ValueError) as error:
        raise ClipbenchError(f"its {estimator.name} cannot be computed ({error})") from error
    found: dict[str, Any] = {}

    def resample() -> None:
        found["interval"] = intervals.bootstrap_interval(
            lambda counts: of_after(counts) - of_before(counts),
            n,
            generators.interval,
            clusters=clusters,
            recentre_on=value if estimator.is_biased else None,
        )

    def exchange_models() -> None:
        found["exchange"] = significance.exchange_test(exchanged, n_units, generators.test)

    # Both take most of their time for random numbers, each from a generator of its own: side by side they draw the same.
    in_threads(lambda part: part(), [exchange_models, resample])
    interval, exchange = found["interval"], found["exchange"]
    if interval.low is None:
        return PairedTest(n=n, interval=interval, test=f"no test: {interval.method}")
    return PairedTest(
        n=n,
        interval=interval,
        test=f"models exchanged in {n_units} {_unit(clusters)}",
        p_value=exchange.p_value,
        standard_error=exchange.standard_error if exchange.standard_error > 0 else None,
        n_units=n_units,
    )


def _unit(clusters: Codes) -> str:
    return "samples" if clusters is None else "clusters"


def _flips(ids: Shaped[np.ndarray, " n"], before: Float64[np.ndarray, " n"], after: Float64[np.ndarray, " n"]) -> Flips:
    rows = after - before
    order = np.argsort(-np.abs(rows), kind="stable")
    return Flips(
        gained=tuple(str(ids[row]) for row in order if rows[row] == 1),
        lost=tuple(str(ids[row]) for row in order if rows[row] == -1),
        part_gained=tuple(str(ids[row]) for row in order if 0 < rows[row] < 1),
        part_lost=tuple(str(ids[row]) for row in order if -1 < rows[row] < 0),
    )

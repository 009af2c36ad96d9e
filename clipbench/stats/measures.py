"""Measures: rules by which a metric and its interval follow from a table of samples.

A task declares measures, and the runner turns them into metrics. Each kind has the one interval that is right for it:

- ``Mean`` of a column: Wilson's for hits and credits, with the effective number of samples, gains and losses for
  differences, otherwise Student's t, corrected for skewness
- ``Statistic`` of rows, such as a median: a (cluster) bootstrap
- ``Smooth``: a value that is a smooth function of means, with each sample's influence on it (delta method; for a
  fraction Wilson's with the effective number of samples; for a mean over parts the law of ``stats.mean_law``)
- ``Fixed``: a value for which no resampling is valid, or an undefined one, with the reason
- ``Within``: another measure, on the columns that begin with a prefix

Each takes the parts of a ``Definition`` too: ``Mean(column="hit", title="Top-1 accuracy", is_headline=True)``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from clipbench.results.metric_name import in_subset, split_subset
from clipbench.results.record import Metric
from clipbench.stats import claims, intervals
from clipbench.stats.clusters import Values, cluster_codes
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.mean_law import interval_over_parts

RANGES: Mapping[str, intervals.Range] = {"fraction": intervals.SHARES, "difference": intervals.DIFFERENCES}
"""Smallest and largest value of the units whose samples are at these ends, so that intervals count them."""
LIMITS: Mapping[str, intervals.Range] = {**RANGES, "cosine": (-1.0, 1.0), "distance": (0.0, math.inf)}
"""Limits of the values by unit."""
_ROUNDING = 1e-6
"""A cosine of float32 vectors of length 1 may be so much more than 1."""


@runtime_checkable
class Measure(Protocol):
    """Anything that makes a metric from a table of samples."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the value with its interval, chance and n."""
        ...


@dataclass(frozen=True)
class Definition:
    """The meaning of a metric: the result carries it, and reports, comparisons and exports show it.

    Example:
        >>> Definition(title="Tie rate", baseline_of="acc1").define(Metric(value=0.0)).baseline_of
        ['acc1']
    """

    title: str = ""
    """The name that papers give it, such as ``Top-1 accuracy``."""
    description: str = ""
    """One sentence that says what is measured."""
    baseline_of: str | tuple[str, ...] = ()
    """The metric, or metrics, that a baseline is read against, by name."""
    is_headline: bool = False
    """True for the few metrics, one to three, that stand for the task where there is room for no more."""

    def define(self, metric: Metric) -> Metric:
        """Return a metric with this meaning.

        Args:
            metric: value, interval and unit.
        """
        return replace(
            metric,
            title=self.title,
            description=self.description,
            baseline_of=self.owners,
            is_headline=self.is_headline,
        )

    @property
    def owners(self) -> list[str]:
        """Names of the metrics that a baseline is read against."""
        return [self.baseline_of] if isinstance(self.baseline_of, str) else list(self.baseline_of)


Measures = dict[str, Measure]
"""Measures by the names of their metrics."""
Definitions = dict[str, Definition]
"""Definitions by the names of their metrics, without a subset."""


@dataclass(frozen=True, kw_only=True)
class Estimated(Definition):
    """A measure whose value has an interval."""

    unit: str = "fraction"
    chance: float | None = None
    higher_is_better: bool | None = True

    def _estimated(self, value: float, n: int, interval: intervals.Interval, *, of: Values | None = None) -> Metric:
        """Return a metric, its interval clipped to the limits of its unit if its value and samples respect them."""
        if math.isnan(value):
            return self._undefined("the value is undefined for these samples")
        limits = LIMITS.get(self.unit)
        inside = np.array([value]) if of is None else of
        if limits is not None and limits[0] - _ROUNDING <= inside.min() and inside.max() <= limits[1] + _ROUNDING:
            interval = interval.clipped((min(limits[0], value), max(limits[1], value)))
        is_bounded = interval.low is not None
        metric = Metric(
            value=value,
            low=interval.low,
            high=interval.high,
            confidence=intervals.CONFIDENCE,
            n=n,
            unit=self.unit,
            chance=self.chance,
            higher_is_better=self.higher_is_better,
            method=interval.method if is_bounded else None,
            reason=None if is_bounded else f"no interval: {interval.method}",
        )
        return self.define(claims.align_with_test(metric))

    def _undefined(self, reason: str) -> Metric:
        """Return a metric without a value."""
        return self.define(Metric(value=None, unit=self.unit, higher_is_better=self.higher_is_better, reason=reason))


@dataclass(frozen=True, kw_only=True)
class Mean(Estimated):
    """The mean of a column over the samples where it is not NaN.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> metric = Mean(column="hit", chance=0.1).metric({"hit": np.array([1.0, 0.0, 1.0, np.nan])}, rng)
        >>> metric.value, metric.n, metric.low < metric.value < metric.high
        (0.6666666666666666, 3, True)
    """

    column: str
    image: str | None = None
    """Column of the units that n counts if samples share one, such as the image that was scored."""
    limit: str = ""
    """The limits of the value, such as documents that were not judged: a footnote to a value with an interval."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        values, clusters = defined_values(samples, self.column)
        if not len(values):
            return self._undefined(f"no sample has a value for '{self.column}'")
        n = len(values)
        if self.image is not None:
            images = samples[self.image][~np.isnan(samples[self.column].astype(np.float64))]
            n = len(np.unique(images))
            # Objects of different names may share an image all the same.
            clusters = images if clusters is None or n < len(np.unique(clusters)) else clusters
        interval = intervals.mean_interval(values, clusters=clusters, within=RANGES.get(self.unit))
        metric = self._estimated(float(values.mean()), n, interval, of=values)
        return replace(metric, column=self.column, reason=metric.reason or self.limit or None)


@dataclass(frozen=True, kw_only=True)
class Statistic(Estimated):
    """A function of the rows in which a column is not NaN.

    Example:
        >>> spread = Statistic(
        ...     function=lambda rows: float(rows["x"].max() - rows["x"].min()), columns=("x",), unit="rank"
        ... )
        >>> spread.metric({"x": np.array([1.0, 4.0, np.nan])}, np.random.default_rng(0)).value
        3.0
    """

    function: Callable[[Samples], float]
    """Two models are compared by it where it is an ``Estimator``."""
    columns: tuple[str, ...]
    """Columns that the function reads. Samples whose first value is NaN are left out."""
    interval: intervals.Interval | None = None
    """Takes the place of the bootstrap's where that fails, such as for a statistic that resampling biases."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        first, clusters = defined_values(samples, self.columns[0])
        if not len(first):
            return self._undefined(f"no sample has a value for '{self.columns[0]}'")
        is_defined = ~np.isnan(samples[self.columns[0]].astype(np.float64))
        rows = {name: samples[name][is_defined] for name in self.columns}

        def at(index: np.ndarray) -> float:
            return self.function({name: column[index] for name, column in rows.items()})

        value = self.function(rows)
        estimator = self.function if isinstance(self.function, Estimator) else None
        of_counts = intervals.of_rows(at) if estimator is None else estimator.over_draws(rows)
        interval = self.interval or intervals.bootstrap_interval(of_counts, len(first), rng, clusters=clusters)
        return replace(
            self._estimated(value, len(first), interval), statistic=None if estimator is None else estimator.record()
        )


@dataclass(frozen=True, kw_only=True)
class Smooth(Estimated):
    """A value with the influence of each sample on it, a column that sums to about zero.

    Example:
        >>> influence = np.array([-1.0, 0.5, 0.5])
        >>> metric = Smooth(value=2.0, influence="i", unit="distance").metric(
        ...     {"i": influence}, np.random.default_rng(0)
        ... )
        >>> metric.value, metric.n, metric.influence
        (2.0, 3, 'i')
    """

    value: float
    influence: str
    unit: str = field()  # has no default, unlike that of others
    higher_is_better: bool | None = None
    interval: intervals.Interval | None = None
    """Takes the place of the delta method's where that fails, such as for a distance near 0."""
    statistic: Estimator | None = None
    """Two models are compared by it. Only means over parts have one."""
    squared_influence: str | None = None
    """The column of influences on the unbiased square, value² - chance². Only distances have one."""
    most_trials: int | float | None = None
    """The most independent hits that it may count as (``trials_of_means``). Only means of means of credits have it."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        influence, clusters = defined_values(samples, self.influence)
        within = intervals.applicable_range(RANGES.get(self.unit), self.value)
        interval = self.interval or self._interval(samples, influence, clusters, within)
        return replace(
            self._estimated(self.value, len(influence), interval),
            influence=self.influence,
            statistic=None if self.statistic is None else self.statistic.record(),
            squared_influence=self.squared_influence,
        )

    def _interval(
        self, samples: Samples, influence: np.ndarray, clusters: np.ndarray | None, within: intervals.Range
    ) -> intervals.Interval:
        if within != intervals.SHARES or not len(influence):
            return intervals.influence_interval(self.value, influence, clusters=clusters, within=within)
        codes, at_most = cluster_codes(clusters), None if self.most_trials is None else float(self.most_trials)
        if self.statistic is None or self.statistic.name != "mean_over_parts":
            return intervals.share_interval(self.value, influence, codes, at_most=at_most)
        parts, _ = defined_values(samples, self.statistic.columns[1])
        return interval_over_parts(self.value, influence, parts, codes, most_trials=at_most)


@dataclass(frozen=True, kw_only=True)
class Fixed(Definition):
    """A value without an interval, or None, and why.

    Example:
        >>> Fixed(value=None, reason="the data has no captions").metric({}, np.random.default_rng(0)).reason
        'the data has no captions'
    """

    value: float | None
    reason: str
    unit: str = "fraction"
    n: int = 0
    chance: float | None = None
    higher_is_better: bool | None = None

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        return self.define(
            Metric(
                value=self.value,
                n=self.n,
                unit=self.unit,
                chance=self.chance,
                higher_is_better=self.higher_is_better,
                reason=self.reason,
            )
        )


def undefined(reason: str, unit: str = "fraction", *, higher_is_better: bool | None = None) -> Fixed:
    """Return a measure without a value, and why."""
    return Fixed(value=None, reason=reason, unit=unit, higher_is_better=higher_is_better)


@dataclass(frozen=True, kw_only=True)
class Within:
    """A measure of the columns that begin with a prefix, such as ``kind/``. The other columns stay as they are.

    Example:
        >>> samples = {"kind/hit": np.array([1.0, 0.0]), "hit": np.array([1.0, 1.0])}
        >>> Within(prefix="kind/", measure=Mean(column="hit")).metric(samples, np.random.default_rng(0)).value
        0.5
    """

    prefix: str
    measure: Measure

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        subset = {}
        for name, column in samples.items():
            if name.startswith(self.prefix):
                subset[name.removeprefix(self.prefix)] = column
        metric = self.measure.metric({**samples, **subset}, rng)

        def prefixed(name: str | None) -> str | None:
            return f"{self.prefix}{name}" if name in subset else name

        statistic = metric.statistic
        if statistic is not None:
            statistic = replace(statistic, columns=[str(prefixed(name)) for name in statistic.columns])
        return replace(
            metric,
            column=prefixed(metric.column),
            influence=prefixed(metric.influence),
            squared_influence=prefixed(metric.squared_influence),
            statistic=statistic,
            baseline_of=[f"{self.prefix}{name}" for name in metric.baseline_of],
        )


def define(measures: Mapping[str, Measure], definitions: Mapping[str, Definition]) -> Measures:
    """Return measures with the definitions that a table has for their names.

    The part before a slash is a subset. For example, ``swap_att/text_acc`` has the definition of ``text_acc``, its
    baselines are read against the metrics of the same subset, and it is a headline only if its measure says so.

    Args:
        measures: measures by the names of their metrics.
        definitions: definitions by the names of metrics without their subsets.

    Returns:
        The measures by the same names.

    Example:
        >>> table = {"hit": Definition(title="Top-1 accuracy", is_headline=True)}
        >>> define({"hit": Mean(column="hit")}, table)["hit"].title
        'Top-1 accuracy'

    See Also:
        Definition: title, description and role of a metric.
    """
    return {name: _with_definition(name, measure, definitions) for name, measure in measures.items()}


def _with_definition(name: str, measure: Measure, definitions: Mapping[str, Definition]) -> Measure:
    subset, base_name = split_subset(name)
    if base_name not in definitions or not isinstance(measure, Definition):
        return measure
    definition = definitions[base_name]
    return replace(
        measure,
        title=definition.title,
        description=definition.description,
        baseline_of=tuple(in_subset(subset, owner) for owner in definition.owners),
        is_headline=measure.is_headline or (definition.is_headline and not subset),
    )


ClusteredValues = tuple[np.ndarray, np.ndarray | None]
"""Values of samples, and the clusters of the samples, if any."""


def defined_values(samples: Samples, column: str) -> ClusteredValues:
    """Return the defined values of a column, as float64, and the clusters of their samples."""
    values = samples[column].astype(np.float64)
    is_defined = ~np.isnan(values)
    clusters = samples.get("cluster")
    return values[is_defined], None if clusters is None else clusters[is_defined]

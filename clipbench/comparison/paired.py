"""One metric of two models on the same samples: the paired interval, the paired test, and which samples changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from clipbench.results.matching import Tables
from clipbench.results.record import Metric
from clipbench.stats import intervals, significance
from clipbench.stats.named import Named

if TYPE_CHECKING:
    import pandas


UNRECORDED = "no per-sample values are recorded to make one from"


@dataclass(frozen=True)
class Flips:
    """Which samples changed, by id; those that changed most come first, equal ones in the order of their ids.

    By value, not by merit: where less is better (``attack_success``), what is gained is worse.
    """

    gained: tuple[str, ...]
    """The candidate has more of them: wrong in the base and right in the candidate, for a hit."""
    lost: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What the samples say about a difference."""

    n: int
    """Samples with a value in both runs."""
    interval: intervals.Interval
    test: str
    """Which test the p-value is of, or why there is none."""
    p_value: float | None = None
    standard_error: float | None = None
    """Of the difference; None where the data cannot tell."""
    n_units: int = 0
    """Samples, or clusters, that the standard error is of."""
    margin: float = 0.0
    """What a test of discrete differences needs beyond the law of its mean: half the step between two of its totals."""
    flips: Flips | None = None

    def detectable(self, alpha: float) -> float | None:
        """Return the smallest true difference that this test finds with 80 % power; None where the data cannot tell."""
        if self.p_value is None or self.standard_error is None:
            return None
        return significance.detectable(self.standard_error, self.n_units, alpha=alpha) + self.margin


@dataclass(frozen=True)
class Generators:
    """Random numbers, apart for interval and test so that neither moves the other."""

    interval: np.random.Generator
    test: np.random.Generator


def paired(base: Metric, candidate: Metric, *, tables: Tables, generators: Generators) -> Paired:
    """Return interval, test and flips of the candidate's value less the base's, from what both tables hold of it.

    A mean of independent zeros and ones is tested by McNemar's exact test, any other mean by flipping the signs of the
    differences, whole clusters together; a smooth function of means by the t-test of its influences (delta
    method); a statistic that has a name, such as a median, by what it differs by when the models' samples are exchanged.
    A metric that says nothing of these has neither interval nor test.

    Args:
        base: with a value.
        candidate: with a value.
        tables: of base and candidate; clusters are the base's.
    """
    assert base.value is not None and candidate.value is not None, base
    value = candidate.value - base.value
    one, other = (Named.of(each.statistic) for each in (base, candidate))
    if one is not None and other is not None:
        return _of_statistics(value, (one, other), tables, generators)
    return _of_column(base, value, tables=tables, generators=generators)


def _of_column(base: Metric, value: float, *, tables: Tables, generators: Generators) -> Paired:
    column = base.column or base.influence
    if column is None or any(column not in table for table in (tables.base, tables.candidate)):
        return _untested(UNRECORDED, base.n)
    before, after = (table[column].to_numpy(np.float64) for table in (tables.base, tables.candidate))
    kept = np.isfinite(before)
    n = int((kept & np.isfinite(after)).sum())
    if (kept != np.isfinite(after)).any():
        return _untested("the two have values of other samples", n)
    if not n:
        nothing = "no sample has a value in both runs"
        return replace(_untested(nothing, 0), interval=intervals.Interval(None, None, nothing))
    clusters = _clusters(tables.base, kept)
    if base.column is None:
        return _of_influences(value, after[kept] - before[kept], clusters)
    found = _of_mean(before[kept], after[kept], clusters, generators)
    if base.unit != "fraction" or not _are_credits(before[kept], after[kept]):
        return found
    return replace(found, flips=_flips(tables.base.index.to_numpy()[kept], after[kept] - before[kept]))


def _untested(reason: str, n: int) -> Paired:
    return Paired(
        n=n, interval=intervals.Interval(None, None, f"no paired interval: {reason}"), test=f"no test: {reason}"
    )


def _clusters(table: "pandas.DataFrame", kept: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, " kept"] | None:
    """Return the clusters of the samples; None where each is its own."""
    if "cluster" not in table:
        return None
    clusters = table["cluster"].to_numpy()[kept]
    return clusters if len(np.unique(clusters)) < len(clusters) else None


def _of_influences(value: float, rows: Float64[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None) -> Paired:
    interval = intervals.influence_interval(value, rows, clusters=clusters)
    error, n_units = significance.standard_error(rows, clusters), len(significance.cluster_sums(rows, clusters))
    if error is None:
        return Paired(n=len(rows), interval=interval, test=f"no test: {interval.method}")
    return Paired(
        n=len(rows),
        interval=interval,
        test="t-test (delta method)",
        p_value=significance.t_test(value, error, n_units),
        standard_error=error,
        n_units=n_units,
    )


def _of_mean(
    before: Float64[np.ndarray, " n"],
    after: Float64[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"] | None,
    generators: Generators,
) -> Paired:
    rows = after - before
    is_mcnemar = clusters is None and _are_hits(before, after)
    p_value, test = _mcnemar(rows) if is_mcnemar else _sign_flips(rows, clusters, generators.test)
    sizes = np.abs(significance.cluster_sums(rows, clusters))
    return Paired(
        n=len(rows),
        interval=intervals.mean_interval(rows, generators.interval, clusters=clusters, is_proportion=False),
        test=test,
        p_value=p_value,
        standard_error=significance.standard_error(rows - rows.mean(), clusters),
        n_units=len(sizes),
        # A flip moves the total by twice its unit's size, so that totals are at least twice the smallest apart.
        margin=float(sizes[sizes > 0].min()) / len(rows) if sizes.any() else 0.0,
    )


def _of_statistics(value: float, named: tuple[Named, Named], tables: Tables, generators: Generators) -> Paired:
    """Return a paired bootstrap's interval, and a t-test by the spread of what exchanging the two models gives."""
    statistic = named[0]
    if named[1] != statistic:
        return _untested("the two are not of the same columns of the samples", 0)
    if any(name not in table for name in statistic.columns for table in (tables.base, tables.candidate)):
        return _untested(UNRECORDED, 0)
    before, after = (
        {name: table[name].to_numpy(np.float64) for name in statistic.columns}
        for table in (tables.base, tables.candidate)
    )
    kept = np.isfinite(before[statistic.columns[0]])
    n = int(kept.sum())
    if (kept != np.isfinite(after[statistic.columns[0]])).any():
        return _untested("the two have values of other samples", n)
    rows = [{name: column[kept] for name, column in columns.items()} for columns in (before, after)]
    clusters = _clusters(tables.base, kept)
    interval = intervals.bootstrap_interval(
        lambda index: statistic(_at(rows[1], index)) - statistic(_at(rows[0], index)),
        n,
        generators.interval,
        clusters=clusters,
        recentre_on=value if statistic.is_biased else None,
    )
    if interval.low is None:
        return Paired(n=n, interval=interval, test=f"no test: {interval.method}")
    n_units = n if clusters is None else len(np.unique(clusters))
    exchanged = significance.exchanged(statistic, rows[0], rows[1], clusters, generators.test)
    error = float(np.sqrt(np.nanmean(exchanged**2)))  # as in resamples, those without a value are left out
    return Paired(
        n=n,
        interval=interval,
        test=f"t-test (models exchanged in {n_units} {'samples' if clusters is None else 'clusters'})",
        p_value=significance.t_test(value, error, n_units) if error else 1.0,
        standard_error=error or None,
        n_units=n_units,
    )


def _at(columns: Mapping[str, np.ndarray], index: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[index] for name, column in columns.items()}


def _mcnemar(rows: Float64[np.ndarray, " n"]) -> tuple[float, str]:
    gained, lost = int((rows > 0).sum()), int((rows < 0).sum())
    return significance.mcnemar_exact(gained, lost), f"exact McNemar, {gained} gained and {lost} lost"


def _sign_flips(
    rows: Float64[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None, rng: np.random.Generator
) -> tuple[float, str]:
    n = len(significance.cluster_sums(rows, clusters))
    return significance.permutation_p(
        rows, clusters, rng
    ), f"sign flips of {n} {'samples' if clusters is None else 'clusters'}"


def _are_hits(*columns: Float64[np.ndarray, " n"]) -> bool:
    return all(bool(np.isin(column, (0.0, 1.0)).all()) for column in columns)


def _are_credits(*columns: Float64[np.ndarray, " n"]) -> bool:
    return all(bool(((column >= 0) & (column <= 1)).all()) for column in columns)


def _flips(ids: Shaped[np.ndarray, " n"], rows: Float64[np.ndarray, " n"]) -> Flips:
    order = np.argsort(-np.abs(rows), kind="stable")
    return Flips(
        gained=tuple(str(ids[row]) for row in order if rows[row] > 0),
        lost=tuple(str(ids[row]) for row in order if rows[row] < 0),
    )

"""The paired interval and test of one metric of two models on the same samples, and the samples that changed."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from clipbench.comparison.align import Tables
from clipbench.comparison.metric_difference import Difference, Flips
from clipbench.errors import ClipbenchError
from clipbench.results.record import Metric
from clipbench.seeding import generator
from clipbench.stats.clusters import Codes, cluster_codes, snap_to_integers
from clipbench.stats.differences import PairedTest, paired_difference, untested
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import Interval

if TYPE_CHECKING:
    import pandas

UNRECORDED = "no per-sample values are recorded"


def difference(
    metrics: tuple[Metric, Metric], *, evaluation: str, name: str, tables: Tables, seed: int, alpha: float
) -> Difference:
    """Return the candidate's value minus the base's with its paired interval and test. Both have a value.

    Args:
        metrics: base and candidate.
        evaluation: name of the evaluation, or of a slice of it.
        name: of the metric. The random numbers depend on both names and the seed of the run.
        tables: samples of base and candidate.
        alpha: level of the detectable difference.

    Raises:
        ClipbenchError: the samples are not what the metric says of them.
    """
    base, candidate = metrics
    assert base.value is not None and candidate.value is not None, base
    try:
        paired = paired_test(base, candidate, tables=tables, rng=generator(seed, evaluation, name, "test"))
        flips = _flips(base, tables) if paired.p_value is not None else None
    except ClipbenchError as error:
        raise ClipbenchError(
            f"{evaluation}/{name} cannot be compared: {error}: a run is damaged, make it again"
        ) from error
    return Difference(
        evaluation=evaluation,
        name=name,
        base=base,
        candidate=candidate,
        value=candidate.value - base.value,
        low=paired.interval.low,
        high=paired.interval.high,
        lower_bound=paired.bounds.low,
        upper_bound=paired.bounds.high,
        n=paired.n,
        method=paired.interval.method,
        test=paired.test,
        p_value=paired.p_value,
        power=paired.power,
        detectable=None if paired.power is None else paired.power.at(alpha),
        flips=flips,
        is_identical=paired.is_identical,
    )


def paired_test(base: Metric, candidate: Metric, *, tables: Tables, rng: np.random.Generator) -> PairedTest:
    """Return interval and test of the candidate's value less the base's, from the columns that both tables have.

    ``stats.differences`` says which. A metric that names no column has neither interval nor test.

    Args:
        base, candidate: with a value.
        tables: tables of base and candidate. Clusters are the base's.
    """
    estimator, other = (Estimator.from_record(metric.statistic) for metric in (base, candidate))
    if estimator != other:
        return untested("the runs compute it from different columns", 0)
    names: tuple[str | None, ...] = (base.column, base.influence, base.squared_influence)
    if estimator is not None:
        names = estimator.columns
    shared = [name for name in names if name is not None and all(name in table for table in tables)]
    if estimator is not None:
        can_be_tested = len(shared) == len(names)
    else:
        can_be_tested = base.column in shared or base.influence in shared
    if not can_be_tested:
        reason = "" if base.column or base.influence or base.statistic else base.reason or ""
        explanation = reason.removeprefix("no interval: ").removesuffix(": no interval")
        return untested(explanation if "no interval" in reason else UNRECORDED, base.n)  # other reasons are of a choice
    before = {name: sample_values(tables.base, name) for name in shared}
    after = {name: sample_values(tables.candidate, name) for name in shared}
    is_defined, is_defined_after = np.isfinite(before[shared[0]]), np.isfinite(after[shared[0]])
    if (is_defined != is_defined_after).any():
        return untested("the runs have values for different samples", int((is_defined & is_defined_after).sum()))
    if not is_defined.any():
        reason = "no sample has a value in both runs"
        return PairedTest(n=0, interval=Interval(None, None, reason), test=f"no test: {reason}")
    before = {name: column[is_defined] for name, column in before.items()}
    after = {name: column[is_defined] for name, column in after.items()}
    clusters = sample_clusters(tables.base, is_defined)
    try:
        return paired_difference(base, candidate, before=before, after=after, clusters=clusters, rng=rng)
    except (LookupError, TypeError, ValueError) as error:
        if estimator is None:
            raise
        raise ClipbenchError(f"its {estimator.name} cannot be computed ({error})") from error


def sample_clusters(table: "pandas.DataFrame", is_kept: Bool[np.ndarray, " n_rows"]) -> Codes:
    """Return the clusters of the samples that are kept, None if each sample is its own."""
    return cluster_codes(table["cluster"].to_numpy()[is_kept]) if "cluster" in table else None


def sample_values(table: "pandas.DataFrame", name: str) -> Float64[np.ndarray, " n"]:
    """Return a column of numbers, or raise ClipbenchError if it has others."""
    try:
        return table[name].to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise ClipbenchError(f"the column '{name}' of its samples is not of numbers") from error


def _flips(metric: Metric, tables: Tables) -> Flips | None:
    """Return the samples of a mean of credits that changed, the most first, or None for other metrics."""
    if metric.column is None or metric.unit != "fraction" or metric.statistic is not None:
        return None
    before, after = (snap_to_integers(sample_values(table, metric.column)) for table in tables)
    is_defined = np.isfinite(before)
    before, after, ids = before[is_defined], after[is_defined], tables.base.index.to_numpy()[is_defined]
    if not all(bool(((column >= 0) & (column <= 1)).all()) for column in (before, after)):
        return None
    rows = after - before
    order = np.argsort(-np.abs(rows), kind="stable")

    def changed_ids(is_such: Shaped[np.ndarray, " n"]) -> tuple[str, ...]:
        return tuple(str(ids[row]) for row in order if is_such[row])

    return Flips(
        gained=changed_ids(rows == 1),
        lost=changed_ids(rows == -1),
        part_gained=changed_ids((rows > 0) & (rows < 1)),
        part_lost=changed_ids((rows > -1) & (rows < 0)),
    )

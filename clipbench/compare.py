"""Two runs of the same samples: how much a metric differs, with the interval of the difference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clipbench import stats
from clipbench.errors import UsageError
from clipbench.result import EvaluationRecord, Metric, Run

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two models on the same samples; the candidate's value minus the base's."""

    evaluation: str
    """``task@data``."""
    name: str
    base: Metric
    candidate: Metric
    value: float
    low: float | None
    high: float | None
    """Bounds of the difference, paired by sample; None where ``method`` says why there are none."""
    n: int
    method: str


def differences(base: Run, candidate: Run) -> list[Difference]:
    """Return the differences of all metrics that both runs have a value of, in the order of the base.

    Samples are paired by id, whole clusters together. A mean's difference is the mean of the differences (bootstrap);
    that of a smooth function of means has the difference of the influences (delta method). Other metrics have no
    paired interval.

    Raises:
        UsageError: they have no evaluation in common, or one was made on other data, by another version or with other
            parameters.
    """
    finished = [each for each in candidate.result.evaluations if each.status == "ok"]
    pairs = [
        (before, after)
        for before in base.result.evaluations
        if before.status == "ok" and (after := _partner(before, finished)) is not None
    ]
    if not pairs:
        raise UsageError(f"{base.folder} and {candidate.folder} have no finished evaluation in common")
    found: list[Difference] = []
    for before, after in pairs:
        check_comparable(before, after)
        tables = _aligned(base.samples(before), candidate.samples(after), before.name)
        found += _of_evaluation(before, after, tables, base.result.seed)
    return found


def check_comparable(before: EvaluationRecord, after: EvaluationRecord) -> None:
    """Raise UsageError, naming the difference, when numbers of two evaluations must not be compared."""
    facts = {
        "task version": (before.task_version, after.task_version),
        "parameters": (dict(before.params), dict(after.params)),
        "data fingerprint": (before.dataset.fingerprint, after.dataset.fingerprint),
    }
    for name, (one, other) in facts.items():
        if one != other:
            raise UsageError(f"{before.name} is not comparable: {name} {one} in the one run, {other} in the other")


def _partner(before: EvaluationRecord, finished: Sequence[EvaluationRecord]) -> EvaluationRecord | None:
    """Return the evaluation of the same task and data: with the same parameters, where there are several."""
    named = [each for each in finished if each.name == before.name]
    return next((each for each in named if each.params == before.params), named[0] if named else None)


def _aligned(
    base: "pandas.DataFrame", candidate: "pandas.DataFrame", name: str
) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Return both tables in the order of the sample ids."""
    tables = [table.set_index("sample_id").sort_index() for table in (base, candidate)]
    if not tables[0].index.equals(tables[1].index):
        raise UsageError(f"{name} is not comparable: the runs hold other samples")
    return tables[0], tables[1]


def _of_evaluation(
    before: EvaluationRecord,
    after: EvaluationRecord,
    tables: "tuple[pandas.DataFrame, pandas.DataFrame]",
    seed: int,
) -> list[Difference]:
    found = []
    for name, metric in before.metrics.items():
        other = after.metrics.get(name)
        if other is not None and metric.value is not None and other.value is not None:
            rng = stats.generator(seed, before.name, name, "difference")
            found.append(replace(_difference(name, metric, other, tables, rng), evaluation=before.name))
    return found


def _difference(
    name: str,
    base: Metric,
    candidate: Metric,
    tables: "tuple[pandas.DataFrame, pandas.DataFrame]",
    rng: np.random.Generator,
) -> Difference:
    assert base.value is not None and candidate.value is not None, name
    value = candidate.value - base.value
    column = base.column or base.influence
    if column is None or any(column not in table for table in tables):
        interval, n = stats.Interval(None, None, "no paired interval: the value is no mean over samples"), base.n
    else:
        before, after = (table[column].to_numpy(np.float64) for table in tables)
        rows, kept = after - before, np.isfinite(before)
        n = int(np.isfinite(rows).sum())
        if (kept == np.isfinite(after)).all():
            clusters = tables[0]["cluster"].to_numpy()[kept] if "cluster" in tables[0] else None
            interval = _interval(value, rows[kept], clusters, rng, is_mean=base.column is not None)
        else:
            interval = stats.Interval(None, None, "no paired interval: the two have values of other samples")
    return Difference(
        evaluation="",
        name=name,
        base=base,
        candidate=candidate,
        value=value,
        low=interval.low,
        high=interval.high,
        n=n,
        method=interval.method,
    )


def _interval(
    value: float, rows: np.ndarray, clusters: np.ndarray | None, rng: np.random.Generator, *, is_mean: bool
) -> stats.Interval:
    if not len(rows):
        return stats.Interval(None, None, "no sample has a value in both runs")
    if is_mean:
        return stats.mean_interval(rows, rng, clusters=clusters, is_proportion=False)
    return stats.influence_interval(value, rows, clusters=clusters)

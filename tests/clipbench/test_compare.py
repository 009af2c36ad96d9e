"""What is between two runs of the same samples: its size and interval, and what must not be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from clipbench.compare import Difference, differences
from clipbench.errors import UsageError
from clipbench.result import DatasetRecord, EvaluationRecord, Metric, Result, Run

Z = 1.959963984540054


@dataclass(frozen=True)
class Held(Run):
    """A run whose tables are in memory."""

    tables: Sequence[pandas.DataFrame] = ()

    def samples(self, evaluation: EvaluationRecord) -> pandas.DataFrame:
        return self.tables[int(evaluation.files["samples"])]


def held(*evaluations: tuple[EvaluationRecord, pandas.DataFrame], name: str = "run", seed: int = 0) -> Held:
    records = [replace(record, files={"samples": str(place)}) for place, (record, _) in enumerate(evaluations)]
    result = Result(
        clipbench_version="0", created="", command=[], seed=seed, environment={}, model={}, evaluations=records
    )
    return Held(Path(name), result, [table for _, table in evaluations])


def evaluation(
    metrics: Mapping[str, Metric], columns: Mapping[str, np.ndarray], **changes: Any
) -> tuple[EvaluationRecord, pandas.DataFrame]:
    """Return a record and its table, with the samples named a, b, c, ..., unless it names them."""
    n = len(next(iter(columns.values())))
    names = {"sample_id": np.array([f"s{k:04}" for k in range(n)], object)}
    facts = {"task": "mine", "task_version": 1, "params": {}, "status": "ok"}
    dataset = DatasetRecord(id="birds", fingerprint="f1")
    record = EvaluationRecord(**{"dataset": dataset, **facts, "metrics": metrics, **changes})
    return record, pandas.DataFrame({**names, **columns})


def mean_of(values: np.ndarray, column: str = "hit", **changes: Any) -> Metric:
    return Metric(value=float(np.nanmean(values)), column=column, n=int(np.isfinite(values).sum()), **changes)


def of_hits(values: np.ndarray, **changes: Any) -> Held:
    """Return a run of one metric, the mean of a column."""
    return held(evaluation({"acc": mean_of(values)}, {"hit": values}, **changes))


def bounds(found: Difference) -> tuple[float, float]:
    assert found.low is not None and found.high is not None
    return found.low, found.high


def test_a_mean_s_difference_is_the_mean_of_the_differences_with_their_interval() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 2, 500).astype(float)
    after = np.where(rng.random(500) < 0.2, 1.0, before)
    (found,) = differences(of_hits(before), of_hits(after))
    rows = after - before
    assert found.value == pytest.approx(rows.mean())
    half = Z * rows.std(ddof=1) / np.sqrt(500)
    assert bounds(found) == pytest.approx((rows.mean() - half, rows.mean() + half), abs=0.1 * half)
    assert (found.evaluation, found.name, found.n) == ("mine@birds", "acc", 500)
    assert "bootstrap" in found.method


def test_pairing_is_worth_what_the_two_have_in_common() -> None:
    rng = np.random.default_rng(1)
    before = rng.integers(0, 2, 400).astype(float)
    after = before.copy()
    after[:8] = 1 - after[:8]
    (found,) = differences(of_hits(before), of_hits(after))
    unpaired = Z * np.sqrt(2 * 0.25 / 400)
    assert bounds(found)[1] - bounds(found)[0] < 0.3 * 2 * unpaired


def test_a_smooth_value_s_difference_has_the_difference_of_the_influences() -> None:
    rng = np.random.default_rng(2)
    ratios, columns = [], []
    for shift in (0.0, 0.3):
        x, y = rng.normal(2 + shift, 1, 300), rng.normal(5, 1, 300)
        ratio = x.mean() / y.mean()
        ratios.append(float(ratio))
        columns.append((x - ratio * y) / y.mean())  # the influence of a sample on a ratio of means
    runs = [
        held(evaluation({"ratio": Metric(value=ratio, influence="r", unit="ratio")}, {"r": column}))
        for ratio, column in zip(ratios, columns, strict=True)
    ]
    (found,) = differences(*runs)
    error = np.sqrt(sum((b - a) ** 2 for a, b in zip(*columns, strict=True)) / 299 / 300)
    value = ratios[1] - ratios[0]
    assert found.value == pytest.approx(value)
    assert bounds(found) == pytest.approx((value - Z * error, value + Z * error))
    assert found.method == "delta method"


def test_samples_are_paired_by_name_whatever_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.random(200), rng.random(200)
    mixed = held(evaluation({"acc": mean_of(after)}, {"hit": after}))
    mixed = replace(mixed, tables=[mixed.tables[0].sample(frac=1, random_state=0)])
    assert differences(of_hits(before), mixed) == differences(of_hits(before), of_hits(after))


def test_whole_clusters_are_drawn_together() -> None:
    rng = np.random.default_rng(4)
    clusters = np.repeat([f"c{k}" for k in range(80)], 5).astype(object)
    before, shift = np.zeros(400), np.repeat(rng.normal(0, 1, 80), 5)
    runs = [
        held(evaluation({"acc": mean_of(values, unit="cosine")}, {"hit": values, "cluster": clusters}))
        for values in (before, shift)
    ]
    (found,) = differences(*runs)
    half = Z * shift[::5].std(ddof=1) / np.sqrt(80)
    low, high = bounds(found)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert found.method.endswith("over 80 clusters")


def test_clusters_hold_for_influences_too() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(60), 4)
    columns = [np.repeat(rng.normal(0, 1, 60), 4) for _ in range(2)]
    runs = [
        held(evaluation({"gap": Metric(value=0.5, influence="i")}, {"i": c - c.mean(), "cluster": clusters}))
        for c in columns
    ]
    (found,) = differences(*runs)
    sums = [sum(rows) for rows in (columns[1] - columns[1].mean() - columns[0] + columns[0].mean()).reshape(60, 4)]
    error = np.sqrt(sum(each**2 for each in sums)) / 240 * np.sqrt(60 / 59)
    assert bounds(found) == pytest.approx((-Z * error, Z * error))


def test_samples_without_a_value_are_left_out() -> None:
    before = np.array([1.0, 0.0, np.nan, 1.0] * 20)
    after = np.array([1.0, 1.0, np.nan, 1.0] * 20)
    (found,) = differences(of_hits(before), of_hits(after))
    assert found.value == pytest.approx(1 / 3) and found.n == 60
    assert bounds(found)[0] < 1 / 3 < bounds(found)[1]


def test_values_of_other_samples_are_not_paired() -> None:
    before, after = np.array([1.0, 0.0, np.nan, 1.0] * 20), np.array([1.0, 1.0, 0.0, np.nan] * 20)
    (found,) = differences(of_hits(before), of_hits(after))
    assert found.value == pytest.approx(0)
    assert (found.low, found.high, found.n) == (None, None, 40)
    assert found.method == "no paired interval: the two have values of other samples"


def test_a_column_without_any_value_has_no_interval() -> None:
    runs = [
        held(evaluation({"acc": Metric(value=value, column="hit")}, {"hit": np.full(3, np.nan)}))
        for value in (0.1, 0.3)
    ]
    (found,) = differences(*runs)
    assert found.value == pytest.approx(0.2) and (found.low, found.n) == (None, 0)


def test_a_value_that_is_no_mean_has_a_difference_without_an_interval() -> None:
    columns = {"hit": np.array([1.0, 0.0])}
    metrics = [{"ece": Metric(value=value, low=0.0, high=1.0, n=2)} for value in (0.1, 0.4)]
    (found,) = differences(*(held(evaluation(each, columns)) for each in metrics))
    assert found.value == pytest.approx(0.3) and (found.low, found.high, found.n) == (None, None, 2)
    assert found.method == "no paired interval: the value is no mean over samples"
    lost = {"acc": Metric(value=0.1, column="gone", n=2)}
    (found,) = differences(held(evaluation(lost, columns)), held(evaluation(lost, columns)))
    assert found.low is None


def test_metrics_that_one_run_lacks_or_could_not_have_are_left_out() -> None:
    columns = {"hit": np.array([1.0, 0.0])}
    known, undefined = mean_of(columns["hit"]), Metric(value=None, reason="none")
    first = held(evaluation({"a": known, "b": known, "c": undefined, "d": known}, columns))
    second = held(evaluation({"d": known, "b": undefined, "c": known, "a": known, "e": known}, columns))
    assert [each.name for each in differences(first, second)] == ["a", "d"]


def test_evaluations_are_found_by_task_and_data_and_must_be_finished() -> None:
    columns = {"hit": np.array([1.0, 0.0])}
    known = mean_of(columns["hit"])
    others = {name: DatasetRecord(id=name, fingerprint=name) for name in ("ants", "bees")}
    first = held(*(evaluation({"acc": known}, columns, dataset=data) for data in others.values()))
    second = held(
        evaluation({"acc": known}, columns, dataset=others["bees"]),
        evaluation({}, columns, dataset=others["ants"], status="failed", reason="no"),
    )
    assert [each.evaluation for each in differences(first, second)] == ["mine@bees"]
    with pytest.raises(UsageError, match=r"^one and two have no finished evaluation in common$"):
        differences(
            held(evaluation({"acc": known}, columns, dataset=others["ants"]), name="one"),
            held(evaluation({"acc": known}, columns, dataset=others["bees"]), name="two"),
        )


def test_an_evaluation_that_was_made_twice_is_paired_with_the_one_of_its_parameters() -> None:
    hits = {k: np.array([1.0, 0.0, k, 1.0]) for k in (0, 1)}
    both = [evaluation({"acc": mean_of(hits[k])}, {"hit": hits[k]}, params={"k": k}) for k in (0, 1)]
    found = differences(held(*both), held(*reversed(both)))
    assert [each.value for each in found] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"dataset": DatasetRecord(id="birds", fingerprint="f2")},
            "data fingerprint f1 in the one run, f2 in the other",
        ),
        ({"params": {"k": 5}}, r"parameters \{\} in the one run, \{'k': 5\} in the other"),
        ({"task_version": 2}, "task version 1 in the one run, 2 in the other"),
    ],
)
def test_what_was_measured_otherwise_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    values = np.array([1.0, 0.0])
    with pytest.raises(UsageError, match=rf"^mine@birds is not comparable: {told}$"):
        differences(of_hits(values), of_hits(values, **changes))


@pytest.mark.parametrize("names", [["s0000", "s0002"], ["s0000"]])
def test_other_samples_are_refused(names: list[str]) -> None:
    record, table = evaluation({"acc": mean_of(np.array([1.0, 0.0]))}, {"hit": np.array([1.0, 0.0])})
    other = pandas.DataFrame({"sample_id": names, "hit": [1.0] * len(names)})
    with pytest.raises(UsageError, match=r"^mine@birds is not comparable: the runs hold other samples$"):
        differences(held((record, table)), held((record, other)))


def test_the_interval_is_seeded_by_the_base_run() -> None:
    rng = np.random.default_rng(6)
    before, after = rng.random(50), rng.random(50)
    first = differences(of_hits(before), of_hits(after))
    assert differences(of_hits(before), of_hits(after)) == first
    reseeded = replace(of_hits(before), result=replace(of_hits(before).result, seed=7))
    assert bounds(differences(reseeded, of_hits(after))[0]) != bounds(first[0])


def null_runs(n_trials: int, *, n_clusters: int | None = None, smooth: bool = False) -> list[Held]:
    """Return two runs of as many metrics, each on draws of its own, that agree but for chance.

    A sample is right with a chance that both models share; each has its own luck, the same in a whole cluster.
    """
    rng = np.random.default_rng(7)
    n = 300
    groups = np.arange(n) if n_clusters is None else np.arange(n) % n_clusters
    runs = []
    chances = rng.beta(1, 1, (groups.max() + 1, n_trials))[groups]
    for _ in range(2):
        luck = rng.random((groups.max() + 1, n_trials))[groups]
        hits = (luck < chances).astype(float)
        columns = {f"c{k}": hits[:, k] - hits[:, k].mean() if smooth else hits[:, k] for k in range(n_trials)}
        metrics = {
            f"m{k}": Metric(value=float(hits[:, k].mean()), **{"influence" if smooth else "column": f"c{k}"})  # type: ignore[arg-type]
            for k in range(n_trials)
        }
        clusters = {} if n_clusters is None else {"cluster": groups}
        runs.append(held(evaluation(metrics, {**columns, **clusters})))
    return runs


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("n_clusters", [None, 100])
def test_without_a_true_difference_the_interval_holds_zero_nineteen_times_in_twenty(
    n_clusters: int | None, *, smooth: bool
) -> None:
    found = differences(*null_runs(1200, n_clusters=n_clusters, smooth=smooth))
    assert len(found) == 1200
    holding = [low <= 0 <= high for low, high in map(bounds, found)]
    assert 0.93 <= np.mean(holding) <= 0.97

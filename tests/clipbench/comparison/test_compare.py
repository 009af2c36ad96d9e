"""Differences between two runs of the same samples: size and interval, and what must not be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.stats

from clipbench import api
from clipbench.comparison.compare_runs import compare, differences
from clipbench.comparison.gate_rules import Tolerance
from clipbench.comparison.metric_difference import Difference, Flips, Verdict
from clipbench.comparison.records import CompareOptions, Comparison, Refusal
from clipbench.errors import ClipbenchError, NotComparable, UsageError
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, StatisticRecord
from clipbench.results.run import Run
from clipbench.stats import significance
from tests.made import record_of, result_of

Z = 1.959963984540054


@dataclass(frozen=True)
class Held(Run):
    """A run whose tables are in memory."""

    tables: Sequence[pandas.DataFrame] = ()

    def samples(self, evaluation: EvaluationRecord | str) -> pandas.DataFrame:
        assert not isinstance(evaluation, str)
        return self.tables[int(evaluation.files["samples"])]


def held(*evaluations: tuple[EvaluationRecord, pandas.DataFrame], name: str = "run", seed: int = 0) -> Held:
    records = [replace(record, files={"samples": str(index)}) for index, (record, _) in enumerate(evaluations)]
    return Held(Path(name), result_of(*records, seed=seed, model={}), [table for _, table in evaluations])


def evaluation(
    metrics: Mapping[str, Metric], columns: Mapping[str, np.ndarray], **changes: Any
) -> tuple[EvaluationRecord, pandas.DataFrame]:
    """Return a record and its table, with the samples named a, b, c, ..., unless it names them."""
    n = len(next(iter(columns.values())))
    names = {"sample_id": np.array([f"s{k:04}" for k in range(n)], object)}
    dataset = DatasetRecord(id="birds", fingerprint="f1", n_samples=4)
    record = record_of("mine", **{"dataset": dataset, "metrics": metrics, **changes})
    return record, pandas.DataFrame({**names, **columns})


def mean_of(values: np.ndarray, column: str = "hit", **changes: Any) -> Metric:
    facts = {"n": int(np.isfinite(values).sum()), "higher_is_better": True, **changes}
    return Metric(value=float(np.nanmean(values)), column=column, **facts)


def of_hits(values: np.ndarray, **changes: Any) -> Held:
    """Return a run of one metric, the mean of a column."""
    return held(evaluation({"acc": mean_of(values)}, {"hit": values}, **changes))


def bounds(difference: Difference) -> tuple[float, float]:
    assert difference.low is not None and difference.high is not None
    return difference.low, difference.high


def test_a_mean_s_difference_is_the_mean_of_the_differences_with_their_interval() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 2, 500).astype(float)
    after = np.where(rng.random(500) < 0.2, 1.0, before)
    (result,) = differences(of_hits(before), of_hits(after))
    rows = after - before
    assert result.value == pytest.approx(rows.mean())
    half = Z * rows.std(ddof=1) / np.sqrt(500)
    assert bounds(result) == pytest.approx((rows.mean() - half, rows.mean() + half), abs=0.15 * half)
    assert (result.evaluation, result.name, result.n) == ("mine@birds", "acc", 500)
    assert result.method == "gains and losses by Wilson"


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
    (result,) = differences(*runs)
    half = Z * shift[::5].std(ddof=1) / np.sqrt(80)
    low, high = bounds(result)
    assert half <= (high - low) / 2 <= 1.2 * half
    assert result.method == "Bayesian bootstrap of 80 clusters, with one unseen"


def test_values_of_other_samples_are_not_paired() -> None:
    before, after = np.array([1.0, 0.0, np.nan, 1.0] * 20), np.array([1.0, 1.0, 0.0, np.nan] * 20)
    (result,) = differences(of_hits(before), of_hits(after))
    assert result.value == pytest.approx(0)
    assert (result.low, result.high, result.n) == (None, None, 40)
    assert result.method == "no paired interval: the runs have values for different samples"


def test_a_value_that_is_no_mean_has_a_difference_without_an_interval() -> None:
    columns = {"hit": np.array([1.0, 0.0])}
    metrics = [{"ece": Metric(value=value, low=0.0, high=1.0, n=2)} for value in (0.1, 0.4)]
    (result,) = differences(*(held(evaluation(metric, columns)) for metric in metrics))
    assert result.value == pytest.approx(0.3) and (result.low, result.high, result.n) == (None, None, 2)
    assert result.method == "no paired interval: no per-sample values are recorded"


def test_what_contradicts_its_samples_or_is_there_twice_is_not_compared() -> None:
    hits = {"hit": np.array([1.0, 1.0, 0.0, 1.0])}
    good = evaluation({"acc": mean_of(hits["hit"])}, hits)
    wrong = evaluation({"acc": Metric(value=0.9, column="hit", n=4)}, hits)
    empty = evaluation({"acc": Metric(value=0.75, column="hit", n=4)}, {"hit": np.full(4, np.nan)})
    gone = evaluation({"acc": Metric(value=0.75, column="gone", n=4)}, hits)
    failed = (replace(good[0], status="unavailable", reason="no data", metrics={}), good[1])
    other = evaluation({"acc": mean_of(hits["hit"])}, hits, dataset=DatasetRecord(id="bees", fingerprint="f2"))
    for candidate, message in (
        ([wrong], "acc is 0.9, but its samples give 0.75: the run is damaged"),
        ([empty], "no sample has a value in the column 'hit'"),
        ([gone], "no sample has a value in the column 'gone'"),
        ([good, good], "has it 2 times"),
        ([failed], "is unavailable in"),
        ([good, wrong], "has it 2 times"),
    ):
        comparison = compare(held(good, other), held(*candidate, other))
        assert [difference.evaluation for difference in comparison.refused] == [
            good[0].name
        ] and message in comparison.refused[0].reason
        assert {difference.evaluation for difference in comparison.differences} == {other[0].name}


def test_an_evaluation_that_was_made_twice_is_paired_with_the_one_of_its_parameters() -> None:
    hits = {k: np.array([1.0, 0.0, k, 1.0]) for k in (0, 1)}
    both = [evaluation({"acc": mean_of(hits[k])}, {"hit": hits[k]}, params={"k": k}) for k in (0, 1)]
    result = differences(held(*both), held(*reversed(both)))
    assert [metric.value for metric in result] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": DatasetRecord(id="birds", fingerprint="f2")},
            "contents of the data differ",
        ),
        (
            {"dataset": DatasetRecord(id="birds", fingerprint="f2", n_samples=7)},
            "number of samples 4 in the one run, 7 in the other",
        ),
        ({"params": {"k": 5}}, "k not given in the one run, 5 in the other"),
        ({"task_version": 2}, "task version 1 in the one run, 2 in the other"),
    ],
)
def test_what_was_measured_otherwise_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    values = np.array([1.0, 0.0])
    with pytest.raises(UsageError, match=rf"^mine@birds is not comparable: {message}$"):
        differences(of_hits(values), of_hits(values, **changes))


def flipped(n: int, *, gained: int, lost: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hits of two models: those of the second are more by what it gained and fewer by what it lost."""
    before = np.array([0.0] * gained + [1.0] * lost + [1.0, 0.0] * ((n - gained - lost) // 2))
    after = before.copy()
    after[: gained + lost] = 1 - after[: gained + lost]
    return before, after


def test_independent_hits_are_tested_by_mcnemar() -> None:
    before, after = flipped(400, gained=30, lost=12)
    (result,) = differences(of_hits(before), of_hits(after))
    assert result.test == "exact McNemar, 30 gained and 12 lost"
    assert result.p_value == pytest.approx(scipy.stats.binomtest(30, 42).pvalue)
    assert result.p_adjusted == result.p_value
    assert result.verdict == "better"
    assert differences(of_hits(after), of_hits(before))[0].verdict == "worse"


def test_clustered_hits_are_as_many_as_their_clusters() -> None:
    before, after = flipped(60, gained=30, lost=0)
    clusters = {"cluster": np.repeat(np.arange(6), 10)}  # all that was gained lies in three of them
    runs = [
        held(evaluation({"acc": mean_of(hits_of_run)}, {"hit": hits_of_run, **clusters}))
        for hits_of_run in (before, after)
    ]
    (result,) = differences(*runs)
    assert result.test == "interval of 6 clusters, inverted"
    assert result.p_value == pytest.approx(2 * scipy.stats.beta(3, 0.75).cdf(0.5), rel=0.05)
    assert result.verdict == "not shown"


def test_credits_that_change_alike_are_tested_more_carefully_than_the_throws_of_a_coin() -> None:
    rng = np.random.default_rng(8)
    before = rng.choice([0, 0.5, 1], 200)
    after = np.clip(before + rng.choice([-0.5, 0, 0.5], 200, p=[0.1, 0.7, 0.2]), 0, 1)
    (result,) = differences(of_hits(before), of_hits(after))
    gained, changed = int((after > before).sum()), int((after != before).sum())
    assert result.test == "interval of 200 samples, inverted"
    p_of_coin = scipy.stats.binomtest(gained, changed).pvalue
    assert result.p_value is not None and p_of_coin <= result.p_value <= 2 * p_of_coin  # others may change by 1
    assert differences(of_hits(before), of_hits(after))[0].p_value == result.p_value


@pytest.mark.parametrize(("n_clusters", "size"), [(300, 1), (60, 4), (11, 6)])
def test_a_smooth_value_has_student_s_t_of_the_differences_of_its_influences(n_clusters: int, size: int) -> None:
    rng = np.random.default_rng(n_clusters)
    clusters, n = np.repeat(np.arange(n_clusters), size), n_clusters * size
    columns = [rng.normal(size=n_clusters)[clusters] + rng.normal(size=n) for _ in range(2)]
    columns = [column - column.mean() for column in columns]
    shared = {} if size == 1 else {"cluster": clusters}
    runs = [
        held(evaluation({"gap": Metric(value=value, influence="i", unit="distance")}, {"i": column, **shared}))
        for value, column in zip((0.5, 0.9), columns, strict=True)
    ]
    (result,) = differences(*runs)
    sums = np.bincount(clusters, columns[1] - columns[0])
    error, law = np.sqrt((sums**2).sum() * n_clusters / (n_clusters - 1)) / n, scipy.stats.t(n_clusters - 1)
    assert result.value == pytest.approx(0.4)
    assert bounds(result) == pytest.approx((0.4 - law.ppf(0.975) * error, 0.4 + law.ppf(0.975) * error))
    assert result.method == ("delta method" if size == 1 else f"delta method over {n_clusters} clusters")
    assert result.test == "t-test (delta method)"
    assert result.p_value == pytest.approx(2 * law.sf(0.4 / error))
    assert result.detectable == pytest.approx((law.ppf(0.975) + law.ppf(0.8)) * error)
    assert result.p_value is not None and result.p_value == pytest.approx(2 * law.sf(0.4 / error))


def test_a_metric_without_a_column_is_not_tested_and_not_counted_among_the_tested() -> None:
    before, after = flipped(100, gained=12, lost=2)
    runs = [
        held(evaluation({"acc": mean_of(hits_of_run), "ece": Metric(value=0.1, n=100)}, {"hit": hits_of_run}))
        for hits_of_run in (before, after)
    ]
    acc, ece = compare(runs[0], runs[1]).differences
    assert (ece.test, ece.p_value, ece.p_adjusted) == (
        "no test: no per-sample values are recorded",
        None,
        None,
    )
    assert acc.p_adjusted == acc.p_value


def test_headlines_are_one_family_and_all_other_metrics_another() -> None:
    changes = [(12, 2), (10, 2), (20, 2), (4, 4)]
    columns = [flipped(100, gained=gained, lost=lost) for gained, lost in changes]
    runs = []
    for side in (0, 1):
        hits = {f"hit{k}": pair[side] for k, pair in enumerate(columns)}
        metrics = {f"acc{k}": mean_of(hits[f"hit{k}"], f"hit{k}", higher_is_better=True) for k in range(4)}
        metrics["acc3"] = replace(
            metrics["acc3"], is_headline=True
        )  # the first that is marked, or else the first of all
        first, second = ({name: metrics[name] for name in names} for names in (("acc0", "acc1"), ("acc2", "acc3")))
        other = DatasetRecord(id="bees", fingerprint="f2")
        undefined = {"acc4": Metric(value=None, is_headline=True), "acc5": metrics["acc1"]}  # no other takes its place
        third = evaluation(undefined, hits, dataset=DatasetRecord(id="cats", fingerprint="f3"))
        runs.append(held(evaluation(first, hits), evaluation(second, hits, dataset=other), third))
    result = {difference.name: difference for difference in compare(runs[0], runs[1]).differences}
    assert [name for name, difference in result.items() if difference.is_headline] == ["acc0", "acc3"]
    p = {f"acc{k}": scipy.stats.binomtest(gained, gained + lost).pvalue for k, (gained, lost) in enumerate(changes)}
    p["acc5"] = p["acc1"]
    for names in (("acc0", "acc3"), ("acc1", "acc2", "acc5")):
        expected = significance.holm([p[name] for name in names])
        assert [result[name].p_adjusted for name in names] == pytest.approx(expected)


def test_more_metrics_hide_no_loss_of_a_headline() -> None:
    before, after = flipped(200, gained=4, lost=20)
    rng = np.random.default_rng(0)
    other_hits = {f"other{k}": rng.integers(0, 2, 200).astype(float) for k in range(40)}
    p_values = []
    for n in (0, 40):
        runs = []
        for hits in (before, after):
            columns = {"hit": hits, **dict(list(other_hits.items())[:n])}
            metrics = {name: mean_of(column, name, higher_is_better=True) for name, column in columns.items()}
            runs.append(held(evaluation(metrics, columns)))
        difference = compare(runs[0], runs[1]).differences[0]
        assert difference.verdict == "worse"
        p_values.append(difference.p_adjusted)
    assert p_values[0] == p_values[1]


@pytest.mark.parametrize(
    ("higher_is_better", "margin", "verdict"),
    [
        (True, "0", "better"),
        (False, "0", "worse"),
        (None, "0", "different"),
        (True, "20pp", "equivalent"),
        (True, "10pp", "better"),  # the interval reaches beyond 0.1
    ],
)
def test_the_verdict_is_of_direction_and_size(higher_is_better: bool | None, margin: str, verdict: Verdict) -> None:
    columns = flipped(200, gained=20, lost=4)
    runs = [
        held(evaluation({"acc": mean_of(column, higher_is_better=higher_is_better)}, {"hit": column}))
        for column in columns
    ]
    (result,) = compare(
        runs[0], runs[1], CompareOptions(equivalence_margin=Tolerance.parse_option(margin, "equivalence_margin"))
    ).differences
    assert result.value == pytest.approx(0.08) and 0.1 < bounds(result)[1] < 0.2
    assert result.verdict == verdict


def test_the_verdict_is_by_the_p_value_at_the_alpha_that_was_asked_for() -> None:
    before, after = flipped(40, gained=5, lost=0)  # McNemar: 2 / 2^5
    (result,) = compare(of_hits(before), of_hits(after)).differences
    assert bounds(result)[0] == 0
    assert (result.p_value, result.verdict) == (0.0625, "not shown")
    for alpha in (0.0625, 0.1):
        (result,) = compare(of_hits(before), of_hits(after), CompareOptions(alpha=alpha)).differences
        assert result.verdict == "better"


def test_a_metric_with_a_direction_in_one_run_only_is_refused() -> None:
    hits = np.array([1.0, 0.0])
    undirected = held(evaluation({"acc": mean_of(hits, higher_is_better=None)}, {"hit": hits}))
    with pytest.raises(NotComparable, match="higher_is_better of acc is None in the one run, True in the other"):
        differences(undirected, of_hits(hits))


def test_equal_samples_are_no_evidence_that_the_models_are_equal() -> None:
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    (result,) = compare(
        of_hits(hits),
        of_hits(hits),
        CompareOptions(equivalence_margin=Tolerance.parse_option("10pp", "equivalence_margin")),
    ).differences
    assert (result.value, result.p_value) == (0, 1)
    assert result.low == pytest.approx(0.025**0.25 - 1) and result.high == pytest.approx(1 - 0.025**0.25)
    assert (result.detectable, result.verdict) == (None, "not shown")
    assert result.flips == Flips((), ())


def test_a_detectable_difference_is_of_the_alpha_that_was_asked_for() -> None:
    before, after = flipped(400, gained=30, lost=12)
    detectables = [
        compare(of_hits(before), of_hits(after), CompareOptions(alpha=alpha)).differences[0].detectable
        for alpha in (0.05, 0.01)
    ]
    error = (after - before).std(ddof=1) / 20
    expected = [
        (scipy.stats.t.isf(alpha / 2, 399) + scipy.stats.t.ppf(0.8, 399)) * error + 1 / 400 for alpha in (0.05, 0.01)
    ]
    assert detectables == pytest.approx(expected)


def test_samples_that_flipped_are_named_the_largest_change_first() -> None:
    before = np.array([0.25, 1.0, 0.5, 0.0, 1.0, np.nan, 1.0])
    after = np.array([0.5, 0.0, 1.0, 1.0, 0.5, np.nan, 1.0])
    (result,) = differences(of_hits(before), of_hits(after))
    # Of hits, 0 to 1 alone is a flip: a tie has part of the credit.
    assert result.flips == Flips(
        gained=("s0003",), lost=("s0001",), part_gained=("s0002", "s0000"), part_lost=("s0004",)
    )


@pytest.mark.parametrize(
    ("unit", "values"), [("cosine", [0.1, 0.9]), ("difference", [0.0, 1.0]), ("fraction", [0.0, 1.5])]
)
def test_only_credits_flip(unit: str, values: list[float]) -> None:
    columns = np.array(values), np.array(values[::-1])
    runs = [held(evaluation({"m": mean_of(column, unit=unit)}, {"hit": column})) for column in columns]
    assert differences(*runs)[0].flips is None


def test_what_must_not_be_compared_is_refused_and_the_rest_is_compared() -> None:
    hits = np.array([1.0, 0.0, 1.0])
    same, other = (DatasetRecord(id="bees", fingerprint=name) for name in ("f2", "f3"))
    first = held(
        evaluation({"acc": mean_of(hits)}, {"hit": hits}),
        evaluation({"acc": mean_of(hits)}, {"hit": hits}, dataset=same),
    )
    second = held(
        evaluation({"acc": mean_of(hits)}, {"hit": hits}),
        evaluation({"acc": mean_of(hits)}, {"hit": hits}, dataset=other, task_version=2),
    )
    comparison = compare(first, second)
    assert [difference.evaluation for difference in comparison.differences] == ["mine@birds"]
    reason = "task version 1 in the one run, 2 in the other; contents of the data differ"
    assert comparison.refused == [Refusal("mine@bees", reason)]
    with pytest.raises(NotComparable, match=r"^mine@bees is not comparable: task version 1 in"):
        differences(first, second)


def test_nothing_that_is_left_out_is_hidden() -> None:
    hits = {"hit": np.array([1.0, 0.0])}
    metrics, undefined = mean_of(hits["hit"]), Metric(value=None, reason="of two classes")
    ants, bees = (DatasetRecord(id=name, fingerprint=name) for name in ("ants", "bees"))
    failed = {"status": "failed", "reason": "no images"}
    first = held(
        evaluation({"a": metrics, "b": metrics, "c": undefined}, hits), evaluation({"a": metrics}, hits, dataset=ants)
    )
    second = held(
        evaluation({"a": metrics, "b": undefined, "d": metrics}, hits), evaluation({}, hits, dataset=bees, **failed)
    )
    comparison = compare(first, replace(second, folder=Path("new")))
    assert [str(refusal) for refusal in comparison.refused] == [
        "mine@ants is not comparable: new has not measured it",
        "mine@birds/b is not comparable: it has no value in new (of two classes)",
    ]
    assert comparison.notes == [
        "mine@bees is failed in the candidate: no images",
        "mine@birds/d is not compared: it has no value in the base (it is not there)",
    ]
    assert len(differences(first, second)) == 1


def test_runs_without_a_common_value_are_not_comparable() -> None:
    hits = {"hit": np.array([1.0, 0.0])}
    runs = [held(evaluation({name: mean_of(hits["hit"])}, hits)) for name in ("a", "b")]
    with pytest.raises(NotComparable, match=r"^mine@birds/a is not comparable: it has no value in run"):
        compare(runs[0], runs[1])


@pytest.mark.parametrize("is_twice", [(True, True), (True, False), (False, True)])
def test_samples_that_are_there_twice_are_not_paired(is_twice: tuple[bool, bool]) -> None:
    record, table = evaluation({"acc": mean_of(np.array([1.0, 0.0]))}, {"hit": np.array([1.0, 0.0])})
    base, candidate = (held((record, table.assign(sample_id=["s1", "s1"]) if twice else table)) for twice in is_twice)
    with pytest.raises(
        NotComparable, match=r"^mine@birds is not comparable: samples cannot be paired: the sample id 's1' appears tw"
    ):
        compare(base, candidate)


HITS = np.array([0.0, 1.0, 1.0, 0.0])
TEXTS = np.array(["a", "b", "c", "d"], object)
LENGTHS = StatisticRecord(name="first_length_reaching", columns=["hit"], parameters={"lengths": "x", "share": 0.5})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"column": "text"}, "the column 'text' of its samples is not of numbers"),
        ({"influence": "text"}, "the column 'text' of its samples is not of numbers"),
        (
            {"statistic": LENGTHS},
            r"its first_length_reaching cannot be computed \(.*\)",
        ),
    ],
)
def test_a_metric_that_its_samples_do_not_fit_is_one_line(metric: dict[str, Any], message: str) -> None:
    comparison = held(evaluation({"m": Metric(value=0.5, **metric)}, {"hit": HITS, "text": TEXTS}))
    with pytest.raises(
        ClipbenchError, match=f"^mine@birds/m cannot be compared: {message}: a run is damaged, make it a"
    ):
        compare(comparison, comparison)


@pytest.mark.parametrize(
    "metric",
    [{"squared_influence": "hit", "chance": 0.1}, {"unit": "bytes", "reason": "float16 loses less than 1 point"}],
)
def test_a_metric_without_the_column_beside_its_own_is_not_tested(metric: dict[str, Any]) -> None:
    comparison = held(evaluation({"m": Metric(value=0.5, **metric)}, {"hit": HITS}))
    (result,) = compare(comparison, comparison).differences
    assert result.test == "no test: no per-sample values are recorded"


def test_a_value_without_samples_is_not_tested_for_the_reason_that_it_has_no_interval() -> None:
    spread = Metric(value=12.5, unit="dimensions", reason="biased by the number of samples: no interval")
    comparison = held(evaluation({"effective_rank": spread}, {"hit": HITS}))
    (result,) = compare(comparison, comparison).differences
    assert (result.test, result.p_value) == ("no test: biased by the number of samples", None)


def test_ids_and_clusters_of_several_types_are_texts() -> None:
    odd = np.array([1, "a", None, 2.5], object)
    comparison = held(evaluation({"acc": mean_of(HITS)}, {"hit": HITS, "sample_id": odd, "cluster": odd}))
    assert [difference.value for difference in compare(comparison, comparison).differences] == [0]


def test_tables_that_are_missing_or_damaged_are_one_line(tmp_path: Path) -> None:
    record, table = evaluation({"acc": mean_of(np.array([1.0, 0.0]))}, {"hit": np.array([1.0, 0.0])})
    record = replace(record, files={"samples": "samples.parquet"})
    run = Run(tmp_path, replace(of_hits(np.array([1.0])).result, evaluations=[record]))
    with pytest.raises(ClipbenchError, match=r"^run .* lacks samples\.parquet: the run is damaged, make it again$"):
        compare(run, run)
    (tmp_path / "samples.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(
        ClipbenchError, match=r"^cannot read the samples of mine@birds in .* the run is damaged, make it"
    ):
        compare(run, run)
    table.drop(columns="sample_id").to_parquet(tmp_path / "samples.parquet")
    with pytest.raises(
        ClipbenchError, match=r"^the samples of mine@birds in .* have no sample_id to pair them by: make"
    ):
        compare(run, run)


def test_the_test_of_a_mean_draws_nothing() -> None:
    rng = np.random.default_rng(10)
    before, after = rng.random(60), rng.random(60)
    metric = {"unit": "cosine"}
    first, other = (
        differences(
            *(
                held(evaluation({"m": mean_of(hits_of_run, **metric)}, {"hit": hits_of_run}), seed=seed)
                for hits_of_run in (before, after)
            )
        )
        for seed in (0, 1)
    )
    assert first == other


@pytest.mark.parametrize("alpha", [0.0, 1e-300, 0.51, 1.0, -0.1, float("nan")])
def test_alpha_is_a_chance(alpha: float) -> None:
    with pytest.raises(UsageError, match=r"^alpha=.*: expected 1e-06 to 0\.5, such as 0\.05$"):
        CompareOptions(alpha=alpha)


@pytest.mark.parametrize("margin", ["-0.1", "nan", "little", ""])
def test_an_equivalence_margin_is_a_size(margin: str) -> None:
    runs = [of_hits(hits) for hits in flipped(50, gained=5, lost=4)]
    with pytest.raises(
        UsageError, match=r"^equivalence_margin '.*': expected 0\.5pp \(percentage points\), 1% .* or 0$"
    ):
        api.compare(*runs, equivalence_margin=margin)


def test_an_equivalence_margin_has_a_unit() -> None:
    runs = [of_hits(hits) for hits in flipped(50, gained=5, lost=4)]
    with pytest.raises(
        UsageError, match=r"^equivalence_margin='0\.5' has no unit: write 0\.5pp \(points\) or 0\.5% \(of"
    ):
        api.compare(*runs, equivalence_margin="0.5")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_drop": 5}, r"^max_drop=5 has no unit: write 5pp \(points\) or 5% \(of the base's value\)$"),
        ({"max_drop": 0.5}, r"^max_drop=0\.5 has no unit: write 0\.5pp"),
        ({"max_drop": ""}, r"^max_drop '': expected 0\.5pp"),
        ({"equivalence_margin": 1}, r"^equivalence_margin=1 has no unit: write 1pp"),
        ({"gate": ""}, r"^gate '': expected a file, such as clipbench-gate\.toml$"),
        ({"gate": {}}, r"^the gate gates nothing: add a limit"),
        ({"require": ""}, r"^require '': expected a list, such as \['acc1 >= 63%'\]$"),
        ({"require": "acc1 >= 63%"}, r"^require 'acc1 >= 63%': expected a list"),
    ],
)
def test_a_limit_without_unit_and_an_empty_gate_are_refused(arguments: dict[str, Any], words: str) -> None:
    runs = [of_hits(hits) for hits in flipped(50, gained=5, lost=4)]
    with pytest.raises(UsageError, match=words):
        api.compare(*runs, **arguments)


def test_zero_as_a_number_is_a_limit() -> None:
    runs = [of_hits(hits) for hits in flipped(50, gained=0, lost=20)]
    assert api.compare(*runs, max_drop=0).exit_status == 1


def test_a_comparison_is_a_table_with_a_row_for_each_metric() -> None:
    rng = np.random.default_rng(11)
    before = rng.integers(0, 2, 60).astype(float)
    metrics = {"acc": mean_of(before), "hub": Metric(value=0.25, unit="cosine")}
    base = held(evaluation(metrics, {"hit": before}), name="one")
    after = np.ones(60)
    candidate = held(evaluation({**metrics, "acc": mean_of(after)}, {"hit": after}), name="other")
    comparison = compare(base, candidate)
    table = comparison.frame()
    assert [*zip(table["task"], table["data"], table["metric"], strict=True)] == [
        ("mine", "birds", "acc"),
        ("mine", "birds", "hub"),
    ]
    first, second = comparison.differences
    row = table.iloc[0]
    assert (row["base"], row["candidate"], row["verdict"], row["unit"]) == ("one", "other", "better", "fraction")
    assert (row["base_value"], row["candidate_value"], row["difference"]) == (before.mean(), 1.0, first.value)
    assert (row["low"], row["high"], row["p_value"], row["p_adjusted"]) == (
        first.low,
        first.high,
        first.p_value,
        first.p_adjusted,
    )
    assert table.dtypes["n"] == np.int64 and row["n"] == 60
    assert second.low is None and np.isnan(table["low"][1]) and table["verdict"][1] == "not tested"
    empty = Comparison(base="a", candidate="b", differences=[]).frame()
    assert len(empty) == 0 and list(empty.columns) == list(table.columns)
    named = replace(comparison, base="caf\udce9").frame()  # the name of a folder need not be Unicode
    assert named["base"].tolist() == ["caf?", "caf?"]


@pytest.mark.parametrize(
    ("margin", "verdicts"),
    [
        ("20pp", {"acc": "equivalent", "rank": "better"}),
        ("50%", {"acc": "equivalent", "rank": "equivalent"}),
        ("0", {"acc": "better", "rank": "better"}),
    ],
)
def test_the_equivalence_margin_is_of_metrics_whose_unit_it_suits(margin: str, verdicts: dict[str, Verdict]) -> None:
    runs = []
    for hits in flipped(200, gained=20, lost=4):
        metrics = {"acc": mean_of(hits), "rank": mean_of(hits, unit="rank", column="rank")}
        runs.append(held(evaluation(metrics, {"hit": hits, "rank": hits})))
    assert {
        difference.name: difference.verdict for difference in api.compare(*runs, equivalence_margin=margin).differences
    } == verdicts

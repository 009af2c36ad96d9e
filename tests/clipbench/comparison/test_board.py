"""The board of several models: ranks, mean ranks, tables, and what is refused."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

import clipbench as cb
from clipbench.errors import NotComparable, UsageError
from clipbench.results.export.formats import export
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, write_result
from tests.made import record_of, result_of

MakeRuns = Callable[..., list[Run]]
N = 120


def write_run(folder: Path, name: str, hits: dict[str, np.ndarray]) -> Run:
    """Write a run of a model with an evaluation of hits for each data set."""
    (folder / "samples").mkdir(parents=True)
    records = []
    for number, (data, column) in enumerate(hits.items()):
        file = f"samples/{number}.parquet"
        pd.DataFrame({"sample_id": [f"s{row}" for row in range(len(column))], "hit": column}).to_parquet(folder / file)
        metric = Metric(
            value=float(column.mean()),
            low=0.0,
            high=1.0,
            n=len(column),
            higher_is_better=True,
            column="hit",
            title="Hit rate",
            is_headline=True,
        )
        dataset = DatasetRecord(id=data, n_samples=len(column), fingerprint=f"{data} {len(column)}")
        records.append(record_of("zero-shot", dataset, metrics={"acc1": metric}, files={"samples": file}))
    write_result(result_of(*records, model={"ref": name}), folder)
    return cb.read_run(folder)


def with_metric(run: Run, name: str = "acc1", **changes: Any) -> Run:
    """Return a run whose one evaluation has one metric, changed."""
    (record,) = run.result.evaluations
    metrics = {name: replace(record.metrics[name], **changes)}
    return Run(run.folder, replace(run.result, evaluations=[replace(record, metrics=metrics)]))


@pytest.fixture
def make_runs(tmp_path: Path) -> MakeRuns:
    """Return a function that writes runs of models with these fractions of hits, on as many data sets."""

    def make(*shares: float, n_data: int = 1, n: int = N) -> list[Run]:
        runs = []
        for number, share in enumerate(shares):
            rng = np.random.default_rng(number)
            hits = {f"data-{data}": (rng.random(n) < share).astype(float) for data in range(n_data)}
            runs.append(write_run(tmp_path / f"run-{number}", f"model-{number}", hits))
        return runs

    return make


def test_models_that_nothing_separates_share_an_interval(make_runs: MakeRuns) -> None:
    frame = cb.board(*make_runs(0.9, 0.88, 0.3)).frame().set_index("model")
    assert frame.loc[["model-0", "model-1"], ["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert [*frame.loc["model-2", ["rank", "rank_low", "rank_high"]]] == [3, 3, 3]
    assert list(frame.columns[:5]) == ["task", "data", "metric", "value", "low"]


def test_where_lower_is_better_the_lowest_value_is_first(make_runs: MakeRuns) -> None:
    runs = make_runs(0.9, 0.1, 0.5)
    frame = cb.board(*(with_metric(run, higher_is_better=False) for run in runs)).frame()
    assert frame["model"].tolist() == ["model-1", "model-2", "model-0"] and frame["rank"].tolist() == [1, 2, 3]


def test_mean_ranks_are_over_the_tasks_that_rank_all_models(make_runs: MakeRuns) -> None:
    runs = make_runs(0.8, 0.7, 0.6, n_data=6)
    frame = cb.board(*runs).frame()
    values = frame[frame["task"] == "zero-shot"].pivot(index="data", columns="model", values="value")
    expected = np.mean([rankdata(-row) for row in values.to_numpy()], axis=0)
    for name in ("these_tasks", "new_tasks"):
        means = frame[frame["metric"] == name]
        assert means["value"].tolist() == sorted(means["value"]) and means["task"].eq("(mean rank)").all()
        assert means.sort_values("model")["value"].tolist() == pytest.approx(expected.tolist())
        assert (means["low"] <= means["value"]).all() and (means["value"] <= means["high"]).all()
    five = [Run(run.folder, replace(run.result, evaluations=run.result.evaluations[:5])) for run in runs]
    of_five = cb.board(*five).mean_ranks
    assert of_five is not None and of_five.new[0].low is None and of_five.new[0].reason == "fewer than 6 tasks"
    assert "no interval for new tasks: fewer than 6 tasks" in str(cb.board(*five))
    one = [Run(run.folder, replace(run.result, evaluations=run.result.evaluations[:1])) for run in runs]
    assert cb.board(*one).mean_ranks is None


def test_a_mean_rank_of_these_tasks_is_wider_than_the_ranks_of_one(make_runs: MakeRuns) -> None:
    board = cb.board(*make_runs(0.8, 0.62, 0.6, n_data=2))
    assert board.mean_ranks is not None
    for position, metric in enumerate(board.mean_ranks.these):
        lows, highs = zip(*((r.bounds().low[position], r.bounds().high[position]) for r in board.metrics), strict=True)
        assert metric.low is not None and metric.low <= np.mean(lows) and metric.high is not None
        assert metric.high >= np.mean(highs)


def test_a_median_is_ranked_by_a_test_of_each_pair_and_holm() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 16))
    texts = [x + spread * rng.standard_normal(x.shape) for spread in (0.3, 2.0, 2.0)]
    runs = [cb.run(cb.vectors(images=x, texts=text), "retrieval", preflight=False) for text in texts]
    frame = cb.board(*(with_metric(run, "text_retrieval_median_rank", is_headline=True) for run in runs)).frame()
    assert frame["rank_low"].tolist() == [1, 2, 2] and frame["rank_high"].tolist() == [1, 3, 3]


def test_tables_have_all_models_and_no_cell_is_a_formula(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(0.9, 0.88, 0.3)
    runs[0] = Run(runs[0].folder, replace(runs[0].result, model={"ref": "=1+1"}))
    board = cb.board(*runs)
    rows = list(csv.DictReader(io.StringIO(board.csv())))
    assert [row["model"] for row in rows] == ["model-1", "'=1+1", "model-2"]
    assert [float(row["value"]) for row in rows] == board.frame()["value"].tolist()
    assert f"| =1+1 | 1–2 | {100 * float(rows[1]['value']):.1f} % |" in board.markdown()
    paths = [tmp_path / f"run-{number}" for number in range(3)]
    assert export(paths, "board-csv").text == cb.board(*paths).csv()
    assert export(paths, "board", tmp_path / "board.md").written == [tmp_path / "board.md"]
    assert (tmp_path / "board.md").read_text() == cb.board(*paths).markdown()


def test_one_model_is_refused(make_runs: MakeRuns) -> None:
    with pytest.raises(UsageError, match=r"a board ranks models: got 1 run, expected at least 2\."):
        cb.board(*make_runs(0.5))
    with pytest.raises(UsageError, match="got 0 runs"):
        cb.board()


def test_models_without_common_samples_are_refused(make_runs: MakeRuns, tmp_path: Path) -> None:
    (first,) = make_runs(0.5)
    other = write_run(tmp_path / "other", "other", {"data-0": np.ones(N - 1)})
    with pytest.raises(NotComparable, match=r"no metric ranks these runs: zero-shot@data-0 .* number of samples 120"):
        cb.board(first, other)
    elsewhere = write_run(tmp_path / "elsewhere", "elsewhere", {"data-1": np.ones(N)})
    with pytest.raises(NotComparable, match=r"zero-shot@data-0 is not ranked: only .*run-0 has measured it"):
        cb.board(first, elsewhere)


def test_a_value_that_its_samples_contradict_is_not_ranked(make_runs: MakeRuns) -> None:
    runs = make_runs(0.9, 0.5, 0.3)
    runs[1] = with_metric(runs[1], value=0.99)
    with pytest.raises(NotComparable, match=r"acc1 is 0\.99, but its samples give 0\.4"):
        cb.board(*runs)


def test_a_model_without_an_evaluation_keeps_the_others_ranked(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(0.9, 0.5, n_data=2)
    partial = write_run(tmp_path / "partial", "partial", {"data-1": np.zeros(N)})
    board = cb.board(*runs, partial)
    by_data = board.frame().groupby("data")["model"].apply(sorted).to_dict()
    assert by_data == {"data-0": ["model-0", "model-1"], "data-1": ["model-0", "model-1", "partial"]}
    assert board.mean_ranks is None

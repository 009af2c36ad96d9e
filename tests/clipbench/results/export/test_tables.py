"""csv and parquet: what pandas reads of them is what the run holds; nothing is left out, not even what is missing."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas
import pyarrow.parquet
import pytest

from clipbench.results.export import FORMATS, export
from clipbench.results.record import EvaluationRecord, Metric, SlicesRecord, TowerRecord
from clipbench.results.run import Run

MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]


def read(kind: str, *runs: Run) -> pandas.DataFrame:
    content = io.BytesIO(FORMATS[kind].render(runs).content)
    return pandas.read_parquet(content) if kind == "parquet" else pandas.read_csv(content)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_row_holds_all_that_the_run_says_of_a_metric(make_run: MakeRun, kind: str) -> None:
    table = read(kind, make_run())
    (row,) = table[table.metric == "acc1"].to_dict("records")
    expected: dict[str, Any] = {
        "model": "vit-b-32",
        "model_id": "open_clip:ViT-B-32-quickgelu/openai",
        "fingerprint": "f00",
        "task": "zero-shot",
        "data": "imagenet",
        "split": "test",
        "status": "ok",
        "kind": "metric",
        "value": 0.625,
        "low": 0.5,
        "high": 0.75,
        "confidence": 0.95,
        "n": 1000,
        "unit": "fraction",
        "chance": 0.1,
        "higher_is_better": True,
        "method": "Wilson",
        "n_samples": 1000,
        "data_fingerprint": "da7a",
        "seed": 3,
        "created": "2026-11-24T12:00:00+00:00",
        "task_version": 1,
        "device": "cpu",
        "precision": "fp32",
    }
    assert {name: row[name] for name in expected} == expected
    assert {name: str(row[name]) for name in ("revision", "clipbench_version", "python", "torch")} == {
        "revision": "1",
        "clipbench_version": "9.1",
        "python": "3.11",
        "torch": "2.9",
    }
    assert json.loads(row["params"]) == {"ks": [1, 5]} and json.loads(row["notes"]) == ["500 classes"]
    assert json.loads(row["published"])[0]["value"] == 0.63


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_undefined_unavailable_or_a_control_has_its_row(make_run: MakeRun, kind: str) -> None:
    table = read(kind, make_run())
    assert table.metric.fillna("").tolist() == ["acc1", "acc5", "ece", "tie_rate", "", "gap", "drop"]
    assert table.kind.fillna("").tolist() == ["metric"] * 3 + ["control", ""] + ["metric"] * 2
    assert table.value.isna().tolist() == [False, True, False, False, True, False, False]
    assert table.reason[1] == "of only 3 classes" and table.reason[2] == "no interval: too few samples"
    assert table.status[4] == "unavailable" and table.reason[4] == "no folder coco: clipbench data get coco"


SLICES = SlicesRecord(of="images", groups={"de": {"acc1": Metric(value=0.5)}}, mean={"acc1": Metric(value=0.75)})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_slices_have_rows_of_their_own_kind(make_run: MakeRun, record: Record, kind: str) -> None:
    metrics = {"acc1": Metric(value=0.6)}
    table = read(kind, make_run(evaluations=[record("zero-shot", "birds", metrics, slices={"language": SLICES})]))
    rows = table[["kind", "metric", "grouping", "group", "value"]].fillna("").to_numpy().tolist()
    assert rows == [
        ["metric", "acc1", "", "", 0.6],
        ["slice", "acc1", "language", "de", 0.5],
        ["slice", "acc1", "language", "(mean)", 0.75],
    ]


def test_formats_without_a_place_for_slices_say_so(make_run: MakeRun, record: Record) -> None:
    acc1 = Metric(value=0.6, higher_is_better=True, is_headline=True)
    sliced = [record("zero-shot", data, {"acc1": acc1}, slices={"language": SLICES}) for data in ("cifar-10", "hf:a/b")]
    folder = make_run(evaluations=sliced).folder
    for name, form in FORMATS.items():
        if form.is_text:
            notes = [note for note in export([folder], name).notes if "slices by language" in note]
            assert len(notes) == (0 if form.has_slices else 2), name


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hostile_names_come_back_as_they_were(make_run: MakeRun, record: Record, hostile: str, kind: str) -> None:
    run = make_run(evaluations=[record("zero-shot", hostile, {hostile: Metric(value=0.1 + 0.2, n=3)})])
    table = read(kind, run)
    assert table.data.tolist() == [hostile] and table.metric.tolist() == [hostile]
    assert table.value.tolist() == pytest.approx([0.1 + 0.2], rel=1e-15)  # pandas 2 reads the last bit otherwise


def test_a_lone_surrogate_of_a_file_name_is_a_question_mark(make_run: MakeRun, record: Record) -> None:
    run = make_run()
    run.result.evaluations[:] = [record("zero-shot", "caf\udce9", {"acc1": Metric(value=0.5, n=2)})]
    for kind in ("csv", "parquet"):
        assert read(kind, run).data.tolist() == ["caf?"]
    for kind in ("markdown", "latex", "clip_benchmark", "model-index"):
        assert b"caf" in FORMATS[kind].render([run]).content


def test_a_column_has_its_type_even_where_nothing_is_known(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("retrieval", "coco", {}, status="failed")], model={}, environment={})
    table = pyarrow.parquet.read_table(io.BytesIO(FORMATS["parquet"].render([run]).content))
    types = {name: str(table.schema.field(name).type) for name in ("value", "n", "metric", "higher_is_better", "step")}
    assert types == {"value": "double", "n": "int64", "metric": "string", "higher_is_better": "bool", "step": "int64"}
    assert table.column("model").to_pylist() == ["unnamed model"] and table.column("value").null_count == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_say_what_the_model_costs(make_run: MakeRun, kind: str) -> None:
    run = make_run(model={"n_parameters": 7, "embed_dim": 512})
    tower = TowerRecord(n_parameters=87_849_216, flops=8_817_623_040, items_per_second=812.5)
    table = read(kind, replace(run, result=replace(run.result, towers={"image": tower})))
    row = table.iloc[0]
    assert (row["parameters"], row["image_parameters"], row["image_flops"]) == (7, 87_849_216, 8_817_623_040)
    assert (row["image_per_second"], row["bytes"]) == (812.5, 2048) and table["text_flops"].isna().all()


def test_rows_of_several_runs_tell_their_models_apart(make_run: MakeRun) -> None:
    table = read("csv", make_run("one"), make_run("two"), make_run("three", model={"ref": "tiny"}))
    assert table.model.unique().tolist() == ["vit-b-32 (one)", "vit-b-32 (two)", "tiny"]
    assert len(table) == 3 * 7


def test_equal_runs_give_equal_files(make_run: MakeRun, record: Record) -> None:
    acc1 = {"acc1": Metric(value=0.6, n=3, higher_is_better=True, is_headline=True)}
    run = make_run(evaluations=[record("zero-shot", "imagenet", acc1), record("zero-shot", "hf:a/b", acc1)])
    for name, form in FORMATS.items():
        assert form.render([run]) == form.render([run]), name

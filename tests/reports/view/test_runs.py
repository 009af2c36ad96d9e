"""The runs below a folder are found as they come, change and go, and a hostile one costs a row."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.errors import ClipbenchError
from clipbench.results.record import Metric
from clipbench_reports.view import runs as view_runs
from clipbench_reports.view.runs import HeadlineColumn, Row, Runs, filter_runs, metric_columns


@pytest.fixture
def runs(tmp_path: Path, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(view_runs, "PAUSE", 0.0)
    monkeypatch.setattr(view_runs, "PATIENCE", 60.0)
    parts.write_run(tmp_path / "series/step-1", {"retrieval@scenes": parts.retrieval(np.random.default_rng(0), n=4)})
    return tmp_path


def test_runs_that_come_change_and_go_are_seen(runs: Path) -> None:
    listed_runs = Runs(runs)
    (row,) = listed_runs.rows()
    assert (row.relative_path, row.data, row.tasks) == ("series/step-1", ["scenes"], ["retrieval"])
    before = listed_runs.version
    assert listed_runs.rows() == [row] and listed_runs.version == before
    shutil.copytree(runs / "series/step-1", runs / "other")
    assert {each.relative_path for each in listed_runs.rows()} == {
        "series/step-1",
        "other",
    } and listed_runs.version > before
    result = json.loads((runs / "other/result.json").read_text())
    (runs / "other/result.json").write_text(json.dumps({**result, "model": {"ref": "renamed"}}))
    assert {each.model for each in listed_runs.rows()} >= {"renamed"}
    shutil.rmtree(runs / "other")
    assert [each.relative_path for each in listed_runs.rows()] == ["series/step-1"]


def test_hostile_folders_cost_a_row_each(runs: Path) -> None:
    for name in ("link", "deep", "pipe", "other", "circle", "named"):
        (runs / name).mkdir()
    for link, target in (("loop", "loop"), ("long", "x" * 300), ("circle/result.json", "result.json")):
        (runs / link).symlink_to(target)
    result = json.loads((runs / "series/step-1/result.json").read_text())
    (runs / "named/result.json").write_text(json.dumps({**result, "model": {"ref": "n" * 200_000}}))
    (runs / "link/result.json").symlink_to("/etc/passwd")
    (runs / "outside").symlink_to("/etc")
    (runs / "round").symlink_to(runs)
    (runs / "deep/result.json").write_text("[" * 100_000)
    os.mkfifo(runs / "pipe/result.json")
    (runs / "other/result.json").write_text('{"schema_version": "1.0", "evaluations": [7, {"metrics": {"a": 1}}]}')
    faults = {row.relative_path: row.fault for row in Runs(runs).rows()}
    assert faults.pop("series/step-1") == ""
    words = {"link": "leads out", "outside": "leads out", "deep": "nested",
             "pipe": "FIFO", "other": "is not a clipbench result", "circle": "Too many levels",
             "named": "its names have 200,"}  # fmt: skip
    assert faults.keys() == words.keys()
    for key, fault in faults.items():
        assert words[key] in fault


def test_a_run_that_becomes_a_link_to_elsewhere_is_not_read(
    runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    result = Runs(runs)
    (row,) = result.rows()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(runs / "series/step-1", elsewhere / "run")
    (runs / "series/step-1").symlink_to(elsewhere / "run")
    with pytest.raises((ClipbenchError, KeyError)):
        result.open(row.id)


def row(name: str, model: str, value: float | None) -> Row:
    column = HeadlineColumn("Top-1 accuracy", "zero-shot@a", Metric(value=value))
    return Row(id=name, folder=Path(name), relative_path=name, model=model, created=name, columns={"acc": column})


def test_columns_that_most_runs_lack_wait_until_they_are_asked_for() -> None:
    full, rows = row("1", "a", 0.5), Row(id="2", folder=Path("2"), relative_path="2", model="b")
    assert view_runs.default_columns([full, rows], ["acc"]) == ["acc"]
    assert view_runs.default_columns([full, rows, rows], ["acc"]) == view_runs.default_columns([], ["acc"]) == []


def test_only_runs_of_the_same_samples_are_offered_against_one(runs: Path, parts: SimpleNamespace) -> None:
    changed: dict[str, dict[str, Any]] = {"same": {}, "other": {"params": {"k": 2}}, "failed": {"status": "failed"}}
    for key, changes in changed.items():
        task_parts = parts.retrieval(np.random.default_rng(0), n=4)
        parts.write_run(runs / key, {"retrieval@scenes": {**task_parts, **changes}})
    task_parts = Runs(runs)
    name = next(row.id for row in task_parts.rows() if row.relative_path == "series/step-1")
    assert [row.relative_path for row in task_parts.comparable(name, "retrieval@scenes")] == ["same"]
    assert task_parts.comparable(name, "zero-shot@scenes") == task_parts.comparable("nothing", "retrieval@scenes") == []


def test_runs_are_filtered_sorted_and_grouped() -> None:
    rows = [row("1", "b", 0.5), row("2", "a", None), row("3", "b", 0.9), row("4", "a", 0.7)]

    def order(**request: Any) -> str:
        return "".join(run.id for run in filter_runs(rows, **request))

    assert order() == "4321" and order(is_rising=True) == "1234"
    assert order(sort="acc") == "3412" and order(sort="acc", is_rising=True) == "1432"
    assert order(sort="acc", is_grouped=True) == "4231"
    assert order(sort="nothing") == "1234" and order(words="B") == "31"
    assert metric_columns(rows)["acc"].title == "Top-1 accuracy"

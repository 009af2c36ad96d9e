"""Runs that are damaged, unfinished or of a newer version, through every command that reads runs."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.comparison.compare_runs import compare
from clipbench.errors import ClipbenchError
from clipbench.results.record import SCHEMA_VERSION
from tests.cli.conftest import Call, Done

COMMANDS = (
    ("show", "run"),
    ("report", "run", "-o", "report.html"),
    ("compare", "run", "run"),
    ("plot", "gap", "run", "-o", "figure.svg"),
    ("export", "run", "--to", "csv", "-o", "file.csv"),
)


@pytest.fixture
def call(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that gives clipbench some arguments in a folder with a copy of the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(finished_run, "run")
    return call


def damage(how: Callable[[dict[str, Any]], None]) -> None:
    """Change the result of the copy."""
    file = Path("run/result.json")
    data = json.loads(file.read_text())
    how(data)
    file.write_text(json.dumps(data))


def acc1(data: dict[str, Any]) -> dict[str, Any]:
    """Return the first metric of a result."""
    result: dict[str, Any] = data["evaluations"][0]["metrics"]["acc1"]
    return result


def refused(done: Done, message: str) -> bool:
    return done.status == 2 and done.err.count("\n") == 1 and message in done.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_schema_and_an_unfinished_run_are_refused_in_one_line(call: Call, command: tuple[str, ...]) -> None:
    damage(lambda data: data.update(schema_version="2.0", evaluations="of another kind"))
    message = f"has schema version 2.0, expected at most {SCHEMA_VERSION}: update clipbench"
    assert refused(call(*command), message)
    Path("run/result.json").unlink()
    assert refused(call(*command), "no result.json in run")
    assert [path.name for path in Path().iterdir()] == ["run"]


WRONG: tuple[tuple[Callable[[dict[str, Any]], None], str], ...] = (
    (lambda data: data["evaluations"][0]["metrics"].update(acc1=[1]), r"metrics.acc1 is [1], expected an object"),
    (lambda data: acc1(data).update(value="high"), "evaluations[0].metrics.acc1.value is 'high', expected a number"),
    (lambda data: acc1(data).update(n=12.5), "metrics.acc1.n is 12.5, expected an integer"),
    (lambda data: acc1(data).update(value=True), "metrics.acc1.value is True, expected a number"),
    (lambda data: acc1(data).update(value=float("nan")), "metrics.acc1.value is nan, expected a number"),
    (lambda data: acc1(data).update(value=float("inf")), "metrics.acc1.value is inf, expected a number"),
    (lambda data: acc1(data).update(n=10**30), f"metrics.acc1.n is {10**30}, expected an integer below 2^63"),
    (lambda data: data["model"].update(n_parameters=10**400), "expected an integer below 2^63"),
    (
        lambda data: data["environment"].update(cpus=[2, {"of": float("nan")}]),
        "environment.cpus[1].of is nan, expected a number",
    ),
    (lambda data: data["evaluations"][0].update(status="done"), "status is 'done', expected one of ok, unavailable"),
    (lambda data: data.update(evaluations={}), "evaluations is {}, expected a list"),
    (lambda data: data["evaluations"][1].pop("dataset"), "evaluations[1].dataset is not there"),
    (
        lambda data: data["evaluations"][0].update(curves={"made": {"x": [1, 2], "y": [1]}}),
        "curves.made has 2 and 1 numbers, expected equal counts",
    ),
    (lambda data: data.update(model="tiny"), "model is 'tiny', expected an object"),
)


@pytest.mark.parametrize(("how", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_value_of_another_type_is_named_with_its_place(
    call: Call, how: Callable[[dict[str, Any]], None], message: str
) -> None:
    damage(how)
    for command in COMMANDS:
        assert refused(call(*command), message)


TABLE, ARRAYS = "samples/zero-shot@own.parquet", "arrays/modality-gap@own.npz"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (TABLE, b"PAR1 and no more", "cannot read the samples of zero-shot@embeddings in run"),
        (TABLE, None, "run run lacks zero-shot@own.parquet: the run is damaged, make it again"),
        (ARRAYS, b"PK\x03\x04 and no more", "cannot read the arrays of modality-gap@embeddings in run"),
        (ARRAYS, None, "run run lacks modality-gap@own.npz: the run is damaged, run again with --keep-arrays"),
    ],
)
def test_the_report_says_which_file_is_missing_or_damaged_and_a_comparison_does_not_pass_over_it(
    call: Call, finished_run: Path, file: str, content: bytes | None, message: str
) -> None:
    Path("run", file).unlink()
    if content is not None:
        Path("run", file).write_bytes(content)
    assert call("report", "run", "-o", "report.html").status == 0
    page = Path("report.html").read_text()
    assert message in page and "image_cone" in page
    if file == TABLE:
        done = call("compare", finished_run, "run")
        assert refused(done, message) and not done.out


Change = Callable[[dict[str, Any], dict[str, Any], str], None]
OF_TABLES: dict[str, Callable[[pandas.DataFrame, str, int], pandas.DataFrame]] = {
    "a column of NaN": lambda table, column, k: table.assign(**{column: np.nan}),
    "a NaN": lambda table, column, k: table.assign(**{column: table[column].where(np.arange(len(table)) != k)}),
    "wrong samples": lambda table, column, k: table.assign(**{column: table[column] + 1}),
    "a column lost": lambda table, column, k: table.drop(columns=column),
    "a row lost": lambda table, column, k: table.drop(index=k),
    "a row twice": lambda table, column, k: pandas.concat([table, table.iloc[[k]]]),
    "another id": lambda table, column, k: table.assign(sample_id=table["sample_id"].replace(str(k), "other")),
    "no ids": lambda table, column, k: table.drop(columns="sample_id"),
    "ids that are lists": lambda table, column, k: table.assign(sample_id=table["sample_id"].map(lambda each: [each])),
    "no rows": lambda table, column, k: table.iloc[:0],
}
"""Damages of a table of samples, by a column behind a metric and a row."""
OF_RECORDS: dict[str, Change] = {
    "another value": lambda result, record, name: record["metrics"][name].update(
        value=record["metrics"][name]["value"] + 1e-5
    ),
    "another unit": lambda result, record, name: record["metrics"][name].update(unit="rank"),
    "no direction": lambda result, record, name: record["metrics"][name].update(higher_is_better=None),
    "no column": lambda result, record, name: record["metrics"][name].update(column=None, statistic=None),
    "made twice": lambda result, record, name: result["evaluations"].append(record),
    "not measured": lambda result, record, name: record.update(status="unavailable", reason="no data"),
    "other data": lambda result, record, name: record["dataset"].update(fingerprint="other"),
    "no table": lambda result, record, name: record["files"].clear(),
}
OF_CANDIDATES: dict[str, Change] = {
    "no value": lambda result, record, name: record["metrics"][name].update(value=None, reason="nobody knows"),
    "a metric lost": lambda result, record, name: record["metrics"].pop(name),
    "an evaluation lost": lambda result, record, name: result["evaluations"].remove(record),
}
"""Damages by the finished_run result, an evaluation of it, and the name of a metric."""


@given(
    st.sampled_from([*OF_TABLES, *OF_RECORDS, *OF_CANDIDATES]), st.booleans(), st.integers(0, 99), st.integers(0, 11)
)
def test_no_pair_of_runs_passes_of_which_one_is_damaged(
    finished_run: Path, what: str, is_base: bool, which: int, row: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        good, damaged = (Path(shutil.copytree(finished_run, Path(folder, name))) for name in ("good", "damaged"))
        result = json.loads((damaged / "result.json").read_text())
        if what != "an evaluation lost":
            result["evaluations"].pop()  # its tests take time
            (good / "result.json").write_text(json.dumps(result))
        record = result["evaluations"][0]
        columns = {
            name: metric["column"] or metric["statistic"]["columns"][0]
            for name, metric in record["metrics"].items()
            if metric["value"] is not None and (metric["column"] or metric["statistic"])
        }
        name = list(columns)[which % len(columns)]
        if what in OF_TABLES:
            path = damaged / record["files"]["samples"]
            OF_TABLES[what](pandas.read_parquet(path), columns[name], row).to_parquet(path, index=False)
        else:
            {**OF_RECORDS, **OF_CANDIDATES}[what](result, record, name)
        (damaged / "result.json").write_text(json.dumps(result))
        pair = (damaged, good) if is_base and what not in OF_CANDIDATES else (good, damaged)
        try:
            comparison = compare(*pair)
        except ClipbenchError:
            return  # the command ends with 2 or 3
        assert comparison.refused

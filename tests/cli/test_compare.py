"""`clipbench compare` from the command line: exit statuses, formats, and one line for everything that is wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas
import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.results.run import read_run, write_result

if TYPE_CHECKING:
    from tests.cli.conftest import Done

N = 400


Compare = Callable[..., "Done"]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Compare) -> Compare:
    """Return a function that gives the command some arguments, in a folder with a base and candidates."""
    monkeypatch.chdir(tmp_path)
    for name in ("CLIPBENCH_ALPHA", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    right = np.zeros(N)
    right[:240] = 1.0
    write(tmp_path / "base", right)
    write(tmp_path / "same", right)
    write(tmp_path / "worse", np.roll(right, -1) * (np.arange(N) >= 40))  # 40 lost
    write(tmp_path / "unlucky", right * (np.arange(N) >= 4))  # 4 lost: 1 pp, and McNemar's p is 1/8
    write(tmp_path / "better", np.maximum(right, np.arange(N) % 4 == 0))

    return partial(call, "compare")


def write(folder: Path, right: np.ndarray, **changes: Any) -> None:
    """Write a run with one evaluation, of which these samples are right."""
    (folder / "samples").mkdir(parents=True)
    ids = [f"bird-{k:03}" for k in range(len(right))]
    table = pandas.DataFrame({"sample_id": ids, "acc1": np.asarray(right, np.float64)})
    table.to_parquet(folder / "samples/zero-shot@birds.parquet", index=False)
    record = EvaluationRecord(
        task="zero-shot",
        task_version=1,
        params={},
        dataset=DatasetRecord(id="birds", n_samples=len(right), fingerprint="f00d"),
        status="ok",
        metrics={
            "acc1": Metric(value=float(np.mean(right)), n=len(right), column="acc1", higher_is_better=True),
            "gap": Metric(value=0.5, n=len(right), unit="distance"),
        },
        files={"samples": "samples/zero-shot@birds.parquet"},
    )
    result = Result(
        clipbench_version="9",
        created="2026-11-24T14:15:00+00:00",
        command=["clipbench", "run"],
        seed=0,
        environment={},
        model={"ref": folder.name, "fingerprint": "abc"},
        evaluations=[replace(record, **changes)],
    )
    write_result(result, folder)


def change(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change the only evaluation of a run."""
    result = read_run(folder).result
    write_result(replace(result, evaluations=[replace(result.evaluations[0], **changes)]), folder)


def test_without_a_gate_a_worse_candidate_is_told_and_does_not_fail(compare: Compare) -> None:
    done = compare("base", "worse")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "worse against base"
    assert done.out.splitlines()[-2:] == ["1 worse, 1 not tested", "no gate set"]


@pytest.mark.parametrize(
    ("candidate", "options", "status"),
    [
        ("worse", ["--max-drop", "0.5pp"], 1),
        ("worse", ["--max-drop", "1%"], 1),
        ("worse", ["--max-drop", "50pp"], 0),
        ("same", ["--max-drop", "0pp"], 0),
        ("better", ["--max-drop", "0pp"], 0),
        ("unlucky", ["--max-drop", "0.5pp"], 0),  # beyond the tolerance, and it may be chance
        ("unlucky", ["--max-drop", "0.5pp", "--strict"], 1),
        ("unlucky", ["--max-drop", "0.5pp", "--alpha", "0.2"], 1),
        ("unlucky", ["--max-drop", "1pp", "--strict"], 0),
        ("worse", ["--require", "zero-shot@birds/acc1 >= 0.9"], 1),
        ("worse", ["--require", "zero-shot/acc1 >= 0.1"], 0),
    ],
)
def test_the_status_is_1_for_a_regression_alone(
    compare: Compare, candidate: str, options: list[str], status: int
) -> None:
    assert compare("base", candidate, *options).status == status


def test_a_gate_file_holds_beside_the_options(compare: Compare) -> None:
    text = '"zero-shot/acc1" = {max_drop = "50pp"}\n'
    Path("gate.toml").write_text(text)
    assert compare("base", "worse", "--max-drop", "0.5pp", "--gate", "gate.toml").status == 0
    text += '[[acknowledge]]\nmetric = "zero-shot/acc1"\nreason = "known"\nexpires = '
    for expires, status in (("2000-01-01", 1), ("9999-01-01", 0)):
        Path("gate.toml").write_text(text.replace("50pp", "1pp") + expires)
        done = compare("base", "worse", "--gate", "gate.toml")
        assert done.status == status
        assert ("expired on 2000-01-01: known" in done.out) == (status == 1)


def test_several_candidates_are_each_held_against_the_base(compare: Compare) -> None:
    done = compare("base", "better", "same", "worse", "--max-drop", "1pp")
    assert done.status == 1
    assert [line for line in done.out.splitlines() if " against " in line] == [
        "better against base",
        "same against base",
        "worse against base",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task_version": 2}, "task version 1 in the one run, 2 in the other"),
        ({"params": {"k": 5}}, 'parameters {} in the one run, {"k": 5} in the other'),
        ({"dataset": DatasetRecord(id="birds", fingerprint="beef")}, "fingerprint f00d in the one run, beef in the"),
        ({"status": "failed", "reason": "full disk"}, "no finished evaluation in common"),
    ],
)
def test_runs_that_may_not_be_compared_end_with_3_and_the_difference(
    compare: Compare, changes: Mapping[str, Any], told: str
) -> None:
    change(Path("worse"), changes)
    done = compare("base", "worse", "--max-drop", "1pp")
    assert (done.status, done.out) == (3, "")
    assert done.err.count("\n") == 1
    assert told in done.err


def test_of_several_candidates_the_comparable_ones_are_compared_and_the_status_is_3(compare: Compare) -> None:
    change(Path("worse"), {"task_version": 2})
    done = compare("base", "worse", "same", "--max-drop", "1pp")
    assert done.status == 3
    assert "same against base" in done.out
    reason = "worse is not comparable: zero-shot@birds is not comparable: task version 1 in the one run, 2 in the other"
    assert reason in done.out and "task version 1 in the one run" in done.err


def test_a_regression_counts_more_than_what_was_not_compared(compare: Compare) -> None:
    change(Path("same"), {"task_version": 2})
    assert compare("base", "same", "worse", "--max-drop", "1pp").status == 1


def test_a_gated_metric_that_the_candidate_lacks_ends_with_3(compare: Compare) -> None:
    metrics = dict(read_run(Path("worse")).result.evaluations[0].metrics)
    metrics["acc1"] = Metric(value=None, reason="one class", higher_is_better=True)
    change(Path("worse"), {"metrics": metrics})
    done = compare("base", "worse", "--max-drop", "1pp")
    assert done.status == 3
    assert "MISSING  zero-shot@birds/acc1 (max drop 1pp): worse has no value: one class" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["base"], "got 1 of at least 2 runs: expected BASE CANDIDATE"),
        (["base", "nowhere"], "cannot read nowhere"),
        (["base", "worse", "--max-drop", "much"], "--max-drop 'much': expected 0.5pp"),
        (["base", "worse", "--max-drop", "-1pp"], "--max-drop '-1pp': expected 0.5pp"),
        (["base", "worse", "--smallest", "1%"], "--smallest '1%': expected percentage points"),
        (["base", "worse", "--smallest", "little"], "--smallest 'little': expected percentage points"),
        (["base", "worse", "--alpha", "5"], "alpha"),
        (["base", "worse", "--strict"], "--strict needs an allowed drop"),
        (["base", "worse", "--gate", "none.toml"], "cannot read the gate file none.toml"),
        (["base", "worse", "--require", "retrieval/x >= 1"], "'retrieval/x' matches no metric of any run"),
        (["base", "worse", "--require", "acc1"], "require 'acc1': expected METRIC >= NUMBER"),
        (["base", "worse", "--format", "junit"], "--format junit reports gated metrics only: give --max-drop"),
        (["base", "worse", "--format", "html"], "--format html needs -o FILE.html"),
        (["base", "worse", "-o", "no/such/folder/x.txt"], "cannot write no/such/folder/x.txt"),
        (["base", "worse", "--format", "html", "-o", "no/x.html"], "cannot write no/x.html"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(compare: Compare, arguments: list[str], told: str) -> None:
    done = compare(*arguments)
    assert done.status == 2
    assert done.err.startswith("clipbench: ") and done.err.count("\n") == 1
    assert told in done.err
    assert not list(Path().glob("**/*.half"))


def test_a_gate_without_a_metric_is_wrong_before_anything_is_compared(compare: Compare) -> None:
    Path("gate.toml").write_text('"zero-shot/acc2" = {max_drop = "1pp"}\n')
    done = compare("base", "worse", "--gate", "gate.toml")
    assert (done.status, done.out) == (2, "")
    assert "did you mean 'zero-shot@birds/acc1'?" in done.err


@pytest.mark.parametrize("part", ["result.json", "samples/zero-shot@birds.parquet"])
@pytest.mark.parametrize("content", [None, b"", b'{"schema_version": 1, "eval'])
def test_a_run_that_is_half_written_or_damaged_is_one_line(compare: Compare, part: str, content: bytes | None) -> None:
    path = Path("worse") / part
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = compare("base", "worse")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("clipbench: ") and done.err.count("\n") == 1
    assert "worse" in done.err and "bug" not in done.err


def test_a_table_of_values_of_another_toolkit_is_compared_without_a_test(compare: Compare) -> None:
    theirs = {"dataset": "birds", "task": "zeroshot_classification", "metrics": {"acc1": 0.25}, "model": "theirs"}
    Path("theirs.json").write_text(json.dumps(theirs))
    done = compare("base", "theirs.json", "--max-drop", "1pp")
    assert done.status == 0
    assert "UNTESTED  zero-shot@birds/acc1 (max drop 1pp): 60.0 % to 25.0 %: loss 35.00 pp, allowed 1.00 pp" in done.out
    assert compare("base", "theirs.json", "--max-drop", "1pp", "--strict").status == 1
    assert compare("base", "theirs.json", "--require", "zero-shot@birds/acc1 > 0.3").status == 1


def test_output_goes_to_a_file_and_what_it_says_to_the_terminal(compare: Compare) -> None:
    done = compare("base", "worse", "--max-drop", "1pp", "--format", "md", "-o", "comment.md")
    assert done.status == 1
    assert done.out == "worse: 1 regression\nwrote comment.md\n"
    assert Path("comment.md").read_text().startswith("**❌ clipbench: 1 regression**\n")


def test_json_and_junit_are_what_they_are_called(compare: Compare) -> None:
    done = compare("base", "worse", "--max-drop", "1pp", "--format", "json")
    (found,) = json.loads(done.out)["comparisons"]
    acc1, _ = found["differences"]
    assert (acc1["base"]["value"], acc1["verdict"]) == (0.6, "worse")
    assert len(acc1["flips"]["lost"]) >= 40
    done = compare("base", "worse", "--max-drop", "1pp", "--format", "junit")
    (suite,) = ElementTree.fromstring(done.out)
    assert suite.get("failures") == "1"


def test_github_gets_annotations_and_its_summary(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    done = compare("base", "worse", "--max-drop", "1pp", "--format", "github")
    assert done.out.startswith("::error title=regression%3A zero-shot@birds/acc1::max drop 1pp: ")
    assert "GITHUB_STEP_SUMMARY is not set" in done.err
    Path("summary.md").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    done = compare("base", "worse", "--max-drop", "1pp", "--format", "github")
    assert done.err == ""
    assert Path("summary.md").read_text().startswith("before\n**❌ clipbench: 1 regression**\n")


def test_the_page_is_written(compare: Compare) -> None:
    done = compare("base", "worse", "better", "--max-drop", "1pp", "--format", "html", "-o", "page.html")
    assert done.status == 1
    assert done.out.splitlines() == ["worse: 1 regression", "better: 1 passed", "wrote page.html"]
    assert "2 candidates" in Path("page.html").read_text()


def test_differences_that_are_too_small_do_not_matter(compare: Compare) -> None:
    assert "1 too small to matter" in compare("base", "unlucky", "--smallest", "5pp").out
    assert "too small" not in compare("base", "unlucky", "--smallest", "0.5pp").out

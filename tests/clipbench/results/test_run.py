"""The record of a run: what is written is what is read, strictly JSON, and old or damaged ones are told apart."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.frames import find_evaluation
from clipbench.results.record import Curve, DatasetRecord, EvaluationRecord, Metric, Result, SlicesRecord
from clipbench.results.run import Run, check_record, find_runs, read_run, write_result


def result(**metric: object) -> Result:
    evaluation = EvaluationRecord(
        task="zero-shot",
        task_version=1,
        params={"prompts": None},
        dataset=DatasetRecord(id="digits", n_samples=3, fingerprint="f00"),
        status="ok",
        seconds={"load": 0.5},
        encoded={"images": 3},
        metrics={"acc1": Metric(**{"value": 0.5, "n": 3, **metric})},  # type: ignore[arg-type]
        curves={"templates": Curve(x=[1.0, 2.0], y=[0.5, None], low=[0.4, None], high=[0.6, None])},
        controls={"tie_rate": Metric(value=None, reason="no samples")},
        notes=["a note with 'quotes', <b> and ß"],
        files={"samples": "samples/a.parquet", "arrays": "arrays/a.npz"},
    )
    return Result(
        clipbench_version="0.1.0",
        created="2026-11-24T12:00:00+00:00",
        command=["clipbench", "run"],
        seed=0,
        environment={"python": "3.11"},
        model={"ref": "toy"},
        evaluations=[evaluation],
    )


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_result(result(), tmp_path)
    for path in (tmp_path, tmp_path / "result.json"):
        run = read_run(path)
        assert run.folder == tmp_path and run.result == result() and run.result.is_complete
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_what_a_pattern_matches_beside_runs_is_left_out_and_a_parent_stands_for_its_runs(tmp_path: Path) -> None:
    series = tmp_path / "series"
    steps = [series / f"step-{step}" for step in (2, 10)]
    for step in steps:
        step.mkdir(parents=True)
        write_result(result(), step)
    (series / "report.html").write_text("a report")
    (series / "unfinished").mkdir()
    notes: list[str] = []
    assert find_runs(sorted(series.iterdir()), notes.append) == steps[::-1]  # as the shell sorts them
    assert notes == [f"{series / name} is left out: it holds no run" for name in ("report.html", "unfinished")]
    assert find_runs([series]) == steps
    assert find_runs([steps[0] / "result.json"]) == [steps[0] / "result.json"]


def test_a_path_alone_that_is_no_run_or_one_that_is_not_there_is_not_left_out(tmp_path: Path) -> None:
    write_result(result(), tmp_path)
    (tmp_path / "report.html").write_text("a report")
    for paths in ([tmp_path / "report.html"], [tmp_path, tmp_path / "gone"], [tmp_path / "gone"]):
        assert find_runs(paths) == paths
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "result.json").write_text("{")
    assert find_runs([tmp_path, damaged]) == [tmp_path, damaged]


def test_a_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        write_result(result(value=float("nan")), tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_file_name_that_is_not_unicode_is_written_and_read_and_a_whole_number_may_stand_for_a_float(
    tmp_path: Path,
) -> None:
    named = replace(result(value=1), command=["clipbench", "run", "--out", "\udce9"])
    write_result(named, tmp_path)
    found = read_run(tmp_path).result
    assert found == named
    value = found.evaluations[0].metrics["acc1"].value
    assert isinstance(value, float) and value == 1


def test_a_table_has_a_question_mark_for_what_is_not_unicode_in_the_name_of_a_file() -> None:
    made = Run(Path("."), replace(result(value=1), model={"ref": "caf\udce9"}))
    assert made.frame()["model"].tolist() == ["caf?"]


def test_the_metrics_of_a_run_are_those_of_finished_evaluations_and_of_one_made_twice_the_first(tmp_path: Path) -> None:
    first, again = (
        replace(
            result(value=value).evaluations[0],
            slices={"hand": SlicesRecord(of="images", groups={"{l/r}": {"acc1": Metric(value=value / 2)}})},
        )
        for value in (0.25, 0.75)
    )
    failed = replace(first, task="retrieval", status="failed", reason="no")
    write_result(replace(result(), evaluations=[failed, first, again]), tmp_path)
    run = read_run(tmp_path)
    assert {name: each.value for name, each in run.metrics.items()} == {"zero-shot@digits/acc1": 0.25}
    assert {name: each.value for name, each in run.named_metrics.items() if name.slice} == {
        "zero-shot@digits{hand={l/r}}/acc1": 0.125
    }


def test_an_evaluation_is_found_by_its_task_however_that_is_written() -> None:
    first = replace(result().evaluations[0], task="a_b")
    twice = [first, replace(first, params={"k": 2})]
    elsewhere = replace(first, dataset=replace(first.dataset, id="letters"))
    for name in ("a_b", "a-b", " A_B", "a_b@digits"):
        assert find_evaluation(twice, name) is first
    failed = replace(first, status="failed", reason="no")
    assert find_evaluation([failed, first], "a-b") is first
    with pytest.raises(ClipbenchError, match=r"a_b@digits was not measured: no"):
        find_evaluation([failed], "a-b")
    with pytest.raises(UsageError, match=r"the run has 'a_b' on several data sets: name one, as 'a_b@digits'"):
        find_evaluation([*twice, elsewhere], "a_b")
    assert find_evaluation([*twice, elsewhere], "a_b@letters") is elsewhere
    with pytest.raises(UsageError, match=r"no evaluation 'a': "):
        find_evaluation(twice, "a")


@pytest.mark.parametrize("depth", [90, 98, 150, 5_000])
def test_what_can_be_recorded_is_what_can_be_read(tmp_path: Path, depth: int) -> None:
    params: object = 1
    for _ in range(depth):
        params = [params]
    record = replace(result().evaluations[0], params={"k": params})
    if depth == 90:
        check_record(record, "it")
        write_result(replace(result(), evaluations=[record]), tmp_path)
        assert read_run(tmp_path).result.evaluations == [record]
    else:
        with pytest.raises(ClipbenchError, match=r"^it cannot be recorded: .*; expected .* objects of few levels$"):
            check_record(record, "it")


def test_a_point_of_a_curve_may_have_no_height(tmp_path: Path) -> None:
    data = asdict(result())
    data["evaluations"][0]["curves"]["templates"].update(x=[1, 2], y=[0.5, None])
    (tmp_path / "result.json").write_text(json.dumps(data), encoding="utf-8")
    assert read_run(tmp_path).result.evaluations[0].curves["templates"].y == [0.5, None]


def test_tables_and_arrays_are_read_when_asked_for(tmp_path: Path) -> None:
    write_result(result(), tmp_path)
    run = read_run(tmp_path)
    (evaluation,) = run.result.evaluations
    assert evaluation.name == "zero-shot@digits"
    with pytest.raises(ClipbenchError, match=r"lacks a\.parquet: the run is damaged"):
        run.samples(evaluation)
    (tmp_path / "samples").mkdir()
    (tmp_path / "arrays").mkdir()
    pandas.DataFrame({"sample_id": ["a"], "acc1": [1.0]}).to_parquet(tmp_path / "samples/a.parquet")
    np.savez(tmp_path / "arrays/a.npz", similarity=np.eye(2))
    assert run.samples(evaluation)["acc1"].tolist() == [1.0]
    assert np.array_equal(run.arrays(evaluation)["similarity"], np.eye(2))


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    data = asdict(result())
    data["later"] = data["evaluations"][0]["later"] = data["evaluations"][0]["metrics"]["acc1"]["later"] = 1
    (tmp_path / "result.json").write_text(json.dumps(data), encoding="utf-8")
    assert read_run(tmp_path).result == result()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has schema version None: it is no clipbench result; expected a folder"),
        ('{"schema_version": "1"}', "has schema version 1: it is no clipbench result"),
        ('{"schema_version": 2}', "has schema version 2, expected at most 1: update clipbench"),
        ('{"schema_version": 1}', "is not a clipbench result"),
        ('{"schema_version": 1, "evaluations": [{}]}', "is not a clipbench result"),
    ],
)
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(ClipbenchError, match=message):
        read_run(tmp_path)


def test_a_folder_without_a_result_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ClipbenchError, match=r"no result\.json in .*: expected a folder that `clipbench run` finished"):
        read_run(tmp_path)

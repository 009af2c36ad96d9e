"""The record of a run: what is written is what is read, strictly JSON, and old or damaged ones are told apart."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from clipbench.errors import ClipbenchError, LeftOutWarning, UsageError
from clipbench.results.record import Curve, DatasetRecord, EvaluationRecord, Metric, Result, SlicesRecord, finite
from clipbench.results.run import Run, find_runs, labels, read_run, write_result
from tests.made import record_of, result_of


def result(**metric: object) -> Result:
    evaluation = record_of(
        data=DatasetRecord(id="digits", n_samples=3, fingerprint="f00"),
        params={"prompts": None},
        seconds={"load": 0.5},
        encoded={"images": 3},
        metrics={"acc1": Metric(**{"value": 0.5, "n": 3, **metric})},  # type: ignore[arg-type]
        curves={"templates": Curve(x=[1.0, 2.0], y=[0.5, None], low=[0.4, None], high=[0.6, None])},
        baselines={"tie_rate": Metric(value=None, reason="no samples")},
        notes=["a note with 'quotes', <b> and ß"],
        files={"samples": "samples/a.parquet", "arrays": "arrays/a.npz"},
    )
    return result_of(evaluation, environment={"python": "3.11"}, model={"ref": "toy"})


def test_runs_have_distinct_names_even_where_a_model_is_called_as_another_is_numbered() -> None:
    refs = ["a", "a", "b", "a (run) #1"]
    runs = [Run(Path(f"{index}/run"), result_of(model={"ref": ref})) for index, ref in enumerate(refs)]
    assert labels(runs[:3]) == ["a (run) #1", "a (run) #2", "b"]
    assert labels(runs) == ["a (run) #2", "a (run) #3", "b", "a (run) #1"]


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


def test_a_file_name_that_is_not_unicode_is_written_and_read_and_a_whole_number_may_stand_for_a_float(
    tmp_path: Path,
) -> None:
    named = replace(result(value=1), command=["clipbench", "run", "--out", "\udce9"])
    write_result(named, tmp_path)
    found = read_run(tmp_path).result
    assert found == named
    value = found.evaluations[0].metrics["acc1"].value
    assert isinstance(value, float) and value == 1


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
    assert {name: metric.value for name, metric in run.metrics.items()} == {"zero-shot@digits/acc1": 0.25}
    assert {name: metric.value for name, metric in run.named_metrics.items() if name.slice} == {
        "zero-shot@digits{hand={l/r}}/acc1": 0.125
    }


def found(evaluations: list[EvaluationRecord], name: str) -> EvaluationRecord:
    return Run(Path(), replace(result(), evaluations=evaluations)).evaluation(name)


def test_an_evaluation_is_found_by_its_task_however_that_is_written() -> None:
    first = replace(result().evaluations[0], task="a-b")
    twice = [first, replace(first, params={"k": 2})]
    elsewhere = replace(first, dataset=replace(first.dataset, id="letters"))
    for name in ("a_b", "a-b", " A_B", "a-b@digits"):
        assert found(twice, name) is first
    failed = replace(first, status="failed", reason="no")
    assert found([failed, first], "a-b") is first
    with pytest.raises(ClipbenchError, match=r"a-b@digits was not measured: no"):
        found([failed], "a-b")
    with pytest.raises(UsageError, match=r"the run has 'a_b' on several data sets: name one, as 'a-b@digits'"):
        found([*twice, elsewhere], "a_b")
    assert found([*twice, elsewhere], "a_b@letters") is elsewhere
    with pytest.raises(UsageError, match=r"no evaluation 'a': "):
        found(twice, "a")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has schema version None, so it is not a clipbench result: expected a folder"),
        ('{"schema_version": 1}', "has schema version 1, so it is not a clipbench result"),
        ('{"schema_version": "2.0"}', r"has schema version 2\.0, expected at most 1\.0: update clipbench"),
        ('{"schema_version": "1.0"}', "is not a clipbench result"),
        ('{"schema_version": "1.0", "evaluations": [{}]}', "is not a clipbench result"),
    ],
)
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(ClipbenchError, match=message):
        read_run(tmp_path)


def test_a_field_of_a_later_schema_is_passed_over_and_an_unknown_one_of_this_schema_is_refused(tmp_path: Path) -> None:
    write_result(result(), tmp_path)
    file = tmp_path / "result.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["evaluations"][0]["metrics"]["acc1"]["later"] = 1
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ClipbenchError, match=r"schema 1\.0 has no field evaluations\[0\]\.metrics\.acc1\.later"):
        read_run(tmp_path)
    file.write_text(json.dumps({**data, "schema_version": "1.1", "new": {}}), encoding="utf-8")
    text = r"schema 1\.1, and this clipbench reads 1\.0: left out evaluations\[0\]\.metrics\.acc1\.later, new$"
    with pytest.warns(LeftOutWarning, match=text):
        assert replace(read_run(tmp_path).result, schema_version="1.0") == result()


def test_a_result_with_names_of_before_is_refused_with_the_command_that_measures_again(tmp_path: Path) -> None:
    write_result(replace(result(), command=["clipbench", "run", "--out", "runs/a/", "--model", "my model"]), tmp_path)
    file = tmp_path / "result.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"baselines"', '"controls"'), encoding="utf-8")
    with pytest.raises(
        ClipbenchError,
        match=r"evaluations.*controls\): make the run again: clipbench run --out runs/a-again --model 'my model'$",
    ):
        read_run(tmp_path)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_what_no_result_can_hold_is_undefined_with_the_reason(wrong: float) -> None:
    sound = Metric(value=0.5, low=0.4, high=0.6, chance=0.1, method="Wilson")
    assert finite(sound) == sound
    assert finite(replace(sound, chance=wrong)) == replace(sound, chance=None)
    none = finite(replace(sound, value=wrong))
    assert (none.value, none.low, none.high, none.method) == (None, None, None, None)
    assert str(none.reason).startswith(f"the value is {wrong}")
    for bound in ("low", "high"):
        open_ended = finite(replace(sound, low=wrong) if bound == "low" else replace(sound, high=wrong))
        assert (open_ended.value, open_ended.low, open_ended.high, open_ended.method) == (0.5, None, None, None)
        assert f"a bound is {wrong}" in str(open_ended.reason)

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, write_result
from clipbench.training.history import History, history_of_runs, read_history
from tests.made import record_of, result_of


def log(path: Path, *events: object, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(event if isinstance(event, str) else json.dumps(event) for event in events) + end)
    return path


def at(step: int, **values: object) -> dict[str, object]:
    return {"event": "evaluation", "step": step, **values}


def run(folder: Path, step: int | None, acc: float | None = 0.5, **changes: Any) -> Run:
    metric = Metric(value=acc, reason=None if acc is not None else "no sample")
    data = DatasetRecord(id="birds", fingerprint=changes.get("data", "d"), cite=changes.get("cite"))
    facts = {name: changes[name] for name in ("params", "status") if name in changes}
    ref = changes.get("ref", f"hf:out/mine/checkpoint-{step}")
    model = {"ref": ref, "fingerprint": changes.get("weights", f"w{step}"), "step": step}
    created = changes.get("created", "2026-01-01T00:00:00+00:00")
    result = result_of(record_of(data=data, metrics={"acc1": metric}, **facts), created=created, model=model)
    folder.mkdir(parents=True, exist_ok=True)
    write_result(result, folder)
    return Run(folder, result)


def test_a_log_gives_its_evaluations_and_nothing_else(tmp_path: Path) -> None:
    log(
        tmp_path / "mine/log.jsonl",
        {"event": "start", "step": 0, "arguments": {"lr": 1}},
        at(0, gap=1.0, n_pairs=5),
        {"event": "step", "step": 1, "loss": 3.0},
        at(2, gap=0.5, n_pairs=5, logit_bias=None),
    )
    expected = History(
        label="mine",
        steps=[0.0, 2.0],
        values={"gap": [1.0, 0.5], "n_pairs": [5.0, 5.0], "logit_bias": [None, None]},
    )
    assert read_history(tmp_path / "mine") == read_history(tmp_path / "mine/log.jsonl") == expected
    assert read_history(log(tmp_path / "vit.jsonl", at(1, gap=1))).label == "vit"


def test_of_steps_that_a_resumed_run_repeated_the_last_measurement_counts(tmp_path: Path) -> None:
    path = log(tmp_path / "log.jsonl", at(0, gap=9), at(10, gap=8), at(15, gap=7), at(10, gap=1), at(20, gap=2))
    history = read_history(path)
    assert (history.steps, history.values["gap"]) == ([0, 10, 20], [9, 1, 2])


def test_an_incomplete_last_line_is_skipped_and_any_other_damage_is_named(tmp_path: Path) -> None:
    half = '{"event": "evaluation", "st'
    assert read_history(log(tmp_path / "a.jsonl", at(0, gap=1), half, end="")).steps == [0]
    with pytest.raises(ClipbenchError, match=r"line 2 of .*b.jsonl is damaged \(JSONDecodeError.*Remove the line"):
        read_history(log(tmp_path / "b.jsonl", at(0, gap=1), half, at(2, gap=1)))
    with pytest.raises(ClipbenchError, match=r"line 1 of .* is damaged .*'0.5' is not a finite number"):
        read_history(log(tmp_path / "c.jsonl", at(0, gap="0.5")))
    with pytest.raises(ClipbenchError, match=r"line 1 of .* is damaged .*step"):
        read_history(log(tmp_path / "d.jsonl", {"event": "evaluation", "gap": 1}))


def test_a_path_without_history_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder: .*gone"):
        read_history(tmp_path / "gone")
    with pytest.raises(ClipbenchError, match="has no evaluation event: expected the log of clipbench train or"):
        read_history(log(tmp_path / "log.jsonl", {"event": "step", "step": 1, "loss": 2}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipbenchError, match=r"holds neither log.jsonl nor finished runs"):
        read_history(tmp_path / "empty")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ClipbenchError, match=r"the log .* is not UTF-16 text"):
        read_history(tmp_path / "binary.jsonl")


def test_runs_of_checkpoints_are_put_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step, acc in ((1000, 0.9), (500, 0.5), (0, None)):
        run(tmp_path / f"series/checkpoint-{step}", step, acc)
    expected = History(label="mine", steps=[0.0, 500.0, 1000.0], values={"zero-shot@birds/acc1": [None, 0.5, 0.9]})
    assert read_history(tmp_path / "series") == expected
    folders = sorted((tmp_path / "series").iterdir())
    assert read_history(folders[0], *folders[1:]) == expected


def test_of_two_runs_of_the_same_weights_the_one_made_last_counts(tmp_path: Path) -> None:
    late = run(tmp_path / "a", 5, 0.9, created="2026-02-01T00:00:00+00:00")
    early = run(tmp_path / "b", 5, 0.1)
    assert history_of_runs([late, early]).values["zero-shot@birds/acc1"] == [0.9]


def test_runs_that_do_not_belong_into_one_curve_are_refused(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 5)
    with pytest.raises(UsageError, match="both of step 5 and of different weights"):
        history_of_runs([first, run(tmp_path / "b", 5, weights="other")])
    with pytest.raises(UsageError, match=r"zero-shot@birds differs between .*a and .*c \(contents of the data\)"):
        history_of_runs([first, run(tmp_path / "c", 6, data="other")])
    with pytest.raises(UsageError, match=r"zero-shot@birds differs between .* \(k\)"):
        history_of_runs([first, run(tmp_path / "d", 6, params={"k": 2})])
    with pytest.raises(UsageError, match="has no training step"):
        history_of_runs([first, run(tmp_path / "e", None)])
    old = replace(first.result, model={"ref": "x"})
    with pytest.raises(UsageError, match="has no training step"):
        history_of_runs([Run(tmp_path, old)])
    with pytest.raises(UsageError, match="at least one run"):
        history_of_runs([])

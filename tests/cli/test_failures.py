"""``clipbench run`` of a model that cannot be measured: the reason stays in its folder, and nothing else is touched."""

import json
from pathlib import Path

import numpy as np
import pytest

from clipbench.files import folder_lock
from tests.cli.conftest import Call
from tests.cli.test_compare import write


def test_a_model_that_is_not_there_leaves_its_reason_until_the_next_run(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "candidate"
    arguments = ("--tasks", "retrieval", "--suite", "scenes", "--limit", "8", "--no-report", "--out", str(out))
    done = call("run", "--model", "no-such-model", *arguments)
    failure = json.loads((out / "failed.json").read_text())
    assert done.status == 2 and failure["reason"] in done.err
    assert (failure["model"], failure["command"][:2]) == ("no-such-model", ["clipbench", "run"])
    assert call("run", "--model", "tiny", *arguments).status == 0
    assert not (out / "failed.json").exists() and (out / "result.json").is_file()


def test_a_finished_run_and_files_of_others_stay_as_they_are(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "finished", np.array([1.0, 0.0]))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    for name in ("finished", "other"):
        before = sorted(path.name for path in (tmp_path / name).iterdir())
        done = call("run", "--model", "no-such-model", "--suite", "scenes", "--out", str(tmp_path / name))
        assert done.status == 2
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == before


def test_a_folder_that_another_process_writes_to_gets_no_reason(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with folder_lock(out):
        (out / "thumbs").mkdir()  # as a run makes it
        done = call("run", "--model", "tiny", "--suite", "scenes", "--tasks", "retrieval", "--limit", "8", "--out", out)
        assert done.status == 2 and f"another clipbench process writes to {out}" in done.err
        assert [path.name for path in out.iterdir()] == ["thumbs"]


def test_without_a_name_for_the_folder_none_is_made(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", "--model", "no-such-model", "--suite", "scenes").status == 2
    assert not list(tmp_path.iterdir())

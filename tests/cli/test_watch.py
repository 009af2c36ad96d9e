"""`clipbench run --watch`: checkpoints are measured as they come, once each, and never before they are whole."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from clipbench.cli import watch as watching
from clipbench.models import load_model
from clipbench.models.options import LoadOptions
from clipbench.models.reference import Loaded, load_with_probes
from clipbench.results import trackers
from clipbench.results.run import read_run
from clipbench.training.history import read_history
from tests.cli.conftest import WITH_CTRL_C, Call, Done

ROOT = Path(__file__).parents[2]


Save = Callable[[Path, int], Path]


@pytest.fixture
def watch(world: Path, call: Call) -> Call:
    def watch(*arguments: str, folder: str = "train", tasks: str = "retrieval@data.csv") -> Done:
        given = ("--tasks", tasks, "--device", "cpu", "--out", "out", "--interval", "0.05")
        return call("run", "--watch", folder, *given, *arguments)

    return watch


class Clock:
    """Stands in for the watcher's clock: time passes while it sleeps only, and so does a training, a step a sleep."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._now = 0.0
        self._steps = iter(steps)

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        next(self._steps, nothing)()

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return time.time()  # files know no other


def nothing() -> None: ...


@pytest.fixture
def watch_while(watch: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that watches every minute, by a clock of its own, while some steps of a training are done."""

    def call(steps: Sequence[Callable[[], object]], *arguments: str) -> Done:
        monkeypatch.setattr(watching, "time", Clock(*steps))
        return watch("--interval", "60", "--no-report", *arguments)

    return call


def measured(world: Path) -> set[str]:
    return {path.parent.name for path in (world / "out").glob("*/result.json")}


def save_long_ago(world: Path, save: Save) -> None:
    """Save two checkpoints an hour ago, so that both are whole at the first look, however slow the machine is."""
    an_hour_ago = time.time() - 3600
    for step in (10, 2):
        for file in save(world / f"train/step-{step}", step).iterdir():
            os.utime(file, (an_hour_ago, an_hour_ago))


def test_what_is_there_is_measured_once_with_a_line_and_a_joint_report(world: Path, save: Save, watch: Call) -> None:
    save_long_ago(world, save)
    done = watch("--idle", "0")
    assert done.status == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["step-2", "step-10"]
    assert re.search(r"image_retrieval_recall@1 \d+\.\d %", done.out)
    assert {path.name for path in (world / "out").iterdir()} == {"step-2", "step-10", "report.html"}
    before = {path: path.read_bytes() for path in (world / "out").glob("*/result.json")}
    save(world / "train/step-20", 20)
    again = watch("--idle", "0")
    assert "step-2 was measured before" in again.err and "step-20" in again.out
    assert measured(world) == {"step-2", "step-10", "step-20"}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert read_history(world / "out").steps == [2, 10, 20]


def test_a_tracker_gets_all_checkpoints_as_one_run_at_their_steps(
    world: Path, save: Save, watch: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, logged = [], []

    class Noted:
        def __init__(self, _: object, position: trackers.TrackerTarget) -> None:
            opened.append(position.name)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda what=(), step=None: logged.append(
                (name, step, [getattr(each, "name", each) for each in what])
            )

    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": Noted})
    monkeypatch.setattr(trackers, "run_figures", lambda *_: iter(()))
    save_long_ago(world, save)
    assert watch("--idle", "0", "--log", "wandb", "--no-report", "--no-preflight", "--thumbnails", "0").status == 0
    assert opened == ["out"] and [each[0] for each in logged] == 2 * ["scalars", "images", "files"] + ["files", "close"]
    assert [step for _, step, _ in logged] == 3 * [2] + 3 * [10] + 2 * [None]
    assert "retrieval@data.csv/image_retrieval_recall@1_low" in logged[0][2]
    assert logged[2][2] == ["result.json"]


def test_checkpoints_are_measured_as_a_training_writes_them(world: Path, save: Save, watch_while: Call) -> None:
    ready = [save(world / f"made/step-{step}", step) for step in (1, 2)]
    copies = [partial(shutil.copytree, path, world / "train" / path.name) for path in ready]
    done = watch_while([copies[0], nothing, copies[1]], "--idle", "2")
    assert done.status == 0, done.err
    assert "watching train every 60 s" in done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["step-1", "step-2"]


def test_a_growing_checkpoint_is_left_until_it_stands_still(world: Path, save: Save, watch_while: Call) -> None:
    target = save(world / "train/step-1", 1) / "model.safetensors"
    weights = target.read_bytes()
    target.write_bytes(weights[:100])
    growth = [partial(target.write_bytes, weights[: k * len(weights) // 12]) for k in range(1, 13)]
    done = watch_while(growth, "--idle", "2")
    assert done.status == 0, done.err  # a look at half a file would have been a failure
    assert measured(world) == {"step-1"}


def test_once_leaves_out_what_is_still_being_written(world: Path, save: Save, watch_while: Call) -> None:
    target = save(world / "train/step-1", 1) / "model.safetensors"
    done = watch_while([lambda: os.utime(target, ns=(time.time_ns(), time.time_ns()))], "--idle", "0")
    assert done.status == 3 and "left out train/step-1: it is still being written" in done.err
    assert not measured(world)


def test_a_damaged_checkpoint_is_told_once_and_tried_again_when_it_changes(
    world: Path, save: Save, watch_while: Call
) -> None:
    target = save(world / "train/step-1", 1) / "model.safetensors"
    save(world / "train/step-2", 2)
    content = target.read_bytes()
    target.write_bytes(content[:500])
    # standing still by the second look, tried in it, and let be in the third
    done = watch_while([nothing, nothing, lambda: target.write_bytes(content)], "--idle", "3")
    assert done.status == 0 and done.err.count("clipbench: step-1: ") == 1
    assert re.search("step-1: .*not a complete safetensors file.*tried again when it changes", done.err)
    assert measured(world) == {"step-1", "step-2"}


def meddle(monkeypatch: pytest.MonkeyPatch, meddling: Callable[[], object], *, after: bool) -> None:
    """Do something to the files once, before a checkpoint is read or after."""
    times = iter([meddling])

    def meddled(reference: str, options: LoadOptions) -> Loaded:
        if not after:
            next(times, lambda: None)()
        loaded = load_with_probes(reference, options)
        if after:
            next(times, lambda: None)()
        return loaded

    monkeypatch.setattr("clipbench.models.encoding.loading.load_with_probes", meddled)


@pytest.mark.parametrize("after", [False, True])
def test_a_checkpoint_that_is_rewritten_while_it_is_read_is_read_again(
    world: Path, save: Save, watch: Call, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = save(world / "train/step-1", 1)
    other = (save(world / "made/step-1", 2) / "model.safetensors").read_bytes()
    meddle(monkeypatch, lambda: (target / "model.safetensors").write_bytes(other), after=after)
    done = watch("--idle", "0.01", "--no-report")
    assert done.status == 0, done.err
    assert "step-1: it was changed or removed while it was read (tried again when it changes)" in done.err
    model = read_run(world / "out/step-1").result.model
    assert model["fingerprint"] == load_model("made/step-1", LoadOptions(device="cpu")).info.fingerprint


@pytest.mark.parametrize("name", ["step-1", "checkpoint-1"])
def test_a_checkpoint_that_is_taken_away_ends_nothing(
    world: Path, save: Save, watch: Call, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = save(world / "train" / name, 1)
    save(world / "train/step-2", 2)
    meddle(monkeypatch, lambda: shutil.rmtree(gone), after=False)
    done = watch("--idle", "0", "--no-report")
    assert done.status == 3 and f"{name}: it was changed or removed while it was read" in done.err
    assert measured(world) == {"step-2"}


@pytest.mark.slow
def test_interrupting_exits_with_130_and_keeps_what_is_finished(world: Path, save: Save) -> None:
    save(world / "train/step-1", 1)
    arguments = [
        "run",
        "--watch",
        "train",
        "--tasks",
        "retrieval@data.csv",
        "--out",
        "out",
        "--interval",
        "0.05",
        "--no-report",
    ]
    process = subprocess.Popen([sys.executable, "-c", WITH_CTRL_C, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not measured(world) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert (
        "interrupted: finished runs are in out, and the same command continues" in errors and "Traceback" not in errors
    )
    assert measured(world) == {"step-1"}


def test_the_training_loop_of_the_documentation_runs_and_is_watched(
    world: Path, watch: Call, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    ((name, code),) = re.findall(r'^```python title="(\S+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    (world / name).write_text(code)
    monkeypatch.setattr(sys, "argv", [name, arch, "data.csv", "mine", "2"])
    runpy.run_path(name)
    history = read_history(world / "mine/monitor.jsonl")
    assert history.steps == [0, 1, 2] and history.values["n_pairs"] == [3, 3, 3]
    assert len({*history.values["gap"]}) == 3
    done = watch("--idle", "0", "--arch", arch, "--no-report", folder="mine")
    assert done.status == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[-2:]] == ["epoch_1.pt", "epoch_2.pt"]
    assert read_history(world / "out").steps == [1, 2]

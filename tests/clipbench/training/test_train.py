import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipbench.errors import STOP_SIGNALS, ClipbenchError, ModelError, UsageError
from clipbench.files import folder_lock
from clipbench.training.clip.checkpoint import load_model
from clipbench.training.clip.config import ClipConfig
from clipbench.training.log import read_log
from clipbench.training.options import TrainOptions, arguments_of, options_of
from clipbench.training.step import add_gradients
from clipbench.training.train import Interrupted, train
from tests.made import file_size_limit

Options = Callable[..., TrainOptions]


@pytest.fixture
def options(micro: ClipConfig, captions_file: Path, tmp_path: Path) -> Options:
    """Make the options of a run of six steps in a folder of its own."""

    def make(name: str = "run", **changes: object) -> TrainOptions:
        options_of_run = {
            "arch": "micro",
            "steps": 6,
            "batch_size": 16,
            "lr": 3e-3,
            "save_every": 2,
            "eval_every": 3,
            **changes,
        }
        return TrainOptions(data=str(captions_file), out=tmp_path / name, device="cpu", **options_of_run)  # type: ignore[arg-type]

    return make


def weights(folder: Path) -> dict[str, Tensor]:
    return load_model(folder)[0].state_dict()


def events(run: Path, event: str) -> list[dict[str, object]]:
    return [line for line in read_log(run / "log.jsonl") if line["event"] == event]


class Stop(Exception):
    """Stands for a kill."""


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Have something happen in the middle of a step."""
    n_taken = [0]

    def interfere(*arguments: Any, **settings: Any) -> Tensor:
        n_taken[0] += 1
        if n_taken[0] == step:
            action()
        return add_gradients(*arguments, **settings)

    monkeypatch.setattr("clipbench.training.train.add_gradients", interfere)


def kill() -> None:
    raise Stop


@pytest.mark.parametrize("changes", [{}, {"loss": "siglip", "micro_batch_size": 5}, {"temperature": 0.05}])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    options: Options, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    unbroken = train(options("unbroken", **changes))
    with monkeypatch.context() as patch:
        stop_after(6, patch, kill)
        with pytest.raises(Stop):
            train(options("broken", **changes))
    assert {path.name for path in options("broken").out.glob("step-*")} == {"step-0", "step-2", "step-4"}
    resumed = train(options("broken", **changes), is_resumed=True)
    assert resumed.name == unbroken.name == "step-6"
    expected = weights(unbroken)
    for name, value in weights(resumed).items():
        assert torch.equal(value, expected[name]), name
    for event in ("step", "evaluation"):
        first, second = (events(path.parent, event) for path in (unbroken, resumed))
        assert [(line["step"], line.get("loss"), line.get("gap")) for line in first] == [
            (line["step"], line.get("loss"), line.get("gap")) for line in second
        ]
    losses = [json.loads((path / "train.json").read_text())["losses"] for path in (unbroken, resumed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "x", "steps": "many"}, "are damaged: steps is 'many', expected an integer"),
        ({"steps": 5}, "are damaged: data is not there"),
        ({"data": "x", "data_options": {"split": 1}}, r"are damaged: data_options\.split is 1, expected text"),
    ],
)
def test_arguments_of_a_training_that_are_none_are_refused(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        options_of(arguments, out=tmp_path, overrides={})


def test_a_loss_that_is_not_finite_ends_the_run_with_its_last_good_checkpoint(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_taken = [0]

    def interfere(*arguments: Any, **settings: Any) -> Tensor:
        n_taken[0] += 1
        share = add_gradients(*arguments, **settings)
        return share * float("nan") if n_taken[0] == 4 else share

    monkeypatch.setattr("clipbench.training.train.add_gradients", interfere)
    with pytest.raises(
        ClipbenchError, match=r"the loss is nan at step 4: stopped, the last good checkpoint is .*step-2\. .* --lr"
    ):
        train(options())
    run = options().out
    assert all(bool(value.isfinite().all()) for value in weights(run / "step-2").values())
    assert not (run / "step-4").exists()
    assert events(run, "stop")[0]["reason"] == "the loss of step 4 is nan"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_an_interrupted_run_saves_a_whole_step_and_can_be_resumed(
    options: Options, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    unbroken = train(options("unbroken"))
    if signal.getsignal(number) is signal.SIG_IGN:  # of what is started in the background
        signal.signal(number, signal.default_int_handler)
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_after(3, patch, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=r"interrupted, and saved as .*step-3") as caught:
            train(options("broken"))
    assert caught.value.checkpoint.name == "step-3"
    assert signal.getsignal(number) == handler
    resumed = weights(train(options("broken"), is_resumed=True))
    assert all(torch.equal(value, resumed[name]) for name, value in weights(unbroken).items())


def test_a_folder_that_holds_another_run_is_left_as_it_is(options: Options) -> None:
    run = train(options()).parent
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(UsageError, match=r"run holds another run: give another --out, or --resume to continue"):
        train(options(seed=1))
    (run.parent / "notes").mkdir()
    (run.parent / "notes" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="notes is not empty: give another --out"):
        train(options("notes"))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(("victim", "is_resumed"), [("measure", True), ("save_checkpoint", False)])
def test_a_run_that_was_killed_before_its_first_checkpoint_can_be_started_and_resumed(
    options: Options, victim: str, is_resumed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(f"clipbench.training.train.{victim}", killed)
        train(options())
    run = options().out
    (run / ".step-0-4711").mkdir()
    assert {path.name for path in run.iterdir()} == {"log.jsonl", ".step-0-4711"}
    assert arguments_of(run)["steps"] == 6
    ended = weights(train(options(), is_resumed=is_resumed))
    assert all(torch.equal(value, ended[name]) for name, value in weights(train(options("other"))).items())
    assert [event["step"] for event in events(run, "start")] == [0] and not (run / ".step-0-4711").exists()


def test_a_log_of_steps_is_not_lost_with_its_checkpoints(options: Options) -> None:
    run = train(options(steps=2)).parent
    for checkpoint in run.glob("step-*"):
        shutil.rmtree(checkpoint)
    before = (run / "log.jsonl").read_bytes()
    with pytest.raises(UsageError, match="run holds another run: give another --out"):
        train(options(steps=2))
    with pytest.raises(UsageError, match="run holds no checkpoint to resume from"):
        train(options(steps=2), is_resumed=True)
    assert (run / "log.jsonl").read_bytes() == before


def test_a_full_disk_is_one_line_and_the_run_goes_on_from_its_last_checkpoint(options: Options) -> None:
    progress = train(options("whole"))
    weight_bytes = (progress / "model.safetensors").stat().st_size
    for n_bytes, expected in (
        (weight_bytes // 2, []),
        (weight_bytes + 9, ["step-0"]),
    ):  # its optimizer has no state yet
        run = options(f"run-{n_bytes}").out
        message = r"^cannot write .*step-\d .*File too large.*: fix that, and --resume continues"
        with file_size_limit(n_bytes), pytest.raises(UsageError, match=message):
            train(options(run.name))
        assert sorted(path.name for path in run.iterdir()) == ["log.jsonl", *expected]
        ended = weights(train(options(run.name), is_resumed=True))
        assert all(torch.equal(value, ended[name]) for name, value in weights(progress).items())


def test_two_processes_do_not_train_in_one_folder(options: Options) -> None:
    with (
        folder_lock(options().out),
        pytest.raises(UsageError, match=r"another clipbench process trains in .*run: wait until it ends"),
    ):
        train(options())
    run = train(options(steps=2)).parent
    with (
        folder_lock(run),
        pytest.raises(UsageError, match=r"another clipbench process trains in .*run: wait until it ends"),
    ):
        train(options(steps=2), is_resumed=True)


def test_a_run_is_not_resumed_with_other_arguments(options: Options) -> None:
    run = train(options(steps=2)).parent
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    for change, message in (
        (
            {"lr": 0.1},
            r"--lr is 0\.1, and the run in .*run was started with 0\.003: resume it with its arguments",
        ),
        ({"loss": "siglip"}, "--loss is siglip, and the run in .* was started with clip"),
        ({"steps": 100}, "--steps is 100"),
    ):
        with pytest.raises(UsageError, match=message):
            train(replace(options(steps=2), **change), is_resumed=True)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"arch": "tinny"}, UsageError, "unknown architecture 'tinny': did you mean 'tiny'"),
        ({"loss": "triplet"}, UsageError, "unknown loss 'triplet': known: clip, siglip"),
        ({"precision": "fp16"}, UsageError, "unknown precision 'fp16'"),
        ({"steps": 0}, UsageError, "--steps is 0: expected 1 or more"),
        ({"micro_batch_size": 0}, UsageError, "--micro-batch-size is 0: expected 1 or more"),
        ({"lr": 0.0}, UsageError, r"--lr is 0\.0 .* expected --lr above 0"),
        ({"lr": float("nan")}, UsageError, "--lr is nan"),
        ({"warmup": 7}, UsageError, "--warmup is 7: expected at most --steps 6"),
        ({"temperature": 3.0}, UsageError, r"--temperature is 3\.0: expected 0\.01 to 1"),
        ({"batch_size": 64}, UsageError, "a batch of 64 is larger than the data, 44 pairs to train on"),
    ],
)
def test_wrong_options_and_data_are_refused_before_anything_is_written(
    options: Options, change: dict[str, object], error: type[ClipbenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(options(**change))
    assert not options().out.exists()

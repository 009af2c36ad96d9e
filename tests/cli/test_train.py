"""`clipbench train` from the command line: what it writes, what it says, and one line for everything that is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Call

QUICK = ("--steps", "2", "--batch-size", "8", "--workers", "0", "--device", "cpu")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Captioned images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,image number {number}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "captions.csv"


@pytest.fixture
def command(data: Path, call: Call) -> Call:
    return partial(call, "train")


def test_a_run_leaves_a_log_and_checkpoints_and_says_where(command: Call) -> None:
    done = command("--data", "captions.csv", "--out", "run", *QUICK)
    assert done.status == 0
    assert done.out == "checkpoint in run/step-2\n"
    assert "2/2" in done.err
    assert {path.name for path in Path("run").iterdir()} == {"log.jsonl", "step-0", "step-1", "step-2"}
    arguments = json.loads(Path("run/step-2/train.json").read_text())["arguments"]
    assert (arguments["batch_size"], arguments["arch"], arguments["lr"]) == (8, "tiny", 5e-4)


def test_a_run_is_resumed_with_its_own_arguments(command: Call) -> None:
    command("--data", "captions.csv", "--out", "run", "--lr", "0.002", "--loss", "siglip", *QUICK)
    assert command("--resume", "--out", "run", "--quiet") == (0, "", "")
    done = command("--resume", "--out", "run", "--lr", "0.001")
    assert done.status == 2
    assert "clipbench: --lr is 0.001, and the run in run was started with 0.002: resume it" in done.err


@pytest.mark.slow
def test_interrupting_saves_a_checkpoint_and_exits_with_130(data: Path) -> None:
    program = "from clipbench.cli import main; main()"
    arguments = ["train", "--data", "captions.csv", "--out", "run", "--batch-size", "8", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not _has_steps(Path("run/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    last = errors.splitlines()[-1]
    assert last.startswith("clipbench: interrupted, and saved as run/step-")
    assert last.endswith("Add --resume to continue from there")
    assert "Traceback" not in errors


def _has_steps(log: Path) -> bool:
    return log.is_file() and '"event": "step"' in log.read_text()


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_one_that_is_killed_ends_the_other(data: Path) -> None:
    import torch
    from safetensors.torch import load_file

    ways = {
        "alone": ["-m", "clipbench"],
        "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "clipbench"],
        "devices": ["-m", "clipbench"],
    }
    for name, launcher in ways.items():
        arguments = ["train", "--data", "captions.csv", "--out", name, "--quiet", *QUICK]
        device = "cpu,cpu" if name == "devices" else "cpu"
        done = subprocess.run(
            [sys.executable, *launcher, *arguments, "--device", device],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    losses = [json.loads(Path(name, "step-2", "train.json").read_text())["losses"] for name in ways]
    np.testing.assert_allclose([losses[0], losses[0]], losses[1:], rtol=1e-5)
    expected, *others = (load_file(Path(name, "step-2", "model.safetensors")) for name in ways)
    for result in others:
        for name, value in expected.items():
            # Adam's first step is the learning rate in the direction of each gradient's sign, even where that is rounding.
            assert torch.allclose(result[name], value, atol=2e-3), name
    (line,) = _killed_in_training()
    assert line.startswith("clipbench: process 1 of 2 was killed (SIGKILL), as happens when memory runs out: ")
    assert line.endswith("the same command with --resume continues from the last checkpoint")


def _killed_in_training() -> list[str]:
    """Kill the other of two processes that train, and return what the first one says."""
    arguments = ["train", "--data", "captions.csv", "--out", "killed", "--batch-size", "8", "--workers", "0", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clipbench", *arguments, "--device", "cpu,cpu"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not _has_steps(Path("killed/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(child) for child in children if b"RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    return errors.splitlines()

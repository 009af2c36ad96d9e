"""Several processes make the run of one, and end together, whichever of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import WITH_CTRL_C, Call

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
COMMAND = ["run", "--workers", "0", "--no-report", "--thumbnails", "0"]
ALONE, BOTH = ("--device", "cpu"), ("--device", "cpu,cpu")
TINY = ["--model", "tiny"]
QUICK = [*TINY, "--suite", "scenes", "--tasks", "retrieval,zero-shot", "--limit", "120", "--batch-size", "8"]
LONG = ["--model", "slow:toy", "--tasks", "retrieval@scenes", "--data-option", "n=2500", "--batch-size", "8"]
SLOW = """
import time
from clipbench.models.encoding import pipeline
from clipbench.testing import ToyModel


class Slow(ToyModel):
    def encode_images(self, images):
        time.sleep(0.05)
        return super().encode_images(images)


def load(body, options):
    pipeline.COMMIT_SECONDS = 0.2
    return Slow()
"""
"""A plug-in whose model takes its time, and stores what it has often: a run of it has a middle on any machine."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    info = tmp_path / "site/slow-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clipbench.models]\nslow = slow_model:load\n")
    (tmp_path / "site/slow_model.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    return tmp_path


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=300)


def numbers(run: str) -> list[Any]:
    """Return what a run has measured, without times."""
    evaluations = json.loads(Path(run, "result.json").read_text())["evaluations"]
    assert {evaluation["status"] for evaluation in evaluations} == {"ok"}
    return [{name: value for name, value in evaluation.items() if name != "seconds"} for evaluation in evaluations]


@pytest.mark.slow
def test_two_processes_make_the_run_of_one_to_the_last_bit() -> None:
    ways = {
        "one": ["-m", "clipbench", *COMMAND, *QUICK, *ALONE],
        "devices": ["-m", "clipbench", *COMMAND, *QUICK, *BOTH],
        "torchrun": [*TORCHRUN, "-m", "clipbench", *COMMAND, *QUICK, *ALONE],
    }
    outputs = []
    for name, way in ways.items():
        os.environ["CLIPBENCH_CACHE"] = f"cache-{name}"
        done = ended(*way, "--out", name)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.replace(name, "RUN"))
        assert done.stderr.count("retrieval@scenes") == 1
    assert outputs[0] == outputs[1] == outputs[2]
    assert numbers("one") == numbers("devices") == numbers("torchrun")
    for file in ("samples/retrieval@scenes.parquet", "arrays/retrieval@scenes.npz", "samples/zero-shot@scenes.parquet"):
        assert len({Path(name, file).read_bytes() for name in ways}) == 1, file
    assert [number["encoded"]["images"] for number in numbers("devices")] == [120, 120]


def started(launcher: list[str], *more: str) -> tuple["subprocess.Popen[str]", dict[int, int]]:
    """Return a long run in two processes that has stored something, and the process of each rank."""
    command = subprocess.Popen(
        [sys.executable, *launcher, *COMMAND, *LONG, "--out", "run", *more], stderr=subprocess.PIPE, text=True
    )
    until, deadline = time.monotonic() + 120, n_chunks()
    while n_chunks() < deadline + 2:
        assert time.monotonic() < until, "nothing was stored by both"
        assert command.poll() is None, command.communicate()
        time.sleep(0.05)
    ranks = {rank: pid for pid in children(command.pid) if (rank := rank_of(pid)) is not None}
    assert set(ranks) == {0, 1}
    return command, ranks


def n_chunks() -> int:
    return len(list(Path("cache/store").glob("*/image/*.vectors")))


def children(pid: int) -> list[int]:
    return [int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> int | None:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((int(variable[5:]) for variable in variables if variable.startswith(b"RANK=")), None)


def assert_gone(pids: list[int]) -> None:
    until = time.monotonic() + 30
    while any(map(is_there, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_there, pids))


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_process_that_is_killed_ends_the_command_in_one_line_and_the_next_one_goes_on() -> None:
    command, ranks = started(["-c", WITH_CTRL_C], *BOTH)
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 2, errors
    assert errors.splitlines()[-1].startswith("clipbench: process 1 of 2 was killed (SIGKILL), as systems do that")
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 3  # with the model, and the interruption of process 0
    assert_gone([*ranks.values()])
    done = ended("-m", "clipbench", *COMMAND, *LONG, "--out", "run", *BOTH)
    assert done.returncode == 0, done.stderr
    counts = numbers("run")[0]["encoded"]
    assert counts["stored_images"] > 0
    assert counts["images"] + counts["stored_images"] == 2500


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_under_torchrun_its_agent_ends_the_others() -> None:
    command, ranks = started([*TORCHRUN, "-m", "clipbench"], *ALONE)
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = command.communicate(timeout=60)
    assert command.returncode != 0
    ours = [line for line in errors.splitlines() if line.startswith("clipbench: ")]
    assert ours == [
        "clipbench: interrupted: encoded vectors are stored. The same command with --out run resumes from there"
    ]
    assert_gone([*ranks.values()])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.4])
def test_the_end_of_torchrun_is_that_of_its_ranks_which_have_not_met_yet(seconds: float) -> None:
    command = subprocess.Popen(
        [sys.executable, *TORCHRUN, "-m", "clipbench", *COMMAND, *LONG, "--out", "run", *ALONE],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while len(ranks := children(command.pid)) < 2:
        assert time.monotonic() < until and command.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    command.kill()
    command.wait()
    assert_gone(ranks)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_an_interruption_ends_all_processes_and_so_does_the_end_of_the_first() -> None:
    command, ranks = started(["-c", WITH_CTRL_C], *BOTH)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130, errors
    assert errors.splitlines()[-1] == (
        "clipbench: interrupted: encoded vectors are stored. The same command with --out run resumes from there"
    )
    assert "Traceback" not in errors
    assert_gone([*ranks.values()])
    assert list(Path("cache/processes").iterdir()) == []
    command, ranks = started(["-c", WITH_CTRL_C], *BOTH)
    command.kill()
    command.communicate(timeout=60)
    assert_gone([*ranks.values()])


@pytest.mark.slow
def test_an_error_of_another_process_is_that_of_a_single_one() -> None:
    lines = ["image,caption"]
    for number in range(40):
        Image.new("RGB", (32, 32), (6 * number, 99, 9)).save(f"{number}.png")
        lines.append(f"{number}.png,image {number}")
    Path("data.csv").write_text("\n".join(lines))
    for number in (12, 18):  # the second is of process 0
        Path(f"{number}.png").write_bytes(b"no image %d" % number)
    result = []
    for device in ("cpu", "cpu,cpu"):
        arguments = ["--tasks", "retrieval@data.csv", "--batch-size", "8", "--out", f"run-{len(device)}"]
        done = ended("-m", "clipbench", *COMMAND, *TINY, *arguments, "--device", device)
        errors = json.loads(Path(arguments[-1], "result.json").read_text())["evaluations"][0]["reason"]
        result.append((done.returncode, done.stderr, errors))
    assert result[0] == result[1]
    assert result[0][0] == 2 and "12.png" in result[0][2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "embeddings:v.npz", *BOTH],
            "several devices have no effect on embeddings:v.npz, which holds vectors",
        ),
        (["--model", "api:http://a/v1", *BOTH], "which is computed by a server: give one --device"),
        (["--model", "tiny", "--device", "cpu,two"], "--device cpu,two names 'two', but there are 0 CUDA devices here"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_started(
    call: Call, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    done = call("run", *arguments)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert message in done.err

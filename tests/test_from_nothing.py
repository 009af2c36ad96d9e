"""From an empty machine to the report by one command, with a model of the true size, from a Hub on this machine."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench.results.run import read_run
from tests import hub_server, miniatures
from tests.clipbench.models import small_models

pytestmark = pytest.mark.slow

WEIGHTS = "timm/vit_base_patch32_clip_224.openai"
BY_HAND = {"flickr30k", "winoground", "rta-100"}


@pytest.fixture(scope="module")
def hub(vit_b_32_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole catalogue in miniature, and weights of ViT-B-32."""
    root = tmp_path_factory.mktemp("served")
    with hub_server.running(root) as (served, _):
        root.with_suffix(".toml").write_text(miniatures.mirror(served, n=16, n_shards=2))
        served.add(WEIGHTS, {"open_clip_model.safetensors": vit_b_32_checkpoint.read_bytes()})
        yield served


@pytest.fixture
def machine(hub: Any, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has never seen any data."""
    hub.faults, hub.requests = [], []
    variables = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hub"),
        "CLIPBENCH_CACHE": str(tmp_path / "store"),
    }
    return {**os.environ, **variables, "CLIPBENCH_CATALOGUE": str(hub.root.with_suffix(".toml")), "COLUMNS": "80"}


COMMAND = ["run", "--model", "vit-b-32", "--tasks", "all", "--yes"]

WITHOUT_LIBRARIES = """
import atexit, os, sys
from clipbench.cli import main
heavy = {"torch", "open_clip", "transformers", "datasets", "sklearn", "scipy", "pandas", "matplotlib"}
atexit.register(lambda: os._exit(99) if heavy & set(sys.modules) else None)
main()
"""
"""The command; its exit code is 99 where it has loaded what takes seconds."""


def run(*arguments: str, folder: Path, machine: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=machine)


def check_report(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    report = folder / done.stdout.splitlines()[-1]
    assert report.name == "report.html" and report.is_file()
    evaluations = read_run(report.parent).result.evaluations
    assert {evaluation.dataset.id for evaluation in evaluations if evaluation.status != "ok"} == BY_HAND
    tasks = {evaluation.task for evaluation in evaluations if evaluation.status == "ok"}
    assert tasks == {"zero-shot", "retrieval", "modality-gap", "composition", "text-in-image", "long-caption"}


def test_a_network_that_goes_half_way_and_comes_back(hub: Any, machine: dict[str, str], tmp_path: Path) -> None:
    def unplug() -> None:
        while sum(method == "GET" and "/resolve/" in path for method, path, _ in hub.requests) < 8:
            threading.Event().wait(0.01)
        hub.faults = [hub_server.Fault("", "gone")]

    thread = threading.Thread(target=unplug, daemon=True)
    thread.start()
    first = run(*COMMAND, folder=tmp_path, machine=machine)
    thread.join()
    assert first.returncode == 3 and "Traceback" not in first.stderr
    assert "to fetch: clipbench data get" in first.stderr
    came = {path.name for path in tmp_path.iterdir() if (path / ".clipbench.json").is_file() and path.name[0] != "."}
    assert came, "nothing had come yet"
    hub.faults, hub.requests = [], []
    check_report(run(*COMMAND, folder=tmp_path, machine=machine), tmp_path)
    assert not any("wds_imagenet1k" in path for _, path, _ in hub.requests) or "imagenet" not in came


def test_offline_the_same_command_answers_in_one_screen_without_a_request_or_a_model(
    machine: dict[str, str], hub: Any, tmp_path: Path
) -> None:
    reads, writes = os.openpty()
    fcntl.ioctl(writes, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", WITHOUT_LIBRARIES, *COMMAND, "--offline"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writes, check=False, cwd=tmp_path, env=machine)
    lines = os.read(reads, 1 << 16).decode().splitlines()
    os.close(writes)
    os.close(reads)
    assert (done.returncode, done.stdout, hub.requests) == (3, b"", [])
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert not any(tmp_path.iterdir())


def test_datacomp_s_38_data_sets_are_fetched_and_averaged(hub: Any, machine: dict[str, str], tmp_path: Path) -> None:
    command = ["run", "--model", "python:clipbench.testing:ToyModel", "--suite", "datacomp", "--tasks", "all", "--yes"]
    part = run(*command, "--no-report", "--out", "part", folder=tmp_path, machine=machine)
    assert part.returncode == 0, part.stderr
    assert "an average needs all 38 data sets, and 37 have a score: retrieval@flickr30k was not measured" in part.stdout
    assert run("data", "get", "flickr30k", folder=tmp_path, machine=machine).returncode == 0
    completed = run(*command, "--no-report", "--out", "whole", folder=tmp_path, machine=machine)
    assert completed.returncode == 0, completed.stderr
    full_run = read_run(tmp_path / "whole")
    average = full_run.result.average
    assert average is not None and average.metric.value is not None and average.metric.low is not None
    by_name = {str(name): metric.value for name, metric in full_run.named_metrics.items()}
    scores = [np.mean([by_name[name] for name in names]) for names in average.parts]
    assert len(scores) == 38 and average.metric.value == pytest.approx(np.mean(scores))


def test_parity_goes_on_after_a_kill_and_past_what_is_missing(
    hub: Any, machine: dict[str, str], tmp_path: Path
) -> None:
    folder = small_models.transformers_clip(tmp_path / "clip")
    hub.add("openai/clip-vit-base-patch32", {path.name: path.read_bytes() for path in folder.iterdir()})
    models = ["hf:openai/clip-vit-base-patch32", "hf:google/siglip-base-patch16-224"]
    options = ["--models", *models, "--out", "runs", "--page", "parity.md", "--data", "imagenet", "coco"]
    command = [sys.executable, str(Path(__file__).parents[1] / "experiments" / "parity.py"), *options]

    def results() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}

    first = subprocess.Popen(command, cwd=tmp_path, env=machine, start_new_session=True, stdout=subprocess.DEVNULL)
    while not results() and first.poll() is None:
        threading.Event().wait(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    finished = results()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=machine)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("downloads data") and lines[1].startswith("downloads weights") and "hours" in lines[2]
    assert "hf:openai/clip-vit-base-patch32 on imagenet: was measured" in lines and lines[-1].startswith(
        "2 of 4 measured"
    )
    assert finished and finished.items() <= results().items()
    page = (tmp_path / "parity.md").read_text()
    assert (
        page.splitlines()[2] == f"Weights and data were downloaded from {hub.address} and measured from their images."
    )
    assert "hf:google/siglip-base-patch16-224 on coco: " in page
    assert "| coco | `image_retrieval_recall@1` |" in page

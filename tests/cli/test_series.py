"""A series of checkpoints from one pattern: order, folders, one report, and going on where it was stopped."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clipbench.data import images
from clipbench.models.encoding import embedder
from clipbench.results.run import read_run
from tests.cli.conftest import Call

Save = Callable[[Path, int], Path]


@pytest.fixture
def world(world: Path, save: Save) -> Path:
    """With checkpoints of three steps."""
    for step in (2, 10, 0):
        save(world / f"train/step-{step}", step)
    return world


@pytest.fixture
def run(world: Path, call: Call) -> Call:
    given = ("--tasks", "retrieval@data.csv", "--device", "cpu")
    return lambda *arguments, model="train/step-*": call("run", "--model", model, *given, *arguments)


def test_a_pattern_is_a_series_in_natural_order_with_one_report_and_a_table(
    world: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[object] = []

    def watch(each: object) -> None:
        watched.append(each)

    monkeypatch.setattr(embedder.StoreEmbedder, "watch_memory", watch)
    done = run("--out", "out")
    assert watched == []  # memory is known of a model that is alone
    assert done.status == 0, done.err
    assert {path.name for path in (world / "out").iterdir()} == {"step-0", "step-2", "step-10", "report.html"}
    assert all((world / f"out/step-{step}/report.html").is_file() for step in (0, 2, 10))
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "retrieval@data.csv",
        "image_retrieval_recall@1",
        "step-0",
        "step-2",
        "step-10",
        "results",
        "out/report.html",
    ]
    assert max(map(len, lines)) <= 100
    value = read_run(world / "out/step-2").result.evaluations[0].metrics["image_retrieval_recall@1"].value
    assert value is not None and f"{100 * value:.1f} %" in lines[3]
    assert [read_run(world / f"out/step-{step}").result.model["step"] for step in (0, 2, 10)] == [0, 2, 10]


def test_images_are_read_and_decoded_once_for_all_checkpoints_with_the_numbers_of_single_runs(
    world: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, opened = list[str](), list[str]()
    examine, open_unchanged = images.FileImage.examine, images.FileImage.open_unchanged

    def examine_counted(self: images.FileImage) -> images.Examined:
        read.append(self.name)
        return examine(self)

    def open_counted(self: images.FileImage, is_known: Callable[[str], bool]) -> Image.Image:
        opened.append(self.name)
        return open_unchanged(self, is_known)

    monkeypatch.setattr(images.FileImage, "examine", examine_counted)
    monkeypatch.setattr(images.FileImage, "open_unchanged", open_counted)
    options = ("--no-report", "--thumbnails", "0", "--workers", "0", "--batch-size", "2")
    assert run("--out", "out", *options).status == 0
    assert (len(read), len(opened)) == (9, 9)
    monkeypatch.setenv("CLIPBENCH_CACHE", "another")
    for step in (0, 2, 10):
        assert run("--out", f"single-{step}", *options, model=f"train/step-{step}").status == 0
        of_series, single = (
            read_run(folder).result.evaluations[0] for folder in (world / f"out/step-{step}", world / f"single-{step}")
        )
        assert of_series.metrics == single.metrics
        assert of_series.encoded == single.encoded == {"images": 9, "texts": 9, "stored_images": 0, "stored_texts": 0}
        assert min(of_series.seconds.values()) >= 0
        assert of_series.seconds["encode_images"] > 0
        file = "samples/retrieval@data.csv.parquet"
        assert (world / f"out/step-{step}" / file).read_bytes() == (world / f"single-{step}" / file).read_bytes()


def test_the_same_command_goes_on_and_keeps_what_is_finished(world: Path, run: Call) -> None:
    run("--out", "out", model="train/step-?")
    before = {path: path.read_bytes() for path in (world / "out").glob("*/result.json")}
    assert len(before) == 2
    (world / "out/step-10/samples").mkdir(parents=True)  # as an interruption leaves it
    done = run("--out", "out")
    assert done.status == 0
    assert "step-2 was measured before, in out/step-2" in done.err and "step-10 was measured" not in done.err
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (world / "out/step-10/result.json").is_file()


def test_other_weights_under_the_same_name_are_refused_and_the_others_go_on(world: Path, save: Save, run: Call) -> None:
    run("--out", "out", "--no-report")
    shutil.rmtree(world / "train/step-2")
    save(world / "train/step-2", 77)
    done = run("--out", "out", "--no-report")
    assert done.status == 3
    assert "clipbench: step-2: out/step-2 holds a finished run of other weights" in done.err
    assert "step-10 was measured before" in done.err


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(world: Path) -> None:
    program = world / "program.py"
    program.write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from clipbench.cli import main\n"
        "from clipbench.evaluation import session\n"
        "measure = session.measure\n"
        "def stopped(request, embedder, *given, **options):\n"
        "    if embedder.info.ref.endswith('step-10'):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return measure(request, embedder, *given, **options)\n"
        "session.measure = stopped\n"
        "main()\n"
    )
    command = ["run", "--model", "train/step-*", "--tasks", "retrieval@data.csv", "--out", "out", "--no-report"]
    done = subprocess.run([sys.executable, str(program), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == (
        "clipbench: interrupted: 2 of 3 models are finished, in out. The same command with --out out resumes from there"
    )
    assert {path.parent.name for path in (world / "out").glob("*/result.json")} == {"step-0", "step-2"}

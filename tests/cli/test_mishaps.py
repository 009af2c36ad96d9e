"""`clipbench run` when something goes wrong around it: no result is lost, no failure looks like success, one line says
it.
"""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from clipbench.cli.main import _interrupt_handlers
from clipbench.errors import MachineError, ModelError
from clipbench.evaluation.task import Evaluation
from clipbench.models.adapters import python
from clipbench.models.options import LoadOptions
from clipbench.results.run import read_run
from clipbench.stats.measures import Fixed
from tests.cli.conftest import Call, Done, holds_only_a_reason
from tests.made import file_size_limit

MODELS = """
import os, signal, sys
from clipbench.testing import ToyModel

def toy(): return ToyModel()

def other(): return ToyModel(fingerprint="other")

def ends_in_factory(): sys.exit(0)

def huge(): return ToyModel(fingerprint="huge", logit_scale=1e308)

class Late(ToyModel):
    "Does something at the second batch of captions, when it has been loaded and has encoded images."
    def encode_texts(self, texts):
        if any("of image" in text for text in texts):
            self.late()
        return super().encode_texts(texts)

class Exits(Late):
    def late(self): sys.exit(0)

class Full(Late):
    def late(self): raise OSError(28, "No space left on device", "/scratch/x")

class Prints(Late):
    def late(self): print("printed by Python"); os.system("echo printed by a child")

class Terminated(Late):
    def late(self, number=signal.SIGTERM):
        assert signal.getsignal(number) is not signal.SIG_DFL, "it would end the tests"
        signal.raise_signal(number)

class HungUp(Terminated):
    def late(self): super().late(signal.SIGHUP)
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Six captioned images, and models that misbehave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mishaps.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    lines = ["image,caption,label"]
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,caption of image {number},{'cat' if number % 2 else 'dog'}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    yield tmp_path
    sys.modules.pop("mishaps", None)


@pytest.fixture
def run(world: Path, call: Call) -> Call:
    def run(model: str, *arguments: str, out: str = "out") -> Done:
        given = ("--tasks", "retrieval@data.csv", "--thumbnails", "0", "--out", out)
        return call("run", "--model", f"python:mishaps:{model}", *given, *arguments)

    return run


def reason(folder: Path) -> str | None:
    return read_run(folder).result.evaluations[0].reason


def test_a_model_that_calls_exit_has_not_succeeded(world: Path, run: Call) -> None:
    done = run("Exits", "--no-report")
    assert done.status == 2, done.err
    assert reason(world / "out") == (
        "python:mishaps:Exits: encode_texts failed (it called sys.exit(0)): see its traceback (--traceback)"
    )
    with pytest.raises(ModelError, match=r"the factory failed \(it called sys\.exit\(0\)\)"):
        python.load("mishaps:ends_in_factory", LoadOptions())


def test_a_full_disk_ends_the_run_and_not_only_a_model(world: Path, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, folder: Path) -> None:
        raise MachineError(f"cannot write {folder}: No space left on device")

    monkeypatch.setattr("clipbench.evaluation.session.write_result", fail)
    done = run("toy", "--model", "python:mishaps:other", "--no-report")
    assert done.status == 2 and done.err.splitlines()[-1].endswith("No space left on device")
    assert "measuring python:mishaps:toy" in done.err and "measuring python:mishaps:other" not in done.err


def test_a_report_that_cannot_be_written_costs_no_run(world: Path, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench.evaluation.session.report_writer", lambda: lambda runs, path: 1 / 0)
    done = run("toy", "--model", "python:mishaps:other")
    text = (
        "report.html: ZeroDivisionError: division by zero (a bug in a section of the report: --traceback shows where)"
    )
    assert done.status == 3 and done.err.count(text) == 3, done.err
    assert len(list((world / "out").glob("*/result.json"))) == 2 and "results in out\n" in done.out
    assert run("toy", "--traceback", out="shown").status == 2


def test_an_evaluation_that_cannot_be_recorded_fails_alone(
    world: Path, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, fraction = Fixed(value=1.0, reason="", n=2**70), Fixed(value=1.0, reason="")
    evaluation = Evaluation(samples={"sample_id": np.array(["a"])}, measures={"m": endless})
    monkeypatch.setattr("clipbench_tasks.retrieval.Retrieval.evaluate", lambda *_: evaluation)
    parameters = {"modality-gap": [SimpleNamespace(name="k")]}
    monkeypatch.setattr("clipbench.evaluation.measure.fields", lambda task: parameters.get(task.name, []))
    monkeypatch.setattr("clipbench_tasks.modality_gap.task.ModalityGap.k", np.inf, raising=False)
    again = replace(evaluation, measures={"m": fraction})
    monkeypatch.setattr("clipbench_tasks.zero_shot.ZeroShot.evaluate", lambda *_: again)
    assert run("toy", "--tasks", "modality-gap@data.csv,zero-shot@data.csv", "--no-report").status == 3
    records = read_run(world / "out").result.evaluations
    reasons = [str(record.reason) for record in records]
    assert reasons[1].startswith("the task cannot be recorded: Out of range float values are not JSON compliant")
    assert [reasons[0], reasons[2]] == [
        "the evaluation cannot be recorded: metrics.m.n is 1180591620717411303424, expected an integer below 2^63",
        "None",
    ]


@pytest.mark.parametrize("model", ["Terminated", "HungUp"])
def test_a_termination_is_an_interruption(model: str, world: Path, run: Call) -> None:
    done = run(model)
    assert done.status == 130
    assert done.err.splitlines()[-1] == (
        "clipbench: interrupted: encoded vectors are stored. The same command with --out out resumes from there"
    )
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not (world / "out/result.json").exists() and list((world / "cache").rglob("*.vectors"))
    shutil.rmtree(world / "cache/store")


def test_a_command_that_ignores_the_end_of_its_terminal_goes_on(world: Path, run: Call) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run("HungUp").status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_amid_an_import_waits_for_its_end(world: Path, call: Call) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
    first = "import pathlib, signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.2)\n"
    (world / "slow.py").write_text(f"{first}pathlib.Path('whole').touch()\ndef model(): time.sleep(9)\n")
    done = call("run", "--model", "python:slow:model", "--tasks", "retrieval@data.csv", "--out", "out")
    assert done.status == 130 and done.err.splitlines()[-1].startswith("clipbench: interrupted")
    assert (world / "whole").exists()


def test_a_signal_amid_the_reading_of_weights_waits_for_its_end(tmp_path: Path) -> None:
    library = tmp_path / "safetensors" / "torch.py"
    library.parent.mkdir()
    library.write_text(
        "import pathlib, signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(0.2)\n"
        "pathlib.Path(__file__).with_name('read').touch()\n"
    )
    with pytest.raises(KeyboardInterrupt), _interrupt_handlers():
        runpy.run_path(str(library))
        time.sleep(10)
    assert library.with_name("read").exists()


def test_a_run_that_lacks_its_report_gets_it_by_the_same_command(world: Path, run: Call) -> None:
    assert run("toy").status == 0
    (world / "out/report.html").unlink()
    before = (world / "out/result.json").read_bytes()
    done = run("toy")
    assert done.status == 0 and "was measured before" in done.err, done.err
    assert (world / "out/report.html").is_file() and (world / "out/result.json").read_bytes() == before
    (world / "out/report.html").unlink()
    done = run("toy", "--seed", "1")
    assert done.status == 2 and "out holds a finished run of seed 0: results are never overwritten" in done.err
    assert not (world / "out/report.html").exists()


def test_a_run_without_results_is_replaced_as_its_message_advises(world: Path, run: Call) -> None:
    (world / "3.png").write_bytes(b"no image")
    failed = run("toy")
    assert failed.status == 2 and "run with --on-bad-image skip" in failed.err
    (world / "out/notes.txt").write_text("mine")
    refused = run("toy", "--on-bad-image", "skip")
    assert refused.status == 2 and "out holds other files (notes.txt)" in refused.err
    (world / "out/notes.txt").unlink()
    repeated = run("toy", "--on-bad-image", "skip")
    assert repeated.status == 0, repeated.err
    assert "skipped 1 of 6 images of data.csv" in repeated.out.splitlines()
    report = (world / "out/report.html").read_text()
    assert "skipped 1 of 6 images" in report and "skipped 3.png: " in report
    assert run("toy", "--on-bad-image", "skip").status == 2


@pytest.mark.parametrize("what", ["out", "cache"])
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_encoded(
    world: Path, run: Call, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "file").touch()
    monkeypatch.setattr("clipbench.testing.ToyModel.encode_texts", toy_texts)
    if what == "cache":
        monkeypatch.setenv("CLIPBENCH_CACHE", str(world / "file"))
    done = run("toy", "--no-report", out="out" if what == "cache" else "file/out")
    assert f"cannot write to {'file/out' if what == 'out' else world / 'file'}" in done.err
    assert "Not a directory. Fix: " + ("name another --out" if what == "out" else "make room there, or") in done.err
    assert done.status == 2
    assert holds_only_a_reason(world / "out") if what == "cache" else not (world / "out").exists()


def toy_texts(_: object, texts: list[str]) -> np.ndarray:
    assert not any("of image" in text for text in texts), "encoded, though nothing can be stored"
    return np.ones((len(texts), 32), np.float32)


def test_leftovers_of_an_interrupted_run_are_neither_believed_nor_in_the_way(world: Path, run: Call) -> None:
    digest = "0123456789abcdef" * 2
    for name in (
        f"thumbs/{digest}.webp",
        f"thumbs/small/{digest}.webp",
        "thumbs/my own.webp",
        "samples/.a.12345678.half",
    ):
        (world / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (world / "out" / name).write_bytes(b"half")
    (world / "out/.result.json.12345678.half").write_bytes(b"half")
    assert run("toy", "--no-report").status == 0
    left = {str(path.relative_to(world / "out")) for path in (world / "out").rglob("*") if path.is_file()}
    assert left == {
        "result.json",
        "thumbs/my own.webp",
        "samples/retrieval@data.csv.parquet",
        "samples/retrieval@data.csv-neighbours.parquet",
        "arrays/retrieval@data.csv.npz",
    }


def test_a_small_image_that_cannot_be_written_is_no_small_image(world: Path, run: Call) -> None:
    Image.effect_noise((160, 160), 90).convert("RGB").save(world / "0.png")  # its copy is larger than the others
    with file_size_limit(4000):
        done = run("toy", "--thumbnails", "10", "--tasks", "zero-shot@data.csv")
    assert done.status in (2, 3) and "File too large" in done.err and "bug" not in done.err
    for image in (world / "out").rglob("*.webp"):
        Image.open(image).load()
    assert not os.path.exists(world / "out/report.html")


def test_a_thread_that_goes_on_does_not_keep_a_finished_command() -> None:
    code = """
import atexit, sys, threading
import clipbench.__main__ as command
command.SECONDS_OF_THREADS = 0.1
command.run_command = lambda: sys.exit(3)
threading.Thread(target=threading.Event().wait).start()
atexit.register(print, "at exit")
command.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (3, "at exit\n", "")


def test_a_program_that_calls_the_command_goes_on() -> None:
    code = """
import sys, time
import clipbench.__main__ as command
command.SECONDS_OF_THREADS = 0.1
command.run_command = lambda: sys.exit(3)
try:
    command.main()
except SystemExit as end:
    time.sleep(0.5)
    print("goes on after", end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "goes on after 3\n")


def test_files_are_written_before_the_words_whose_reader_may_stop(
    world: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*lines: str) -> None:
        raise BrokenPipeError

    explanation = SimpleNamespace(lines=lambda width: ["words"], as_json=lambda: "{}")
    monkeypatch.setattr("clipbench.evaluation.explain_runs.explain_runs", lambda *runs, **options: explanation)
    monkeypatch.setattr("clipbench.cli.commands.explain.echo", stop)
    assert call("explain", "base", "candidate", "--json", "explanation.json").status != 0
    assert (world / "explanation.json").read_text() == "{}"


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such limit")
def test_few_open_files_are_enough(world: Path) -> None:
    command = f"{sys.executable} -m clipbench run --model tiny --tasks retrieval@data.csv --workers 2 --batch-size 2"
    done = subprocess.run(
        f"ulimit -n 64; {command} --device cpu --out out",
        shell=True, cwd=world, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and (world / "out/report.html").is_file(), done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_fails_no_command(closed: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m clipbench"
    done = subprocess.run(
        f"{command} list tasks {closed} && {command} show nothing {closed}",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "bug" not in done.stderr and ("no result.json in nothing" in done.stderr) == ("2>" not in closed)
    assert ("zero-shot" in done.stdout) == (" >" not in f" {closed}")


def test_files_do_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "import clipbench.__main__, os; file = open('out', 'w'); os.write(1, b'printed'); file.close()"
    subprocess.run(f'{sys.executable} -c "{code}" >&-', shell=True, cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "out").read_text() == ""

"""Mutants and the tests of their rooms, each in a process of its own that imports a changed copy of the code. Linux.

The processes are forked from one that has loaded the libraries, which else takes longer than most tests.
"""

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mutants_code import Code, Mutant, Mutation, mutated

PACKAGES = ("clipbench", "tasks/clipbench_tasks", "reports/clipbench_reports")
PRELOADED = (
    *(
        "numpy",
        "scipy.stats",
        "scipy.optimize",
        "pandas",
        "pyarrow.parquet",
        "PIL.Image",
        "matplotlib.pyplot",
        "jinja2",
    ),
    *("beartype", "jaxtyping", "pytest", "hypothesis", "click", "tqdm", "sklearn.metrics", "sklearn.linear_model"),
    *("torch", "torchvision", "transformers", "open_clip", "datasets"),
)
"""What tests import and takes long, and is not mutated."""
NO_NETWORK = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/no-such-folder"}
"""As of the tests themselves, which are too late to say it to what is loaded before."""
SLOWER, SLACK_SECONDS = 3.0, 60.0
"""Tests are slow that take so many times what they take without a mutant, and these seconds."""
MOST_BYTES = 8 << 30
WRONG_CODE = 99
"""Exit status where something else than the copy was imported."""


class Tests(NamedTuple):
    """What tests came to."""

    status: int | None
    """Of pytest, or less than 0 by a signal; None if they were too slow."""
    seconds: float
    failed: list[str]


class Log:
    """What is known of mutants, and of rooms without one, by their names: a file of a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, **entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read(self) -> dict[str, dict[str, Any]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return {entry["id"]: entry for entry in map(json.loads, lines)}


class Trial(NamedTuple):
    """Mutants of one commit."""

    root: Path
    """Folder of the repository."""
    revision: str
    rooms: Mapping[str, Sequence[str]]
    """Paths of tests, and of code whose doctests count, by room."""
    log: Log


def try_all(trial: Trial, sample: Sequence[Mutant], jobs: int) -> None:
    """Try the mutants that the log does not know, in so many processes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    known = trial.log.read()
    mutants = [mutant for mutant in sample if mutant.id not in known]
    rooms = [room for room in dict.fromkeys(mutant.room for mutant in mutants) if room not in known]
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        for tasks in (rooms, mutants):
            _share(trial, tasks, Path(folder), min(jobs, len(tasks)))


def _share(trial: Trial, tasks: Sequence[str | Mutant], folder: Path, jobs: int) -> None:
    workers = []
    try:
        for number in range(jobs):
            if (pid := os.fork()) == 0:
                _work(trial, tasks, folder, number)
            workers.append(pid)
        while workers:
            _, status = os.waitpid(workers[0], 0)
            workers.pop(0)
            if status:
                sys.exit("a process that tries mutants has failed: run the same command again")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)


def _work(trial: Trial, tasks: Sequence[str | Mutant], folder: Path, number: int) -> NoReturn:
    status = 1
    try:
        tree = _copy(trial, folder / str(number))
        _load_libraries(tree)
        code, known = Code(tree, PACKAGES), trial.log.read()
        for task in tasks:
            name = task if isinstance(task, str) else task.id
            with suppress(FileExistsError):
                (folder / f"{name}.taken").touch(exist_ok=False)
                found = _unchanged(trial, tree, name) if isinstance(task, str) else _tried(trial, code, task, known)
                trial.log.add(id=name, **found)
        status = 0
    except Exception:  # noqa: BLE001 - said here, since the process ends below
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _copy(trial: Trial, tree: Path) -> Path:
    if not tree.exists():
        tree.mkdir()
        archive = ["git", "-C", str(trial.root), "archive", trial.revision]
        files = subprocess.run(archive, check=True, capture_output=True).stdout
        subprocess.run(["tar", "x"], cwd=tree, input=files, check=True)
    return tree


def _load_libraries(tree: Path) -> None:
    """Load the libraries, and have the copy come before an editable install, for processes of tests too."""
    folders = [str(folder) for folder in (entry_points_of(tree), *((tree / package).parent for package in PACKAGES))]
    sys.path[:0] = folders
    os.environ.update(NO_NETWORK, PYTHONPATH=os.pathsep.join(folders), OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    for name in PRELOADED:
        importlib.import_module(name)
    assert not _imported_from_elsewhere(Path(os.devnull)), "a library has imported the code that is mutated"
    gc.freeze()


def entry_points_of(tree: Path) -> Path:
    """Return a folder that has the copy's entry points installed: those of the environment may be of another commit."""
    folder = tree.with_suffix(".installed")
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    information = folder / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    lines = []
    for group, entries in (*project["entry-points"].items(), ("console_scripts", project["scripts"])):
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    installed = metadata.distribution(project["name"]).read_text("METADATA")
    (information / "METADATA").write_text(installed or "", encoding="utf-8")
    return folder


def _unchanged(trial: Trial, tree: Path, room: str) -> dict[str, Any]:
    """Return what the tests of a room come to without a mutant; those that fail now are left out later."""
    status, seconds, failed = run_tests(tree, tests_of(tree, trial.rooms[room]))
    if status != 0 and not failed:
        raise RuntimeError(f"tests of {room} do not start\n{(_scratch(tree) / 'output').read_text(errors='replace')}")
    return {"outcome": "unchanged", "seconds": seconds, "failed": failed}


def _tried(trial: Trial, code: Code, mutant: Mutant, known: Mapping[str, Any]) -> dict[str, Any]:
    place = code.find(mutant)
    if place is None:
        return {"outcome": "gone"}
    file, mutation = place
    room = known[mutant.room]
    paths = tests_of(code.root, dict.fromkeys((*trial.rooms[mutant.room], *_at(file))), near=mutant)
    with changed(code.root / file, mutation):
        status, seconds, failed = run_tests(
            code.root, paths, most_seconds=SLOWER * room["seconds"] + SLACK_SECONDS, left_out=room["failed"]
        )
    outcome = "survived" if status == 0 else "slow" if status is None else "killed"
    return {"outcome": outcome, "seconds": seconds, "status": status, "by": failed[:1], "file": file}


def _at(file: str) -> list[str]:
    """Return where tests of a module are, and its room."""
    package, room, *_ = Path(file).parts
    return [f"tests/{package}/{room}" if package == "clipbench" else f"tests/{package}", f"{package}/{room}"]


def tests_of(tree: Path, paths: Iterable[str], near: Mutant | None = None) -> list[str]:
    """Return what pytest is given for these paths: each file of tests, and the code for its doctests.

    Args:
        near: files come first that look as if they tested what was mutated.
    """
    there = [path for path in paths if (tree / path).exists()]
    tests = [path for path in there if path.startswith("tests/")]
    files = [file for path in tests for file in [tree / path, *(tree / path).rglob("test_*.py")] if file.is_file()]
    if near is not None:
        module, function = Path(near.file).stem.strip("_"), near.function.rpartition(".")[2]

        def distance(file: Path) -> tuple[bool, bool, bool, int]:
            text = file.read_text(encoding="utf-8")
            return module not in file.stem, function not in text, module not in text, len(text)

        files.sort(key=distance)
    names = list(dict.fromkeys(file.relative_to(tree).as_posix() for file in files))
    return [*names[:1], *(path for path in there if path not in tests), *names[1:]]


@contextmanager
def changed(path: Path, mutation: Mutation) -> Iterator[None]:
    """Have a module changed; it gets a time of its own, so that no bytecode of the one is taken for the other's."""
    source, before = path.read_bytes(), path.stat().st_mtime_ns
    try:
        path.write_bytes(mutated(source.decode(), mutation).encode())
        yield
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(before, before))


# Tests in a process of their own ---------------------------------------------------------------------------------------


def run_tests(
    tree: Path, tests: Sequence[str], most_seconds: float | None = None, left_out: Sequence[str] = ()
) -> Tests:
    """Run tests against the copy of the code: all of them, or with a limit of time until one fails."""
    scratch = _scratch(tree)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(
        tree / ".hypothesis" / "examples", ignore_errors=True
    )  # one mutant's failures are not the next one's start
    scratch.mkdir()
    options = [f"--deselect={each}" for each in left_out] + ([] if most_seconds is None else ["--exitfirst"])
    begun, status = time.monotonic(), None
    pid = os.fork()
    if pid == 0:
        _pytest(tree, [*tests, *options])
    try:
        while status is None and (most_seconds is None or time.monotonic() - begun < most_seconds):
            time.sleep(0.05)
            ended, how = os.waitpid(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(how) if ended else None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it left behind too
        if status is None:
            os.waitpid(pid, 0)
    if status == WRONG_CODE:
        raise RuntimeError((scratch / "output").read_text(encoding="utf-8", errors="replace"))
    failed = scratch / "failed"
    names = failed.read_text(encoding="utf-8").splitlines() if failed.exists() else []
    return Tests(status, round(time.monotonic() - begun, 1), names)


def _scratch(tree: Path) -> Path:
    return tree.with_suffix(".scratch")


class _Failures:
    """A plug-in of pytest that writes down what fails."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(report.nodeid.replace("\n", " ") + "\n")

    pytest_collectreport = pytest_runtest_logreport


def _pytest(tree: Path, arguments: Sequence[str]) -> NoReturn:
    status, scratch = 1, _scratch(tree)
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        os.chdir(tree)
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None
        output = os.open(scratch / "output", os.O_CREAT | os.O_WRONLY)
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
            os.dup2(file, number)
        import pytest

        options = [
            "--quiet",
            "--tb=line",
            "-Wignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:cacheprovider",
            "--hypothesis-seed=0",
            f"--basetemp={scratch / 'tests'}",
        ]
        status = int(pytest.main([*options, *arguments], plugins=[_Failures(scratch / "failed")]))
        if elsewhere := _imported_from_elsewhere(tree):
            print("not of the copy:", *elsewhere)
            status = WRONG_CODE
    except BaseException:  # noqa: BLE001 - a mutant may raise anything
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _imported_from_elsewhere(tree: Path) -> list[str]:
    names = {Path(package).name for package in PACKAGES}
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in names]
    files = [getattr(module, "__file__", None) for module in modules]
    return [file for file in files if file is not None and not Path(file).is_relative_to(tree)]

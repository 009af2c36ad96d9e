"""Every module is imported and every command runs once: what `make smoke-lowest` tries with the lowest versions."""

import importlib
import os
import pkgutil
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from clipbench.cli.main import COMMANDS

pytestmark = pytest.mark.slow

CLIPBENCH = [sys.executable, "-m", "clipbench"]
RUN = "--suite scenes --tasks all --limit 120 --thumbnails 2"
LINES = {
    "run": f"run --model tiny {RUN} --out runs/base",
    "doctor": "doctor --model tiny",
    "list": "list tasks",
    "data": "data list",
    "cache": "cache",
    "compare": "compare runs/base runs/candidate -o compare.html --format html",
    "explain": "explain runs/base runs/candidate -o explanation.html",
    "show": "show runs --all",
    "report": "report runs/base runs/candidate -o report.html",
    "view": "view runs --export site",
    "plot": "plot gap runs/base -o gap.pdf",
    "export": "export runs --to parquet -o metrics.parquet",
    "train": "train --data scenes --data-option primer=64 --steps 2 --batch-size 16 --out training",
    "pool": "pool --model tiny --model training/step-2 --images photos --queries queries.txt --k 2 --out pool",
    "judge": "judge pool --no-open",
    "choose": "choose pool",
}
"""A command line for each command, in an order in which it has what it needs."""
SERVERS = ("judge",)
"""Commands that serve pages until they are interrupted."""
STATUS = {"judge": (0, 130), "choose": (3,)}
"""Exit statuses other than 0: a server is interrupted, which older versions of uvicorn end with 0, and nobody has
judged the pool.
"""


def test_every_module_is_imported() -> None:
    packages = [importlib.import_module(name) for name in ("clipbench", "clipbench_tasks", "clipbench_reports")]
    modules = [
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    assert len(modules) > 200
    for name in modules:
        importlib.import_module(name)


def test_every_command_runs(tmp_path: Path) -> None:
    assert set(LINES) == set(COMMANDS), "give each command a line"
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 200 - 40 * number, 90)).save(tmp_path / f"photos/{number}.png")
    (tmp_path / "queries.txt").write_text("a red thing\na green thing\n")
    for name, line in LINES.items():
        command = [*CLIPBENCH, *shlex.split(line)]
        status, output = (_serve if name in SERVERS else _run)(command, tmp_path)
        assert status in STATUS.get(name, (0,)), f"{line}\n{output}"
        if name == "run":
            shutil.copytree(tmp_path / "runs/base", tmp_path / "runs/candidate")


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False, timeout=600
    )
    return done.returncode, done.stdout + done.stderr


def _serve(command: list[str], folder: Path) -> tuple[int, str]:
    """Start a server, and interrupt it once it has answered at the address that it prints."""
    with subprocess.Popen(
        command, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        text = ""
        while not (address := re.search(r"http://\S+", text)) and (line := server.stdout.readline()):
            text += line
        assert address is not None, text
        with urllib.request.urlopen(address[0]) as page:
            assert page.status == 200
        server.send_signal(signal.SIGINT)
        text += server.stdout.read()
    return server.returncode, text

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

from tests.command_lines import CANDIDATE, SERVERS, STATUS, command_lines, output_of

pytestmark = pytest.mark.slow

CLIPBENCH = [sys.executable, "-m", "clipbench"]


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
    for name, arguments in command_lines().items():
        status, output = (_serve if name in SERVERS else _run)([*CLIPBENCH, *arguments], tmp_path)
        assert status in STATUS.get(name, (0,)), f"{shlex.join(arguments)}\n{output}"
        written = output_of(arguments)
        assert written is None or (tmp_path / written).exists(), name
        if name == "run":
            shutil.copytree(tmp_path / "runs/base", tmp_path / CANDIDATE)


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

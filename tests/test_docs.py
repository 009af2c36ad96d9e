"""The documentation: its examples run as they stand, and it names every command, task and option."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import pytest

from clipbench import plugins
from clipbench.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))
DATA = ROOT.parent / "shared" / "data"


def commands(page: str, form: str) -> list[list[str]]:
    """Return the command lines of clipbench on a page that a pattern finds."""
    lines = re.findall(form, (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [[each for each in shlex.split(line)[1:] if each != "|"] for line in lines if "..." not in line]


def parse(arguments: list[str]) -> None:
    """Parse a command line as the command does."""
    name, left = "clipbench", arguments
    command: click.Command | None = cli
    while isinstance(command, click.Group) and left:
        name, *left = left
        command = command.get_command(click.Context(command), name)
    assert command is not None, arguments
    command.make_context(name, left, obj=[])


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    env = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)


def run_as_written(program: str, arguments: list[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of CONTRIBUTING, with what it installs apart from the environment of the tests and no network."""
    if program == "clipbench":
        return run(*arguments, folder=folder, PYTHONPATH="installed")
    apart = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", "installed"]
    module = [] if program == "python" else ["-m", program]
    command = [sys.executable, *module, *arguments, *(apart if program == "pip" else [])]
    environment = {**os.environ, "PYTHONPATH": "installed"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_pages_parses(page: str) -> None:
    for arguments in commands(page, r"^(?:\$ |    )(clipbench [^#\n]*)"):
        parse(arguments)
    for arguments in commands(page, r"`(clipbench [^`]*)`"):
        with suppress(click.MissingParameter, click.exceptions.Exit):  # spoken of, with what matters there
            parse(arguments)


def test_every_command_and_task_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*COMMANDS, *plugins.names(plugins.TASKS)):
        assert f"`{name}`" in readme or f"clipbench {name}" in readme, name


def test_the_examples_of_contributing_run_as_they_stand(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    for name, content in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    printed = {}
    for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        program, *arguments = shlex.split(line)
        done = run_as_written(program, arguments, folder=tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed[program] = done.stdout
    assert list(printed) == ["pip", "pytest", "python", "clipbench"]
    assert "shouting@animals.csv" in printed["clipbench"] and "cosine" in printed["clipbench"]
    assert "1 passed" in printed["pytest"]
    report = (tmp_path / "animals/report.html").read_text(encoding="utf-8")
    section = report.partition('aria-labelledby="e2"')[2].partition("</section>")[0]
    for words in (
        "A caption and its capitals have cosine ",
        "The least cosine is",
        "that capitals change most",
        "Case ignored",
    ):
        assert words in section, words
    assert "failed" not in section and "Does a caption in capitals mean the same" in section


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the vectors in {DATA}")
def test_the_session_of_the_readme_is_what_clipbench_prints(tmp_path: Path) -> None:
    images, texts = np.load(DATA / "clip_embeddings/modality_gap/features_clip.npy")
    np.savez(tmp_path / "coco.npz", images=images, texts=texts)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"<!-- session -->\n```console\n(.*?)```", text, re.DOTALL)
    command, *expected = session.splitlines()
    printed = run(*shlex.split(command)[2:], folder=tmp_path).stdout.splitlines()

    def without_times(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+\.\d s$", "? s", line) for line in lines]

    assert without_times(printed) == without_times(expected)

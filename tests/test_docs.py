"""The documentation: its examples run as they stand, and it names every command, task and option."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from clipbench import plugins
from clipbench.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/training-history.md", "docs/figures.md", "docs/ci.md")
DATA = ROOT.parent / "shared" / "data"


def commands(page: str) -> list[list[str]]:
    """Return every command line of clipbench in the code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^(?:\$ |    )(clipbench [^#\n]*)", text, re.MULTILINE) + re.findall(
        r"`(clipbench [^`]*)`", text
    )
    return [shlex.split(line)[1:] for line in lines if "..." not in line]


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    env = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_pages_parses(page: str) -> None:
    for name, *rest in commands(page):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        if name in ("run", "watch", "show", "compare", "report", "plot", "export"):
            command.make_context(name, [argument for argument in rest if argument != "|"], obj=[])


def test_every_command_and_task_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*COMMANDS, *plugins.names(plugins.TASKS)):
        assert f"`{name}`" in readme or f"clipbench {name}" in readme, name


def test_the_examples_of_contributing_run_as_they_stand(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    for name, content in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "my_clip/__init__.py").touch()
    for number, name in enumerate(("one", "two", "three")):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/{name}.png")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([sys.executable, "-m", *install, "--target", "installed", "."], check=True, cwd=tmp_path)
    (line,) = re.findall(r"^\$ clipbench (.*)$", text, re.MULTILINE)
    done = run(*shlex.split(line), folder=tmp_path, PYTHONPATH="installed")
    assert done.returncode == 0, done.stderr
    assert "shouting@animals.csv" in done.stdout and "cosine" in done.stdout
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
    tested = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shouting.py"]
    env = {**os.environ, "PYTHONPATH": "."}
    result = subprocess.run(tested, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert "1 passed" in result.stdout, result.stdout


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

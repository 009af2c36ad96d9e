"""Commands that read finished runs need docs/requirements-gate.txt alone: neither torch nor what else measuring
needs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = os.environ.get("CLIPBENCH_GATE_RUN")
"""A finished run, in place of one of made-up vectors."""
PYTHON = os.environ.get("CLIPBENCH_GATE_PYTHON")
"""Interpreter of an environment that has these requirements alone; without one, all other modules are blocked."""
NEEDED = set(re.findall(r"^[a-z].*", (ROOT / "docs/requirements-gate.txt").read_text(), re.MULTILINE))
DECLARED = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])

COMMANDS = [
    ["show", "RUN", "--all"],
    ["report", "RUN", "-o", "report.html"],
    *(["compare", "RUN", "RUN", "--max-drop", "1pp", "--format", form, "-o", f"compare.{form}"]
      for form in ("table", "md", "json", "junit", "github", "html")),
    *(["export", "RUN", "--to", form] for form in ("csv", "clip_benchmark", "model-index", "markdown", "latex", "every-eval-ever")),
    ["export", "RUN", "--to", "parquet", "-o", "metrics.parquet"],
    *(["plot", name, "RUN", "-o", f"{name}.{form}"] for name, form in (("gap", "pdf"), ("cones", "svg"))),
    ["plot", "compare", "RUN", "OTHER", "-o", "compare.png"],
]  # fmt: skip
CODE = """
import json, sys
blocked, commands = json.loads(sys.argv[1]), json.loads(sys.argv[2])

class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker)
from clipbench.cli import main
for arguments in commands:
    try:
        main(arguments)
    except SystemExit as end:
        print("status", end.code, *arguments, file=sys.stderr)
"""


def measuring_modules() -> list[str]:
    """Return the modules of all declared dependencies that the gate does not name."""
    names = {re.split(r"[>=<]", requirement)[0].replace("-", "_").lower() for requirement in DECLARED - NEEDED}
    modules = packages_distributions().items()
    return sorted(module for module, owners in modules if names & {owner.replace("-", "_").lower() for owner in owners})


def run(*commands: list[str], folder: Path, finished: Path) -> list[str]:
    """Run commands in one process, and return what it wrote to standard error."""
    folders = {"RUN": str(Path(RUN or finished).absolute()), "OTHER": str(folder / "other")}
    shutil.copytree(folders["RUN"], folders["OTHER"])
    text = json.dumps([[folders.get(argument, argument) for argument in arguments] for arguments in commands])
    blocked = json.dumps([] if PYTHON else measuring_modules())
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    done = subprocess.run(
        [PYTHON or sys.executable, "-c", CODE, blocked, text],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_the_gate_needs_a_part_of_what_is_declared() -> None:
    assert NEEDED < DECLARED
    assert {"torch", "open_clip", "transformers", "datasets", "umap"} <= set(measuring_modules())


def test_finished_runs_are_read_without_what_measuring_needs(tmp_path: Path, finished_run: Path) -> None:
    lines = [
        line
        for line in run(*COMMANDS, folder=tmp_path, finished=finished_run)
        if line.startswith(("status", "clipbench:"))
    ]
    failures = [line for line in lines if not line.startswith("status 0 ")]
    assert not failures and len(lines) == len(COMMANDS), "\n".join(failures)


def test_what_is_not_installed_is_said_in_one_line(tmp_path: Path, finished_run: Path) -> None:
    umap = ["plot", "gap", "RUN", "--projection", "umap", "-o", "gap.svg"]
    bundled = ["run", "--model", "tiny", "--tasks", "retrieval@scenes", "--limit", "4", "--out", "run"]
    training = ["train", "--data", "scenes", "--steps", "1", "--out", "trained"]
    completed = run(umap, bundled, training, folder=tmp_path, finished=finished_run)
    assert completed[0].startswith("clipbench: --projection umap needs umap-learn: pip install umap-learn")
    assert re.match(r"clipbench: .*the package [\w-]+ is not installed: install clipbench with all", completed[2]), (
        completed
    )
    assert re.match(r"clipbench: the package [\w-]+ is not installed: install clipbench with all", completed[4]), (
        completed
    )
    assert [line.split()[:2] for line in completed[1::2]] == [["status", "2"]] * 3 and len(completed) == 6, completed


@pytest.mark.skipif(not PYTHON, reason="only where `make test-wheel` makes an environment for the gate")
def test_the_environment_of_the_gate_has_no_torch() -> None:
    done = subprocess.run([str(PYTHON), "-c", "import torch"], capture_output=True, check=False)
    assert done.returncode == 1

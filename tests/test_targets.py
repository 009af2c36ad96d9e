"""Targets of the Makefile that CI does not run: their scripts start, and take the options that are given to them.

Slow tests and those of a peer are imported by every collection, and ``tests/fuzz`` starts the fuzzer's targets.
"""

import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]

from clipbench.cli.main import cli

ROOT = Path(__file__).parents[1]
MAKEFILE = ROOT / "Makefile"
pytestmark = pytest.mark.skipif(not MAKEFILE.is_file(), reason="the Makefile is not part of the source distribution")

TEXT = re.sub(r"\s*\\\n\s*", " ", MAKEFILE.read_text(encoding="utf-8")) if MAKEFILE.is_file() else ""
RULES = dict(re.findall(r"^([a-z][a-z-]*):(.*(?:\n\t.*)*)", TEXT, re.MULTILINE))
"""Each target's prerequisites, help and commands."""
SCRIPTS = {script: rule for rule in RULES.values() for script in re.findall(r"\$\(BIN\)/python (\S+\.py)", rule)}
"""Each script with the rule that runs it."""
COMMANDS = sorted(set(re.findall(r"(?:\$\(BIN\)|bin)/clipbench ([a-z].+?)(?= &&| \$\$\(|$)", TEXT, re.MULTILINE)))


def test_scripts_and_commands_are_found() -> None:
    assert {"tests/fuzz/fuzz.py", "benchmarks/bench.py", "experiments/claims.py"} <= set(SCRIPTS)
    assert {command.split()[0] for command in COMMANDS} >= {"run", "train"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_starts_and_has_the_options_of_its_rule(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    monkeypatch.setattr(sys, "argv", [script, "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")

    output = capsys.readouterr().out
    assert ended.value.code == 0 and output.startswith(f"usage: {Path(script).name}")
    of_target, _, rule = SCRIPTS[script].partition("\n")
    matches = re.findall(r"(?<=[ ='])--[a-z-]+", of_target + rule.partition(script)[2])
    assert set(matches) <= set(re.findall(r"--[a-z-]+", output))


def test_workflows_run_targets_and_the_image_copies_files_that_are_there() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    assert set(jobs["weekly"]["strategy"]["matrix"]["target"]) <= set(RULES)
    assert (ROOT / jobs["change"]["steps"][-1]["run"]).is_file()
    image = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", image, re.MULTILINE) for name in line.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_its_options(command: str) -> None:
    context = click.Context(cli, info_name="clipbench")
    name, result, rest = cli.resolve_command(context, shlex.split(command))
    assert result is not None
    result.make_context(name, rest, parent=context)

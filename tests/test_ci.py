"""The workflows of docs/ci.md and the composite action: their shell steps run as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
OUTSIDE = ("pip", "gh", "curl")
"""Programs that reach out: in the tests they write down what they were asked for."""
CLIPBENCH = f'exec {sys.executable} -m clipbench "$@"'


def make_project(folder: Path, clipbench: str) -> Path:
    """Return a folder with the gate file of the page, and programs that stand in for those that reach out."""
    (folder / "clipbench-gate.toml").write_text(FILES["clipbench-gate.toml"])
    (folder / "bin").mkdir()
    scripts = {name: f'echo "{name} $*" >> "$CALLS"' for name in OUTSIDE} | {"clipbench": clipbench}
    for name, script in scripts.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    return folder


class Job(NamedTuple):
    """The folder that a workflow left behind, and what it printed."""

    project: Path
    printed: str


@pytest.fixture(scope="module")
def github_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The GitHub workflow, run as it stands with the bundled model."""
    measured = '[ "$1 $5" = "run runs/candidate" ] && exec cp -r runs/base runs/candidate  # one model, one run'
    project = make_project(tmp_path_factory.mktemp("github"), f"{measured}\n{CLIPBENCH}")
    (job,) = yaml.safe_load(FILES[".github/workflows/clipbench.yml"])["jobs"].values()
    values = {"github_token": "secret", "github_event_pull_request_number": "7"}
    given = {**job["env"], "BASE": "tiny", "CANDIDATE": "tiny"}
    return Job(project, run_steps(job["steps"], project, given, **values))


@pytest.fixture
def project(tmp_path: Path, github_job: Job) -> Path:
    """A project in which ``clipbench run`` leaves the run of the GitHub workflow, sooner than it could be measured."""
    run = github_job.project / "runs/base"
    copied = f'[ "$1 $2 $4" = "run --model --out" ] && mkdir -p "$(dirname "$5")" && exec cp -r {run} "$5"'
    return make_project(tmp_path, f"{copied}\n{CLIPBENCH}")


def environment(project: Path, **given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLIPBENCH_", "GITHUB_"))}
    return kept | {
        "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(project / "calls"),
        "CLIPBENCH_LIMIT": "20",
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
        **given,
    }


def run(script: str, project: Path, **given: str) -> str:
    """Run a step as GitHub does, and return what it printed."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=project, env=environment(project, **given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_steps(steps: Sequence[Mapping[str, Any]], project: Path, given: Mapping[str, str], **values: str) -> str:
    """Run the shell steps of a job, ``${{ NAME }}`` in their environment being one of the values; return the output."""
    printed = []
    for step in steps:
        if "run" in step:
            assert "${{" not in step["run"], "an expression in a script may be a command of a stranger"
            own = {name: filled(text, values) for name, text in step.get("env", {}).items()}
            printed.append(run(step["run"], project, **{**own, **given}))
    return "".join(printed)


def filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values[found[1].replace(".", "_").replace("-", "_")], text)


def test_the_github_workflow_measures_compares_and_comments(github_job: Job) -> None:
    project, printed = github_job
    assert "::notice title=runs/candidate against runs/base::" in printed
    assert "::error" not in printed
    summary = (project / "summary.md").read_text()
    assert summary == (project / "runs/compare.md").read_text()
    assert summary.startswith("**✅ clipbench: ")
    assert "<h1>" in (project / "runs/compare.html").read_text()
    *_, comment = (project / "calls").read_text().splitlines()
    assert comment == "gh pr comment 7 --body-file runs/compare.md --edit-last --create-if-none"
    assert any((project / ".clipbench-cache").iterdir())


@pytest.mark.slow
def test_the_gitlab_job_measures_compares_and_comments(project: Path) -> None:
    (job,) = yaml.safe_load(FILES[".gitlab-ci.yml"]).values()
    given = {**job["variables"], "BASE": "tiny", "CANDIDATE": "tiny", "CLIPBENCH_TOKEN": "secret"}
    given |= {"CI_API_V4_URL": "https://gitlab.test/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7"}
    for line in job["script"]:
        run(line, project, **given)
    cases = ElementTree.parse(project / job["artifacts"]["reports"]["junit"]).findall(".//testcase")
    assert {"zero-shot@scenes", "retrieval@scenes"} == {case.get("classname") for case in cases}
    assert "https://gitlab.test/api/v4/projects/3/merge_requests/7/notes" in (project / "calls").read_text()


@pytest.mark.slow
def test_the_action_fails_on_a_requirement_that_is_not_met(project: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    inputs = {name: str(each.get("default", "tiny")) for name, each in action["inputs"].items()}
    values = {f"inputs_{name.replace('-', '_')}": value for name, value in inputs.items()}
    values |= {"inputs_tasks": "zero-shot", "github_action_path": str(ROOT), "inputs_gate": "high.toml"}
    (project / "high.toml").write_text('require = ["zero-shot/kind/acc1 >= 1.01"]\n')
    *first, compare = action["runs"]["steps"]
    run_steps(first, project, {}, **values)
    assert (project / "calls").read_text() == f"pip install {ROOT}\n"
    with pytest.raises(AssertionError, match="::error title=unmet%3A zero-shot@scenes/kind/acc1::"):
        run_steps([compare], project, {}, **values)
    for output in action["outputs"].values():
        assert (project / filled(output["value"], values)).is_file()


@pytest.mark.slow
def test_the_action_compares_finished_runs_without_measuring(project: Path, github_job: Job) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    inputs = {
        name: str(each.get("default", github_job.project / "runs/base")) for name, each in action["inputs"].items()
    }
    values = {f"inputs_{name.replace('-', '_')}": value for name, value in inputs.items()}
    values |= {"inputs_measure": "false", "inputs_max_drop": "1pp", "github_action_path": str(ROOT)}
    run_steps(action["runs"]["steps"], project, {}, **values)
    requirements = f"pip install -r {ROOT}/docs/requirements-gate.txt"
    assert (project / "calls").read_text() == f"{requirements}\npip install --no-deps {ROOT}\n"
    assert (project / values["inputs_out"] / "compare.md").read_text().startswith("**✅ clipbench: ")


def test_every_step_of_the_action_names_its_shell() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert all(step.get("shell") == "bash" for step in action["runs"]["steps"] if "run" in step)

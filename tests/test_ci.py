"""The workflows of docs/ci.md and the composite action: their shell steps run as they stand."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

from tests.cli.test_compare import write

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
FILES = dict(re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
OUTSIDE = ("pip", "gh", "curl")
"""Programs that reach out: in the tests they write down what they were asked for."""
TEXTS = (".md", ".yml", ".ipynb")
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
    copied = (
        'out=; [ "$1 $2 $4" = "run --model --out" ] && out="$5"; [ "$1 ${3%%=*}" = "run --out" ] && out="${3#--out=}"\n'
        f'[ -n "$out" ] && mkdir -p "$(dirname "$out")" && exec cp -r {run} "$out"'
    )
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
    assert "::notice title=runs/candidate against runs/base::verdict: equal (" in printed
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
    (job,) = yaml.safe_load((ROOT / "examples/gitlab-ci.yml").read_text()).values()
    given = {**job["variables"], "BASE": "tiny", "CANDIDATE": "tiny", "CLIPBENCH_TOKEN": "secret"}
    given |= {"CI_API_V4_URL": "https://gitlab.test/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7"}
    for line in job["script"]:
        run(line, project, **given)
    cases = ElementTree.parse(project / job["artifacts"]["reports"]["junit"]).findall(".//testcase")
    assert {"zero-shot@scenes", "retrieval@scenes"} == {case.get("classname") for case in cases}
    assert "https://gitlab.test/api/v4/projects/3/merge_requests/7/notes" in (project / "calls").read_text()


def action_values(**inputs: str) -> dict[str, str]:
    """Return the values of the expressions in action.yml, with its default for each input that is not given."""
    defaults = {name: str(each.get("default", "tiny")) for name, each in ACTION["inputs"].items()}
    assert not set(inputs) - {name.replace("-", "_") for name in defaults}
    values = {f"inputs_{name.replace('-', '_')}": value for name, value in defaults.items()}
    return values | {f"inputs_{name}": value for name, value in inputs.items()} | {"github_action_path": str(ROOT)}


def action_steps(values: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Return the steps that run with these values: a condition is that an input is true."""
    steps = ACTION["runs"]["steps"]
    assert {step.get("if") for step in steps} == {None, "inputs.measure == 'true'"}
    return [step for step in steps if "if" not in step or values["inputs_measure"] == "true"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with finished runs: base, and candidates that are worse and better."""
    folder = tmp_path_factory.mktemp("finished")
    right = np.arange(400) % 5 > 1
    for name, hits in {
        "base": right,
        "worse": right & (np.arange(400) >= 60),
        "better": np.arange(400) % 5 > 0,
    }.items():
        write(folder / "runs" / name, hits)
    return make_project(folder, CLIPBENCH)


@pytest.mark.parametrize(("candidate", "fails"), [("worse", True), ("better", False)])
def test_the_action_with_its_default_inputs_fails_if_the_candidate_is_worse(
    candidate: str, fails: bool, finished: Path
) -> None:
    values = action_values(measure="false", base="runs/base", candidate=f"runs/{candidate}", out=f"out-{candidate}")
    if fails:
        with pytest.raises(AssertionError, match=r"::error title=runs/worse against runs/base::verdict: worse \("):
            run_steps(action_steps(values), finished, {}, **values)
    else:
        assert "::verdict: better (" in run_steps(action_steps(values), finished, {}, **values)
    assert f"clipbench: {candidate}**" in (finished / f"out-{candidate}/compare.md").read_text()
    assert "<h1>" in (finished / f"out-{candidate}/compare.html").read_text()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"candidate": "--help"}, "cannot read --help"),
        ({"base": "--version", "candidate": "--max-drop=90%"}, "cannot read --version"),
        ({"candidate": "runs/worse\n::notice::all is well"}, "cannot read runs/worse"),
        ({"candidate": "$(touch owned)"}, "cannot read $(touch owned)"),
        ({"max_drop": "--help"}, "--max-drop '--help': expected"),
        ({"max_drop": "1pp; exit 0"}, "--max-drop '1pp; exit 0': expected"),
        ({"gate": "--help"}, "cannot read the gate file --help"),
        ({"out": ""}, "::error title=clipbench::the input out is empty"),
        ({"out": "--help/$(touch owned)"}, "--help/$(touch owned)"),
        ({"measure": "False"}, "::error title=clipbench::the input measure is neither"),
    ],
)
def test_hostile_inputs_of_the_action_are_values_and_fail(inputs: dict[str, str], message: str, finished: Path) -> None:
    values = action_values(
        **{"measure": "false", "base": "runs/base", "candidate": "runs/worse", "out": "out", **inputs}
    )
    with pytest.raises(AssertionError) as failure:
        run_steps(action_steps(values), finished, {}, **values)
    assert message in str(failure.value)
    assert not any("owned" in path.name for path in finished.iterdir())
    assert "::notice::all is well" not in str(failure.value).splitlines()


def test_a_gate_file_of_the_action_replaces_its_default_limit(finished: Path) -> None:
    (finished / "wide.toml").write_text('"*" = {max_drop = "50pp"}\n')
    values = action_values(measure="false", base="runs/base", candidate="runs/worse", out="out-wide", gate="wide.toml")
    printed = run_steps(action_steps(values), finished, {}, **values)
    assert "::verdict: worse (" in printed
    assert "within the limit of 50pp" in printed


@pytest.mark.slow
def test_the_action_fails_on_a_requirement_that_is_not_met(project: Path) -> None:
    values = action_values(tasks="zero-shot", gate="high.toml")
    (project / "high.toml").write_text('require = ["zero-shot/kind/acc1 >= 1.01"]\n')
    *first, compare = ACTION["runs"]["steps"]
    run_steps(first, project, {}, **values)
    assert (project / "calls").read_text() == f"pip install {ROOT}\n"
    with pytest.raises(AssertionError, match="::error title=unmet%3A zero-shot@scenes/kind/acc1::"):
        run_steps([compare], project, {}, **values)
    for output in ACTION["outputs"].values():
        assert (project / filled(output["value"], values)).is_file()


@pytest.mark.slow
def test_the_action_compares_finished_runs_without_measuring(project: Path, github_job: Job) -> None:
    run_folder = str(github_job.project / "runs/base")
    values = action_values(measure="false", base=run_folder, candidate=run_folder)
    run_steps(action_steps(values), project, {}, **values)
    requirements = f"pip install -r {ROOT}/docs/requirements-gate.txt"
    assert (project / "calls").read_text() == f"{requirements}\npip install --no-deps {ROOT}\n"
    assert (project / values["inputs_out"] / "compare.md").read_text().startswith("**✅ clipbench: ")


def test_the_sample_repository_is_gated_by_the_action(project: Path) -> None:
    sample = ROOT / "examples/gate"
    workflow = yaml.safe_load((sample / ".github/workflows/clipbench.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["gate"]["steps"]
    (use,) = [step for step in steps if "clipbench@" in step.get("uses", "")]
    inputs = {name.replace("-", "_"): str(text) for name, text in use["with"].items()}
    values = action_values(**{**inputs, "base": "tiny", "candidate": "tiny"})
    outputs = {f"steps_{use['id']}_outputs_{name}": each["value"] for name, each in ACTION["outputs"].items()}
    values |= {name: filled(text, values) for name, text in outputs.items()}
    values |= {"github_token": "secret", "github_repository": "me/mine", "github_event_pull_request_number": "7"}
    (project / inputs["gate"]).write_text((sample / inputs["gate"]).read_text(encoding="utf-8"), encoding="utf-8")

    assert "::verdict: equal (" in run_steps(action_steps(values), project, {}, **values)
    run_steps(steps, project, {}, **values)

    *_, comment = (project / "calls").read_text().splitlines()
    assert comment == "gh pr comment 7 --body-file clipbench-runs/compare.md --edit-last --create-if-none"
    assert (project / "clipbench-runs/compare.md").read_text().startswith("**✅ clipbench: ")
    assert steps[-1]["with"]["path"] == values["inputs_out"]


def test_pages_and_examples_install_and_use_the_tag_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    files = [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    references = {
        (path.name, reference)
        for path in files
        for reference in re.findall(r"/clipbench[@/](v\d[\w.]*)", path.read_text(encoding="utf-8"))
    }
    assert {name for name, _ in references} == {"ci.md", "clipbench.yml", "gitlab-ci.yml", "colab.ipynb"}
    assert {reference for _, reference in references} == {f"v{version}"}


def test_every_step_of_the_action_names_its_shell() -> None:
    assert all(step.get("shell") == "bash" for step in ACTION["runs"]["steps"] if "run" in step)

"""The workflows of docs/ci.md and the composite action: their shell steps run as they stand."""

import os
import re
import shutil
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

from clipbench.results.record import Metric
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
    """The folder that a workflow left behind, what it printed, and the status of the first step that failed."""

    project: Path
    printed: str
    status: int = 0


@pytest.fixture(scope="module")
def github_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The GitHub workflow, run as it stands with the bundled model."""
    measured = '[ "$1 $5" = "run runs/candidate" ] && exec cp -r runs/base runs/candidate  # one model, one run'
    project = make_project(tmp_path_factory.mktemp("github"), f"{measured}\n{CLIPBENCH}")
    return run_github_workflow(project, BASE="tiny", CANDIDATE="tiny")


def run_github_workflow(project: Path, **given: str) -> Job:
    """Run the workflow of the page, with variables that replace those of its job."""
    (job,) = yaml.safe_load(FILES[".github/workflows/clipbench.yml"])["jobs"].values()
    return run_steps(job["steps"], project, {**job["env"], **given}, **EVENT)


EVENT = {
    "github_token": "secret",
    "github_event_pull_request_number": "7",
    "github_event_pull_request_head_sha": "c0ffee",
    "github_sha": "merged",
}
"""Values of the expressions of a pull request."""


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
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("CLIPBENCH_", "GITHUB_"))}
    return variables | {
        "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(project / "calls"),
        "CLIPBENCH_LIMIT": "20",
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
        **given,
    }


def run(script: str, project: Path, **given: str) -> Job:
    """Run a step as GitHub does."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        cwd=project,
        env=environment(project, **given),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Job(project, done.stdout, done.returncode)


def run_steps(steps: Sequence[Mapping[str, Any]], project: Path, given: Mapping[str, str], **values: str) -> Job:
    """Run the shell steps of a job as their conditions say, ``${{ NAME }}`` in their environment being one of the
    values.
    """
    printed, status, outcomes = list[str](), 0, dict[str, str]()
    for step in steps:
        if "run" not in step or not is_run(step.get("if"), status, outcomes, values):
            continue
        assert "${{" not in step["run"], "an expression in a script may be a command of a stranger"
        variables = {name: filled(str(text), values) for name, text in step.get("env", {}).items()}
        done = run(step["run"], project, **{**given, **variables})
        printed.append(done.printed)
        outcomes[step.get("id", "")] = "failure" if done.status else "success"
        if not step.get("continue-on-error"):
            status = status or done.status
        else:
            assert done.status == 0, done.printed
    return Job(project, "".join(printed), status)


def is_run(condition: str | None, status: int, outcomes: Mapping[str, str], values: Mapping[str, str]) -> bool:
    """Return whether GitHub runs a step: all conditions hold, and no step failed unless a condition allows for it."""
    terms = [] if condition is None else condition.removeprefix("${{").removesuffix("}}").split("&&")
    ignores_failure = False
    for term in map(str.strip, terms):
        if term in ("always()", "!cancelled()"):
            ignores_failure = True
            continue
        name, _, expected = term.partition(" == ")
        step = re.fullmatch(r"steps\.(\w+)\.outcome", name)
        value = outcomes.get(step[1]) if step else values[value_name(name)]
        if value != expected.strip("'"):
            return False
    return ignores_failure or status == 0


def filled(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        names = [value_name(name) for name in match[1].split(" || ")]
        return next((values[name] for name in names if values.get(name)), "")

    return re.sub(r"\$\{\{ (.+?) \}\}", value, text)


def value_name(expression: str) -> str:
    return expression.replace(".", "_").replace("-", "_")


def test_the_github_workflow_measures_compares_and_comments(github_job: Job) -> None:
    project, printed, status = github_job
    assert status == 0, printed
    assert "::notice title=runs/candidate against runs/base::verdict: undecided (all samples of " in printed
    assert "::error" not in printed
    summary = (project / "summary.md").read_text()
    assert (project / "runs/compare.md").read_text() == f"{summary}\nCommit c0ffee\n"
    assert summary.startswith("**⚪ clipbench: undecided** (all samples of ")
    assert "<h1>" in (project / "runs/compare.html").read_text()
    *_, comment = (project / "calls").read_text().splitlines()
    assert comment == "gh pr comment 7 --body-file runs/compare.md --edit-last --create-if-none"
    assert any((project / ".clipbench-cache").iterdir())


GITLAB = yaml.safe_load((ROOT / "examples/gitlab-ci.yml").read_text(encoding="utf-8"))["clipbench"]


def run_gitlab_job(project: Path, **variables: str) -> Job:
    """Run the script of the GitLab job, and then what follows every end of it."""
    job_variables = {**GITLAB["variables"], "CLIPBENCH_TOKEN": "secret", **variables}
    job_variables |= {"CI_API_V4_URL": "https://gitlab.test/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7"}
    job_variables |= {"CI_COMMIT_SHA": "c0ffee"}
    done = run("\n".join(GITLAB["script"]), project, **job_variables)
    after = run("\n".join(GITLAB["after_script"]), project, **job_variables)
    assert after.status == 0, after.printed
    return done


@pytest.mark.slow
def test_the_gitlab_job_measures_compares_and_comments(project: Path) -> None:
    done = run_gitlab_job(project, BASE="tiny", CANDIDATE="tiny")
    assert done.status == 0, done.printed
    cases = ElementTree.parse(project / GITLAB["artifacts"]["reports"]["junit"]).findall(".//testcase")
    assert {"zero-shot@scenes", "retrieval@scenes"} == {case.get("classname") for case in cases}
    assert "https://gitlab.test/api/v4/projects/3/merge_requests/7/notes" in (project / "calls").read_text()


def action_values(**inputs: str) -> dict[str, str]:
    """Return the values of the expressions in action.yml, with its default for each input that is not given."""
    defaults = {name: str(declared_input.get("default", "tiny")) for name, declared_input in ACTION["inputs"].items()}
    assert not set(inputs) - {name.replace("-", "_") for name in defaults}
    values = {f"inputs_{name.replace('-', '_')}": value for name, value in defaults.items()}
    expressions = {f"inputs_{name}": value for name, value in inputs.items()}
    return {**EVENT, **values, **expressions, "github_action_path": str(ROOT)}


def run_action(project: Path, **inputs: str) -> Job:
    """Run the steps of the action, with its default for each input that is not given."""
    return run_steps(ACTION["runs"]["steps"], project, {}, **action_values(**inputs))


WORSE = (np.arange(400) % 5 > 1) & (np.arange(400) >= 60)


def acc1_of(hits: np.ndarray) -> Metric:
    return Metric(value=float(hits.mean()), n=len(hits), column="acc1", higher_is_better=True)


TWO_METRICS = {
    "acc1": acc1_of(np.arange(400) % 5 > 1),
    "acc5": Metric(value=0.9, n=400, reason="no interval: by hand", higher_is_better=True),
}


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


@pytest.mark.parametrize(("candidate", "status"), [("worse", 1), ("better", 0)])
def test_the_action_with_its_default_inputs_fails_if_the_candidate_is_worse(
    candidate: str, status: int, finished: Path
) -> None:
    out = f"out-{candidate}"
    done = run_action(finished, measure="false", base="runs/base", candidate=f"runs/{candidate}", out=out)
    assert done.status == status, done.printed
    assert f"::verdict: {candidate} (" in done.printed
    comment = (finished / out / "compare.md").read_text()
    assert f"clipbench: {candidate}**" in comment and comment.endswith("\nCommit c0ffee\n")
    assert "<h1>" in (finished / out / "compare.html").read_text()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"candidate": "--help"}, "cannot read --help"),
        ({"base": "--version", "candidate": "--max-drop=90%"}, "cannot read --version"),
        ({"candidate": "runs/worse\n::notice::all is well"}, "runs has no run 'worse"),
        ({"candidate": "$(touch owned)"}, "cannot read $(touch owned)"),
        ({"max_drop": "--help"}, "--max-drop '--help': expected"),
        ({"max_drop": ""}, "::error title=clipbench::the input max-drop is empty"),
        ({"max_drop": "", "gate": "clipbench-gate.toml"}, "::error title=clipbench::the input max-drop is empty"),
        ({"max_drop": "30"}, "--max-drop 30 has no unit: write 30pp"),
        ({"max_drop": "1pp; exit 0"}, "--max-drop '1pp; exit 0': expected"),
        ({"gate": "--help"}, "cannot read the gate file --help"),
        ({"out": ""}, "::error title=clipbench::the input out is empty"),
        ({"out": "--help/$(touch owned)"}, "--help/$(touch owned)"),
        ({"measure": "False"}, "::error title=clipbench::the input measure is neither"),
    ],
)
def test_hostile_inputs_of_the_action_are_values_and_fail(inputs: dict[str, str], message: str, finished: Path) -> None:
    shutil.rmtree(finished / "out", ignore_errors=True)
    done = run_action(
        finished, **{"measure": "false", "base": "runs/base", "candidate": "runs/worse", "out": "out", **inputs}
    )
    is_odd_name = len(inputs.get("out", "")) > len("out")  # the comparison is as of any other folder
    assert done.status == (1 if is_odd_name else 2) and message in done.printed
    assert not any("owned" in path.name for path in finished.iterdir())
    assert "::notice::all is well" not in done.printed.splitlines()
    if inputs.get("out", "out") == "out":
        heading, _, reason, *_, commit = (finished / "out/compare.md").read_text().splitlines()
        assert (heading, commit) == ("**❌ clipbench: no comparison**", "Commit c0ffee")
        assert reason.startswith("    ") and message.rpartition("::")[2].split(" '")[0] in reason


@pytest.mark.parametrize(("max_drop", "status"), [("auto", 0), ("1pp", 1)])
def test_a_gate_file_of_the_action_replaces_its_default_limit_and_no_other(
    max_drop: str, status: int, finished: Path
) -> None:
    (finished / "wide.toml").write_text('"zero-shot/acc5" = {max_drop = "50pp"}\n')
    write(finished / f"runs/two-{max_drop}", np.arange(400) % 5 > 1, metrics=TWO_METRICS)
    write(finished / f"runs/two-{max_drop}-worse", WORSE, metrics={**TWO_METRICS, "acc1": acc1_of(WORSE)})
    done = run_action(
        finished,
        measure="false",
        base=f"runs/two-{max_drop}",
        candidate=f"runs/two-{max_drop}-worse",
        out=f"out-{max_drop}",
        gate="wide.toml",
        max_drop=max_drop,
    )
    assert done.status == status, done.printed


@pytest.mark.slow
def test_the_action_fails_on_a_requirement_that_is_not_met(project: Path) -> None:
    (project / "high.toml").write_text('require = ["zero-shot/kind/acc1 >= 101%"]\n')
    done = run_action(project, tasks="zero-shot", gate="high.toml")
    assert done.status == 1 and "::error title=unmet%3A zero-shot@scenes/kind/acc1::" in done.printed
    assert (project / "calls").read_text() == f"pip install --constraint {ROOT}/constraints.txt {ROOT}\n"
    for output in ACTION["outputs"].values():
        assert (project / filled(output["value"], action_values())).is_file()


@pytest.mark.slow
def test_the_action_compares_finished_runs_without_measuring(project: Path, github_job: Job) -> None:
    run_folder = str(github_job.project / "runs/base")
    done = run_action(project, measure="false", base=run_folder, candidate=run_folder)
    assert done.status == 0, done.printed
    requirements = f"pip install --constraint {ROOT}/constraints.txt -r {ROOT}/docs/requirements-gate.txt"
    assert (project / "calls").read_text() == f"{requirements}\npip install --no-deps {ROOT}\n"
    comment = (project / "clipbench-runs/compare.md").read_text()
    assert comment.startswith("**⚪ clipbench: undecided** (all samples of ")


def test_the_sample_repository_is_gated_by_the_action(project: Path) -> None:
    sample = ROOT / "examples/gate"
    workflow = yaml.safe_load((sample / ".github/workflows/clipbench.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["gate"]["steps"]
    (use,) = [step for step in steps if "clipbench@" in step.get("uses", "")]
    inputs = {name.replace("-", "_"): str(text) for name, text in use["with"].items()}
    inputs |= {"base": "tiny", "candidate": "tiny"}
    values = action_values(**inputs)
    outputs = {
        f"steps_{use['id']}_outputs_{name}": declared_output["value"]
        for name, declared_output in ACTION["outputs"].items()
    }
    values |= {name: filled(text, values) for name, text in outputs.items()} | {"github_repository": "me/mine"}
    (project / inputs["gate"]).write_text((sample / inputs["gate"]).read_text(encoding="utf-8"), encoding="utf-8")

    done = run_action(project, **inputs)
    assert done.status == 0 and "::verdict: undecided (all samples of " in done.printed, done.printed
    assert run_steps(steps, project, {}, **values).status == 0

    *_, comment = (project / "calls").read_text().splitlines()
    assert comment == "gh pr comment 7 --body-file clipbench-runs/compare.md --edit-last --create-if-none"
    assert (
        (project / "clipbench-runs/compare.md").read_text().startswith("**⚪ clipbench: undecided** (all samples of ")
    )
    assert steps[-1]["with"]["path"] == values["inputs_out"]


# Each end of a job has a comment ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with models of 8 dimensions by hand: ``base``, and candidates that are as their names say."""
    path = tmp_path_factory.mktemp("models") / "models.py"
    path.write_text(MODELS, encoding="utf-8")
    return path


MODELS = """
import numpy as np


class Made:
    logit_scale = 10.0

    def __init__(self, name):
        self.name = self.fingerprint = name
        self.rng = np.random.default_rng()

    def encode_images(self, images):
        pixels = [np.asarray(image.convert("RGB").resize((8, 8)), np.float32).ravel() / 255 for image in images]
        vectors = np.stack(pixels)[:, :24]
        if self.name == "nan":
            vectors[0, 0] = np.nan
        if self.name == "random":
            vectors = vectors + self.rng.normal(size=vectors.shape).astype(np.float32)
        return vectors

    def encode_texts(self, texts):
        return np.stack([np.random.default_rng(list(text.encode())).random(24, np.float32) for text in texts])


def base():
    return Made("base")


def nan():
    return Made("nan")


def random():
    return Made("random")
"""

ENDS = {
    "nan": (
        2,
        r"\*\*⚠️ clipbench: undecided\*\* \(runs/candidate was not measured: zero-shot@scenes failed: .* not finite",
    ),
    "random": (None, r"(?s)\*\*.*^- warning: runs/candidate: determinism: the same input encoded twice gives vectors"),
    "absent": (2, r"\*\*⚠️ clipbench: undecided\*\* \(runs/candidate was not measured: .*nothing under 'absent'"),
}
"""The status of the step that ends a job whose candidate is of a kind, None if noise decides it, and its comment."""


@pytest.mark.parametrize(
    ("job", "candidate"),
    [
        ("github", "absent"),
        *(
            pytest.param(job, candidate, marks=pytest.mark.slow)
            for job in ("github", "gitlab", "action")
            for candidate in ENDS
            if (job, candidate) != ("github", "absent")
        ),
    ],
)
def test_a_candidate_that_cannot_be_trusted_has_a_comment_that_says_why(
    job: str, candidate: str, models: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path, CLIPBENCH)
    (project / "clipbench-gate.toml").write_text('"*" = {max_drop = "99pp"}\n')
    references = {"base": f"python:{models}:base", "candidate": f"python:{models}:{candidate}"}
    variables = {"BASE": references["base"], "CANDIDATE": references["candidate"], "CLIPBENCH_TASKS": "zero-shot"}
    if job == "github":
        done = run_github_workflow(project, **variables)
    elif job == "gitlab":
        done = run_gitlab_job(project, **variables)
    else:
        done = run_action(project, **references, tasks="zero-shot", gate="clipbench-gate.toml", out="runs")
    status, comment = ENDS[candidate]
    text = (project / "runs/compare.md").read_text()
    assert re.match(comment, text, re.MULTILINE), text + done.printed
    assert text.endswith("\nCommit c0ffee\n")
    if status is not None:  # the one script of GitLab ends with compare, and the steps of the others with run
        assert done.status == (3 if job == "gitlab" else status), done.printed
        assert "✅" not in text
    if job != "action":
        assert any(program in (project / "calls").read_text() for program in ("gh pr comment", "curl"))


@pytest.mark.parametrize("job", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"CLIPBENCH_MAX_DROP": ""}, "CLIPBENCH_MAX_DROP is set and empty: give it a value such as 0.5pp, or unset it"),
        ({"CLIPBENCH_MAX_DROP": "5"}, "--max-drop 5 has no unit: write 5pp (points) or 5% (of the base's value)"),
    ],
)
def test_a_gate_that_cannot_be_meant_has_a_comment_with_the_spelling_to_use(
    job: str, variables: dict[str, str], reason: str, finished: Path
) -> None:
    project = finished
    shutil.rmtree(project / "runs/out", ignore_errors=True)
    for name in ("compare.md", "errors.txt"):
        (project / "runs" / name).unlink(missing_ok=True)
    measured = {"BASE": "base", "CANDIDATE": "better", **variables}
    run_job = run_github_workflow if job == "github" else run_gitlab_job
    done = run_job(project, **measured)
    assert done.status == 2, done.printed
    assert (project / "runs/compare.md").read_text() == (
        f"**❌ clipbench: no comparison**\n\n    clipbench: {reason}\n\nCommit c0ffee\n"
    )


def test_a_job_whose_installation_failed_has_a_comment_too(tmp_path: Path) -> None:
    project = make_project(tmp_path, CLIPBENCH)
    (project / "bin/pip").write_text("#!/bin/bash\nexit 1\n")
    (project / "bin/clipbench").write_text("#!/bin/bash\necho 'clipbench: not found' >&2\nexit 127\n")
    done = run_github_workflow(project)
    assert done.status == 1
    text = (project / "runs/compare.md").read_text()
    assert text == "**❌ clipbench: no comparison**\n\n    clipbench: not found\n\nCommit c0ffee\n"


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

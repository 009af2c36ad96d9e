"""The workflows of .github: they run what exists, with the versions that pyproject.toml names, and their scripts work.

`make workflows` lints them.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github/workflows"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yml")}
STEPS = [
    (f"{workflow}/{job_name}", step)
    for workflow, content in WORKFLOWS.items()
    for job_name, job in content["jobs"].items()
    for step in job["steps"]
]
"""Each step with the names of its workflow and its job."""

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason=".github/ is not part of the source distribution")


def script_of(job: str, name: str) -> str:
    """Return the script of the step of a job whose name begins with a text."""
    (script,) = [step["run"] for path, step in STEPS if path == job and step.get("name", "").startswith(name)]
    return str(script)


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub does; programs of the folder `bin` come first, and write their arguments to `calls`."""
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "CALLS": str(folder / "calls"),
        **variables,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def write_program(folder: Path, name: str, script: str = "") -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/bash\necho "{name} $*" >> "$CALLS"\n{script}\n', encoding="utf-8")
    path.chmod(0o755)


def test_the_tests_run_on_three_systems_with_every_version_of_python() -> None:
    matrix = WORKFLOWS["tests"]["jobs"]["platforms"]["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest", "windows-latest"], "python": VERSIONS}


def test_a_release_is_checked_with_every_version_of_python() -> None:
    (setup,) = [step for job, step in STEPS if job == "release/check" and "setup-python" in step.get("uses", "")]
    assert sorted(setup["with"]["python-version"].split()) == VERSIONS
    (pythons,) = re.findall(r"^PYTHONS \?= (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(VERSIONS) <= set(pythons.split())


def test_every_target_file_and_test_that_a_step_names_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    scripts = "\n".join(step["run"] for _, step in STEPS if "run" in step)
    matches = re.findall(r"^\s*make ([a-z-]+)", scripts, re.MULTILINE)
    assert {"release-check", "parity", "proof"} <= set(matches) <= set(targets)
    files = re.findall(r"(?:--constraint|--requirement) (\S+)|(tests/\S+)|^(\.ci/\S+)", scripts, re.MULTILINE)
    paths = {path for names in files for path in names if path}
    assert {"constraints.txt", "tests/cli", ".ci/run"} <= paths
    assert all((ROOT / path).exists() for path in paths), paths


def test_an_action_is_named_by_its_commit_the_same_everywhere() -> None:
    """A tag can be moved to other code. The version is beside the commit, for people and for tools that update it."""
    example = ROOT / "examples/gate/.github/workflows/clipbench.yml"
    paths = [*FOLDER.glob("*.yml"), ROOT / "action.yml", ROOT / "docs/ci.md", example]
    uses = {
        (action, version)
        for path in paths
        for action, version in re.findall(r"uses: ([\w-]+/[\w-]+)\S*?@(.+)", path.read_text(encoding="utf-8"))
        if action != "OWNER/clipbench"
    }
    assert len(uses) == len({action for action, _ in uses}) > 5
    assert all(re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", version) for _, version in uses), uses


def test_what_a_workflow_installs_has_a_version() -> None:
    scripts = [step["run"] for _, step in STEPS if "run" in step]
    scripts += [
        step["run"] for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"] if "run" in step
    ]
    installs = [line.strip() for script in scripts for line in script.splitlines() if "pip install" in line]
    is_bound = [re.search(r"--constraint|--no-deps|==", line) is not None for line in installs]
    assert len(installs) > 4 and all(is_bound), installs


def test_only_the_step_that_publishes_can_publish() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert WORKFLOWS["release"]["permissions"] == {}
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert jobs["publish"]["needs"] == "check" and jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert "secrets." not in (FOLDER / "release.yml").read_text(encoding="utf-8")
    assert not any("run" in step or "checkout" in step["uses"] for step in jobs["publish"]["steps"])


@pytest.mark.parametrize(
    ("tag", "heading", "message"),
    [
        ("v0.2.0", "## 0.2.0 (2027-01-31)", ""),
        ("v0.2.1", "## 0.2.0 (2027-01-31)", "wrong tag: got v0.2.1, expected v0.2.0, the version in pyproject.toml"),
        ("v0.2.0", "## 0.2.0 (unreleased)", "no date: expected the line '## 0.2.0 (YYYY-MM-DD)' in CHANGELOG.md"),
    ],
)
def test_a_tag_has_to_be_the_version_with_its_date(tag: str, heading: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- New.\n")
    write_program(tmp_path, "python", f'exec {sys.executable} "$@"')
    done = run(script_of("release/check", "Compare the tag"), tmp_path, GITHUB_REF_NAME=tag)
    assert (done.returncode, done.stdout.strip()) == ((1, f"::error title=release::{message}") if message else (0, ""))
    assert not done.stderr


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("404", ""),
        ("200", "the index has clipbench 0.2.0: expected a new version. Set it in pyproject.toml, and tag it"),
        ("000", "no answer of the index: got status 000, expected 404 for a new version. Run the job again"),
    ],
)
def test_a_version_that_the_index_has_is_refused(status: str, message: str, tmp_path: Path) -> None:
    write_program(tmp_path, "curl", f"echo -n {status}")
    done = run(script_of("release/check", "Refuse a version"), tmp_path, GITHUB_REF_NAME="v0.2.0")
    assert (done.returncode, done.stdout.strip()) == ((1, f"::error title=release::{message}") if message else (0, ""))
    assert "https://pypi.org/pypi/clipbench/0.2.0/json" in (tmp_path / "calls").read_text()


def test_a_package_from_a_dirty_tree_is_refused(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "A"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    command = ["make", "--no-print-directory", "--file", str(ROOT / "Makefile"), "committed"]
    clean = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (clean.returncode, clean.stdout, clean.stderr) == (0, "", "")
    (tmp_path / "new.py").touch()
    dirty = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert dirty.returncode != 0
    assert dirty.stdout.startswith("release-check: not committed: new.py: expected a clean tree"), dirty.stdout
    rule = re.search(r"^release-check: (.*?)  ##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert rule is not None and rule[1].split()[0] == "committed"


@pytest.mark.parametrize(("version", "kind"), [("0.2.0", "--latest"), ("0.2.0rc1", "--prerelease")])
def test_the_release_page_is_the_section_of_the_changelog(version: str, kind: str, tmp_path: Path) -> None:
    write_program(tmp_path, "gh")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/a.whl").touch()
    sections = (
        f"# Changelog\n\n## 0.3.0 (x)\n\n- Later.\n\n## {version} (2027-01-31)\n\n### New\n\n- A.\n\n## 0.1.0 (x)\n"
    )
    (tmp_path / "CHANGELOG.md").write_text(sections)
    done = run(script_of("release/announce", "Write the release page"), tmp_path, GITHUB_REF_NAME=f"v{version}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notes.md").read_text().strip() == "### New\n\n- A."
    options = f"--verify-tag {kind} --title clipbench {version} --notes-file notes.md"
    assert (tmp_path / "calls").read_text() == f"gh release create v{version} dist/a.whl {options}\n"


def test_the_index_is_asked_until_it_lists_the_release(tmp_path: Path) -> None:
    write_program(tmp_path, "pip", '[ "$(grep -c ^pip "$CALLS")" -ge 3 ]')
    write_program(tmp_path, "sleep")
    done = run(script_of("release/install", "Install it"), tmp_path, GITHUB_REF_NAME="v0.2.0")
    assert done.returncode == 0, done.stderr
    install = "pip install --no-cache-dir clipbench==0.2.0"
    assert (tmp_path / "calls").read_text().splitlines() == [install, "sleep 60", install, "sleep 60", install]

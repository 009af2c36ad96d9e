"""Published numbers, repeated: rows of experiments/proof.md if the files are at hand, and what `make proof` says if not."""

import io
import re
import subprocess
import sys
import urllib.error
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import clipbench as cb

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "proof.py"
DATA = ROOT.parent / "shared" / "data"
if not SCRIPT.is_file():
    pytest.skip("experiments/ is not part of the source distribution", allow_module_level=True)
sys.path.insert(0, str(SCRIPT.parent))

import proof
import proof_sources

at_hand = pytest.mark.skipif(
    not (DATA / "published").is_dir(), reason="the published files of make proof are not at ../shared/data"
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return proof_sources.locate_sources(proof_sources.SOURCES, DATA, tmp_path_factory.mktemp("downloads"))


def faults(rows: list[proof.Row]) -> list[proof.Row]:
    return [row for row in rows if not row.is_equal]


# -- the rows


@at_hand
def test_winoground_agrees_in_every_example(paths: Mapping[str, Path], tmp_path: Path) -> None:
    proof.prepare_winoground(paths, tmp_path)
    model = f"embeddings:{tmp_path / 'winoground'}"
    run = cb.run(model, ["composition", "retrieval"], out=tmp_path / "runs/winoground")
    rows = list(proof.winoground_rows(paths, tmp_path))

    assert len(rows) == 21 and not faults(rows)
    assert proof.differing_flags(run, [{**row, "text": "1"} for row in proof.read_csv(paths["flags"])]) == 261


@pytest.mark.slow
@at_hand
def test_three_models_on_imagenet_agree_and_compare_as_by_hand(paths: Mapping[str, Path], tmp_path: Path) -> None:
    (section,) = [section for section in proof.SECTIONS if "imagenet" in section.rows]
    proof.prepare_predictions(paths, tmp_path)
    for key in (*proof.MODELS, "cue-conflict"):
        cb.run(f"predictions:{tmp_path / key}.csv", "zero-shot", out=tmp_path / "runs" / key)
    for command in section.commands:
        if "compare" in command:
            proof.run_command(command, tmp_path)

    assert not faults(list(proof.imagenet_rows(paths, tmp_path)))
    rows = list(proof.paired_rows(paths, tmp_path))
    assert len(rows) == 11 and not faults(rows)


@at_hand
def test_typographic_attacks_are_counted_as_the_article_has_them(paths: Mapping[str, Path], tmp_path: Path) -> None:
    proof.prepare_typographic(paths, tmp_path)
    classes = {"classes": str(tmp_path / "classes.txt")}
    for name in proof.PROBES.values():
        cb.run(f"predictions:{tmp_path / name}.csv", "zero-shot", model_options=classes, out=tmp_path / "runs" / name)
    assert [row.published for row in proof.typographic_rows(paths, tmp_path) if row.is_equal] == ["25", "0"]


@at_hand
@pytest.mark.slow
def test_the_page_is_what_the_command_writes(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPT),
        "--from",
        str(DATA),
        "--out",
        str(tmp_path),
        "--page",
        str(tmp_path / "proof.md"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "28 published values and 35 computed twice: all equal" in done.stdout
    assert (tmp_path / "proof.md").read_text() == (ROOT / "experiments/proof.md").read_text(), "make proof"


def test_a_value_is_equal_only_with_all_printed_digits() -> None:
    row = proof.Row("text score", "0.3475", 139 / 400)
    assert row.is_equal and row.line() == "| text score | 0.3475 | 0.3475 | – | 0 |"
    wrong = row._replace(value=0.3476)
    assert not wrong.is_equal and wrong.line().endswith("| +0.0001 |")
    assert not proof.Row("text score, Relation", "0.30472103004291845", 0.3047210300429).is_equal


def test_the_exact_p_value_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for gained, lost in ((8, 2), (40, 73), (0, 6)):
        assert 10 ** proof.log10_of_exact_p(gained, lost) == pytest.approx(binomtest(lost, gained + lost).pvalue)


# -- the sources


def find_sources(folder: Path | None, tmp_path: Path, **sources: proof_sources.Source) -> dict[str, Path]:
    return proof_sources.locate_sources(sources, folder, tmp_path / "downloads")


SOURCE = proof_sources.source_in(
    proof_sources.MODALITY_GAP, "LICENSE", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
)
"""A file that holds `hello`."""


def test_a_source_is_found_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/other name.txt").write_text("hello")
    assert find_sources(tmp_path, tmp_path, licence=SOURCE) == {"licence": tmp_path / "a/b/other name.txt"}


def test_what_is_missing_is_named_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(proof_sources.ProofError) as error:
        find_sources(tmp_path, tmp_path, licence=SOURCE, other=replace(SOURCE, path="README.md"))
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and SOURCE.url in lines[0] and SOURCE.sha256 in lines[0] and "README.md" in lines[1]
    assert lines[2].startswith(f"2 of 2 sources are missing or differ in {tmp_path}.")


def test_another_content_under_the_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("goodbye")
    with pytest.raises(
        proof_sources.ProofError, match=r"LICENSE is not the published file: got SHA-256 \w+, expected 2cf24d"
    ):
        find_sources(tmp_path, tmp_path, licence=SOURCE)


def test_downloads_are_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, addresses = [b"goodbye", b"hello"], []

    def answer(url: str, timeout: float) -> io.BytesIO:
        addresses.append(url)
        return io.BytesIO(answers.pop(0))

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(proof_sources.ProofError, match="LICENSE is not the published file"):
        find_sources(None, tmp_path, licence=SOURCE)
    assert not (tmp_path / "downloads").exists()
    for _ in range(2):
        (path,) = find_sources(None, tmp_path, licence=SOURCE).values()
        assert path.read_bytes() == b"hello"
    assert addresses == [f"https://raw.githubusercontent.com/{SOURCE.repository}/{SOURCE.commit}/LICENSE"] * 2


def test_without_a_network_the_folder_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(proof_sources.ProofError) as error:
        find_sources(None, tmp_path, licence=SOURCE)
    lines = str(error.value).splitlines()
    assert lines[0] == f"cannot download {SOURCE.url}: Temporary failure in name resolution"
    assert lines[1].endswith("name a folder that holds them: make proof FROM=FOLDER")


@pytest.mark.parametrize("folder", ["gone", "empty"])
def test_a_folder_without_the_sources_ends_with_status_2(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, str(SCRIPT), "--from", folder, "--page", "proof.md", "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and all(line.startswith("proof: ") for line in lines)
    assert len(lines) == (1 if folder == "gone" else 1 + len(proof_sources.SOURCES))
    assert not (tmp_path / "proof.md").exists()


# -- the page, and parity


def test_the_page_names_every_source_with_its_licence() -> None:
    text = (ROOT / "experiments/proof.md").read_text()
    for source in proof_sources.SOURCES.values():
        assert source.page in text and source.sha256[:12] in text and f"| {source.licence} |" in text
    assert not re.search(r"\{\{|\}\}", text)


def test_the_page_says_whether_true_checkpoints_were_loaded() -> None:
    has_page = (ROOT / "experiments/parity.md").is_file()
    sentence = proof.PARITY_PAGE if has_page else proof.NO_PARITY_PAGE
    assert sentence in (ROOT / "experiments/proof.md").read_text()


def workflow() -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/parity.yml").read_text())
    return loaded


def run_last_step(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the step that opens the pull request in a clone, with stand-ins for make and gh."""
    (step,) = [step for step in workflow()["jobs"]["parity"]["steps"] if "pull request" in step.get("name", "")]
    programs = folder / "bin"
    programs.mkdir()
    for name, script in {"make": 'echo "$*" > experiments/proof.md', "gh": 'echo "gh $*"'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "BRANCH": "parity-7", "HOME": str(folder)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=folder / "clone", env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of an empty repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", "origin"], cwd=tmp_path, check=True)
    subprocess.run(["git", "clone", "--quiet", "origin", "clone"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "clone/experiments").mkdir()
    return tmp_path


def test_the_parity_workflow_is_started_by_hand_and_opens_a_pull_request(clone: Path) -> None:
    assert list(workflow()[True]) == ["workflow_dispatch"]  # YAML reads the key `on` as true
    assert workflow()["permissions"] == {"contents": "write", "pull-requests": "write"}
    (clone / "clone/experiments/parity.md").write_text("# Parity\n")
    done = run_last_step(clone)
    assert done.returncode == 0, done.stderr
    credentials, *_, pull_request = done.stdout.splitlines()
    assert credentials == "gh auth setup-git", "the checkout keeps no credentials, and the push needs them"
    assert pull_request.startswith("gh pr create --head parity-7")
    pushed = ["git", "show", "--stat", "--format=", "parity-7"]
    listed = subprocess.run(pushed, cwd=clone / "origin", capture_output=True, text=True, check=True).stdout
    assert "experiments/parity.md" in listed and "experiments/proof.md" in listed


def test_the_parity_workflow_fails_if_nothing_was_measured(clone: Path) -> None:
    done = run_last_step(clone)
    assert done.returncode == 1 and "nothing was measured" in done.stderr and "gh" not in done.stdout

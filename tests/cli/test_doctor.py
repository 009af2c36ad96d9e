"""``clipbench doctor``: what it prints, its exit status, and one line for everything that is wrong; and the quick form
of ``run``.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.cli.commands.doctor import finding_lines
from clipbench.results.record import CheckFinding
from clipbench.results.run import read_run
from tests.cli.conftest import Call


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return what runs the command in a folder with vectors and captioned images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((40, 8)).astype(np.float32)
    texts = images + rng.standard_normal((40, 8)).astype(np.float32)
    np.savez(tmp_path / "good.npz", images=images, texts=texts, logit_scale=100.0)
    np.savez(tmp_path / "shifted.npz", images=images, texts=np.roll(texts, 2, axis=0), logit_scale=100.0)
    np.savez(tmp_path / "nan.npz", images=images * np.nan, texts=texts)
    lines = ["image,caption,label"]
    for number in range(9):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,image {number},{number % 3}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    (tmp_path / "names.txt").write_text("a\nb\n")

    return lambda *arguments, command="doctor": call(command, *arguments)


def test_nothing_is_broken_that_is_to_be_copied() -> None:
    option, path = "--allow-partial", "/data/" + "long-folder-name/" * 6
    fix = f"correct the data, or score only the valid samples with {option} in {path}"
    finding = CheckFinding(check="loading", status="fault", seen="it lacks images", why="", fix=fix)
    for width in range(54, 90):
        assert {option, path} <= set(" ".join(finding_lines(finding, width)).split())


def test_malformed_data_are_a_fault_and_the_rest_is_examined(doctor: Call) -> None:
    done = doctor("--model", "tiny", "--device", "cpu", "--data", "data.csv", "--data-option", "class_names=names.txt")
    assert done.status == 1
    words = " ".join(done.out.split())
    assert "FAULT loading data set data.csv: image '2.png' has label 2, expected 0 to 1" in words
    assert "ok padding" in words and "FAULT pairs" not in words


@pytest.mark.usefixtures("with_preflight")
def test_a_run_warns_in_terminal_result_and_report(doctor: Call, tmp_path: Path) -> None:
    done = doctor("--model", "embeddings:shifted.npz", "--tasks", "retrieval", "--out", "run", command="run")
    assert done.status == 0
    preflight = read_run(tmp_path / "run").result.preflight
    assert preflight is not None and [finding.check for finding in preflight] == ["pairs"]
    assert "Checks before the run" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "warning: pairs: true pairs" in doctor("run", command="show").out


@pytest.mark.usefixtures("with_preflight")
def test_a_run_without_preflight_or_with_nothing_found_is_silent(doctor: Call, tmp_path: Path) -> None:
    tasks = ["--tasks", "retrieval", "--no-report"]
    skipped = doctor("--model", "embeddings:shifted.npz", *tasks, "--no-preflight", "--out", "a", command="run")
    well = doctor("--model", "embeddings:good.npz", *tasks, "--out", "b", command="run")
    assert "warning" not in skipped.err + well.err
    assert read_run(tmp_path / "a").result.preflight is None
    assert read_run(tmp_path / "b").result.preflight == []

"""A chain of runs: each step and the whole, one family of tests, and a gate on the last against the first."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import clipbench as cb
from clipbench.cli.main import main
from clipbench.stats.significance import holm

N = 120
HIT = "image_retrieval_recall@1"


def make_runs(folder: Path, lost: tuple[int, ...]) -> list[cb.Run]:
    """Return runs of vectors of which the first texts find another image, as many as ``lost`` says."""
    vectors = np.eye(N)
    runs = []
    for number, n_lost in enumerate(lost):
        texts = vectors.copy()
        texts[:n_lost] = np.roll(vectors[:n_lost], 1, axis=0)
        model = cb.vectors(images=vectors, texts=texts, name=f"run {number}")
        runs.append(cb.run(model, tasks=["retrieval"], out=folder / f"run-{number}"))
    return runs


def test_steps_and_whole_are_the_comparisons_of_two_runs_in_one_family(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, (0, 4, 4, 40))
    chain = cb.compare_chain(*runs, max_drop="0.5pp")
    pairs = [(0, 1), (1, 2), (2, 3), (0, 3)]
    comparisons = [cb.compare(runs[before], runs[after]) for before, after in pairs]
    together = [*chain.steps, chain.whole]
    for one, other in zip(together, comparisons, strict=True):
        assert [(d.name, d.value, d.low, d.p_value) for d in one.differences] == [
            (d.name, d.value, d.low, d.p_value) for d in other.differences
        ]
    headlines = [difference for one in together for difference in one.differences if difference.is_headline]
    assert [d.p_adjusted for d in headlines] == holm([d.p_value for d in headlines])
    assert [step.verdict for step in chain.steps][1:] == ["undecided", "worse"]
    assert chain.exit_status == 1 == chain.whole.exit_status and chain.verdict == "worse"
    assert not any(step.gate.outcomes for step in chain.steps)
    frame = chain.frame()
    assert sorted(frame["step"].unique()) == [0, 1, 2, 3]
    assert frame[(frame["step"] == 0) & (frame["metric"] == HIT)]["difference"].item() == pytest.approx(-40 / N)


def test_the_command_prints_a_row_per_step_and_writes_json_and_a_page(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [str(run.folder) for run in make_runs(tmp_path, (0, 4, 40))]
    with pytest.raises(SystemExit) as end:
        main(["compare", "--chain", *folders, "--max-drop", "0.5pp"])
    text = capfd.readouterr().out
    assert end.value.code == 1 and text.count("last against first") == text.count("run-1  ") > 0
    assert text.splitlines()[-1].startswith("verdict: worse (")
    for form in ("json", "html"):
        with pytest.raises(SystemExit) as end:
            main(["compare", "--chain", *folders, "--format", form, "-o", str(tmp_path / f"chain.{form}")])
        assert end.value.code == 0
    content = json.loads((tmp_path / "chain.json").read_text())
    assert len(content["steps"]) == 2 and content["verdict"] == "worse"
    assert content["last_against_first"]["exit_status"] == 0
    page = (tmp_path / "chain.html").read_text()
    assert "Step by step" in page and "from run-0 to run-2" in page and "&lt;table" not in page


def output_of(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(["compare", "--chain", *arguments])
    return capfd.readouterr().out


def test_every_format_of_a_comparison_has_the_chain(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [str(run.folder) for run in make_runs(tmp_path, (0, 4, 40))]
    capfd.readouterr()
    gate = ["--max-drop", "0.5pp"]
    comment = output_of(capfd, *folders, *gate, "--format", "md")
    assert comment.startswith("**❌ clipbench: worse**") and comment.count("| last against first") > 0
    assert re.search(r"<summary>All \d+ metrics</summary>", comment) and "</details>" in comment

    suites = ElementTree.fromstring(output_of(capfd, *folders, *gate, "--format", "junit"))
    (suite,) = suites.findall("testsuite")
    assert suite.get("name") == f"{folders[-1]} against {folders[0]}" and int(suite.get("failures", "0")) > 0

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    annotations = output_of(capfd, *folders, *gate, "--format", "github")
    assert annotations.startswith("::error title=") and "regression%3A" in annotations
    assert (tmp_path / "summary.md").read_text() == comment


def test_the_long_form_has_each_step_and_ends_with_the_verdict(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [str(run.folder) for run in make_runs(tmp_path, (0, 4, 40))]
    capfd.readouterr()
    short = output_of(capfd, *folders).splitlines()
    lines = output_of(capfd, *folders, "-v").splitlines()
    titles = [f"{folders[after]} against {folders[before]}" for before, after in ((0, 1), (1, 2), (0, 2))]
    assert [line for line in lines if line in titles] == titles
    assert sum(f"{HIT} lost" in line for line in lines) == 3
    assert lines[-len(short) :] == short and short[-1].startswith("verdict: worse (")


def test_a_page_explains_the_last_run_against_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [str(run.folder) for run in make_runs(tmp_path, (0, 4, 40))]
    capfd.readouterr()
    with pytest.raises(SystemExit):
        main(["compare", "--chain", *folders, "--explain", "--format", "html", "-o", str(tmp_path / "chain.html")])
    # Runs of vectors have no groups, which is said once: of the last run against the first.
    assert capfd.readouterr().err.count("no explanation: retrieval@embeddings has no groups") == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "a chain needs 3 runs or more: got 2. Compare two runs without it"),
        (["--explain"], "--explain adds a section to the page: got --format table, expected html"),
        (["--format", "junit"], "--format junit reports gated metrics only: give --max-drop"),
    ],
)
def test_what_a_chain_cannot_do_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    folders = [str(run.folder) for run in make_runs(tmp_path, (0, 4))]
    with pytest.raises(SystemExit) as end:
        main(["compare", "--chain", *folders, *arguments])
    error = capfd.readouterr().err
    assert end.value.code == 2 and fault in error and len(error.splitlines()) == 1

"""A chain of runs: each step and the whole, one family of tests, and a gate on the last against the first."""

import json
from pathlib import Path

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
    alone = [cb.compare(runs[before], runs[after]) for before, after in pairs]
    together = [*chain.steps, chain.whole]
    for one, other in zip(together, alone, strict=True):
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


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "a chain needs 3 runs or more: got 2. Compare two runs without it"),
        (["--format", "md"], "--chain has the formats table, json, html: got --format md"),
        (["-v"], "-v has no effect with --chain"),
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

"""`clipbench plot` from the command line: what it writes and says, and one line for everything that is wrong."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from clipbench.results.record import Curve, DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.results.run import write_result

if TYPE_CHECKING:
    from tests.cli.conftest import Done

NAMES = (
    "gap",
    "cones",
    "spectrum",
    "shift",
    "corrections",
    "similarity-calibration",
    "modalities",
    "modality-map",
    "track",
    "similarity-matrix",
    "relevance",
    "mixed-retrieval",
    "typographic",
    "long-caption",
    "operating-points",
    "compression",
    "few-shot",
    "composition",
    "scorecard",
    "robustness",
    "across",
    "representational-similarity",
    "compare",
)


Plot = Callable[..., "Done"]


@pytest.fixture
def plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Plot) -> Plot:
    """Return a function that gives the command some arguments, in a folder with one run."""
    monkeypatch.chdir(tmp_path)
    x = [0.2, 0.4, 0.6]
    matches = {f"match_by_cosine_{kind}": Curve(x=x, y=[0.1, 0.5, 0.9]) for kind in ("image_text", "text_text")}
    record = EvaluationRecord(
        task="modality-gap",
        task_version=2,
        params={},
        dataset=DatasetRecord(id="birds", n_samples=7),
        status="ok",
        metrics={"acc1": Metric(value=0.5, low=0.25, high=0.75, n=7, chance=0.1)},
        curves=matches,
    )
    result = Result(
        clipbench_version="9",
        created="",
        command=[],
        seed=3,
        environment={},
        model={"ref": "tiny", "fingerprint": "abc"},
        evaluations=[record],
    )
    (tmp_path / "run").mkdir()
    write_result(result, tmp_path / "run")

    return partial(call, "plot")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_figure_comes_with_its_numbers_and_its_caption(plot: Plot, tmp_path: Path) -> None:
    done = plot("similarity-calibration", "run", "-o", "figure.pdf")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == ["wrote figure.pdf", "wrote figure.csv", "wrote figure.txt"]
    assert files(tmp_path) == ["figure.csv", "figure.pdf", "figure.txt"]
    caption = (tmp_path / "figure.txt").read_text()
    assert "tiny: modality-gap@birds (7 images), task version 2; fingerprint abc, seed 3, " in caption


def test_options_reach_the_figure(plot: Plot, tmp_path: Path) -> None:
    style = tmp_path / "my.mplstyle"
    style.write_text("axes.facecolor: fedcba\n")
    options = ["--width", "12", "--style", "my.mplstyle", "--data", "birds", "--seed", "1"]
    assert plot("scorecard", "run", "-o", "figure.svg", *options).status == 0
    drawn = (tmp_path / "figure.svg").read_text()
    assert "#fedcba" in drawn and f'width="{12 / 2.54 * 72:.4f}'[:12] in drawn


def test_a_png_for_slides_has_twice_the_pixels_and_the_name_of_the_plot(plot: Plot, tmp_path: Path) -> None:
    done = plot("similarity-calibration", "run", "--format", "png")
    assert done.out.splitlines()[0] == "wrote similarity-calibration.png"
    with Image.open(tmp_path / "similarity-calibration.png") as image:
        assert abs(image.width - 8.25 / 2.54 * 600) <= 2


@pytest.mark.parametrize(
    ("name", "projection", "told"),
    [
        ("similarity_matrix", "pca", "did you mean 'similarity-matrix'?"),
        ("gap", "gap_axis", "did you mean 'gap-axis'?"),
    ],
)
def test_a_name_with_an_underscore_is_told_with_the_dash(plot: Plot, name: str, projection: str, told: str) -> None:
    done = plot(name, "run", "--out", "figure.svg", "--projection", projection)
    assert done.status == 2 and told in done.err


def test_the_list_names_every_plot_with_what_it_shows(plot: Plot) -> None:
    done = plot("--list")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()] == list(NAMES)
    starts = {line.index(line.split(maxsplit=1)[1]) for line in done.out.splitlines()}
    assert len(starts) == 1  # in two columns


def test_help_is_to_be_had(plot: Plot) -> None:
    done = plot("--help")
    assert done.status == 0 and "clipbench plot gap runs/tiny runs/vit-b-32 -o gap.pdf" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "missing NAME: expected NAME RUN... -o FILE"),
        (["gap"], "missing RUN...: expected NAME RUN... -o FILE"),
        (["gap", "run"], "missing -o FILE: expected NAME RUN... -o FILE, such as gap runs/tiny -o gap.pdf"),
        (["cone", "run", "-o", "f.svg"], "unknown plot 'cone': did you mean 'cones'?"),
        (["gap", "run", "-o", "f.svg", "--projection", "tsne"], "unknown projection 'tsne': known: gap-axis, pca, svd"),
        (["scorecard", "run", "-o", "f.svg", "--width", "wide"], "--width wide: expected column, full or a number"),
        (["scorecard", "run", "-o", "f.svg", "--width", "0"], "--width 0: expected 3 to 100 cm"),
        (["scorecard", "run", "-o", "f.pdf", "--format", "png"], "--format png and -o f.pdf name two types: drop one"),
        (["scorecard", "run", "--format", "docx"], "'docx' is not one of"),
        (["scorecard", "run", "-o", "f.docx"], "cannot write f.docx: matplotlib writes no 'docx', expected one of"),
        (["scorecard", "run", "-o", "no/f.svg"], "cannot write "),
        (["scorecard", "run", "-o", "f.svg", "--style", "no.mplstyle"], "--style no.mplstyle: "),
        (["scorecard", "run", "-o", "f.svg", "--seed", "-1"], "--seed"),
        (["scorecard", "nowhere", "-o", "f.svg"], "no result.json in nowhere: expected a folder that"),
        (["similarity-matrix", "run", "-o", "f.svg"], "run run has no retrieval to draw similarity-matrix from: "),
        (["gap", "run", "-o", "f.svg"], "the run kept no array “images”; run again with --keep-arrays"),
        (["compare", "run", "-o", "f.svg"], "compare draws the difference of two runs: got 1"),
        (["gap", "run", "-o", "f.svg", "--colour", "red"], "No such option"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    plot: Plot, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = plot(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("clipbench: ") and done.err.count("\n") == 1 and told in done.err, done.err
    assert files(tmp_path) == [] and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_not_there_is_named_as_it_was_given(plot: Plot) -> None:
    done = plot("scorecard", "run", "-o", "no/figure.svg")
    assert (done.status, done.out) == (2, "")
    assert "no/figure" in done.err and "No such file or directory" in done.err


def test_a_traceback_is_shown_on_request(plot: Plot) -> None:
    done = plot("cone", "run", "-o", "figure.svg", "--traceback")
    assert done.status == 2 and "Traceback (most recent call last)" in done.err

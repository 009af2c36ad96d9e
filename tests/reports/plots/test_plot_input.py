"""Errors in what a plot is asked for are one line, and nothing is written or lost over them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.errors import ClipbenchError, MachineError, UsageError
from clipbench.results.record import Metric
from clipbench.results.run import Run, write_result
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.chart_data import COLUMNS
from clipbench_reports.plots.plots import PlotOptions, write_plot
from tests.reports.conftest import MakeRun

Refused = Callable[..., None]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Return a function that expects a plot to be refused in one line, and a folder to stay as it was."""
    folder = tmp_path / "figures"
    folder.mkdir()
    before = {"figure.svg": "as it was", "figure.csv": ",".join(COLUMNS), "figure.txt": "as it was"}
    for name, text in before.items():
        (folder / name).write_text(text)

    def call(match: str, name: str, *runs: Run, out: str = "figure.svg", **options: Any) -> None:
        with pytest.raises(ClipbenchError, match=match) as told:
            write_plot(name, [run.folder for run in runs], folder / out, PlotOptions(**options))
        assert "\n" not in str(told.value)
        assert {path.name: path.read_text() for path in folder.iterdir()} == before

    return call


def test_a_format_that_cannot_be_written_is_refused(make_run: MakeRun, refused: Refused) -> None:
    run = make_run()
    refused(r"matplotlib writes no 'doc', expected one of .*pdf.*svg", "gap", run, out="figure.doc")
    refused(r"matplotlib writes no 'csv', expected one of ", "gap", run, out="figure.csv")


def test_a_folder_without_a_run_is_named(refused: Refused, tmp_path: Path) -> None:
    nowhere = SimpleNamespace(folder=tmp_path / "nowhere")
    refused(r"no result\.json in .*nowhere: expected a folder that `clipbench run` finished$", "gap", nowhere)
    refused(r"no such file or folder: .*nowhere$", "track", nowhere)


def test_of_several_data_sets_one_must_be_chosen(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    run = make_run({f"modality-gap@{data}": parts.modality_gap(rng, n=30) for data in ("scenes", "coco")})
    refused(r"^run .* has modality-gap on scenes, coco: choose with data$", "cones", run)
    write_plot("cones", [run.folder], tmp_path / "cones.svg", PlotOptions(data="coco"))
    assert "modality-gap@coco" in (tmp_path / "cones.txt").read_text()


def test_vectors_that_the_run_did_not_keep_can_be_had_by_running_again(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused
) -> None:
    task_parts = parts.modality_gap(np.random.default_rng(0), n=30)
    hint = r"[Rr]un again with keep_arrays=True to keep all arrays$"
    without = make_run({"modality-gap@scenes": {**task_parts, "arrays": {}}}, name="without")
    refused(rf"^cannot draw gap: .*/without: the run kept no array .images.\. {hint}", "gap", without)
    lost = make_run({"modality-gap@scenes": task_parts}, name="lost")
    (lost.folder / lost.result.evaluations[0].files["arrays"]).unlink()
    refused(rf"^cannot draw gap: run .*/lost lacks 0\.npz: the run is damaged, {hint}", "gap", lost)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.array(0.5)},
        {"images": np.full((30, 4), "word")},
        {"images": np.full((30, 4), np.nan, np.float32), "texts": np.full((30, 4), np.nan, np.float32)},
        {"pair_id": np.array(["only one"])},
        {"pair_id": np.array("a word")},
    ],
)
def test_arrays_that_are_no_vectors_of_pairs_are_damaged(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused, arrays: dict[str, np.ndarray]
) -> None:
    task_parts = parts.modality_gap(np.random.default_rng(0), n=30)
    run = make_run({"modality-gap@scenes": {**task_parts, "arrays": {**task_parts["arrays"], **arrays}}})
    refused(r"^cannot draw gap: modality-gap@scenes in .*: the run is damaged, make it again$", "gap", run)


def test_vectors_that_are_all_equal_are_nothing_to_map(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused
) -> None:
    task_parts = parts.modality_gap(np.random.default_rng(0), n=30)
    same = np.tile(np.eye(4, dtype=np.float32)[0], (30, 1))
    run = make_run({"modality-gap@scenes": {**task_parts, "arrays": {"images": same, "texts": same}}})
    refused("all kept vectors are equal, so there is nothing to map", "gap", run)
    refused(
        "the means of images and texts are equal, so the gap vector has no direction", "gap", run, projection="gap-axis"
    )


def test_a_task_that_was_run_twice_on_the_same_data_is_not_drawn_of_the_first(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused
) -> None:
    run = make_run({"modality-gap@scenes": parts.modality_gap(np.random.default_rng(0), n=30)})
    (once,) = run.result.evaluations
    write_result(replace(run.result, evaluations=[once, replace(once, params={"seed": 1})]), run.folder)
    refused(
        r"^run .* has modality-gap@scenes more than once, with different parameters, and cones draws one: ",
        "cones",
        run,
    )


def test_a_comparison_is_of_two_runs_of_the_same_samples(
    make_run: MakeRun, parts: SimpleNamespace, refused: Refused
) -> None:
    rng = np.random.default_rng(0)
    first, second = (make_run({"retrieval@scenes": parts.retrieval(rng, n=n)}, name=f"of{n}") for n in (20, 30))
    other = make_run({"retrieval@coco": parts.retrieval(rng, n=20)}, name="other")
    refused(r"^compare draws the difference of two runs: got 1$", "compare", first)
    refused(r"^compare draws the difference of two runs: got 3$", "compare", first, second, other)
    refused(r"have no finished evaluation in common$", "compare", first, other)
    refused(r"^retrieval@scenes is not comparable: the runs have different samples$", "compare", first, second)


def test_a_track_needs_two_steps_and_a_gap(make_run: MakeRun, parts: SimpleNamespace, refused: Refused) -> None:
    gap = {"metrics": {"gap": Metric(value=0.5)}}
    runs = [
        make_run({"modality-gap@scenes": gap}, name=f"step{step}", model={**parts.model, "step": step, "fingerprint": f"{step}"})
        for step in (1, 2)
    ]  # fmt: skip
    refused(r"was measured at one step only: a track needs two or more$", "track", runs[0])
    without = make_run({"modality-gap@scenes": gap}, name="no-step")
    refused(r"no-step has no training step", "track", without)


def test_a_table_that_cannot_be_written_costs_no_figure(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    (folder / "figure.txt").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^cannot write .*figure\.txt: Is a directory$"):
        write_plot("cones", [make_run().folder], folder / "figure.svg", PlotOptions())
    assert [path.name for path in folder.iterdir()] == ["figure.txt"]


def test_a_full_disk_leaves_no_half_of_a_file(
    make_run: MakeRun, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MachineError("cannot write figure.svg: No space left on device")

    monkeypatch.setattr(paper, "write_atomic", fail)
    refused(r"^cannot write figure\.svg: No space left on device$", "cones", make_run())


def test_files_that_are_there_are_replaced_by_a_plot_that_succeeds(make_run: MakeRun, tmp_path: Path) -> None:
    files = [tmp_path / f"figure{suffix}" for suffix in (".svg", ".csv", ".txt")]
    for path in files:
        path.write_text("as it was")
    files[1].write_text(",".join(COLUMNS) + "\nas it was\n")
    write_plot("cones", [make_run().folder], files[0], PlotOptions())
    assert all("as it was" not in path.read_text() for path in files)


@pytest.mark.parametrize(
    ("name", "message"), [("x.csv", "is not the table of a"), ("x.txt", "is not the caption of a")]
)
def test_what_is_beside_and_not_ours_is_not_written_over(
    make_run: MakeRun, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(UsageError, match=message):
        write_plot("cones", [make_run().folder], tmp_path / "x.svg", PlotOptions())
    assert (tmp_path / name).read_text() == "mine\n"
    assert not (tmp_path / "x.svg").exists()


def test_a_projection_of_what_is_not_projected_is_refused(make_run: MakeRun, refused: Refused) -> None:
    refused("only the plots modality-map and gap are projected, cones is not", "cones", make_run(), projection="svd")
    refused("only the plot robustness takes it, cones does not", "cones", make_run(), baseline="open_clip")
    refused("the plot robustness draws all shifts of a run", "robustness", make_run(), data="imagenet-r")

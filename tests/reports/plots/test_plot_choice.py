"""Which data, models and panels of the runs a plot takes, and what it calls them."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.results.run import Run
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.marks import Axis, Chart, Panel
from clipbench_reports.page.evidence import ModelEvidence
from clipbench_reports.plots.plots import PLOTS, Plot, PlotOptions, write_plot

MakeRun = Callable[..., Run]
AXIS = Axis(low=0, high=1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[Chart]:
    """Return the list that each figure is added to in place of being written: its table and caption are."""
    found: list[Chart] = []
    monkeypatch.setattr(paper, "save", lambda figure, path, **options: found.append(figure))
    return found


@pytest.mark.parametrize("name", ["scorecard", "compare"])
def test_what_draws_every_task_can_be_held_to_one_data_set(
    name: str, make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path, undrawn: list[Chart]
) -> None:
    measured = parts.zero_shot(np.random.default_rng(0), parts.classes)
    found = {f"{task}@{data}": measured for task in ("zero-shot", "other") for data in ("a", "b")}
    runs = [make_run(found, name=each).folder for each in ("one", "two")]
    write_plot(name, runs, tmp_path / "figure.svg", PlotOptions(data="b"))
    with (tmp_path / "figure.csv").open(newline="", encoding="utf-8") as file:
        assert {row["panel"] for row in csv.DictReader(file)} == {"zero-shot@b", "other@b"}


def test_models_whose_last_names_are_the_same_are_called_by_their_paths(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path, undrawn: list[Chart]
) -> None:
    found = {"modality-gap@scenes": parts.modality_gap(np.random.default_rng(0), n=30)}
    runs = [
        make_run(found, name=name, model={**parts.model, "ref": f"{name}/last"}).folder for name in ("slow", "fast")
    ]
    write_plot("cones", runs, tmp_path / "figure.svg", PlotOptions())
    assert [panel.title for panel in undrawn[0].panels] == ["slow/last", "fast/last"]


@pytest.mark.parametrize(("n_draws", "broad"), [(2, []), (3, ["panel 0"]), (4, ["panel 0"])])
def test_of_many_panels_the_first_is_broad_and_the_others_stand_beside_each_other(
    n_draws: int,
    broad: list[str],
    make_run: MakeRun,
    tmp_path: Path,
    undrawn: list[Chart],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawing(place: int) -> Callable[[Sequence[ModelEvidence]], Chart]:
        panel = Panel(x=AXIS, y=AXIS, marks=[], title=f"panel {place}")
        return lambda models: Chart(title=f"Title {place}.", panels=[panel], reading="Read.")

    mine = Plot(summary="", tasks=("zero-shot",), draws=tuple(map(drawing, range(n_draws))))
    monkeypatch.setitem(PLOTS, "mine", mine)
    write_plot("mine", [make_run().folder], tmp_path / "figure.svg", PlotOptions(data="scenes"))
    (figure,) = undrawn
    assert [panel.title for panel in figure.panels] == [f"panel {place}" for place in range(n_draws)]
    assert [panel.title for panel in figure.panels if panel.is_broad] == broad and figure.n_columns == 1 + len(broad)
    assert figure.title.startswith("Title 0. Title 1.") and figure.reading == "Read."

"""Data, models and panels of the runs that a plot takes, and what it calls them."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.errors import PluginFault
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.marks import Axis, Chart, Panel
from clipbench_reports.evidence import ModelEvidence
from clipbench_reports.plots import plots
from clipbench_reports.plots.plots import PlotOptions, write_plot
from clipbench_reports.sections.section import LoadedSection, Plot, Section, load_section
from tests.reports.conftest import MakeRun

AXIS = Axis(low=0, high=1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[Chart]:
    """Return the list that each figure is added to in place of being written: its table and caption are."""
    result: list[Chart] = []
    monkeypatch.setattr(paper, "save", lambda figure, path, **options: result.append(figure))
    return result


def test_a_comparison_can_be_held_to_one_data_set(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path, undrawn: list[Chart]
) -> None:
    measured = parts.zero_shot(np.random.default_rng(0), parts.classes)
    result = {f"{task}@{data}": measured for task in ("zero-shot", "other") for data in ("a", "b")}
    runs = [make_run(result, name=name).folder for name in ("one", "two")]
    write_plot("compare", runs, tmp_path / "figure.svg", PlotOptions(data="b"))
    with (tmp_path / "figure.csv").open(newline="", encoding="utf-8") as file:
        assert {row["panel"] for row in csv.DictReader(file)} == {"zero-shot@b", "other@b"}


def bring(monkeypatch: pytest.MonkeyPatch, *draws: Callable[[Sequence[ModelEvidence]], Chart]) -> None:
    """Have the section of zero-shot, of a package, bring a plot ``mine``, and another of a name that is taken."""
    offered = {"mine": Plot(summary="mine", draws=draws), "compare": Plot(summary="another", draws=draws)}
    loaded = LoadedSection(Section(plots=offered), package="stranger")
    monkeypatch.setattr(plots, "load_section", lambda task: loaded if task == "zero-shot" else load_section(task))


def panel_of(models: Sequence[ModelEvidence]) -> Chart:
    return Chart(title="Title.", panels=[Panel(x=AXIS, y=AXIS, marks=[])], reading="Read.")


def broken(models: Sequence[ModelEvidence]) -> Chart:
    raise ZeroDivisionError("division by zero")


def test_what_the_section_of_a_package_fails_to_draw_costs_itself_alone(
    make_run: MakeRun, tmp_path: Path, undrawn: list[Chart], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run().folder
    text = r"broken of stranger failed \(ZeroDivisionError: division by zero\)"
    bring(monkeypatch, broken, panel_of)
    with pytest.warns(UserWarning) as said:
        write_plot("mine", [run], tmp_path / "figure.svg", PlotOptions(data="scenes"))
    assert [figure.title for figure in undrawn] == ["Title."]
    assert [bool(re.search(text, str(warning.message))) for warning in said] == [False, True]
    assert str(said[0].message) == "the plot compare of stranger is left out: its name is taken"
    bring(monkeypatch, broken)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(PluginFault, match=rf"^cannot draw mine: {text}$"):
        write_plot("mine", [run], tmp_path / "figure.svg", PlotOptions(data="scenes"))
    with pytest.warns(UserWarning, match="left out"):
        assert plots.plots()["mine"] == "mine" and plots.plots()["compare"] != "another"

"""What is read aloud in place of a drawing: the values of its marks."""

from dataclasses import replace

import numpy as np

from clipbench_reports.drawing.alt_text import alt_text
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Cells,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Ranges,
    Rule,
    fraction_axis,
    rows_axis,
)

PLANE = Panel(x=Axis(low=0, high=10, label="k"), y=fraction_axis("Recall, %"))


def of(*marks: Mark, panel: Panel = PLANE) -> str:
    return alt_text(Chart(title="Title.", panels=[replace(panel, marks=marks)], reading="")).removeprefix("Title. ")


def test_a_series_is_read_with_its_name_its_places_and_the_unit_of_its_axis() -> None:
    line = Line(xs=[1, 5], ys=[0.5, 1.0], role="image", name="text → image")
    chance = Rule(at=0.1, axis="y", role="chance", name="chance")
    assert of(chance, line) == "Recall, %: chance 10.0 %; text → image 50.0 % at 1, 100.0 % at 5."
    assert of(replace(line, ys=[0.5, float("nan")])) == "Recall, %: text → image 50.0 % at 1."


def test_of_many_points_the_ends_and_some_between_are_read() -> None:
    words = of(Line(xs=range(101), ys=[x / 100 for x in range(101)], role="ink", name="line"))
    assert words.count(" at ") == 6 and "0.0 % at 0," in words and words.endswith("100.0 % at 100.")


def test_rows_are_read_by_their_names_and_all_of_them() -> None:
    names = [f"row {k}" for k in range(10)]
    panel = Panel(x=fraction_axis("Accuracy, %"), y=rows_axis(names))
    values = [k / 10 for k in range(10)]
    ranges = Ranges(xs=values, ys=range(10), lows=values, highs=values, role="ink", name="accuracy", is_upright=False)
    words = of(ranges, panel=panel)
    assert all(f"{10 * k}.0 % at row {k}" in words for k in range(10))


def test_clouds_histograms_and_matrices_are_read_in_short() -> None:
    cloud = Dots(xs=range(50), ys=range(50), role="image", name="image", is_dense=True)
    bars = Bars(edges=[0, 1, 2], counts=[1, 4], role="ink", name="captions")
    assert of(cloud, bars) == "Recall, %: image 50 points; captions highest from 1 to 2."
    names = (["a", "b"], ["a", "b"])
    cells = Cells(depths=np.eye(2), values=np.eye(2), is_percent=True, names=names, name="share")
    plane = Panel(x=Axis(low=0, high=2), y=Axis(low=2, high=0), title="share")
    assert of(cells, panel=plane) == ("share: a and a 100.0 %, a and b 0.0 %, b and a 0.0 %, b and b 100.0 %.")
    assert of(replace(cells, names=None), panel=plane) == "Title."

"""A figure as SVG: everything stands where its numbers say, whatever its names are."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np

from clipbench_reports.drawing import svg_chart
from clipbench_reports.drawing.alt_text import alt_text
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Cells,
    Chart,
    Dots,
    Hill,
    Line,
    Mark,
    Panel,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
)

PLAIN = Axis(low=0, high=10)
LEFT, RIGHT, TOP, FOOT = 10, 384, 12, 199
"""Edges of the plane of a panel without words: 10 pixels on the left, 16 on the right of 400; half as high as wide."""


def figure(*marks: Mark, x: Axis = PLAIN, y: Axis = PLAIN, **changes: object) -> Chart:
    panel = Panel(x=x, y=y, marks=marks, aspect=0.5, has_grid=False)
    return Chart(**{"title": "Title.", "panels": [panel], "reading": "", **changes})  # type: ignore[arg-type]


def paths(text: str, css: str) -> list[str]:
    return re.findall(f'<path d="([^"]*)" class="{css}"', text)


def words(text: str) -> list[str]:
    """Return what is written, by a parser that knows nothing of the drawing."""
    return [element.text or "" for element in ElementTree.fromstring(text).iter("text")]


def test_a_line_runs_from_corner_to_corner() -> None:
    svg = svg_chart.draw(figure(Line(xs=[0, 5, 10], ys=[0, 10, 0], role="ink")))
    assert paths(svg, "line ink") == [f"M{LEFT} {FOOT}L197 {TOP}L{RIGHT} {FOOT}"]


def test_axes_may_be_logarithmic_and_run_downwards() -> None:
    x, y = Axis(low=1, high=100, is_log=True), Axis(low=4, high=0)
    svg = svg_chart.draw(figure(Line(xs=[1, 10, 100], ys=[0, 4, 2], role="ink"), x=x, y=y))
    assert paths(svg, "line ink") == [f"M{LEFT} {TOP}L197 {FOOT}L{RIGHT} 105.5"]


def test_every_kind_of_mark_stands_where_its_numbers_say() -> None:
    starts, ends = np.array([[0.0, 0.0]]), np.array([[10.0, 10.0]])
    svg = svg_chart.draw(
        figure(
            Dots(xs=[5], ys=[5], role="image"),
            Dots(xs=[5], ys=[5], role="text"),
            Ranges(xs=[5], ys=[10], lows=[0], highs=[10], role="pair"),
            Ranges(xs=[0], ys=[5], lows=[0], highs=[5], role="ink", is_upright=False),
            Threads(starts=starts, ends=ends),
            Hill(xs=[0, 10], ys=[10, 10], foot=0, role="text"),
            Bars(edges=[0, 5, 10], counts=[10, 0], role="image"),
            Rule(at=5, axis="x", role="chance"),
            Rule(at=5, axis="y", role="ink", span=(0, 5), is_dashed=True),
            Shade(low=0, high=5),
        )
    )
    for part in (
        '<circle cx="197" cy="105.5" r="4" class="dot image"/>',
        '<rect x="193.4" y="101.9" width="7.2" height="7.2" class="dot text"/>',
        '<path d="M197 199L197 12" class="line pair solid"/>',
        '<path d="M10 105.5L197 105.5" class="line ink solid"/>',
        '<path d="M10 199L384 12" class="thread pair"/>',
        '<path d="M10 199L10 12L384 12L384 199Z" class="hill text"/>',
        '<path d="M10.0 199.0V12.0H196.5V199.0Z" class="hill image"/>',
        '<path d="M197 199L197 12" class="line chance"/>',
        '<path d="M10 105.5L197 105.5" class="line ink dashed"/>',
        '<rect x="10" y="12" width="187" height="187" class="bar"/>',
    ):
        assert part in svg, part


def test_the_first_row_of_a_matrix_is_on_top() -> None:
    cells = Cells(depths=np.array([[0.0, 1.0], [0.0, 0.0]]), values=np.zeros((2, 2)), words=[(0, 1, "99")])
    svg = svg_chart.draw(figure(cells, x=Axis(low=0, high=2), y=Axis(low=2, high=0)))
    assert paths(svg, "cells") == ["M1 0h1"]
    assert '<text x="290.5" y="63.2" class="on" text-anchor="middle">99</text>' in svg


def test_what_is_not_finite_is_not_drawn() -> None:
    nan = float("nan")
    svg = svg_chart.draw(
        figure(
            Line(xs=[0, 5, 10], ys=[0, nan, 0], role="ink"),
            Line(xs=[nan], ys=[1], role="pair"),
            Ranges(xs=[5], ys=[5], lows=[nan], highs=[nan], role="text"),
            Ranges(xs=[5], ys=[nan], lows=[nan], highs=[nan], role="image", is_joined=True),
        )
    )
    assert paths(svg, "line ink") == [f"M{LEFT} {FOOT}L{RIGHT} {FOOT}"]
    assert "nan" not in svg and "line pair" not in svg and "line text solid" not in svg
    assert "image" not in svg and 'd="M"' not in svg


def test_names_from_outside_stay_words(parts: SimpleNamespace) -> None:
    name = parts.hostile
    axis = Axis(low=0, high=10, ticks=[5], names=[name], label=name)
    marks: list[Mark] = [
        Line(xs=[0], ys=[0], role="ink", name=name),
        Rule(at=1, axis="x", role="chance", name=f"{name}2"),
    ]
    chart = figure(*marks, Words(words=name, x=1, y=1), x=axis, y=axis, title=name)
    svg = svg_chart.draw(chart)
    assert words(svg).count(name) == 5 and "".join(words(svg)).count("<script>") == 7  # in lines in the legend
    assert ElementTree.fromstring(svg).get("aria-label") == alt_text(chart) and alt_text(chart).startswith(name)
    assert "<script" not in svg


def test_on_a_narrow_screen_panels_stand_below_each_other_each_with_its_own_axis() -> None:
    panels = [
        Panel(x=PLAIN, y=Axis(low=0, high=10, ticks=[0, 10], label="Gap"), marks=[], title=title)
        for title in ("one", "two", "three")
    ]
    both = Chart(title="Title.", panels=panels, reading="", n_columns=3, is_grid=True)
    assert words(svg_chart.draw(both)).count("Gap") == 1
    narrow = svg_chart.draw_narrow(both)
    assert words(narrow).count("Gap") == words(narrow).count("10") == 3
    assert ElementTree.fromstring(narrow).get("width") == "400" and ElementTree.fromstring(narrow).get("aria-label")
    assert svg_chart.draw_narrow(figure()) == ""  # one image serves both


def test_the_area_of_a_dot_grows_with_its_samples() -> None:
    line = Line(xs=[0, 5, 10], ys=[0, float("nan"), 10], role="image", has_dots=True, weights=[25, 9, 100])
    radii = [float(r) for r in re.findall(r'<circle[^>]* r="([^"]*)"', svg_chart.draw(figure(line)))]
    assert radii == [3.2, 6.4]

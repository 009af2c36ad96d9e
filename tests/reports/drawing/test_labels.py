"""Names stand at the lines where there is room for all of them, and else in a legend."""

import re
from dataclasses import replace
from typing import Any

from clipbench_reports.drawing import svg_chart
from clipbench_reports.drawing.marks import Axis, Chart, Line, Mark, Panel, Role, Rule
from clipbench_reports.drawing.svg_marks import Plane, names_at_lines

ROLES: tuple[Role, ...] = ("image", "text")
AXIS = Axis(low=0, high=10)
PLANE = Plane(x=AXIS, y=AXIS, left=0, top=0, width=400, height=300)
RISING = Line(xs=[0, 5, 10], ys=[1, 4, 6], role="image", name="rising")
FALLING = Line(xs=[0, 5, 10], ys=[9, 8, 8], role="text", name="falling", has_dots=True)
CHANCE = Rule(at=0.5, axis="y", role="chance", name="chance")


def chart(*panels: Panel, **changes: Any) -> Chart:
    return Chart(**{"title": "Title.", "panels": panels, "reading": "", **changes})


def of(*marks: Mark) -> Panel:
    return Panel(x=AXIS, y=AXIS, marks=marks)


def swatches(figure: Chart) -> int:
    return len(re.findall(r'd="M[^"]*h22" class="line', svg_chart.draw(figure)))


def test_names_lie_in_the_plane_beside_their_lines_and_on_none() -> None:
    result = names_at_lines(of(RISING, FALLING, CHANCE), PLANE, [RISING, FALLING, CHANCE])
    assert result is not None and [mark.words for mark in result] == ["rising", "falling", "chance"]
    assert [mark.role for mark in result] == ["image", "text", "chance"]
    for words, line in zip(result[:2], (RISING, FALLING), strict=True):
        x, y = PLANE.to_pixels(words.x, words.y)
        left = x - {"start": 0, "middle": 0.5, "end": 1}[words.anchor] * 8.8 * len(words.words)
        assert left >= 0 and left + 8.8 * len(words.words) <= 400
        assert min(abs(y - PLANE.to_pixels(0, other)[1]) for other in line.ys) < 60
    assert result[2].y == 0.5 and result[2].lift == 1


def test_a_figure_whose_names_fit_has_no_legend() -> None:
    figure = chart(of(RISING, FALLING, CHANCE))
    assert not swatches(figure)
    assert re.findall(r'class="halo name (?:image|text|chance)"[^>]*>([^<]*)<', svg_chart.draw(figure)) == [
        "rising", "falling", "chance"
    ]  # fmt: skip


def test_a_name_that_could_be_that_of_another_line_of_its_colour_is_in_a_legend() -> None:
    alike = [Line(xs=[0, 10], ys=[5, y], role="ink", name=name) for name, y in (("one", 5.0), ("other", 5.1))]
    assert names_at_lines(of(*alike), PLANE, alike) is None
    coloured = [replace(line, role=role) for line, role in zip(alike, ROLES, strict=True)]
    assert names_at_lines(of(*coloured), PLANE, coloured) is not None

"""Names stand at the lines where there is room for all of them, and else in a legend."""

import re
from dataclasses import replace
from typing import Any

import numpy as np

from clipbench_reports.drawing import page
from clipbench_reports.drawing.labels import names_at_lines
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Line, Mark, Panel, Ranges, Role, Rule, Shade, Threads
from clipbench_reports.drawing.page_marks import Plane

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
    return len(re.findall(r'd="M[^"]*h22" class="line', page.draw(figure)))


def test_names_lie_in_the_plane_beside_their_lines_and_on_none() -> None:
    found = names_at_lines(of(RISING, FALLING, CHANCE), PLANE, [RISING, FALLING, CHANCE])
    assert found is not None and [each.words for each in found] == ["rising", "falling", "chance"]
    assert [each.role for each in found] == ["image", "text", "chance"]
    for words, line in zip(found[:2], (RISING, FALLING), strict=True):
        x, y = PLANE.at(words.x, words.y)
        left = x - {"start": 0, "middle": 0.5, "end": 1}[words.anchor] * 8.8 * len(words.words)
        assert left >= 0 and left + 8.8 * len(words.words) <= 400
        assert min(abs(y - PLANE.at(0, other)[1]) for other in line.ys) < 60
    assert found[2].y == 0.5 and found[2].lift == 1


def test_a_figure_whose_names_fit_has_no_legend() -> None:
    figure = chart(of(RISING, FALLING, CHANCE))
    assert not swatches(figure)
    assert re.findall(r'class="halo name (?:image|text|chance)"[^>]*>([^<]*)<', page.draw(figure)) == [
        "rising", "falling", "chance"
    ]  # fmt: skip


def test_lines_in_each_other_s_way_keep_their_legend() -> None:
    crowded = [Line(xs=[0, 10], ys=[y / 4, y / 4], role="ink", name=f"line {y}") for y in range(40)]
    assert names_at_lines(of(*crowded), PLANE, crowded) is None
    assert swatches(chart(of(*crowded))) == 40


def test_a_name_that_could_be_that_of_another_line_of_its_colour_is_in_a_legend() -> None:
    alike = [Line(xs=[0, 10], ys=[5, y], role="ink", name=name) for name, y in (("one", 5.0), ("other", 5.1))]
    assert names_at_lines(of(*alike), PLANE, alike) is None
    coloured = [replace(line, role=role) for line, role in zip(alike, ROLES, strict=True)]
    assert names_at_lines(of(*coloured), PLANE, coloured) is not None


def test_dots_keep_a_sample_in_a_legend() -> None:
    dots = Dots(xs=[1], ys=[1], role="text", name="dots")
    assert names_at_lines(of(RISING, dots), PLANE, [RISING, dots]) is None


def test_names_stand_beside_clouds_and_on_the_threads_between_them() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal([3, 5], 0.5, (200, 2)), rng.normal([7, 5], 0.5, (200, 2))
    pair = Threads(starts=left[:20], ends=right[:20], name="pair")
    image, text = (
        Dots(xs=each[:, 0].tolist(), ys=each[:, 1].tolist(), role=role, name=role, is_dense=True)
        for each, role in ((left, ROLES[0]), (right, ROLES[1]))
    )
    found = names_at_lines(of(pair, image, text), PLANE, [pair, image, text])
    assert found is not None
    for words, cloud in zip(found[1:], (left, right), strict=True):
        assert min(np.hypot(*(cloud - (words.x, words.y)).T)) < 1
    assert 4 < found[0].x < 6


def test_lying_intervals_have_their_name_beside_one_of_them() -> None:
    ranges = Ranges(xs=[5, 6], ys=[2, 8], lows=[4, 5], highs=[6, 7], role="ink", name="both", is_upright=False)
    found = names_at_lines(of(ranges), PLANE, [ranges])
    assert found is not None and (found[0].x, found[0].y, found[0].anchor) == (6, 2, "start")


def test_names_stand_in_the_first_panel_that_has_room_for_all_of_a_legend() -> None:
    near = [Line(xs=[0, 10], ys=[y, y], role="ink", name=f"line {k}") for k, y in enumerate((0.1, 0.2, 9.95))]
    far = [Line(xs=[0, 10], ys=[y, y], role="ink", name=f"line {k}") for k, y in enumerate((2, 5, 8))]
    drawn = page.draw(chart(of(*near), of(*far)))
    assert not swatches(chart(of(*near), of(*far))) and drawn.count('class="halo name ink"') == 3


def test_a_shade_has_its_name_in_it() -> None:
    shade = Shade(low=2, high=9, name="beyond")
    found = names_at_lines(of(shade, RISING), PLANE, [shade, RISING])
    assert found is not None and found[0].x == 5.5

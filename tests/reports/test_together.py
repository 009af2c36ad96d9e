"""Several models in one figure: what is drawn of each, in which colour, and on which axes."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from clipbench_reports.drawing import page
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Boxes,
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
    fraction_axis,
    nice_axis,
)
from clipbench_reports.drawing.models import ModelKey, figure_labels
from clipbench_reports.drawing.page import draw, draw_apart
from clipbench_reports.drawing.svg import dot
from clipbench_reports.drawing.together import together

A, B = ModelKey("base", 0), ModelKey("tuned", 1)
ROWS = Axis(low=2.5, high=-0.5, ticks=[0, 1, 2], names=["count", "relation", "swap"])


def figure(*marks: Mark, x: Axis | None = None, y: Axis | None = None, **changes: object) -> Chart:
    panel = Panel(x=x or Axis(low=0, high=10, ticks=[0, 10]), y=y or fraction_axis("Right, %"), marks=marks)
    return Chart(**{"title": "Title.", "panels": [panel], "reading": "Read.", **changes})  # type: ignore[arg-type]


def line(name: str, *ys: float, **changes: object) -> Line:
    return Line(**{"xs": list(range(len(ys))), "ys": ys, "role": "image", "name": name, **changes})  # type: ignore[arg-type]


def ranges(name: str, *xs: float, at: tuple[float, ...] = (0, 1, 2), half: float = 0.1) -> Ranges:
    lows, highs = [x - half for x in xs], [x + half for x in xs]
    return Ranges(xs=xs, ys=at, lows=lows, highs=highs, role="text", name=name, is_upright=False, ids=ROWS.names)


def marks(found: Chart, kind: type) -> list[Mark]:
    return [mark for panel in found.panels for mark in panel.marks if isinstance(mark, kind)]


def drawn(found: Chart) -> Counter[tuple[object, ...]]:
    """Return every line as its panel, its name, its role and its points."""
    return Counter(
        (panel.title, mark.name, mark.role, *mark.xs, *mark.ys)
        for panel in found.panels
        for mark in panel.marks
        if isinstance(mark, Line)
    )


def test_each_series_has_a_panel_and_each_model_a_colour_in_it() -> None:
    first = figure(line("caption", 0.1, 0.2), line("image", 0.3, 0.4))
    second = figure(line("caption", 0.5, 0.6), line("image", 0.7, 0.8))
    assert drawn(together([first, second], [A, B])) == Counter(
        [
            ("caption", "base", "m0", 0, 1, 0.1, 0.2),
            ("caption", "tuned", "m1", 0, 1, 0.5, 0.6),
            ("image", "base", "m0", 0, 1, 0.3, 0.4),
            ("image", "tuned", "m1", 0, 1, 0.7, 0.8),
        ]
    )


def test_a_model_keeps_the_colour_of_its_place_when_another_has_nothing_to_draw() -> None:
    models = [ModelKey("third", 2), ModelKey("last", 5)]
    found = together([figure(line("a", 0.1)), figure(line("a", 0.2))], models)
    assert [(mark.name, mark.role) for mark in marks(found, Line)] == [("third", "m2"), ("last", "m5")]


def test_a_reference_that_is_equal_is_drawn_once_and_one_that_differs_for_each_model() -> None:
    chance, diagonal = Rule(at=0.1, axis="y", role="chance", name="chance"), line("diagonal", 0, 1, is_reference=True)
    made = [
        figure(line("a", 0.5), chance, diagonal, Rule(at=at, axis="x", role="ink", name="length", is_dashed=True))
        for at in (3, 4)
    ]
    found = together(made, [A, B])
    rules = [(mark.at, mark.role, mark.name) for mark in marks(found, Rule) if isinstance(mark, Rule)]
    assert rules == [(0.1, "chance", "chance"), (3, "m0", "base, length"), (4, "m1", "tuned, length")]
    assert [mark.name for mark in marks(found, Line)] == ["diagonal", "base", "tuned"]
    assert "Broken, in the colour of each model: length." in found.reading
    assert [mark.name for mark in lay_out(found).legend] == ["base", "tuned", "diagonal", "chance"]


def test_what_is_of_all_is_never_black_which_is_the_first_model() -> None:
    end = Rule(at=7, axis="x", role="ink", name="end")
    found = together([figure(line("a", 0.5), end), figure(line("a", 0.6), end)], [A, B])
    assert [mark.role for mark in marks(found, Rule)] == ["pair"]


def test_a_reference_goes_with_the_series_that_it_is_for() -> None:
    own = [Rule(at=at, axis="y", role="chance", name="chance", of=of) for at, of in ((0.25, "caption"), (0.5, "pair"))]
    made = [figure(line("caption", y), line("pair", y), *own) for y in (0.6, 0.7)]
    found = together(made, [A, B])
    at = {panel.title: [mark.at for mark in panel.marks if isinstance(mark, Rule)] for panel in found.panels}
    assert at == {"caption": [0.25], "pair": [0.5]}


@pytest.mark.parametrize("n", [2, 3, 6])
def test_no_interval_of_a_category_hides_another(n: int) -> None:
    found = together([figure(ranges("right", 0.5, 0.5, 0.5), y=ROWS)] * n, [ModelKey(f"m{k}", k) for k in range(n)])
    bars = [mark for mark in marks(found, Ranges) if isinstance(mark, Ranges)]
    heights = sorted(mark.aside for mark in bars)
    assert len(bars) == n and all(b - a >= 0.1 for a, b in pairwise(heights))
    assert heights[0] > -0.5 and heights[-1] < 0.5  # nearer to its own row than to the next
    assert sum(heights) == pytest.approx(0)
    assert all(list(mark.xs) == [0.5] * 3 and list(mark.lows) == [0.4] * 3 for mark in bars)


def test_series_that_stood_at_different_heights_stand_at_the_middle_of_their_rows() -> None:
    made = figure(ranges("captions", 0.1, 0.2, 0.3, at=(-0.2, 0.8, 1.8)), ranges("both", 0.4, 0.5, 0.6, at=(0.2, 1.2, 2.2)), y=ROWS)  # fmt: skip
    chance = Rule(at=0.25, axis="x", role="chance", name="chance", span=(0.7, 0.9), of="captions")
    made = Chart(
        title="", reading="", panels=[Panel(x=made.panels[0].x, y=ROWS, marks=[*made.panels[0].marks, chance])]
    )
    found = together([made, made], [A, B])
    assert [list(mark.ys) for mark in marks(found, Ranges) if isinstance(mark, Ranges)] == [[0, 1, 2]] * 4
    ((low, high),) = [mark.span for mark in marks(found, Rule) if isinstance(mark, Rule) and mark.span]
    assert (low + high) / 2 == pytest.approx(1) and 0.5 < low < high < 1.5


def test_rows_are_matched_by_name_and_not_by_place() -> None:
    turned = Axis(low=2.5, high=-0.5, ticks=[0, 1, 2], names=["swap", "count", "relation"])
    found = together(
        [
            figure(Dots(xs=[0.9, 0.8, 0.7], ys=[0, 1, 2], role="ink", name="alone"), y=axis)
            for axis in (ROWS, turned)
        ],
        [A, B],
    )  # fmt: skip
    first, second = (mark for mark in marks(found, Dots) if isinstance(mark, Dots))
    assert list(first.ys) == [0, 1, 2]
    assert dict(zip(second.ys, second.xs, strict=True)) == {2: 0.9, 0: 0.8, 1: 0.7}  # swap, count, relation
    assert list(found.panels[0].y.names) == ["count", "relation", "swap"]
    assert found.reading.endswith("Rows in the order of base.")


def test_rows_of_other_names_are_not_forced_together() -> None:
    others = Axis(low=2.5, high=-0.5, ticks=[0, 1, 2], names=["count", "relation", "colour"])
    found = together([figure(ranges("right", 0.5, 0.5, 0.5), y=axis) for axis in (ROWS, others)], [A, B])
    assert [(panel.title, panel.model) for panel in found.panels] == [("base", 0), ("tuned", 1)]


def test_rows_that_share_a_name_are_not_matched_by_it() -> None:
    names = (["a", "b", "a"], ["a", "a", "b"])
    axes = [Axis(low=2.5, high=-0.5, ticks=[0, 1, 2], names=each) for each in names]
    found = together([figure(ranges("right", 0.5, 0.5, 0.5), y=axis) for axis in axes], [A, B])
    assert [panel.model for panel in found.panels] == [0, 1]


def test_a_reference_of_one_model_is_broken_so_as_not_to_be_taken_for_its_line() -> None:
    made = [figure(line("a", 0.5), Rule(at=at, axis="x", role="ink", name="length")) for at in (3, 4)]
    rules = [mark for mark in marks(together(made, [A, B]), Rule) if isinstance(mark, Rule)]
    assert [mark.is_dashed for mark in rules] == [True, True]


@pytest.mark.parametrize(("n", "expected"), [(2, 2), (3, 0)])
def test_areas_of_more_than_two_models_would_be_one_grey(n: int, expected: int) -> None:
    made = [figure(line("a", 0.5), Shade(low=k, high=k + 2, name="interval")) for k in range(n)]
    assert len(marks(together(made, [ModelKey(f"m{k}", k) for k in range(n)]), Shade)) == expected


@pytest.mark.parametrize(("middle", "distance"), [(5, 0.5), (4, 0.2)])  # of 10: near where places are values
def test_models_stand_nearer_to_each_other_where_the_places_of_categories_are_values(
    middle: int, distance: float
) -> None:
    ticks = Axis(low=0, high=10, ticks=[0, middle, 10])
    bars = Ranges(xs=ticks.ticks, ys=[0.5] * 3, lows=[0.4] * 3, highs=[0.6] * 3, role="text", name="right")
    first, second = marks(together([figure(bars, x=ticks)] * 2, [A, B]), Ranges)
    assert isinstance(first, Ranges) and isinstance(second, Ranges)
    assert second.aside - first.aside == pytest.approx(distance)


def test_an_axis_with_names_has_those_of_the_model_that_reaches_farthest() -> None:
    axes = [Axis(low=0, high=n, ticks=range(n + 1), names=[f"{2**k}" for k in range(n + 1)]) for n in (2, 4)]
    (panel,) = together([figure(line("a", *(0.5 for _ in axis.ticks)), x=axis) for axis in axes], [A, B]).panels
    assert list(panel.x.names) == ["1", "2", "4", "8", "16"]


def test_rows_are_higher_where_they_hold_more_models_in_less_width() -> None:
    one, two = (figure(*[ranges(name, 0.5, 0.5, 0.5) for name in names], y=ROWS) for names in ("a", "ab"))
    (whole,), (first, second) = (together([each] * 3, [A, B, ModelKey("c", 2)]).panels for each in (one, two))
    assert first.aspect == second.aspect == pytest.approx(1.5 * whole.aspect) and whole.aspect == one.panels[0].aspect


def test_bands_of_more_than_two_models_are_not_drawn_but_kept_for_the_table() -> None:
    made = figure(line("a", 0.5, 0.6, lows=[0.4, 0.5], highs=[0.6, 0.7]), Shade(low=1, high=2, name="interval"))
    two, three = (together([made] * n, [ModelKey(f"m{k}", k) for k in range(n)]) for n in (2, 3))
    assert draw(two).count('class="area') == 2 and draw(three).count('class="area') == 0
    assert all(mark.lows == [0.4, 0.5] for mark in marks(three, Line) if isinstance(mark, Line))
    assert "no bands are drawn" in three.reading and "bands" not in two.reading


def test_a_histogram_that_is_the_same_for_all_is_drawn_once_and_others_as_outlines() -> None:
    one, other = (Bars(edges=[0, 1, 2], counts=counts, role="text", name="captions") for counts in ([3, 5], [4, 4]))
    same, apart = (together([figure(one), figure(each)], [A, B]) for each in (one, other))
    assert [(mark.role, mark.name) for mark in marks(same, Bars)] == [("pair", "captions")]
    assert "The same for all models: captions." in same.reading
    assert [(m.role, m.name, m.is_filled) for m in marks(apart, Bars) if isinstance(m, Bars)] == [
        ("m0", "base", False),
        ("m1", "tuned", False),
    ]


def cloud(low: float, high: float) -> Chart:
    dots = Dots(xs=[low, high], ys=[low, high], role="image", name="image", is_dense=True)
    return figure(dots, x=nice_axis([low, high]), y=nice_axis([low, high]))


def test_clouds_stand_side_by_side_on_the_same_axes_in_the_colours_of_what_they_are_of() -> None:
    found = together([cloud(-1, 1), cloud(0, 3)], [A, B])
    assert [(panel.title, panel.model) for panel in found.panels] == [("base", 0), ("tuned", 1)]
    assert {(panel.x.low, panel.x.high, panel.y.low, panel.y.high) for panel in found.panels} == {(-1, 3, -1, 3)}
    assert {mark.role for mark in marks(found, Dots)} == {"image"}


HIDING: list[Mark] = [
    Boxes(corners=[(0, 0, 1, 1)]),
    Threads(starts=np.zeros((1, 2)), ends=np.ones((1, 2))),
    Hill(xs=[0, 1], ys=[0, 1], foot=0, role="image"),
    Cells(depths=np.eye(2), values=np.eye(2)),
]


@pytest.mark.parametrize("mark", HIDING)
def test_what_would_hide_another_stands_beside_it(mark: Mark) -> None:
    found = together([figure(line("a", 0.5), mark)] * 2, [A, B])
    assert [panel.model for panel in found.panels] == [0, 1]


def test_more_models_than_colours_have_a_panel_each() -> None:
    models = [ModelKey(f"epoch {k}", k) for k in range(7)]
    found = together([figure(line("a", k / 10)) for k in range(7)], models)
    assert [panel.model for panel in found.panels] == list(range(7))
    assert "7 models are more than 6 colours can tell apart: each has its own panel." in found.reading


def test_the_sentence_says_one_thing_of_each_model_and_claims_no_difference() -> None:
    made = [figure(line("a", y), subject="Found first", value=f"{100 * y:.1f} %") for y in (0.971, 0.126)]
    assert together(made, [A, B]).title == "Found first: base 97.1 %; tuned 12.6 %."
    unlike = [figure(line("a", 0.5), title=f"Title {k}.", subject=f"{k}") for k in range(2)]
    assert together(unlike, [A, B]).title == "base: Title 0. tuned: Title 1."
    long = [figure(line("a", 0.5), subject="Found first", value="x" * 200)] * 2
    assert together(long, [A, B]).title == "Found first, of 2 models."


def test_the_words_for_who_cannot_see_have_all_of_each_model() -> None:
    made = [
        figure(line("a", 0.5), title=f"Title {k}.", detail=f"Detail {k}.", subject="S", value="v") for k in range(2)
    ]
    assert together(made, [A, B]).detail == "base: Title 0. Detail 0. tuned: Title 1. Detail 1."


def test_what_is_read_of_all_is_said_once() -> None:
    made = [figure(line("a", 0.5), reading=f"Bars are intervals. {n} pairs.") for n in (5, 7)]
    assert together(made, [A, B]).reading == "Bars are intervals. base: 5 pairs. tuned: 7 pairs."


def test_a_quantity_that_a_model_lacks_is_drawn_of_the_others_and_named() -> None:
    gap, loss = (Panel(x=fraction_axis(""), y=fraction_axis(name), marks=[line("a", 0.5)]) for name in ("Gap", "Loss"))
    whole, less = (Chart(title="", panels=panels, reading="Read.") for panels in ([gap, loss], [loss]))
    found = together([whole, less], [A, B])
    assert [[mark.name for mark in panel.marks] for panel in found.panels] == [["base"], ["base", "tuned"]]
    assert found.reading == "Read. “Gap”: not there for tuned."


def test_the_series_of_a_quantity_stand_in_a_row_on_one_axis() -> None:
    panels = [
        Panel(x=fraction_axis(""), y=fraction_axis(name), marks=[line(each, 0.5) for each in series])
        for name, series in (("Gap", "abc"), ("Loss", "ab"))
    ]
    found = lay_out(together([Chart(title="", panels=panels, reading="")] * 2, [A, B]))
    assert [[place.panel.title for place in row] for row in found.rows] == [["a", "b", "c"], ["a", "b"]]
    labels = [[place.panel.y.label for place in row] for row in found.rows]
    assert labels == [["Gap", "", ""], ["Loss", ""]]
    assert [bool(any(place.panel.y.words)) for row in found.rows for place in row] == [True, False, False, True, False]


@pytest.mark.parametrize(("series", "expected"), [("a", 1), ("ab", 2), ("abc", 3), ("abcd", 2), ("abcde", 3)])
def test_series_stand_in_rows_that_are_filled(series: str, expected: int) -> None:
    found = together([figure(*[line(each, 0.5) for each in series], breadth=1.5)] * 2, [A, B])
    assert (found.n_columns, found.breadth) == (expected, 1.5)


def test_panels_that_no_longer_stand_under_another_have_the_label_of_it() -> None:
    panels = [
        Panel(x=fraction_axis(label), y=fraction_axis(name), marks=[line("a", 0.5)])
        for name, label in (("Gap", ""), ("Loss", "Distance"))
    ]
    found = together([Chart(title="", panels=panels, reading="")] * 2, [A, B])
    assert [panel.x.label for panel in found.panels] == ["Distance", "Distance"]


def test_what_the_image_of_any_model_says_needs_no_legend() -> None:
    made = [figure(line("a", 0.5), line("b", 0.6)), figure(line("a", 0.5), line("b", 0.6), keys=["b"])]
    assert [panel.title for panel in together(made, [A, B]).panels] == ["a", ""]


def test_long_names_of_models_are_cut_in_the_middle_where_they_stay_different() -> None:
    names = [f"runs/{'long-' * 10}-step-{k}" for k in (100, 200)]
    assert [len(name) for name in figure_labels(names)] == [28, 28]
    assert [name[-8:] for name in figure_labels(names)] == ["step-100", "step-200"]
    alike = [f"{'a' * 20}{k}{'b' * 20}" for k in range(2)]
    assert figure_labels(alike) == alike


@pytest.mark.parametrize(
    ("n_models", "n_panels", "is_broad", "expected"),
    [(2, 1, False, 2), (6, 1, False, 4), (3, 2, False, 2), (3, 1, True, 1)],
)
def test_models_stand_beside_each_other_as_far_as_there_is_room(
    n_models: int, n_panels: int, *, is_broad: bool, expected: int
) -> None:
    dots = Dots(xs=[0], ys=[0], role="image", is_dense=True)
    one = Panel(x=fraction_axis(""), y=fraction_axis(""), marks=[dots], is_broad=is_broad)
    made = [Chart(title="", panels=[one] * n_panels, reading="")] * n_models
    assert together(made, [ModelKey(str(k), k) for k in range(n_models)]).n_columns == expected


# ----- on a page


def test_all_that_is_of_a_model_can_be_hidden_by_its_place() -> None:
    chance = Rule(at=0.1, axis="y", role="chance", name="chance")
    made = [figure(line("a", *ys, has_dots=True), chance) for ys in ((0.5, 0.6), (0.7, 0.8))]
    whole = ElementTree.fromstring(draw(together(made, [A, B])))
    for parent in list(whole.iter()):
        for child in [each for each in parent if each.get("data-model") == "0"]:
            parent.remove(child)
    left = [word for each in whole.iter() for word in each.get("class", "").split()]
    assert "m0" not in left and {"m1", "chance"} <= set(left)
    assert [each.text for each in whole.iter("text")][:2] == ["tuned", "chance"]  # of the legend


def test_models_that_stand_apart_have_a_image_each_and_are_read_out_as_one() -> None:
    found = together([cloud(-1, 1), cloud(0, 3)], [A, B])
    images = draw_apart(found)
    assert [each.model for each in images] == [0, 1]
    for each, label in zip(images, ("base", "tuned"), strict=True):
        assert label in each.drawing and 'aria-hidden="true"' in each.drawing and "aria-label" not in each.drawing
    assert page.alt(found) == f"{found.title} {found.detail}"
    pair = replace(cloud(0, 1), panels=[*cloud(0, 1).panels] * 2, n_columns=2)
    assert all(
        'width="600"' in each.drawing and 'width="400"' in each.narrow
        for each in draw_apart(together([pair] * 2, [A, B]))
    )
    assert draw_apart(figure(line("a", 0.5))) == []


def test_each_colour_of_a_model_has_a_shape_of_its_own_too() -> None:
    assert len({dot(0, 0, role).replace(role, "") for role in MODELS}) == len(MODELS)

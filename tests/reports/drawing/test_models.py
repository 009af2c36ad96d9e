"""Several models in one figure: what is drawn of each, in which colour, and on which axes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from clipbench.results.record import Curve
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing import page
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Cells,
    Chart,
    Dots,
    Line,
    Mark,
    ModelKey,
    Panel,
    Ranges,
    Rule,
    Shade,
    fraction_axis,
)
from clipbench_reports.drawing.models import Panels, Statement, beside, chart, facets, figure_labels
from clipbench_reports.drawing.page import draw, draw_apart
from clipbench_reports.drawing.svg import dot
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.section_figures import drawn

MakeRun = Callable[..., Run]
A, B = ModelKey("base", 0), ModelKey("tuned", 1)
PLANE = Panel(x=Axis(low=0, high=10, ticks=[0, 10]), y=fraction_axis("Right, %"))
ROWS = replace(PLANE, y=Axis(low=2.5, high=-0.5, ticks=[0, 1, 2], names=["count", "relation", "swap"]))


def models(n: int) -> list[ModelKey]:
    return [A, B, *(ModelKey(f"m{k}", k) for k in range(2, n))][:n]


def line(*ys: float, **changes: Any) -> Line:
    return Line(**{"xs": list(range(len(ys))), "ys": ys, "role": "ink", **changes})


def ranges(*xs: float) -> Ranges:
    return Ranges(
        xs=xs, ys=[0, 1, 2], lows=[x - 0.1 for x in xs], highs=[x + 0.1 for x in xs], role="ink", is_upright=False
    )


def drawn_together(
    series: Mapping[str, Mapping[ModelKey, Any]],
    *,
    plane: Panel = PLANE,
    references: Mapping[ModelKey, Sequence[Mark]] | None = None,
    found: Sequence[ModelKey] = (A, B),
    keys: Sequence[str] = (),
) -> Chart:
    """Return the figure of some series by name, each with a mark of every model."""
    values = ByModel(dict.fromkeys(found, None))
    return together([facets(plane, layers(series, references or {}), values, keys=keys)], values)


def layers(
    series: Mapping[str, Mapping[ModelKey, Any]], references: Mapping[ModelKey, Sequence[Mark]]
) -> dict[ModelKey, list[Mark]]:
    """Return the marks of each model, its references first."""
    found: dict[ModelKey, list[Mark]] = {model: list(own) for model, own in references.items()}
    for name, by_model in series.items():
        for model, mark in by_model.items():
            found.setdefault(model, []).append(replace(mark, name=name))
    return found


def together(parts: Sequence[Panels], values: ByModel[Any], **changes: Any) -> Chart:
    claims = {model: Statement(f"Title {model.label}.", "Subject", "1 %") for model in values.values}
    return chart(parts, claims, values, **{"reading": "Read.", **changes})


def marks(found: Chart, kind: type) -> list[Any]:
    return [mark for panel in found.panels for mark in panel.marks if isinstance(mark, kind)]


def test_the_marks_of_one_model_are_drawn_as_they_are() -> None:
    values = ByModel({A: None})
    own: list[Mark] = [Rule(at=0.1, axis="y", role="chance", name="chance"), line(0.1, name="caption", role="text")]
    found = together([facets(PLANE, {A: own}, values)], values)
    (panel,) = found.panels
    assert list(panel.marks) == own
    assert (found.title, found.reading, panel.title, panel.model) == ("Title base.", "Read.", "", None)


def test_each_series_has_a_panel_and_each_model_a_colour_in_it() -> None:
    found = drawn_together({"caption": {A: line(0.1), B: line(0.5)}, "image": {A: line(0.3), B: line(0.7)}})
    lines = [(panel.title, mark.name, mark.role, *mark.ys) for panel in found.panels for mark in panel.marks]  # type: ignore[union-attr]
    assert Counter(lines) == Counter(
        [
            ("caption", "base", "m0", 0.1),
            ("caption", "tuned", "m1", 0.5),
            ("image", "base", "m0", 0.3),
            ("image", "tuned", "m1", 0.7),
        ]
    )


def test_a_model_keeps_the_colour_of_its_place_when_another_has_nothing_to_draw() -> None:
    last = ModelKey("last", 5)
    values = ByModel({last: None}, {A: MissingEvidence("no curve")})
    found = together([facets(PLANE, {last: [line(0.1)]}, values)], values)
    assert [(mark.name, mark.role) for mark in marks(found, Line)] == [("last", "m5")]
    assert found.title == "Subject: last 1 %." and list(found.missing) == [A]


def test_a_reference_that_is_equal_is_drawn_once_and_one_that_differs_for_each_model() -> None:
    chance = Rule(at=0.1, axis="y", role="chance", name="chance")
    diagonal = line(0, 1, is_reference=True, name="diagonal")
    references: dict[ModelKey, list[Mark]] = {
        model: [chance, diagonal, Rule(at=at, axis="x", role="ink", name="length")] for model, at in ((A, 3), (B, 4))
    }
    found = drawn_together({"a": {A: line(0.5), B: line(0.6)}}, references=references)
    rules = [(mark.at, mark.role, mark.name, mark.is_dashed) for mark in marks(found, Rule)]
    assert rules == [
        (0.1, "chance", "chance", False),
        (3, "m0", "base, length", True),
        (4, "m1", "tuned, length", True),
    ]
    assert [mark.name for mark in marks(found, Line)] == ["diagonal", "base", "tuned"]
    assert "Broken, in the colour of each model: length." in found.reading
    assert [mark.name for mark in lay_out(found).legend] == ["base", "tuned", "diagonal", "chance"]


def test_what_is_of_all_is_never_black_which_is_the_first_model() -> None:
    end = Rule(at=7, axis="x", role="ink", name="end")
    found = drawn_together({"a": {A: line(0.5), B: line(0.6)}}, references={A: [end], B: [end]})
    assert [mark.role for mark in marks(found, Rule)] == ["pair"]


def test_a_reference_goes_with_the_series_that_it_is_for() -> None:
    own = [Rule(at=at, axis="y", role="chance", name="chance", of=of) for at, of in ((0.25, "caption"), (0.5, "pair"))]
    series = {name: {A: line(0.6), B: line(0.7)} for name in ("caption", "pair")}
    found = drawn_together(series, references={A: own, B: own})
    at = {panel.title: [mark.at for mark in panel.marks if isinstance(mark, Rule)] for panel in found.panels}
    assert at == {"caption": [0.25], "pair": [0.5]}


@pytest.mark.parametrize("n", [2, 3, 6])
def test_no_interval_of_a_category_hides_another(n: int) -> None:
    found = drawn_together({"right": dict.fromkeys(models(n), ranges(0.5, 0.5, 0.5))}, plane=ROWS, found=models(n))
    bars = marks(found, Ranges)
    heights = sorted(mark.aside for mark in bars)
    assert len(bars) == n and all(b - a >= 0.1 for a, b in pairwise(heights))
    assert heights[0] > -0.5 and heights[-1] < 0.5  # nearer to its own row than to the next
    assert sum(heights) == pytest.approx(0)
    assert all(list(mark.xs) == [0.5] * 3 and list(mark.lows) == [0.4] * 3 for mark in bars)


@pytest.mark.parametrize(("middle", "distance"), [(5, 0.5), (4, 0.2)])  # of 10: near where places are values
def test_models_stand_nearer_to_each_other_where_the_places_of_categories_are_values(
    middle: int, distance: float
) -> None:
    ticks = [0, middle, 10]
    bars = Ranges(xs=ticks, ys=[0.5] * 3, lows=[0.4] * 3, highs=[0.6] * 3, role="ink")
    plane = replace(PLANE, x=Axis(low=0, high=10, ticks=ticks))
    first, second = marks(drawn_together({"right": {A: bars, B: bars}}, plane=plane), Ranges)
    assert second.aside - first.aside == pytest.approx(distance)


def test_models_stand_at_their_places_on_a_logarithmic_axis() -> None:
    bars = Ranges(xs=[2, 2048], ys=[0.5] * 2, lows=[0.4] * 2, highs=[0.6] * 2, role="ink")
    plane = replace(PLANE, x=Axis(low=2, high=2048, ticks=[2, 2048], is_log=True))
    found = marks(drawn_together({"right": {A: bars, B: bars}}, plane=plane), Ranges)
    assert [mark.aside for mark in found] == [0, 0]


def test_rows_are_higher_where_they_hold_more_models_in_less_width() -> None:
    all_three = dict.fromkeys(models(3), ranges(0.5, 0.5, 0.5))
    one, two = (
        drawn_together(dict.fromkeys(names, all_three), plane=ROWS, found=models(3)) for names in (["a"], ["a", "b"])
    )
    (whole,), (first, second) = one.panels, two.panels
    assert first.aspect == second.aspect == pytest.approx(1.5 * whole.aspect) and whole.aspect == ROWS.aspect


@pytest.mark.parametrize(("n", "expected"), [(2, 2), (3, 0)])
def test_areas_of_more_than_two_models_would_be_one_grey(n: int, expected: int) -> None:
    shades: dict[ModelKey, list[Mark]] = {
        model: [Shade(low=k, high=k + 2, name="interval")] for k, model in enumerate(models(n))
    }
    found = drawn_together({"a": dict.fromkeys(models(n), line(0.5))}, references=shades, found=models(n))
    assert len(marks(found, Shade)) == expected


def test_bands_of_more_than_two_models_are_not_drawn_but_kept_for_the_table() -> None:
    banded = line(0.5, 0.6, lows=[0.4, 0.5], highs=[0.6, 0.7])
    two, three = (drawn_together({"a": dict.fromkeys(models(n), banded)}, found=models(n)) for n in (2, 3))
    assert draw(two).count('class="area') == 2 and draw(three).count('class="area') == 0
    assert all(mark.lows == [0.4, 0.5] for mark in marks(three, Line))
    assert "Bands are drawn for two models at most." in three.reading and "Bands" not in two.reading


def test_a_histogram_that_is_the_same_for_all_is_drawn_once_and_others_as_outlines() -> None:
    one, other = (Bars(edges=[0, 1, 2], counts=counts, role="ink") for counts in ([3, 5], [4, 4]))
    same, apart = (drawn_together({"captions": {A: one, B: each}}) for each in (one, other))
    assert [(mark.role, mark.name) for mark in marks(same, Bars)] == [("pair", "captions")]
    assert "The same for all models: captions." in same.reading
    assert [(mark.role, mark.name, mark.is_filled) for mark in marks(apart, Bars)] == [
        ("m0", "base", False),
        ("m1", "tuned", False),
    ]


def test_more_models_than_colours_have_a_panel_each() -> None:
    found = drawn_together({"a": dict.fromkeys(models(7), line(0.5))}, found=models(7))
    assert [panel.model for panel in found.panels] == list(range(7))
    assert "7 models are more than 6 colours can tell apart: each has its own panel." in found.reading


def test_the_sentence_says_one_thing_of_each_model_and_claims_no_difference() -> None:
    def title(*claims: Statement) -> str:
        values = ByModel(dict.fromkeys((A, B), None))
        return chart([Panels([PLANE])], dict(zip((A, B), claims, strict=True)), values, reading="").title

    alike = [Statement("", "Found first", f"{100 * y:.1f} %") for y in (0.971, 0.126)]
    assert title(*alike) == "Found first: base 97.1 %; tuned 12.6 %."
    assert title(*(Statement(f"Title {k}.", str(k), "") for k in range(2))) == "base: Title 0. tuned: Title 1."
    assert title(*[Statement("", "Found first", "x" * 200)] * 2) == "Found first, of 2 models."


def test_what_is_said_of_each_model_stands_with_its_name_and_what_is_equal_once() -> None:
    def made(*readings: str) -> Chart:
        claims = {
            m: Statement("Title.", "S", "v", "Detail.", reading) for m, reading in zip((A, B), readings, strict=True)
        }
        return chart([Panels([PLANE])], claims, ByModel(dict.fromkeys((A, B), None)), reading="Read.")

    assert made("5 pairs.", "7 pairs.").reading == "Read. base: 5 pairs. tuned: 7 pairs."
    assert made("5 pairs.", "5 pairs.").reading == "Read. 5 pairs."
    assert made("", "").detail == "base: Title. Detail. tuned: Title. Detail."


def test_a_quantity_that_a_model_lacks_is_drawn_of_the_others_and_named() -> None:
    values = ByModel(dict.fromkeys((A, B), None))
    gap, loss = (replace(PLANE, y=fraction_axis(name)) for name in ("Gap", "Loss"))
    parts = [
        facets(gap, {A: [line(0.5)]}, values),
        facets(loss, {A: [line(0.5)], B: [line(0.6)]}, values),
    ]
    found = together(parts, values)
    assert [[mark.name for mark in panel.marks] for panel in found.panels] == [["base"], ["base", "tuned"]]
    assert found.reading == "Read. “Gap” is missing for tuned."


def test_the_series_of_a_quantity_stand_in_a_row_on_one_axis() -> None:
    values = ByModel(dict.fromkeys((A, B), None))
    both = {A: line(0.5), B: line(0.6)}
    parts = [
        facets(replace(PLANE, y=fraction_axis(label)), layers(dict.fromkeys(names, both), {}), values)
        for label, names in (("Gap", "abc"), ("Loss", "ab"))
    ]
    found = lay_out(together(parts, values))
    assert [[place.panel.title for place in row] for row in found.rows] == [["a", "b", "c"], ["a", "b"]]
    labels = [[place.panel.y.label for place in row] for row in found.rows]
    assert labels == [["Gap", "", ""], ["Loss", ""]]
    assert [bool(any(place.panel.y.words)) for row in found.rows for place in row] == [True, False, False, True, False]


@pytest.mark.parametrize(("names", "expected"), [("a", 1), ("ab", 2), ("abc", 3), ("abcd", 2), ("abcde", 3)])
def test_series_stand_in_rows_that_are_filled(names: str, expected: int) -> None:
    assert drawn_together({name: {A: line(0.5), B: line(0.6)} for name in names}).n_columns == expected


def test_a_series_that_the_drawing_names_has_neither_a_title_nor_an_entry_in_the_legend() -> None:
    found = drawn_together({name: {A: line(0.5), B: line(0.6)} for name in "ab"}, keys=["b"])
    assert [panel.title for panel in found.panels] == ["a", ""] and "b" in found.keys


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
    values = ByModel(dict.fromkeys(models(n_models), None))
    panels = dict.fromkeys(values.values, [replace(PLANE, is_broad=is_broad)] * n_panels)
    assert together([beside(panels, values)], values).n_columns == expected


# ----- the figures themselves


def of_models(make_run: MakeRun, *parts: dict[str, Any], task: str = "task") -> list[ModelEvidence]:
    """Return the evidence of a model for each evaluation."""
    runs = [make_run({f"{task}@data": each}, name=f"{k}") for k, each in enumerate(parts)]
    return [ModelEvidence(key, Evidence(run, run.result.evaluations[0])) for key, run in zip((A, B), runs, strict=True)]


def test_what_some_models_lack_is_given_with_the_figure_of_the_others_and_what_all_lack_with_none(
    make_run: MakeRun,
) -> None:
    some = of_models(make_run, {"curves": {"own": Curve(x=[0.0, 1.0], y=[0.5, 0.6])}}, {"curves": {}})
    (found,), missing = drawn(figures.curve("own"), some)
    assert [mark.name for mark in marks(found, Line)] == ["base"]
    assert {key.label: str(reason) for key, reason in missing.items()} == {"tuned": "the run kept no curve “own”"}
    charts, missing = drawn(figures.curve("other"), some)
    assert charts == [] and list(missing) == [A, B]
    charts, missing = drawn(lambda models: [found, found], some)
    assert charts == [found, found] and list(missing) == [B]
    with pytest.raises(MissingEvidence, match="the run kept no curve “other”"):
        read_each(some, lambda evidence: evidence.curve("other"))


def test_clouds_stand_side_by_side_on_axes_that_hold_them_all(make_run: MakeRun, parts: SimpleNamespace) -> None:
    gaps = [parts.modality_gap(np.random.default_rng(seed), n=n) for seed, n in ((0, 30), (1, 50))]
    found = figures.gap(of_models(make_run, *gaps))
    first, second = found.panels
    assert [(panel.title, panel.model) for panel in found.panels] == [("base", 0), ("tuned", 1)]
    assert (first.x, first.y, first.aspect) == (second.x, second.y, second.aspect)
    clouds = marks(found, Dots)
    assert [(cloud.role, len(cloud.xs)) for cloud in clouds] == [
        ("image", 30),
        ("text", 30),
        ("image", 50),
        ("text", 50),
    ]
    assert all(first.x.low < x < first.x.high for cloud in clouds for x in cloud.xs)
    assert all(first.y.low < y < first.y.high for cloud in clouds for y in cloud.ys)


def test_a_class_has_the_same_row_in_the_matrices_of_all_models(make_run: MakeRun) -> None:
    def answers(label: str, predicted: str) -> dict[str, Any]:
        return {"samples": {"label": np.array(label.split(), object), "predicted": np.array(predicted.split(), object)}}

    found = figures.confusion(of_models(make_run, answers("a c", "a c"), answers("a c", "b c")))  # b is an answer only
    assert [list(panel.y.names) for panel in found.panels] == [["a", "b", "c"]] * 2
    assert [cells.values.tolist() for cells in marks(found, Cells)] == [
        [[1, 0, 0], [0, 0, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 0], [0, 0, 1]],
    ]


def test_rows_are_matched_by_name_and_not_by_place(make_run: MakeRun) -> None:
    def alone(**scores: float) -> dict[str, Any]:
        curve = Curve(x=list(range(len(scores))), y=list(scores.values()))
        return {"curves": {"templates": curve}, "arrays": {"template_names": np.array(list(scores))}}

    found = figures.templates(of_models(make_run, alone(a=0.9, b=0.8, c=0.7), alone(a=0.7, b=0.8, c=0.9, d=0.5)))
    (panel,) = found.panels
    assert (
        list(panel.y.names) == ["a", "b", "c", "d"] and "In descending order of the accuracy of base." in found.reading
    )
    heights = [dict(zip(mark.ys, mark.xs, strict=True)) for mark in marks(found, Dots)]
    assert heights == [{0: 0.9, 1: 0.8, 2: 0.7}, {2: 0.9, 1: 0.8, 0: 0.7, 3: 0.5}]


def test_logarithmic_axes_hold_all_models(make_run: MakeRun) -> None:
    curves = [{"curves": {"image_retrieval_recall": Curve(x=[1.0, top], y=[0.1, 1.0])}} for top in (48.0, 512.0)]
    (panel,) = figures.recall(of_models(make_run, *curves)).panels
    assert (panel.x.low, panel.x.high, panel.x.is_log) == (1, 512, True)


def test_matrices_of_other_sizes_are_not_stretched_to_one(make_run: MakeRun) -> None:
    found = figures.similarity(of_models(make_run, *({"arrays": {"similarity": np.eye(n)}} for n in (2, 3))))
    assert [(panel.x.high, panel.y.low) for panel in found.panels] == [(2, 2)] * 3 + [(3, 3)] * 3
    assert found.n_columns == 3


# ----- on a page


def test_all_that_is_of_a_model_can_be_hidden_by_its_place() -> None:
    chance = Rule(at=0.1, axis="y", role="chance", name="chance")
    lines = {model: line(*ys, has_dots=True) for model, ys in ((A, (0.5, 0.6)), (B, (0.7, 0.8)))}
    whole = ElementTree.fromstring(draw(drawn_together({"a": lines}, references={A: [chance], B: [chance]})))
    for parent in list(whole.iter()):
        for child in [each for each in parent if each.get("data-model") == "0"]:
            parent.remove(child)
    left = [word for each in whole.iter() for word in each.get("class", "").split()]
    assert "m0" not in left and {"m1", "chance"} <= set(left)
    words = [each.text for each in whole.iter("text")]
    assert {"tuned", "chance"} <= set(words) and "base" not in words  # the name at the line goes with it


def test_models_that_stand_apart_have_an_image_each_and_are_read_out_as_one() -> None:
    values = ByModel(dict.fromkeys((A, B), None))
    found = together([beside({key: [PLANE] for key in (A, B)}, values)], values)
    images = draw_apart(found)
    assert [each.model for each in images] == [0, 1]
    for each, label in zip(images, ("base", "tuned"), strict=True):
        assert label in each.drawing and 'aria-hidden="true"' in each.drawing and "aria-label" not in each.drawing
    assert page.alt(found) == f"{found.title} {found.detail}"
    pair = together([beside({key: [PLANE, PLANE] for key in (A, B)}, values)], values)
    assert all('width="600"' in each.drawing and 'width="400"' in each.narrow for each in draw_apart(pair))
    assert draw_apart(drawn_together({"a": {A: line(0.5), B: line(0.5)}})) == []


def test_each_colour_of_a_model_has_a_shape_of_its_own_too() -> None:
    assert len({dot(0, 0, role).replace(role, "") for role in MODELS}) == len(MODELS)

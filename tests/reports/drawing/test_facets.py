"""Several models in one figure: what is drawn of each, in which colour, and on which axes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve
from clipbench_reports.drawing.facets import Panels, Statement, chart, facets, figure_labels
from clipbench_reports.drawing.layout import lay_out
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
)
from clipbench_reports.drawing.svg_chart import draw
from clipbench_reports.evidence import ByModel, MissingEvidence, ModelEvidence, ModelKey
from clipbench_reports.figures import maps
from clipbench_reports.sections import zero_shot
from tests.reports.conftest import MakeRun, evidence_of

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
) -> Chart:
    """Return the figure of some series by name, each with a mark of every model."""
    reference_layers = layers(series, references or {})
    return together([facets(plane, of(reference_layers, found))], found)


def layers(
    series: Mapping[str, Mapping[ModelKey, Any]], references: Mapping[ModelKey, Sequence[Mark]]
) -> dict[ModelKey, list[Mark]]:
    """Return the marks of each model, its references first."""
    result: dict[ModelKey, list[Mark]] = {model: list(reference) for model, reference in references.items()}
    for name, by_model in series.items():
        for model, mark in by_model.items():
            result.setdefault(model, []).append(replace(mark, name=name))
    return result


def of(values: Mapping[ModelKey, Any], found: Sequence[ModelKey] = (A, B)) -> ByModel[Any]:
    """Return a value of each model, nothing of those that have none."""
    return ByModel({model: values.get(model, []) for model in found})


def together(
    parts: Sequence[Panels],
    found: Sequence[ModelKey] = (A, B),
    missing: Mapping[ModelKey, MissingEvidence] = MappingProxyType({}),
) -> Chart:
    claims = {model: Statement("Subject", "1 %") for model in found}
    return chart(parts, ByModel(claims, missing), reading="Read.")


def marks(found: Chart, kind: type) -> list[Any]:
    return [mark for panel in found.panels for mark in panel.marks if isinstance(mark, kind)]


def test_the_marks_of_one_model_are_drawn_as_they_are() -> None:
    marks_of_model: list[Mark] = [
        Rule(at=0.1, axis="y", role="chance", name="chance"),
        line(0.1, name="caption", role="text"),
    ]
    result = together([facets(PLANE, ByModel({A: marks_of_model}))], [A])
    (panel,) = result.panels
    assert list(panel.marks) == marks_of_model
    assert (result.title, result.reading, panel.title, panel.model) == ("Subject: 1 %.", "Read.", "", None)


def test_each_series_has_a_panel_and_each_model_a_colour_in_it() -> None:
    chart = drawn_together({"caption": {A: line(0.1), B: line(0.5)}, "image": {A: line(0.3), B: line(0.7)}})
    lines = [(panel.title, mark.name, mark.role, *mark.ys) for panel in chart.panels for mark in panel.marks]  # type: ignore[attr-defined]
    assert sorted(lines) == [
        ("caption", "base", "m0", 0.1),
        ("caption", "tuned", "m1", 0.5),
        ("image", "base", "m0", 0.3),
        ("image", "tuned", "m1", 0.7),
    ]


def test_a_model_keeps_the_colour_of_its_place_when_another_has_nothing_to_draw() -> None:
    last = ModelKey("last", 5)
    missing = {A: MissingEvidence("no curve")}
    result = together([facets(PLANE, ByModel({last: [line(0.1)]}, missing))], [last], missing)
    assert [(mark.name, mark.role) for mark in marks(result, Line)] == [("last", "m5")]
    assert result.title == "Subject: last 1 %." and list(result.missing) == [A]


def test_a_reference_that_is_equal_is_drawn_once_and_one_that_differs_for_each_model() -> None:
    chance = Rule(at=0.1, axis="y", role="chance", name="chance")
    diagonal = line(0, 1, is_reference=True, name="diagonal")
    references: dict[ModelKey, list[Mark]] = {
        model: [chance, diagonal, Rule(at=at, axis="x", role="ink", name="length")] for model, at in ((A, 3), (B, 4))
    }
    chart = drawn_together({"a": {A: line(0.5), B: line(0.6)}}, references=references)
    rules = [(mark.at, mark.role, mark.name, mark.is_dashed) for mark in marks(chart, Rule)]
    assert rules == [
        (0.1, "chance", "chance", False),
        (3, "m0", "base, length", True),
        (4, "m1", "tuned, length", True),
    ]
    assert [mark.name for mark in marks(chart, Line)] == ["diagonal", "base", "tuned"]
    assert "Broken, in the colour of each model: length." in chart.reading
    assert [mark.name for mark in lay_out(chart).legend] == ["base", "tuned", "diagonal", "chance"]


def test_a_reference_goes_with_the_series_that_it_is_for() -> None:
    rules = [
        Rule(at=at, axis="y", role="chance", name="chance", of=of) for at, of in ((0.25, "caption"), (0.5, "pair"))
    ]
    series = {name: {A: line(0.6), B: line(0.7)} for name in ("caption", "pair")}
    chart = drawn_together(series, references={A: rules, B: rules})
    at = {panel.title: [mark.at for mark in panel.marks if isinstance(mark, Rule)] for panel in chart.panels}
    assert at == {"caption": [0.25], "pair": [0.5]}


@pytest.mark.parametrize("n", [2, 3, 6])
def test_no_interval_of_a_category_hides_another(n: int) -> None:
    chart = drawn_together({"right": dict.fromkeys(models(n), ranges(0.5, 0.5, 0.5))}, plane=ROWS, found=models(n))
    bars = marks(chart, Ranges)
    heights = sorted(mark.aside for mark in bars)
    assert len(bars) == n and all(b - a >= 0.1 for a, b in pairwise(heights))
    assert heights[0] > -0.5 and heights[-1] < 0.5  # nearer to its own row than to the next
    assert sum(heights) == pytest.approx(0)
    assert all(list(mark.xs) == [0.5] * 3 and list(mark.lows) == [0.4] * 3 for mark in bars)


def test_models_stand_at_their_places_on_a_logarithmic_axis() -> None:
    bars = Ranges(xs=[2, 2048], ys=[0.5] * 2, lows=[0.4] * 2, highs=[0.6] * 2, role="ink")
    plane = replace(PLANE, x=Axis(low=2, high=2048, ticks=[2, 2048], is_log=True))
    result = marks(drawn_together({"right": {A: bars, B: bars}}, plane=plane), Ranges)
    assert [mark.aside for mark in result] == [0, 0]


def test_bands_of_more_than_two_models_are_not_drawn_but_kept_for_the_table() -> None:
    banded = line(0.5, 0.6, lows=[0.4, 0.5], highs=[0.6, 0.7])
    two, three = (drawn_together({"a": dict.fromkeys(models(n), banded)}, found=models(n)) for n in (2, 3))
    assert draw(two).count('class="area') == 2 and draw(three).count('class="area') == 0
    assert all(mark.lows == [0.4, 0.5] for mark in marks(three, Line))
    assert "Bands are drawn for two models at most." in three.reading and "Bands" not in two.reading


def test_a_histogram_that_is_the_same_for_all_is_drawn_once_and_others_as_outlines() -> None:
    one, other = (Bars(edges=[0, 1, 2], counts=counts, role="ink") for counts in ([3, 5], [4, 4]))
    same, apart = (drawn_together({"captions": {A: one, B: bars}}) for bars in (one, other))
    assert [(mark.role, mark.name) for mark in marks(same, Bars)] == [("pair", "captions")]
    assert "Bars that are the same for all models: captions." in same.reading
    assert [(mark.role, mark.name, mark.is_filled) for mark in marks(apart, Bars)] == [
        ("m0", "base", False),
        ("m1", "tuned", False),
    ]


def test_more_models_than_colours_have_a_panel_each() -> None:
    chart = drawn_together({"a": dict.fromkeys(models(7), line(0.5))}, found=models(7))
    assert [panel.model for panel in chart.panels] == list(range(7))
    assert "7 models need more than the 6 colours there are: each has its own panel." in chart.reading


def test_the_sentence_says_one_thing_of_each_model_and_claims_no_difference() -> None:
    def title(*claims: Statement) -> str:
        return chart([Panels([PLANE])], ByModel(dict(zip((A, B), claims, strict=True))), reading="").title

    alike = [Statement("Found first", f"{100 * y:.1f} %") for y in (0.971, 0.126)]
    assert title(*alike) == "Found first: base 97.1 %; tuned 12.6 %."
    assert title(*(Statement(f"Title {k}", "") for k in range(2))) == "base: Title 0. tuned: Title 1."
    assert title(*[Statement("Found first", "x" * 200)] * 2) == "Found first, of 2 models."


def test_a_quantity_that_a_model_lacks_is_drawn_of_the_others_and_named() -> None:
    gap, loss = (replace(PLANE, y=fraction_axis(name)) for name in ("Gap", "Loss"))
    result = together([facets(gap, of({A: [line(0.5)]})), facets(loss, of({A: [line(0.5)], B: [line(0.6)]}))])
    assert [[mark.name for mark in panel.marks] for panel in result.panels] == [["base"], ["base", "tuned"]]
    assert result.reading == "Read. “Gap” is missing for tuned."


def test_the_series_of_a_quantity_stand_in_a_row_on_one_axis() -> None:
    both = {A: line(0.5), B: line(0.6)}
    parts = [
        facets(replace(PLANE, y=fraction_axis(label)), of(layers(dict.fromkeys(names, both), {})))
        for label, names in (("Gap", "abc"), ("Loss", "ab"))
    ]
    layout = lay_out(together(parts))
    assert [[panel.panel.title for panel in row] for row in layout.rows] == [["a", "b", "c"], ["a", "b"]]
    labels = [[panel.panel.y.label for panel in row] for row in layout.rows]
    assert labels == [["Gap", "", ""], ["Loss", ""]]
    assert [bool(any(panel.panel.y.words)) for row in layout.rows for panel in row] == [True, False, False, True, False]


def test_long_names_of_models_are_cut_in_the_middle_and_stay_different() -> None:
    names = [f"runs/{'long-' * 10}-step-{k}" for k in (100, 200)]
    assert [len(name) for name in figure_labels(names)] == [28, 28]
    assert [name[-8:] for name in figure_labels(names)] == ["step-100", "step-200"]
    lines = [f"{'a' * 20}{k}{'b' * 20}" for k in range(2)]
    assert figure_labels(lines) == ["aaaaaaa…aaa0bbbbb…bbbbbbbbbb", "aaaaaaa…aaa1bbbbb…bbbbbbbbbb"]


# ----- the figures themselves


def of_models(make_run: MakeRun, *parts: dict[str, Any]) -> list[ModelEvidence]:
    """Return the evidence of a model for each evaluation."""
    runs = [make_run({"task@data": evaluation}, name=f"{k}") for k, evaluation in enumerate(parts)]
    return [ModelEvidence(key, evidence_of(run)) for key, run in zip((A, B), runs, strict=True)]


def test_clouds_stand_side_by_side_on_axes_that_hold_them_all(make_run: MakeRun, parts: SimpleNamespace) -> None:
    gaps = [parts.modality_gap(np.random.default_rng(seed), n=n) for seed, n in ((0, 30), (1, 50))]
    result = maps.gap(of_models(make_run, *gaps))
    first, second = result.panels
    assert [(panel.title, panel.model) for panel in result.panels] == [("base", 0), ("tuned", 1)]
    assert (first.x, first.y, first.aspect) == (second.x, second.y, second.aspect)
    clouds = marks(result, Dots)
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

    # b is an answer only
    chart = zero_shot.confusion(of_models(make_run, answers("a c", "a c"), answers("a c", "b c")))
    assert [list(panel.y.names) for panel in chart.panels] == [["a", "b", "c"]] * 2
    assert [cells.values.tolist() for cells in marks(chart, Cells)] == [
        [[1, 0, 0], [0, 0, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 0], [0, 0, 1]],
    ]


def test_rows_are_matched_by_name_and_not_by_place(make_run: MakeRun) -> None:
    def alone(**scores: float) -> dict[str, Any]:
        curve = Curve(x=list(range(len(scores))), y=list(scores.values()))
        return {"curves": {"templates": curve}, "arrays": {"template_names": np.array(list(scores))}}

    result = zero_shot.templates(of_models(make_run, alone(a=0.9, b=0.8, c=0.7), alone(a=0.7, b=0.8, c=0.9, d=0.5)))
    (panel,) = result.panels
    assert list(panel.y.names) == ["a", "b", "c", "d"]
    assert "In descending order of the accuracy of base." in result.reading
    heights = [dict(zip(mark.ys, mark.xs, strict=True)) for mark in marks(result, Dots)]
    assert heights == [{0: 0.9, 1: 0.8, 2: 0.7}, {2: 0.9, 1: 0.8, 0: 0.7, 3: 0.5}]

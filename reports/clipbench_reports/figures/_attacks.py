"""Typographic attacks: predictions with and without a written word, and by how it is written."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Role, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import bounds, chance_rule, curve_line, lines_of
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each
from clipbench_reports.page.text import sentence_case

CONDITIONS = {
    "clean": ("no", "label"),
    "blank": ("blank", "label"),
    "benign": ("its own", "name"),
    "attacked": ("another", "name"),
}
"""The label on the object, in two lines."""

SETTINGS = {"height": "Letter height", "contrast": "Contrast", "offset": "Place of the label"}
"""The properties of a label that the data that ship vary."""

RESPONSES = frozenset(f"{curve}_by_{name}" for curve in ("attack_success", "attacked_acc") for name in SETTINGS)
"""Curves that ``response`` draws."""

OBJECT, WORD = "object", "attacking word"
ASIDE = 0.06
"""Distance from the middle of a condition, so that no interval hides another."""


class _Named(NamedTuple):
    """The share of images classified as the object, and as the attacking word, by condition."""

    right: Mapping[str, Metric]
    fooled: Mapping[str, Metric]


def hijacking(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often the object, and how often the word, is predicted: without a label, and with each kind of it.

    Raises:
        MissingEvidence: nothing was attacked.
    """
    by_model = read_each(models, _read)
    kinds = [kind for kind in CONDITIONS if any(kind in each.right for each in by_model.all)]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    plane = Panel(
        x=Axis(low=-0.4, high=len(kinds) - 0.6, ticks=range(len(kinds)), names=names),
        y=fraction_axis("Predicted class, %"),
    )
    intervals = fmt.interval_name(metric for each in by_model.all for metric in each.right.values())
    return facet_chart(
        plane,
        ByModel(by_model.map(lambda each: Layer(_marks(each, kinds), _state(each))), by_model.missing),
        reading="The share of images that are classified as the object, and as the attacking word, whether or not it is "
        f"written, among all classes. Bars: {intervals}s.",
    )


def _read(evidence: Evidence) -> _Named:
    metrics = {**evidence.evaluation.controls, **evidence.evaluation.metrics}
    known = {name: metric for name, metric in metrics.items() if metric.value is not None}
    fooled = {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"}
    named = _Named(
        {kind: known[f"{kind}_acc"] for kind in CONDITIONS if f"{kind}_acc" in known},
        {kind: known[name] for kind, name in fooled.items() if name in known},
    )
    if "attacked" not in named.right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    return named


def _marks(named: _Named, kinds: Sequence[str]) -> list[Mark]:
    marks = chance_rule(named.right["attacked"].chance)
    series: tuple[tuple[Role, str, Mapping[str, Metric], float], ...] = (
        ("image", OBJECT, named.right, -ASIDE),
        ("text", WORD, named.fooled, ASIDE),
    )
    for role, name, metrics, aside in series:
        known = {kind: metrics[kind] for kind in kinds if kind in metrics}
        lows, highs = bounds(known.values())
        marks.append(
            Ranges(
                xs=[kinds.index(kind) for kind in known],
                ys=[metric.value or 0.0 for metric in known.values()],
                lows=lows,
                highs=highs,
                role=role,
                name=name,
                is_joined=True,
                aside=aside,
                ids=[" ".join(CONDITIONS[kind]) for kind in known],
            )
        )
    return marks


def _state(named: _Named) -> Statement:
    right, fooled = ({kind: fmt.percent(metric.value) for kind, metric in each.items()} for each in named)
    before = next((kind for kind in ("clean", "blank") if kind in right), None)
    on_it = {"clean": "without a label", "blank": "with a blank label"}
    start = f"{right[before]} % {on_it[before]}, " if before else ""
    end = f"; attack success {fooled['attacked']} %" if "attacked" in fooled else ""
    details = []
    for name, shares in ((OBJECT, right), (WORD, fooled)):
        parts = [f"{' '.join(CONDITIONS[kind])} {shares[kind]} %" for kind in CONDITIONS if kind in shares]
        details.append(f"Classified as the {name}: {', '.join(parts)}.")
    return Statement(
        title=f"Accuracy {start}{right['attacked']} % with another thing's name on the object{end}.",
        subject="Accuracy under attack, and attack success",
        value=f"{right['attacked']} and {fooled.get('attacked', fmt.NONE)} %",
        detail=" ".join(details),
    )


def response(name: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws what one of ``SETTINGS`` does; it raises MissingEvidence where it was not varied."""

    def read(evidence: Evidence) -> Layer:
        curves = evidence.curves(f"{curve}_by_{name}" for curve in ("attacked_acc", "attack_success"))
        fooled = curves.get(f"attack_success_by_{name}")
        if fooled is None:
            raise MissingEvidence("labels were made in one way only: there are no response curves")
        if not any(map(math.isfinite, fooled.y)):
            raise MissingEvidence("the response curves have no finite point")
        accuracy = evidence.evaluation.metrics.get("attacked_acc")
        lines = [
            curve_line(curve, *(("text", WORD) if curve is fooled else ("image", OBJECT))) for curve in curves.values()
        ]
        return Layer([*chance_rule(accuracy.chance if accuracy else None), *lines], _state_response(name, fooled))

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, read)
        curves = (evidence.evaluation.curves.get(f"attack_success_by_{name}") for _, evidence in models)
        x_label = next(curve.x_label for curve in curves if curve is not None)
        # The axis has no room for the unit, which the explanation has.
        x = nice_axis([x for line in lines_of(by_model) for x in line.xs], sentence_case(x_label.partition(",")[0]))
        return facet_chart(
            Panel(x=x, y=fraction_axis("Predicted class, %")),
            by_model,
            reading=f"Across: {x_label}. The share of images that are classified as the object, and as the attacking word.",
        )

    return draw


def _state_response(name: str, curve: PlottedCurve) -> Statement:
    """Return the values at both ends; a peak between them would be the largest of several, which a curve has no test of."""
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    first, last = (f"{fmt.percent(y)} % at {fmt.shortest(x)}" for x, y in (points[0], points[-1]))
    return Statement(
        title=f"{SETTINGS[name]}: attack success {first} and {last}.",
        subject=f"{SETTINGS[name]}: attack success at both ends",
        value=f"{first} and {last}",
        detail=", ".join(f"{fmt.shortest(x)} → {fmt.percent(y)} %" for x, y in zip(curve.x, curve.y, strict=True)),
    )

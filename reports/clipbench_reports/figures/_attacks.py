"""What a written word does to what a model sees: with and without it, and by how it is written."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Curve, Metric
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Ranges, Role, fraction_axis, nice_axis
from clipbench_reports.figures._figure import bounds, chance_rule, curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.text import sentence_case

CONDITIONS = {
    "clean": ("no", "label"),
    "blank": ("blank", "label"),
    "benign": ("its own", "name"),
    "attacked": ("another", "name"),
}
"""What is on the object, in two lines."""

SETTINGS = {"height": "Letter height", "contrast": "Contrast", "offset": "Place of the label"}
"""What is varied of a label in the data that ship."""

RESPONSES = frozenset(f"{curve}_by_{name}" for curve in ("attack_success", "attacked_acc") for name in SETTINGS)
"""Curves that ``response`` draws."""


class _Series(NamedTuple):
    """What is named first, and how often by condition."""

    role: Role
    name: str
    words: str
    aside: float
    """How far from the middle of its condition it stands, so that no interval hides another."""
    points: Mapping[str, Metric]


def hijacking(evidence: Evidence) -> Chart:
    """Return how often the object, and how often the word, is named: without a label, and with each kind of it.

    Raises:
        MissingEvidence: nothing was attacked.
    """
    metrics = {**evidence.evaluation.controls, **evidence.evaluation.metrics}
    right = _known(metrics, {kind: f"{kind}_acc" for kind in CONDITIONS})
    fooled = _known(metrics, {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"})
    if "attacked" not in right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    kinds = [kind for kind in CONDITIONS if kind in right]
    series = [
        _Series("image", "object", "the object", -0.06, right),
        _Series("text", "attacking word", "the other name", 0.06, fooled),
    ]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    return Chart(
        title=_claim(right, fooled),
        panels=[
            Panel(
                x=Axis(low=-0.4, high=len(kinds) - 0.6, ticks=range(len(kinds)), names=names),
                y=fraction_axis("Named first, %"),
                marks=[*chance_rule(right["attacked"].chance), *(_ranges(each, kinds) for each in series)],
            )
        ],
        reading="How often the object comes first among all classes, and how often the class of the attacking word "
        f"does, whether or not it is written. Bars: {fmt.interval_name(right.values())}s.",
        detail=" ".join(_detail(each, kinds) for each in series),
        subject="Right, and taken for the word, with another thing's name on the object",
        value=f"{fmt.percent(_value(right['attacked']))} and "
        f"{fmt.percent(fooled['attacked'].value if 'attacked' in fooled else None)} %",
    )


def response(name: str) -> Callable[[Evidence], Chart]:
    """Return the function that draws what one of ``SETTINGS`` does; it raises MissingEvidence where labels were not varied so."""

    def draw(evidence: Evidence) -> Chart:
        if f"attack_success_by_{name}" not in evidence.evaluation.curves:
            raise MissingEvidence("labels were made in one way only: there are no response curves")
        fooled = evidence.curve(f"attack_success_by_{name}")
        lines = [curve_line(fooled, "text", "attacking word")]
        if f"attacked_acc_by_{name}" in evidence.evaluation.curves:
            lines.insert(0, curve_line(evidence.curve(f"attacked_acc_by_{name}"), "image", "object"))
        success = evidence.evaluation.metrics.get("attack_success")
        title, known = _response_claim(SETTINGS[name], fooled), [y for y in fooled.y if math.isfinite(y)]
        panel = Panel(
            x=nice_axis(fooled.x, _short(fooled.x_label)),
            y=fraction_axis("Named first, %"),
            marks=[*chance_rule(success.chance if success else None), *lines],
        )
        return Chart(
            title=title,
            panels=[panel],
            reading=f"Across: {fooled.x_label}. How often the object, and how often the attacking word, is named first.",
            detail=", ".join(f"{_plain(x)} → {fmt.percent(y)} %" for x, y in zip(fooled.x, fooled.y, strict=True)),
            subject=f"{SETTINGS[name]}: taken for the word at most and at least",
            value=f"{fmt.percent(max(known))} and {fmt.percent(min(known))} %",
        )

    return draw


def _known(metrics: Mapping[str, Metric], names: Mapping[str, str]) -> dict[str, Metric]:
    found = {kind: metrics[name] for kind, name in names.items() if name in metrics}
    return {kind: metric for kind, metric in found.items() if metric.value is not None}


def _value(metric: Metric) -> float:
    assert metric.value is not None, metric
    return metric.value


def _ranges(series: _Series, kinds: list[str]) -> Ranges:
    known = [kind for kind in kinds if kind in series.points]
    lows, highs = bounds(series.points[kind] for kind in known)
    return Ranges(
        xs=[kinds.index(kind) + series.aside for kind in known],
        ys=[_value(series.points[kind]) for kind in known],
        lows=lows,
        highs=highs,
        role=series.role,
        name=series.name,
        is_joined=True,
        ids=[" ".join(CONDITIONS[kind]) for kind in known],
    )


def _claim(right: Mapping[str, Metric], fooled: Mapping[str, Metric]) -> str:
    before = next((kind for kind in ("clean", "blank") if kind in right), None)
    on_it = {"clean": "without a label", "blank": "with a blank label"}
    start = f"Right in {fmt.percent(_value(right[before]))} % {on_it[before]}, in " if before else "Right in "
    end = f"; taken for the word in {fmt.percent(_value(fooled['attacked']))} %" if "attacked" in fooled else ""
    return f"{start}{fmt.percent(_value(right['attacked']))} % with another thing's name on it{end}."


def _detail(series: _Series, kinds: list[str]) -> str:
    parts = [
        f"{' '.join(CONDITIONS[kind])} {fmt.percent(_value(series.points[kind]))} %"
        for kind in kinds
        if kind in series.points
    ]
    return f"Named {series.words}: {', '.join(parts)}."


def _response_claim(setting: str, curve: Curve) -> str:
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    if not points:
        raise MissingEvidence("the response curves have no finite point")
    most = max(points, key=lambda point: point[1])
    ends = [f"{fmt.percent(y)} % at {_plain(x)}" for x, y in (points[0], points[-1])]
    peak = f", at most {fmt.percent(most[1])} % at {_plain(most[0])}" if most not in (points[0], points[-1]) else ""
    return f"{setting}: taken for the word in {ends[0]} and {ends[1]}{peak}."


def _plain(x: float) -> str:
    return f"{x:.10g}".replace("-", "−")


def _short(label: str) -> str:
    """Return an axis label without its unit, which the explanation has."""
    return sentence_case(label.partition(",")[0])

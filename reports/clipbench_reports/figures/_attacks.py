"""What a written word does to what a model sees: with and without it, and by how it is written."""

import math
from collections.abc import Callable
from typing import NamedTuple

from markupsafe import Markup

from clipbench.result import Curve, Metric
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, banded_line, chance_line, figure
from clipbench_reports.format import Number
from clipbench_reports.svg import Axis, Plot, fraction_axis, nice_axis, text

OBJECT, WORD = "image", "text"
"""Colours: what the picture shows, and what is written on it."""

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

LINE = 18
"""Distance of two labels, one below the other, in pixels."""


class _Series(NamedTuple):
    """What is named first, by condition."""

    css: str
    words: str
    points: dict[str, Metric]


def hijacking(evidence: Evidence) -> Figure:
    """Return how often the object, and how often the word, is named: without a label, and with each kind of it.

    Raises:
        Lacking: nothing was attacked.
    """
    metrics = {**evidence.evaluation.controls, **evidence.evaluation.metrics}
    right = _known(metrics, {kind: f"{kind}_acc" for kind in CONDITIONS})
    fooled = _known(metrics, {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"})
    if "attacked" not in right:
        raise Lacking("the data hold no objects with another thing's name written on them")
    kinds = [kind for kind in CONDITIONS if kind in right]
    plot = Plot(x=Axis(low=-0.4, high=len(kinds) - 0.6, ticks=()), y=fraction_axis("Named first, %"), bottom=58)
    series = [_Series(OBJECT, "the object", right), _Series(WORD, "the other name", fooled)]
    drawn = [_drawn(plot, each, kinds) for each in series]
    chance = right["attacked"].chance
    return figure(
        _claim(right, fooled),
        [plot.frame(), *_ticks(plot, kinds), chance_line(plot, chance), *drawn, *_names(plot, series, kinds)],
        height=plot.height,
        reading="Blue: the object comes first among all classes. Orange: the class of the attacking word does, whether "
        "or not it is written. Bars: intervals. Dotted: chance.",
        detail=" ".join(_detail(each, kinds) for each in series),
    )


def response(name: str) -> Callable[[Evidence], Figure]:
    """Return the function that draws what one of ``SETTINGS`` does; it raises Lacking where labels were not varied so."""

    def draw(evidence: Evidence) -> Figure:
        curves = evidence.evaluation.curves
        if f"attack_success_by_{name}" not in curves:
            raise Lacking("labels were made in one way only: there are no response curves")
        fooled = evidence.curve(f"attack_success_by_{name}")
        lines = [(WORD, fooled)]
        if f"attacked_acc_by_{name}" in curves:
            lines.append((OBJECT, evidence.curve(f"attacked_acc_by_{name}")))
        success = evidence.evaluation.metrics.get("attack_success")
        plot = Plot(x=nice_axis(fooled.x, _short(fooled.x_label)), y=fraction_axis("Named first, %"))
        chance = chance_line(plot, success.chance if success else None)
        return figure(
            _response_claim(SETTINGS[name], fooled, plot.x),
            [plot.frame(), chance, *(banded_line(plot, curve, css) for css, curve in lines)],
            height=plot.height,
            reading=f"Across: {fooled.x_label}. Orange: the word is named. Blue: the object is. Dotted: chance.",
            detail=", ".join(
                f"{plot.x.words(x)} → {fmt.percent(y)} %" for x, y in zip(fooled.x, fooled.y, strict=True)
            ),
        )

    return draw


def _known(metrics: dict[str, Metric], names: dict[str, str]) -> dict[str, Metric]:
    found = {kind: metrics[name] for kind, name in names.items() if name in metrics}
    return {kind: metric for kind, metric in found.items() if metric.value is not None}


def _value(metric: Metric) -> float:
    assert metric.value is not None, metric
    return metric.value


def _drawn(plot: Plot, series: _Series, kinds: list[str]) -> Markup:
    """Return a series as a line with a dot and a bar of its interval at each condition."""
    places = [(kinds.index(kind), metric) for kind, metric in series.points.items() if kind in kinds]
    xs, ys = [x for x, _ in places], [_value(metric) for _, metric in places]
    bars = [_bar(plot, x, metric, series.css) for x, metric in places]
    return Markup("").join([plot.line(xs, ys, f"{series.css} thin"), *bars, plot.dots(xs, ys, series.css, radius=4.5)])


def _bar(plot: Plot, x: Number, metric: Metric, css: str) -> Markup:
    if metric.low is None or metric.high is None:
        return Markup("")
    return plot.line([x, x], [metric.low, metric.high], css)


def _ticks(plot: Plot, kinds: list[str]) -> list[Markup]:
    foot = plot.height - plot.bottom
    return [
        text(words, plot.at(place, 0)[0], foot + 19 + 16 * line, css="soft", anchor="middle")
        for place, kind in enumerate(kinds)
        for line, words in enumerate(CONDITIONS[kind])
    ]


def _names(plot: Plot, series: list[_Series], kinds: list[str]) -> list[Markup]:
    """Return the label of each series at its first dot: the upper one above it, or below where it is at the top."""
    firsts = {}
    for each in series:
        kind = next((kind for kind in kinds if kind in each.points), None)
        if kind is not None:
            firsts[each.words] = (kinds.index(kind), _value(each.points[kind]), each.css)
    highest = max(firsts, key=lambda words: firsts[words][1])
    labels, taken = [], list[float]()
    for words, (x, y, css) in firsts.items():
        left, top = plot.at(x, y)
        has_room = (top - 28 > plot.top, top + 28 < plot.height - plot.bottom)
        is_up = has_room[0] and (words == highest or not has_room[1])
        at_y = top - 12 if is_up else top + 24
        if any(abs(at_y - other) < LINE for other in taken):
            at_y += -LINE if is_up else LINE
        taken.append(at_y)
        labels.append(text(words, left + 8, at_y, css=f"halo name {css}"))
    return labels


def _claim(right: dict[str, Metric], fooled: dict[str, Metric]) -> str:
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


def _response_claim(setting: str, curve: Curve, axis: Axis) -> str:
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    if not points:
        raise Lacking("the response curves have no finite point")
    most = max(points, key=lambda point: point[1])
    ends = [f"{fmt.percent(y)} % at {axis.words(x)}" for x, y in (points[0], points[-1])]
    peak = f", at most {fmt.percent(most[1])} % at {axis.words(most[0])}" if most not in (points[0], points[-1]) else ""
    return f"{setting}: taken for the word in {ends[0]} and {ends[1]}{peak}."


def _short(label: str) -> str:
    """Return an axis label without its unit, which the explanation has."""
    return fmt.sentence_case(label.partition(",")[0])

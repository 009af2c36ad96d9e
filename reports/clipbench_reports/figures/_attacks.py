"""What a written word does to what a model sees: with and without it, and by how it is written."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Ranges, Role, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._figure import bounds, chance_rule, curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each
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

SIDES: tuple[tuple[str, str, Role], ...] = (
    ("attacked_acc", "object", "image"),
    ("attack_success", "attacking word", "text"),
)

RESPONSES = frozenset(f"{curve}_by_{name}" for curve in ("attack_success", "attacked_acc") for name in SETTINGS)
"""Curves that ``response`` draws."""


ASIDE = 0.06
"""Distance from the middle of a condition, so that no interval hides another."""


class _Named(NamedTuple):
    """How often the object, and how often the attacking word, is named first, by condition."""

    right: Mapping[str, Metric]
    fooled: Mapping[str, Metric]


def hijacking(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often the object, and how often the word, is named: without a label, and with each kind of it.

    Raises:
        MissingEvidence: nothing was attacked.
    """
    found = read_each(models, _read)
    kinds = [kind for kind in CONDITIONS if any(kind in each.right for each in found.values.values())]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    plane = Panel(
        x=Axis(low=-0.4, high=len(kinds) - 0.6, ticks=range(len(kinds)), names=names),
        y=fraction_axis("Named first, %"),
    )
    series = [
        Series("object", "image", found.map(lambda each: _ranges(each.right, kinds, -ASIDE))),
        Series("attacking word", "text", found.map(lambda each: _ranges(each.fooled, kinds, ASIDE))),
    ]
    references = found.map(lambda each: chance_rule(each.right["attacked"].chance))
    every = [metric for each in found.values.values() for metric in each.right.values()]
    return chart(
        [facets(plane, series, found, references=references)],
        found.map(_claim),
        found,
        reading="How often the object comes first among all classes, and how often the class of the attacking word "
        f"does, whether or not it is written. Bars: {fmt.interval_name(every)}s.",
    )


def _read(evidence: Evidence) -> _Named:
    metrics = {**evidence.evaluation.controls, **evidence.evaluation.metrics}
    right = _known(metrics, {kind: f"{kind}_acc" for kind in CONDITIONS})
    if "attacked" not in right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    fooled = {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"}
    return _Named(right, _known(metrics, fooled))


def _known(metrics: Mapping[str, Metric], names: Mapping[str, str]) -> dict[str, Metric]:
    found = {kind: metrics[name] for kind, name in names.items() if name in metrics}
    return {kind: metric for kind, metric in found.items() if metric.value is not None}


def _ranges(metrics: Mapping[str, Metric], kinds: Sequence[str], aside: float) -> Ranges:
    known = {kind: metrics[kind] for kind in kinds if kind in metrics}
    lows, highs = bounds(known.values())
    return Ranges(
        xs=[kinds.index(kind) for kind in known],
        ys=[_value(metric) for metric in known.values()],
        lows=lows,
        highs=highs,
        role="ink",
        is_joined=True,
        aside=aside,
        ids=[" ".join(CONDITIONS[kind]) for kind in known],
    )


def _value(metric: Metric) -> float:
    assert metric.value is not None, metric
    return metric.value


def _claim(found: _Named) -> Statement:
    right, fooled = ({kind: f"{fmt.percent(metric.value)} %" for kind, metric in each.items()} for each in found)
    before = next((kind for kind in ("clean", "blank") if kind in right), None)
    on_it = {"clean": "without a label", "blank": "with a blank label"}
    start = f"Right in {right[before]} {on_it[before]}, in " if before else "Right in "
    end = f"; taken for the word in {fooled['attacked']}" if "attacked" in fooled else ""
    parts = [
        f"Named {words}: {', '.join(f'{chr(32).join(CONDITIONS[kind])} {shares[kind]}' for kind in CONDITIONS if kind in shares)}."
        for words, shares in (("the object", right), ("the other name", fooled))
    ]
    return Statement(
        title=f"{start}{right['attacked']} with another thing's name on it{end}.",
        subject="Right, and taken for the word, with another thing's name on the object",
        value=f"{right['attacked'].removesuffix(' %')} and {fooled.get('attacked', f'{fmt.NONE} %')}",
        detail=" ".join(parts),
    )


def response(name: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws what one of ``SETTINGS`` does; it raises MissingEvidence where labels were not varied so."""

    def read(evidence: Evidence) -> dict[str, PlottedCurve]:
        names = {"attacked_acc": f"attacked_acc_by_{name}", "attack_success": f"attack_success_by_{name}"}
        if names["attack_success"] not in evidence.evaluation.curves:
            raise MissingEvidence("labels were made in one way only: there are no response curves")
        found = {key: evidence.curve(name) for key, name in names.items() if name in evidence.evaluation.curves}
        if not any(map(math.isfinite, found["attack_success"].y)):
            raise MissingEvidence("the response curves have no finite point")
        return found

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        found = read_each(models, read)
        series = [
            Series(words, role, {m: curve_line(curves[key]) for m, curves in found.values.items() if key in curves})
            for key, words, role in SIDES
        ]
        x_label = next(iter(found.values.values()))["attack_success"].x_label
        plane = Panel(
            # The unit of the label is in the explanation.
            x=nice_axis(
                [x for curves in found.values.values() for x in curves["attack_success"].x],
                sentence_case(x_label.partition(",")[0]),
            ),
            y=fraction_axis("Named first, %"),
        )
        success = {model: evidence.evaluation.metrics.get("attack_success") for model, evidence in models}
        references = {m: chance_rule(metric.chance if metric else None) for m, metric in success.items()}
        return chart(
            [facets(plane, series, found, references=references)],
            found.map(lambda curves: _response_claim(SETTINGS[name], curves["attack_success"])),
            found,
            reading=f"Across: {x_label}. How often the object, and how often the attacking word, is named first.",
        )

    return draw


def _response_claim(setting: str, curve: PlottedCurve) -> Statement:
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    most, least = (choose(points, key=lambda point: point[1]) for choose in (max, min))
    ends = [f"{fmt.percent(y)} % at {_plain(x)}" for x, y in (points[0], points[-1])]
    peak = f", at most {fmt.percent(most[1])} % at {_plain(most[0])}" if most not in (points[0], points[-1]) else ""
    return Statement(
        title=f"{setting}: taken for the word in {ends[0]} and {ends[1]}{peak}.",
        subject=f"{setting}: taken for the word at most and at least",
        value=f"{fmt.percent(most[1])} and {fmt.percent(least[1])} %",
        detail=", ".join(f"{_plain(x)} → {fmt.percent(y)} %" for x, y in zip(curve.x, curve.y, strict=True)),
    )


def _plain(x: float) -> str:
    return f"{x:.10g}".replace("-", "−")

"""How far down the list the right answer is, both ways."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Curve
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, log_axis
from clipbench_reports.figures._figure import CHANCE, curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence


class Way(NamedTuple):
    """A direction of retrieval."""

    role: Role
    """Of what is looked for."""
    label: str
    words: str


ACROSS = {
    "image_retrieval_recall": Way("image", "caption → image", "a caption finds its image"),
    "text_retrieval_recall": Way("text", "image → caption", "an image its caption"),
}
WITHIN = {
    "image_image_recall": Way("image", "image → image", "an image finds one of its label"),
    "text_text_recall": Way("text", "caption → caption", "a caption finds another of its image"),
}


def recall(evidence: Evidence) -> Chart:
    """Return recall against the number of answers looked at, for captions finding images and the reverse.

    Raises:
        MissingEvidence: the run kept neither curve.
    """
    curves = _known(evidence, ACROSS)
    if not curves:
        raise MissingEvidence("no recall curve across images and captions was kept")
    reading = "Captions look for their image, images for one of their captions."
    return _drawn(evidence, ACROSS, curves, reading)


def recall_within(evidence: Evidence) -> Chart:
    """Return recall against the number of answers looked at, for images finding images and captions captions.

    Raises:
        MissingEvidence: the run kept neither curve.
    """
    curves = _known(evidence, WITHIN)
    if not curves:
        raise MissingEvidence(
            "images finding images, which takes labels, and captions finding captions, which takes several of an image"
        )
    reading = "Images look for images of their label, captions for captions of their image."
    return _drawn(evidence, WITHIN, curves, reading)


def _known(evidence: Evidence, ways: Mapping[str, Way]) -> dict[str, Curve]:
    kept = {name: _positive(evidence.curve(name)) for name in ways if name in evidence.evaluation.curves}
    return {name: curve for name, curve in kept.items() if curve.x}


def _positive(curve: Curve) -> Curve:
    """Return the points that a logarithmic axis can hold."""
    kept = [row for row, x in enumerate(curve.x) if x > 0 and math.isfinite(curve.y[row])]
    low, high = ([bound[row] for row in kept] if bound else None for bound in (curve.low, curve.high))
    return Curve(x=[curve.x[row] for row in kept], y=[curve.y[row] for row in kept], low=low, high=high)


def _drawn(evidence: Evidence, ways: Mapping[str, Way], curves: dict[str, Curve], reading: str) -> Chart:
    ks = [k for curve in curves.values() for k in curve.x]
    chance = [_chance(evidence, name, curve, of=ways[name].label) for name, curve in curves.items()]
    lines = [curve_line(curve, ways[name].role, ways[name].label) for name, curve in curves.items()]
    return Chart(
        title=_sentence(ways, curves),
        panels=[
            Panel(
                x=log_axis(ks, "Answers looked at, k"),
                y=fraction_axis("Found among the first k, %"),
                marks=[*(line for line in chance if line.xs), *lines],
            )
        ],
        reading=reading,
        detail=" ".join(_detail(ways[name], curve) for name, curve in curves.items()),
        subject=f"{_start(curves)}, {' and '.join(ways[name].words for name in curves)}",
        value=f"{' and '.join(fmt.percent(curve.y[0]) for curve in curves.values())} %",
    )


def _chance(evidence: Evidence, name: str, curve: Curve, *, of: str) -> Line:
    """Return the line through the chance levels of a curve's metrics, which name their k."""
    known: dict[float, float] = {}
    for metric_name, metric in evidence.evaluation.metrics.items():
        base, _, k = metric_name.partition("@")
        if base == name and k.isdecimal() and metric.chance is not None and curve.x[0] <= int(k) <= curve.x[-1]:
            known[float(k)] = metric.chance
    return Line(xs=sorted(known), ys=[known[k] for k in sorted(known)], role="chance", name=CHANCE, of=of)


def _sentence(ways: Mapping[str, Way], curves: dict[str, Curve]) -> str:
    parts = [f"{ways[name].words} in {fmt.percent(curve.y[0])} %" for name, curve in curves.items()]
    return f"{_start(curves)}, {' and '.join(parts)}."


def _start(curves: Mapping[str, Curve]) -> str:
    k = next(iter(curves.values())).x[0]
    return "At the first answer" if k == 1 else f"Among the first {fmt.count(k)} answers"


def _detail(way: Way, curve: Curve) -> str:
    few = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x in (1, 5, 10, 100, curve.x[-1])]
    return f"{way.label}: " + ", ".join(f"{fmt.percent(y)} % at {fmt.count(x)}" for x, y in few) + "."

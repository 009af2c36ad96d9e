"""Recall at k: how far down the list the right answer is, both ways."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, log_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._figure import CHANCE, curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each


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


def recall(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall against the number of answers looked at, for captions finding images and the reverse.

    Raises:
        MissingEvidence: no run kept either curve.
    """
    return _draw(
        models,
        ACROSS,
        reading="Captions look for their image, images for one of their captions.",
        reason="no recall curve across images and captions was kept",
    )


def recall_within(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall against the number of answers looked at, for images finding images and captions captions.

    Raises:
        MissingEvidence: no run kept either curve.
    """
    return _draw(
        models,
        WITHIN,
        reading="Images look for images of their label, captions for captions of their image.",
        reason="images finding images, which takes labels, and captions finding captions, which takes several of an image",
    )


def _draw(models: Sequence[ModelEvidence], ways: Mapping[str, Way], *, reading: str, reason: str) -> Chart:
    def read(evidence: Evidence) -> dict[str, PlottedCurve]:
        kept = {name: _positive(evidence.curve(name)) for name in ways if name in evidence.evaluation.curves}
        curves = {name: curve for name, curve in kept.items() if curve.x}
        if not curves:
            raise MissingEvidence(reason)
        return curves

    found = read_each(models, read)
    plane = Panel(
        x=log_axis(
            [k for curves in found.values.values() for curve in curves.values() for k in curve.x],
            "Answers looked at, k",
        ),
        y=fraction_axis("Found among the first k, %"),
    )
    series = [
        Series(
            way.label, way.role, {m: curve_line(curves[name]) for m, curves in found.values.items() if name in curves}
        )
        for name, way in ways.items()
    ]
    chances = {
        model: [_chance(evidence, name, curve, of=ways[name].label) for name, curve in found.values[model].items()]
        for model, evidence in models
        if model in found.values
    }
    known = {model: [line for line in lines if line.xs] for model, lines in chances.items()}
    return chart(
        [facets(plane, series, found, references=known)],
        found.map(lambda curves: _claim(ways, curves)),
        found,
        reading=reading,
    )


def _positive(curve: PlottedCurve) -> PlottedCurve:
    """Return the points that a logarithmic axis can hold."""
    kept = [row for row, x in enumerate(curve.x) if x > 0 and math.isfinite(curve.y[row])]
    low, high = ([bound[row] for row in kept] if bound else None for bound in (curve.low, curve.high))
    return PlottedCurve(x=[curve.x[row] for row in kept], y=[curve.y[row] for row in kept], low=low, high=high)


def _chance(evidence: Evidence, name: str, curve: PlottedCurve, *, of: str) -> Line:
    """Return the line through the chance levels of a curve's metrics, which name their k."""
    known: dict[float, float] = {}
    for metric_name, metric in evidence.evaluation.metrics.items():
        base, _, k = metric_name.partition("@")
        if base == name and k.isdecimal() and metric.chance is not None and curve.x[0] <= int(k) <= curve.x[-1]:
            known[float(k)] = metric.chance
    return Line(xs=sorted(known), ys=[known[k] for k in sorted(known)], role="chance", name=CHANCE, of=of)


def _claim(ways: Mapping[str, Way], curves: Mapping[str, PlottedCurve]) -> Statement:
    k = next(iter(curves.values())).x[0]
    start = "At the first answer" if k == 1 else f"Among the first {fmt.count(k)} answers"
    firsts = {name: fmt.percent(curve.y[0]) for name, curve in curves.items()}
    return Statement(
        title=f"{start}, {' and '.join(f'{ways[name].words} in {first} %' for name, first in firsts.items())}.",
        subject=f"{start}, {' and '.join(ways[name].words for name in curves)}",
        value=f"{' and '.join(firsts.values())} %",
        detail=" ".join(_detail(ways[name], curve) for name, curve in curves.items()),
    )


def _detail(way: Way, curve: PlottedCurve) -> str:
    few = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x in (1, 5, 10, 100, curve.x[-1])]
    return f"{way.label}: " + ", ".join(f"{fmt.percent(y)} % at {fmt.count(x)}" for x, y in few) + "."

"""Recall at k: how far down the list the right answer is, both ways."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, log_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import CHANCE, curve_line, lines_of, on_queries, points_in_words
from clipbench_reports.figures._relevance import refuse_judged
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each


class RecallCurve(NamedTuple):
    """A direction of retrieval."""

    role: Role
    """The role of what is looked for."""
    label: str
    words: str


ACROSS = {
    "image_retrieval_recall": RecallCurve("image", "text → image", "text-to-image"),
    "text_retrieval_recall": RecallCurve("text", "image → text", "image-to-text"),
}
WITHIN = {
    "image_image_recall": RecallCurve("image", "image → image", "image-to-image"),
    "text_text_recall": RecallCurve("text", "text → text", "text-to-text"),
}


def recall(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall@k for captions that look for images and the reverse.

    Raises:
        MissingEvidence: no run kept either curve.
    """
    reading = (
        "Recall@k: the share of captions whose image, and of images one of whose captions, is among the k nearest."
    )
    return _draw(models, ACROSS, reading=reading, reason="no recall curve across images and captions was kept")


def recall_within(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall@k for images that look for images and captions that look for captions.

    Raises:
        MissingEvidence: no run kept either curve.
    """
    return _draw(
        models,
        WITHIN,
        reading="Recall@k: the share of images with another of their label, and of captions with another of their image, "
        "among the k nearest.",
        reason="image-to-image retrieval, which takes labels, and text-to-text retrieval, which takes several captions of "
        "an image",
    )


def _draw(models: Sequence[ModelEvidence], ways: Mapping[str, RecallCurve], *, reading: str, reason: str) -> Chart:
    def read(evidence: Evidence) -> Layer:
        refuse_judged(evidence)
        drawable = {name: _on_log_axis(curve) for name, curve in evidence.curves(ways).items()}
        curves = {name: curve for name, curve in drawable.items() if curve.x}
        if not curves:
            raise MissingEvidence(reason)
        chances = [_chance(evidence, name, curve, of=ways[name].label) for name, curve in curves.items()]
        lines = [curve_line(curve, ways[name].role, ways[name].label) for name, curve in curves.items()]
        return Layer(
            [*(line for line in chances if line.xs), *lines], _state(ways, curves, on_queries(evidence.evaluation))
        )

    by_model = read_each(models, read)
    ks = [k for line in lines_of(by_model) for k in line.xs]
    return facet_chart(Panel(x=log_axis(ks, "k"), y=fraction_axis("Recall@k, %")), by_model, reading=reading)


def _on_log_axis(curve: PlottedCurve) -> PlottedCurve:
    """Return the points that a logarithmic axis can hold."""
    rows = [row for row, x in enumerate(curve.x) if x > 0 and math.isfinite(curve.y[row])]
    low, high = ([bound[row] for row in rows] if bound else None for bound in (curve.low, curve.high))
    return PlottedCurve(x=[curve.x[row] for row in rows], y=[curve.y[row] for row in rows], low=low, high=high)


def _chance(evidence: Evidence, name: str, curve: PlottedCurve, *, of: str) -> Line:
    """Return the line through the chance levels of a curve's metrics, which name their k."""
    known: dict[float, float] = {}
    for metric_name, metric in evidence.evaluation.metrics.items():
        base, _, k = metric_name.partition("@")
        if base == name and k.isdecimal() and metric.chance is not None and curve.x[0] <= int(k) <= curve.x[-1]:
            known[float(k)] = metric.chance
    return Line(xs=sorted(known), ys=[known[k] for k in sorted(known)], role="chance", name=CHANCE, of=of)


def _state(ways: Mapping[str, RecallCurve], curves: Mapping[str, PlottedCurve], reading: str) -> Statement:
    """Return recall at the smallest k; a curve may begin later than at 1."""
    k = fmt.count(next(iter(curves.values())).x[0])
    firsts = {ways[name].words: fmt.percent(curve.y[0]) for name, curve in curves.items()}
    return Statement(
        title=f"Recall@{k}: {', '.join(f'{words} {first} %' for words, first in firsts.items())}.",
        subject=f"Recall@{k}, {' and '.join(firsts)}",
        value=f"{' and '.join(firsts.values())} %",
        detail=" ".join(points_in_words(ways[name].label, curve, at=(1, 5, 10, 100)) for name, curve in curves.items()),
        reading=reading,
    )

"""Precision and recall by cosine threshold: of pairs, and of answers that may be none."""

from collections.abc import Callable, Sequence
from functools import partial

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import curve_line, lines_of
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

QUESTIONS = {"pairs": "pairs of an image and a caption", "answers": "classes that are named"}
"""The parts of the task, and what they accept."""
CURVES = ("precision", "recall")
BY_COSINE = frozenset(f"{part}/{name}_by_cosine" for part in QUESTIONS for name in CURVES)
SHOWN = "p95"
"""The precision whose threshold is marked."""
READINGS = {
    "pairs": "Pairs of any image and any caption; all true ones together weigh as much as all false ones.",
    "answers": "Each image is classified once with its class in the list and once without it, where “none” is right.",
}


def operating_points(part: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws precision and recall of one question by threshold."""

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, partial(_read, part))
        x = nice_axis([x for line in lines_of(by_model) for x in line.xs], "Cosine threshold")
        return facet_chart(
            Panel(x=x, y=fraction_axis("Precision and recall, %")),
            by_model,
            reading=f"A cosine of at least the threshold is accepted. {READINGS[part]} Bands: 95 % intervals over images.",
        )

    return draw


def without_end(curve: PlottedCurve) -> PlottedCurve:
    """Return a curve without its first point, the threshold of -1, which accepts everything, unless there is no other."""
    if len(curve.x) < 2 or curve.x[0] > -1:
        return curve
    low, high = (None if bound is None else bound[1:] for bound in (curve.low, curve.high))
    return curve._replace(x=curve.x[1:], y=curve.y[1:], low=low, high=high)


def _read(part: str, evidence: Evidence) -> Layer:
    curves = evidence.curves(f"{part}/{name}_by_cosine" for name in CURVES)
    if len(curves) < len(CURVES):
        lacking = {"pairs": "captions", "answers": "labels"}[part]
        raise MissingEvidence(f"precision of {QUESTIONS[part]}, which needs data with {lacking}")
    metrics = evidence.evaluation.metrics
    threshold, recall = (metrics.get(f"{part}/{name}@{SHOWN}") for name in ("threshold", "recall"))
    lines = [
        curve_line(without_end(curve), "ink" if name == "precision" else "pair", name, is_dashed=name == "recall")
        for name, curve in zip(CURVES, curves.values(), strict=True)
    ]
    return Layer([*_marked(threshold), *lines], _state(part, threshold, recall))


def _marked(threshold: Metric | None) -> list[Mark]:
    if threshold is None or threshold.value is None:
        return []
    name = "threshold for 95 % precision"
    line = Rule(at=threshold.value, axis="x", role="ink", name=name, is_dashed=True)
    if threshold.low is None or threshold.high is None:
        return [line]
    return [line, Shade(low=threshold.low, high=threshold.high, name=name)]


def _state(part: str, threshold: Metric | None, recall: Metric | None) -> Statement:
    what = QUESTIONS[part]
    if threshold is None or threshold.value is None or recall is None or recall.value is None:
        title = f"No threshold is known from which on 95 % of the {what} are right."
        return Statement(title=title, subject=f"Cosine from which on 95 % of the {what} are right", value="none")
    at, share = fmt.number(threshold.value, "cosine"), fmt.percent(recall.value)
    return Statement(
        title=f"From a cosine of {at} on, 95 % of the {what} are right; that accepts {share} % of what should be accepted.",
        subject=f"Cosine from which on 95 % of the {what} are right, and recall there",
        value=f"{at} and {share} %",
    )

"""Quality of stored vectors by their bytes, and the smallest that lose less than a point."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Role, Rule, percent_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import points_in_words
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each
from clipbench_reports.page.text import NO_REASON

STORED_QUESTIONS = {
    "image_retrieval_recall@1": ("Text-to-image R@1", "captions"),
    "text_retrieval_recall@1": ("Image-to-text R@1", "captions"),
    "acc1": ("Top-1 accuracy", "labels and class names"),
}
"""Metrics of stored vectors: a title, and the part of the data that they need."""
FORMATS: dict[str, tuple[Role, str]] = {
    "float32": ("ink", "float32 and float16"),
    "float16": ("ink", "float32 and float16"),
    "int8": ("m1", "int8 of the first dimensions"),
    "first": ("m4", "first dimensions"),
    "pca": ("m2", "principal components"),
    "pca_int8": ("m3", "int8 of components"),
    "binary": ("pair", "signs"),
}
"""Kinds of formats, with the role and the name of each; all dimensions as float32 and as float16 are one series of two points."""
BY_BYTES = frozenset(
    name
    for question in STORED_QUESTIONS
    for name in (
        f"{question}_smallest",
        *(f"{kind}/{question}_{end}" for kind in FORMATS for end in ("by_bytes", "most_lost")),
    )
)
"""Curves that the figure or the table of the section shows."""


def compression(question: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws one metric of vectors in each format by their bytes."""

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, partial(_read, question))
        ranges = [mark for layer in by_model.all for mark in layer.marks if isinstance(mark, Ranges)]
        ends = [y for mark in ranges for y in (*mark.ys, *mark.lows, *mark.highs)]
        return facet_chart(
            Panel(
                x=_axis([float(x) for mark in ranges for x in mark.xs]),
                y=percent_axis(ends, f"{STORED_QUESTIONS[question][0]}, %"),
            ),
            by_model,
            reading="Each point is a format in which the same vectors are stored: fewer dimensions, and fewer bytes for each. Bars: 95 % "
            "intervals; a change from float32, over the same queries, is known better than they show.",
        )

    return draw


def _axis(sizes: Sequence[float]) -> Axis:
    """Return the logarithmic axis of bytes, with marks at sizes that are a factor of about four apart."""
    ends = min(sizes), max(sizes)
    ticks = [ends[1]]
    for size in sorted(set(sizes), reverse=True):
        if size <= ticks[-1] / 3.9:
            ticks.append(size)
    return Axis(low=ends[0] / 1.2, high=ends[1] * 1.2, ticks=ticks[::-1], label="Bytes per vector", is_log=True)


def _read(question: str, evidence: Evidence) -> Layer:
    found = evidence.curves(f"{kind}/{question}_by_bytes" for kind in FORMATS)
    curves = {name.partition("/")[0]: curve for name, curve in found.items()}
    title, part = STORED_QUESTIONS[question]
    if "float32" not in curves:
        raise MissingEvidence(f"{title} of stored vectors, which needs data with {part}")
    metric = evidence.evaluation.metrics.get(f"{question}_smallest")
    points = evidence.evaluation.params.get("points", 1.0)
    margin = fmt.counted(points, "point") if points == 1 else f"{fmt.shortest(points)} points"
    at, name = curves["float32"].y[0] - points / 100, f"{margin} below float32"
    below = [Rule(at=at, axis="y", role="ink", name=name, is_dashed=True)] if at > 0 else []
    ranges = [_ranges(curve, *FORMATS[kind]) for kind, curve in curves.items()]
    return Layer([*below, *_marked(metric, margin), *ranges], _state(title, margin, metric, curves))


def _ranges(curve: PlottedCurve, role: Role, name: str) -> Ranges:
    missing = [math.nan] * len(curve.x)
    return Ranges(
        xs=curve.x,
        ys=curve.y,
        lows=curve.low or missing,
        highs=curve.high or missing,
        role=role,
        name=name,
        is_joined=True,
    )


def _marked(metric: Metric | None, margin: str) -> list[Mark]:
    if metric is None or metric.value is None:
        return []
    return [Rule(at=metric.value, axis="x", role="ink", name=f"smallest that loses less than {margin}")]


def _state(title: str, margin: str, metric: Metric | None, curves: dict[str, PlottedCurve]) -> Statement:
    value = None if metric is None else metric.value
    smallest = f"no format is shown to lose less than {margin}"
    if metric is not None and value is not None:
        smallest = metric.reason or NO_REASON
    return Statement(
        title=f"{title}: {smallest}.",
        subject=f"Bytes of the smallest vectors that lose less than {margin} of {title}",
        value="none" if value is None else fmt.number(value, "bytes"),
        detail=" ".join(points_in_words(FORMATS[kind][1], curve) for kind, curve in curves.items()),
    )

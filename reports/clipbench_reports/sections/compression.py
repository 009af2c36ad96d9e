"""Compression: the smallest vectors that will do, and what each format costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from clipbench.metrics.compression import Format
from clipbench.results import numbers as fmt
from clipbench.results.by_bytes import formats_by_bytes, table_by_bytes
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Ranges, Role, Rule, percent_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, NotAsked, PlottedCurve, read_each
from clipbench_reports.figures.shared import points_in_words
from clipbench_reports.findings import Finding
from clipbench_reports.sections.section import MakeTable, Plot, Section
from clipbench_reports.text import NO_REASON

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
"""Kinds of formats, with the role and the name of each; all dimensions as float32 and as float16 are one series of two
points.
"""


def compression(question: str) -> Callable[[Models], Chart]:
    """Return the function that draws one metric of vectors in each format by their bytes."""

    def draw(models: Models) -> Chart:
        by_model = read_each(models, partial(_read, question))
        ranges = [mark for layer in by_model.all for mark in layer.marks if isinstance(mark, Ranges)]
        ends = [y for mark in ranges for y in (*mark.ys, *mark.lows, *mark.highs)]
        return facet_chart(
            Panel(
                x=_axis([float(x) for mark in ranges for x in mark.xs]),
                y=percent_axis(ends, f"{STORED_QUESTIONS[question][0]}, %"),
            ),
            by_model,
            reading=(
                "Each point is a format in which the same vectors are stored: fewer dimensions, and fewer bytes for"
                " each. Bars: 95 % intervals; a change from float32, over the same queries, is known better than they"
                " show."
            ),
        )

    return draw


def _axis(sizes: Sequence[float]) -> Axis:
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
    points = evidence.evaluation.params["points"]
    margin = _in_points(points)
    at, name = curves["float32"].y[0] - points / 100, f"{margin} below float32"
    below = [Rule(at=at, axis="y", role="ink", name=name, is_dashed=True)] if at > 0 else []
    ranges = [_ranges(curve, *FORMATS[kind]) for kind, curve in curves.items()]
    if metric is not None and metric.value is not None:
        below.append(Rule(at=metric.value, axis="x", role="ink", name=f"smallest that loses less than {margin}"))
    return Layer([*below, *ranges], _state(title, margin, metric, curves))


def _in_points(points: float) -> str:
    return f"{fmt.shortest(points)} {'point' if points == 1 else 'points'}"


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


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return, for each question, the smallest vectors that lose little, or why none are known to; then what a search
    reads.
    """
    smallest = {
        question: metric
        for question in STORED_QUESTIONS
        if (metric := evaluation.metrics.get(f"{question}_smallest")) is not None
    }
    sentences = [
        Finding("plain", f"{STORED_QUESTIONS[question][0]}: {metric.reason or NO_REASON}.")
        for question, metric in smallest.items()
    ]
    sizes = [metric.value for metric in smallest.values() if metric.value is not None]
    whole = [curve.x[0] for name, curve in evaluation.curves.items() if name.startswith("float32/") and curve.x]
    if len(sizes) == len(smallest) > 0 and whole:
        few, many = (fmt.count(round(each)) for each in (max(sizes), whole[0]))
        text = (
            f"In {few} bytes each, a search through a million vectors reads {few} MB instead of {many} MB; its time was"
            " not measured."
        )
        sentences.append(Finding("plain", text, is_expected=True))
    return sentences


def formats(question: str) -> MakeTable:
    """Return the function that lists bytes, quality and loss of each format for one question."""
    title = STORED_QUESTIONS[question][0]

    def table(evidence: Evidence) -> Table:
        record = evidence.evaluation
        if question not in record.metrics or not (names := formats_by_bytes(record, question)):
            raise NotAsked(f"{title} of stored vectors")
        made = table_by_bytes(record, question)
        forms = [
            form
            for name in names
            if record.metrics[f"{name}/{question}"].value is not None and (form := Format.from_name(name)) is not None
        ]
        most_lost = _most_lost(evidence, question, forms)
        lost = [fmt.NONE, *(most_lost.get(name, fmt.NONE) for name in names)]
        margin = _in_points(evidence.evaluation.params["points"])
        return replace(
            made,
            title=f"{title} by format",
            facts=(
                "Stored: first dimensions, principal components (PCA) or signs. Bytes: of a vector, or MB of a"
                " million. Change: from float32, with 95 % intervals. Loses at most: a bound that allows for several"
                f" tests. The smallest that loses less than {margin} is chosen. Formats of a kind are tested from the"
                " largest to the first not shown to lose less; smaller ones have no bound (–)."
            ),
            columns=[*made.columns, *columns(numbers=["Loses at most, pp"])],
            rows=[[*row, bound] for row, bound in zip(made.rows, lost, strict=True)],
        )

    return table


def _most_lost(evidence: Evidence, question: str, forms: Sequence[Format]) -> dict[str, str]:
    """Return what each tested format loses at most, by its name: the largest of a kind are tested; two may have as many
    bytes.
    """
    found: dict[str, str] = {}
    for kind in {form.kind for form in forms}:
        largest_first = sorted((form for form in forms if form.kind == kind), key=lambda form: -form.dim)
        for curve in evidence.curves([f"{kind}/{question}_most_lost"]).values():
            bounds = (fmt.number(y, "difference", 2) for y in reversed(curve.y))
            found |= {form.name: bound for form, bound in zip(largest_first, bounds, strict=False)}
    return found


SECTION = Section(
    title="Compression",
    figures=tuple(map(compression, STORED_QUESTIONS)),
    tables=tuple(map(formats, STORED_QUESTIONS)),
    findings=findings,
    plots={
        "compression": Plot(
            summary="recall@1 and accuracy by bytes of a vector, and the smallest that lose little",
            definition="PCA and int8 are fitted on the stored vectors alone; queries stay float32, but for signs.",
            draws=tuple(map(compression, STORED_QUESTIONS)),
        )
    },
    drawn_curves=(".*_by_bytes", ".*_most_lost", ".*_smallest"),
)

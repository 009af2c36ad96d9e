"""Compression: the smallest vectors that lose little, and the loss of each format."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from clipbench.metrics.compression import Format
from clipbench.results import numbers as fmt
from clipbench.results.by_bytes import formats_by_bytes, table_by_bytes
from clipbench.results.metric_name import split_outer_subset
from clipbench.results.numbers import Number
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.drawing.marks import Axis, Mark, Rule
from clipbench_reports.evidence import Evidence, NotAsked
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.findings import Finding, defined
from clipbench_reports.sections.section import MakeTable, Plot, Section
from clipbench_reports.text import NO_REASON

STORED_QUESTIONS = {
    "image_retrieval_recall@1": ("Text-to-image R@1", "captions"),
    "text_retrieval_recall@1": ("Image-to-text R@1", "captions"),
    "acc1": ("Top-1 accuracy", "labels and class names"),
}
"""Metrics of stored vectors: a title, and the part of the data that they need."""


def compression(question: str) -> CurvesFigure:
    """Return the figure of one metric of vectors in each format by their bytes."""
    part = STORED_QUESTIONS[question][1]
    return CurvesFigure(
        name=f"{question} by bytes",
        reading=(
            "Each point is a format in which the same vectors are stored: fewer dimensions, and fewer bytes for each."
            " Bars: 95 % intervals. A change from float32, over the same queries, is known better than they show."
        ),
        x_axis=_axis,
        is_zoomed=True,
        has_bars=True,
        references=partial(_references, question),
        state=partial(_state, question),
        needs=f"data with {part}",
    )


def _axis(sizes: Sequence[Number], label: str) -> Axis:
    smallest, largest = min(sizes), max(sizes)
    ticks = [largest]
    for size in sorted(set(sizes), reverse=True):
        if size <= ticks[-1] / 3.9:
            ticks.append(size)
    return Axis(low=smallest / 1.2, high=largest * 1.2, ticks=ticks[::-1], label=label, is_log=True)


def _references(question: str, evidence: Evidence, y_label: str) -> list[Mark]:
    """Return the loss that is allowed, and the smallest format that loses less."""
    metrics, points = evidence.evaluation.metrics, evidence.evaluation.params["points"]
    full_precision, smallest = defined(metrics, question, f"{question}_smallest")
    marks: list[Mark] = []
    if full_precision is not None:
        level = (full_precision.value or 0.0) - points / 100
        name = f"{_in_points(points)} below float32"
        if level > 0:
            marks.append(Rule(at=level, axis="y", role="ink", name=name, is_dashed=True))
    if smallest is not None:
        name = f"smallest that loses less than {_in_points(points)}"
        marks.append(Rule(at=smallest.value or 0.0, axis="x", role="ink", name=name))
    return marks


def _in_points(points: float) -> str:
    return f"{fmt.shortest(points)} {'point' if points == 1 else 'points'}"


def _state(question: str, evidence: Evidence, curves: Curves) -> Statement:
    margin = _in_points(evidence.evaluation.params["points"])
    (smallest,) = defined(evidence.evaluation.metrics, f"{question}_smallest")
    return Statement(
        subject=f"Bytes of the smallest vectors that lose less than {margin} of {STORED_QUESTIONS[question][0]}",
        value="none is shown" if smallest is None else fmt.number(smallest.value, "bytes"),
    )


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return for each question the smallest vectors that lose little, or the reason, and then the bytes of a search."""
    sentences, sizes = [], []
    for question, (title, _) in STORED_QUESTIONS.items():
        smallest = evaluation.metrics.get(f"{question}_smallest")
        if smallest is not None:
            sentences.append(Finding("plain", f"{title}: {smallest.reason or NO_REASON}."))
            sizes.append(smallest.value)
    sufficient_sizes = [size for size in sizes if size is not None]
    full_curves = [curve for name, curve in evaluation.curves.items() if split_outer_subset(name).subset == "float32"]
    full_sizes = [curve.x[0] for curve in full_curves if curve.x]
    # Without a size that suffices for every question, there is no size to store vectors in.
    if sizes and len(sufficient_sizes) == len(sizes) and full_sizes:
        few, many = (fmt.count(round(size)) for size in (max(sufficient_sizes), full_sizes[0]))
        text = (
            f"In {few} bytes each, a search through a million vectors reads {few} MB instead of {many} MB. The time of"
            " a search was not measured."
        )
        sentences.append(Finding("plain", text, is_expected=True))
    return sentences


def format_table(question: str) -> MakeTable:
    """Return the function that lists bytes, quality and loss of each format for one question."""
    title = STORED_QUESTIONS[question][0]

    def table(evidence: Evidence) -> Table:
        record = evidence.evaluation
        names = formats_by_bytes(record, question) if question in record.metrics else []
        if not names:
            raise NotAsked(f"{title} of stored vectors")
        measured_names = [name for name in names if record.metrics[f"{name}/{question}"].value is not None]
        forms = [form for name in measured_names if (form := Format.from_name(name)) is not None]
        most_lost = _most_lost(evidence, question, forms)
        lost = [fmt.NONE, *(most_lost.get(name, fmt.NONE) for name in names)]  # the first row is float32
        bytes_table = table_by_bytes(record, question)
        margin = _in_points(record.params["points"])
        return replace(
            bytes_table,
            title=f"{title} by format",
            facts=(
                "Stored: first dimensions, principal components (PCA) or signs. Bytes: per vector, or MB per"
                " million vectors. Change: from float32, with 95 % intervals. Loses at most: a bound that allows for"
                f" several tests. The smallest format that loses less than {margin} is chosen. Formats of a kind are"
                " tested from the largest to the first that is not shown to lose less, "
                "and smaller ones have no bound (–)."
            ),
            columns=[*bytes_table.columns, *columns(numbers=["Loses at most, pp"])],
            rows=[[*row, bound] for row, bound in zip(bytes_table.rows, lost, strict=True)],
        )

    return table


def _most_lost(evidence: Evidence, question: str, forms: Sequence[Format]) -> dict[str, str]:
    """Return the bound of the loss of each tested format by its name. The largest formats of a kind are tested."""
    most_lost: dict[str, str] = {}
    for kind in {form.kind for form in forms}:
        largest_first = sorted((form for form in forms if form.kind == kind), key=lambda form: -form.dim)
        curve = evidence.evaluation.curves.get(f"{kind}/{question}_most_lost")
        bounds = [] if curve is None else [fmt.number(y, "difference", 2) for y in reversed(curve.y)]
        most_lost |= {form.name: bound for form, bound in zip(largest_first, bounds, strict=False)}
    return most_lost


FIGURES = tuple(compression(question) for question in STORED_QUESTIONS)
SECTION = Section(
    title="Compression",
    figures=FIGURES,
    tables=tuple(format_table(question) for question in STORED_QUESTIONS),
    findings=findings,
    plots={
        "compression": Plot(
            summary="recall@1 and accuracy by bytes of a vector, and the smallest that lose little",
            definition="PCA and int8 are fitted only on the stored vectors. Queries stay float32, except for signs.",
            draws=FIGURES,
        )
    },
)

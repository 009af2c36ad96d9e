"""Operating points: thresholds for a precision, their recall, and thresholds of other data on this data."""

from functools import partial

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import split_outer_subset
from clipbench.results.record import Curve, EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.evidence import Evidence, MissingEvidence, NotAsked, PlottedCurve
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.figures.shared import value_line
from clipbench_reports.findings import Finding, defined, interval_in_brackets
from clipbench_reports.sections.section import Plot, Section
from clipbench_reports.text import NO_REASON

QUESTIONS = {"pairs": "pairs of an image and a caption", "answers": "classes that are named"}
"""The parts of the task, with the things that they accept."""
CURVES = ("precision", "recall")
NEEDS = {"pairs": "data with captions", "answers": "data with labels"}
SHOWN = "p95"
"""The precision whose threshold is marked."""
READINGS = {
    "pairs": "Pairs of any image and any caption.",
    "answers": "Each image is classified once with its class in the list and once without it, where “none” is right.",
}


def operating_points(part: str) -> CurvesFigure:
    """Return the figure of precision and recall of one question by threshold."""
    return CurvesFigure(
        name=part,
        reading=(
            f"A cosine of at least the threshold is accepted. {READINGS[part]} Bands: 95 % intervals over images."
        ),
        references=lambda evidence, y_label: value_line(
            evidence.evaluation.metrics.get(f"{part}/threshold@{SHOWN}"), "threshold for 95 % precision"
        ),
        complete=lambda evidence, curve: without_lowest_threshold(curve),
        state=partial(_state, part),
        needs=NEEDS[part],
    )


def without_lowest_threshold(curve: PlottedCurve) -> PlottedCurve:
    """Return a curve without its first point, the threshold of -1, which accepts everything, if it has others."""
    if len(curve.x) < 2 or curve.x[0] > -1:
        return curve
    return curve.take(range(1, len(curve.x)))


def _state(part: str, evidence: Evidence, curves: Curves) -> Statement:
    metrics = evidence.evaluation.metrics
    threshold, recall = defined(metrics, f"{part}/threshold@{SHOWN}", f"{part}/recall@{SHOWN}")
    subject = f"Cosine from which on 95 % of the {QUESTIONS[part]} are right, and recall there"
    reading = f"By weight, {_share(evidence.evaluation)} of all should be accepted."
    if threshold is None or recall is None:
        is_asked = f"{part}/threshold@{SHOWN}" in metrics
        return Statement(subject, "none is known" if is_asked else "not asked for", reading)
    return Statement(subject, f"{fmt.number(threshold.value, 'cosine')} and {fmt.percent(recall.value)} %", reading)


THRESHOLD, RECALL, WANTED_AT = "threshold@", "recall@", "threshold@p"
PARTS = {"pairs": "Pairs", "answers": "Answers"}
MEANINGS = {
    "pairs": (
        "95 % of the image-caption pairs with a cosine of at least {at} are true, "
        "and {recall} of the true pairs are accepted"
    ),
    "answers": (
        "95 % of the classes named at a cosine of at least {at} are right, "
        "and {recall} of the images whose class is in the list get its name"
    ),
}
PREVALENCE = {
    "pairs": "of the pairs are true",
    "answers": "of the images belong to a class in the list",
}
"""The right answers that a precision is of: where they are rarer, it is lower."""
LITTLE_ACCEPTED = "No threshold separates right from wrong"
WANTED = 0.95
"""The precision that sentences are about."""
ENOUGH = 0.5
"""Recall below which a threshold rejects most of the right answers."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return for each question the recall at the threshold for 95 % precision."""
    sentences = []
    for part in PARTS:
        threshold = evaluation.metrics.get(f"{part}/{THRESHOLD}{SHOWN}")
        if threshold is not None:
            recall = evaluation.metrics.get(f"{part}/{RECALL}{SHOWN}")
            precision = evaluation.curves.get(f"{part}/precision_by_cosine")
            sentences.append(_finding(part, _share(evaluation), threshold, recall, precision))
    return sentences


def _share(evaluation: EvaluationRecord) -> str:
    """Return the prevalence in words."""
    prevalence = evaluation.params["prevalence"]
    return "half" if prevalence == 0.5 else f"{fmt.shortest(100 * prevalence)} %"


def _finding(part: str, share: str, threshold: Metric, recall: Metric | None, precision: Curve | None) -> Finding:
    if threshold.value is None or recall is None or recall.value is None:
        bounds = (precision.high if precision is not None else None) or []
        highs = [high for high in bounds if high is not None]
        is_bad = max(highs, default=1.0) < WANTED  # otherwise there may be too few images
        text = f"{PARTS[part]}: {threshold.reason or NO_REASON}."
        return Finding("plain", text, weakness=LITTLE_ACCEPTED if is_bad else "")
    recall_words = f"{fmt.percent(recall.value)} %{interval_in_brackets(recall)}"
    cosine_words = f"{fmt.number(threshold.value, 'cosine')}{interval_in_brackets(threshold)}"
    words = MEANINGS[part].format(at=cosine_words, recall=recall_words)
    is_little = recall.high is not None and recall.high < ENOUGH
    return Finding("plain", f"If {share} {PREVALENCE[part]}, {words}.", weakness=LITTLE_ACCEPTED if is_little else "")


def threshold_table(evidence: Evidence) -> Table:
    """Return the thresholds for each precision, with the recall there."""
    rows = []
    metrics = evidence.evaluation.metrics
    for name, threshold in metrics.items():
        part, suffix = split_outer_subset(name)
        if suffix.startswith(THRESHOLD):
            recall = metrics.get(f"{part}/{RECALL}{suffix.removeprefix(THRESHOLD)}")
            numbers = [fmt.value_with_interval(metric) for metric in (threshold, recall)]
            rows.append([PARTS.get(part, part), suffix.removeprefix(WANTED_AT), *numbers])
    if not rows:
        raise MissingEvidence("the run has no thresholds")
    return Table(
        title="Thresholds for a precision",
        facts=(
            f"The lowest cosine with at least this precision, if {_share(evidence.evaluation)} of all should be"
            " accepted, and the recall there, with 95 % intervals. If there is none, no threshold is shown to have this"
            " precision, perhaps because there are too few images."
        ),
        columns=columns("Question", numbers=["Precision, %", "Cosine", "Recall, %"]),
        rows=rows,
    )


def transferred_thresholds(evidence: Evidence) -> Table:
    """Return the precision that the thresholds of other data of the run have on this data."""
    evaluation = evidence.evaluation
    rows = []
    for other in evidence.run.result.evaluations:
        is_other_data = other.task == evaluation.task and other is not evaluation and other.status == "ok"
        if not is_other_data or _share(other) != _share(evaluation):
            continue
        for name, threshold in other.metrics.items():
            part, end = split_outer_subset(name)
            cosine = threshold.value
            has_curves = f"{part}/precision_by_cosine" in evaluation.curves
            if end.startswith(THRESHOLD) and cosine is not None and has_curves:
                target, cosine_words = end.removeprefix(WANTED_AT), fmt.number(cosine, "cosine")
                values = [_value_at_threshold(evidence, f"{part}/{kind}_by_cosine", cosine) for kind in CURVES]
                rows.append([PARTS.get(part, part), other.dataset.id, target, cosine_words, *values])
    if not rows:
        raise NotAsked("thresholds of other data")
    return Table(
        title="Thresholds of other data on these",
        facts=(
            "The threshold for the target precision on other data of this run, and its precision and recall here, with"
            " 95 % intervals over the images here."
        ),
        columns=columns(
            "Question", "Threshold of", numbers=["Target, %", "Cosine", "Precision here, %", "Recall here, %"]
        ),
        rows=rows,
    )


def _value_at_threshold(evidence: Evidence, name: str, cosine: float) -> str:
    """Return the value of a curve at a threshold with its bounds, interpolated between two points."""
    curve = evidence.curve(name)
    if cosine > curve.x[-1]:
        return "nothing accepted"
    value = fmt.percent(float(np.interp(cosine, curve.x, curve.y)))
    if curve.low is None or curve.high is None:
        return value
    low = fmt.percent(float(np.interp(cosine, curve.x, curve.low)))
    high = fmt.percent(float(np.interp(cosine, curve.x, curve.high)))
    return f"{value} [{low}, {high}]"


FIGURES = tuple(operating_points(question) for question in QUESTIONS)
SECTION = Section(
    advice={
        LITTLE_ACCEPTED: (
            "One cosine does not mean the same for all images and texts: some images are near to "
            "every text. Scores normalised over a bank of other texts or images (Bogolin et al. 2022, "
            "arXiv:2112.12777) have one threshold for more of them. A threshold holds for the data, the prompts and "
            "the fraction of true pairs that it was measured with: measure it on data like yours."
        ),
    },
    title="Operating points",
    figures=FIGURES,
    tables=(threshold_table, transferred_thresholds),
    findings=findings,
    plots={
        "operating-points": Plot(
            summary="precision and recall by cosine threshold, of pairs and of answers that may be none",
            draws=FIGURES,
        )
    },
)

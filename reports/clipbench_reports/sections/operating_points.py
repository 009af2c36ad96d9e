"""Operating points: thresholds for a precision, what they miss, and whether one of other data holds here."""

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import Curve, EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports import figures
from clipbench_reports.page.evidence import Evidence, MissingEvidence, NotAsked
from clipbench_reports.page.sentences.findings import Finding, headline_findings, interval_in_brackets
from clipbench_reports.page.text import NO_REASON
from clipbench_reports.sections.section import Section

THRESHOLD, RECALL = "threshold@", "recall@"
PARTS = {"pairs": "Pairs", "answers": "Answers"}
MEANINGS = {
    "pairs": "of the image-caption pairs with a cosine of at least {at} are true, and {recall} of the true pairs are accepted",
    "answers": "of the classes named at a cosine of at least {at} are right, and {recall} of the images whose class is in the list get "
    "its name",
}
PREVALENCE = {
    "pairs": "If half of the pairs are true",
    "answers": "If half of the images belong to no class in the list",
}
"""The share of right answers that a precision is of: where they are rarer, it is lower."""
LITTLE_ACCEPTED = "No threshold tells right from wrong"
WANTED = 0.95
"""The precision that sentences are about."""
ENOUGH = 0.5
"""Recall below which a threshold leaves most of what should be accepted."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return, for each question, what the threshold for 95 % precision accepts."""
    sentences = [
        _finding(
            part,
            evaluation.metrics[name],
            evaluation.metrics.get(f"{part}/{RECALL}{figures.SHOWN}"),
            evaluation.curves.get(f"{part}/precision_by_cosine"),
        )
        for part in PARTS
        if (name := f"{part}/{THRESHOLD}{figures.SHOWN}") in evaluation.metrics
    ]
    return sentences or headline_findings(evaluation)


def _finding(part: str, threshold: Metric, recall: Metric | None, precision: Curve | None) -> Finding:
    if threshold.value is None or recall is None or recall.value is None:
        highs = (
            [] if precision is None or precision.high is None else [each for each in precision.high if each is not None]
        )
        is_bad = max(highs, default=1.0) < WANTED  # else there may be too few images to be sure
        text = f"{PARTS[part]}: {threshold.reason or NO_REASON}."
        return Finding("plain", text, weakness=LITTLE_ACCEPTED if is_bad else "")
    share = f"{fmt.percent(recall.value)} %{interval_in_brackets(recall)}"
    words = MEANINGS[part].format(
        at=f"{fmt.number(threshold.value, 'cosine')}{interval_in_brackets(threshold)}", recall=share
    )
    is_little = recall.high is not None and recall.high < ENOUGH
    return Finding("plain", f"{PREVALENCE[part]}, 95 % {words}.", weakness=LITTLE_ACCEPTED if is_little else "")


def points(evidence: Evidence) -> Table:
    """Return the thresholds for each precision, with the recall there.

    Raises:
        MissingEvidence: the run has none.
    """
    rows = []
    metrics = evidence.evaluation.metrics
    for name, threshold in metrics.items():
        part, _, own = name.partition("/")
        if own.startswith(THRESHOLD):
            recall = metrics.get(f"{part}/{RECALL}{own.removeprefix(THRESHOLD)}")
            rows.append([PARTS.get(part, part), _wanted(own), _shown(threshold), _shown(recall)])
    if not rows:
        raise MissingEvidence("the run has no thresholds")
    return Table(
        title="Thresholds for a precision",
        facts="The lowest cosine with at least this precision, and the recall there; with 95 % intervals. If none is given, no threshold "
        "surely has this precision: there may be too few images.",
        columns=columns("Question", numbers=["Precision, %", "Cosine", "Recall, %"]),
        rows=rows,
    )


def carried_over(evidence: Evidence) -> Table:
    """Return the precision that the thresholds of other data of the run have on these data.

    Raises:
        NotAsked: the run has the task on these data alone.
    """
    own = evidence.evaluation
    others = [
        each
        for each in evidence.run.result.evaluations
        if each.task == own.task and each is not own and each.status == "ok"
    ]
    rows = [row for other in others for row in _rows_from(other, evidence)]
    if not rows:
        raise NotAsked("thresholds of other data")
    return Table(
        title="Thresholds of other data on these",
        facts="The threshold for the wanted precision on other data of this run, and its precision and recall here, with 95 % intervals "
        "over the images here.",
        columns=columns(
            "Question", "Threshold of", numbers=["Wanted, %", "Cosine", "Precision here, %", "Recall here, %"]
        ),
        rows=rows,
    )


def _rows_from(other: EvaluationRecord, evidence: Evidence) -> list[list[str]]:
    rows = []
    for name, threshold in other.metrics.items():
        part, _, own = name.partition("/")
        known = evidence.evaluation.curves
        if own.startswith(THRESHOLD) and threshold.value is not None and f"{part}/precision_by_cosine" in known:
            got = [_at(evidence, f"{part}/{kind}_by_cosine", threshold.value) for kind in figures.CURVES]
            rows.append(
                [PARTS.get(part, part), other.dataset.id, _wanted(own), fmt.number(threshold.value, "cosine"), *got]
            )
    return rows


def _at(evidence: Evidence, name: str, cosine: float) -> str:
    """Return the value of a curve at a threshold, with its bounds; between two of its points, on the line that joins them."""
    curve = evidence.curve(name)
    if cosine > curve.x[-1]:
        return "nothing accepted"
    values = [float(np.interp(cosine, curve.x, ys)) for ys in (curve.y, curve.low, curve.high) if ys is not None]
    value = fmt.percent(values[0])
    return f"{value} [{fmt.percent(values[1])}, {fmt.percent(values[2])}]" if len(values) == 3 else value


def _wanted(name: str) -> str:
    return name.removeprefix(THRESHOLD).removeprefix("p")


def _shown(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return fmt.NONE
    value = fmt.number(metric.value, metric.unit)
    return f"{value} {fmt.interval(metric)}" if metric.low is not None else value


ADVICE = {
    LITTLE_ACCEPTED: "One cosine does not mean the same for all images and texts: some images are near to every text. Scores normalised over a bank "
    "of other texts or images (Bogolin et al. 2022) have one threshold for more of them. A threshold holds for the data, the prompts and the "
    "share of true pairs that it was measured with: measure it on data like yours.",
}


SECTION = Section(
    advice=ADVICE,
    title="Operating points",
    figures=tuple(map(figures.operating_points, figures.QUESTIONS)),
    tables=(points, carried_over),
    findings=findings,
    drawn_curves=figures.BY_COSINE,
    lists_metrics=False,
)

"""Disturbed images and texts: scores by severity, paired losses, and pairs of images whose answer flipped."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.drawing.marks import Axis
from clipbench_reports.evidence import Evidence, MissingEvidence, NotAsked
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.findings import Ability, Finding, claim, interval_in_brackets
from clipbench_reports.galleries import FactColumn, Gallery, PageBudget, gallery, images, words
from clipbench_reports.sections.section import Plot, SampleColumn, Section
from clipbench_reports.text import quoted

LOSS, SCORE = "/loss", "/score_by_severity"
SEVERITIES = (0, 1, 2, 3, 4, 5)
EARLY = 3
"""Severity up to which a model that has lost half is fragile."""
FRAGILE = "Disturbed copies lose much"


def _axis(xs: Sequence[Number], label: str) -> Axis:
    return Axis(low=0, high=SEVERITIES[-1], ticks=SEVERITIES, label=label)


def _losses(evaluation: EvaluationRecord) -> dict[str, Metric]:
    """Return the losses by disturbance, the largest first."""
    losses = {}
    for name, metric in evaluation.metrics.items():
        if name.endswith(LOSS) and metric.value is not None:
            losses[name.removesuffix(LOSS)] = metric
    return dict(sorted(losses.items(), key=lambda loss: -(loss[1].value or 0.0)))


def _title(disturbance: str, evaluation: EvaluationRecord) -> str:
    return within_sentence(subset_title(disturbance, evaluation.subsets))


def _state(evidence: Evidence, curves: Curves) -> Statement:
    name, loss = next(iter(_losses(evidence.evaluation).items()))
    value = f"{fmt.quantity(loss.value, loss.unit)} with {_title(name, evidence.evaluation)}"
    is_shown = _is_above_zero(evidence.evaluation.metrics.get("worst_loss"))
    return Statement(subject="Largest mean loss", value=value if is_shown else "none is shown")


SCORES = CurvesFigure(
    name="severity",
    reading=(
        "Severity 0 is the clean sample, and the page of the task lists the five severities of each disturbance."
        " Templates have no order. Bands: 95 % intervals. Blind: the mean of all queries replaces each query."
    ),
    x_axis=_axis,
    state=_state,
    n_columns=3,
)


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the scores of disturbed samples, the disturbance that costs most, and the spread of templates."""
    sentences = []
    ability = Ability("is right on disturbed inputs", "is not right on disturbed inputs")
    for name, metric in evaluation.metrics.items():
        if name.startswith("disturbed_"):
            sentences.append(
                claim("{value} with disturbed images or texts", metric, title=metric.title, ability=ability)
            )
    losses, worst = _losses(evaluation), evaluation.metrics.get("worst_loss")
    if losses and worst is not None and _is_above_zero(worst):
        sentences.append(_worst(evaluation, next(iter(losses)), worst))
    elif losses:
        sentences.append(Finding("plain", "No test here shows a loss."))
    spread = evaluation.metrics.get("template/spread")
    if spread is not None and _is_above_zero(spread):
        text = f"The best template scores {_in_points(spread)} above the worst."
        sentences.append(Finding("plain", text))
    return sentences


def _is_above_zero(metric: Metric | None) -> bool:
    """Return whether the interval of a metric shows that it is above 0."""
    return metric is not None and metric.low is not None and metric.low > 0


def _worst(evaluation: EvaluationRecord, name: str, worst: Metric) -> Finding:
    half = evaluation.metrics.get(f"{name}/half_loss")
    text = f"The largest mean loss is with {_title(name, evaluation)}: {_in_points(worst)}"
    if half is None or half.value is None:
        return Finding("plain", f"{text}.")
    at = f"severity {fmt.number(half.value, half.unit)}{interval_in_brackets(half)}"
    weakness = FRAGILE if half.high is not None and half.high <= EARLY else ""
    return Finding("plain", f"{text}; half of what is above chance is lost at {at}.", weakness=weakness)


def _in_points(metric: Metric) -> str:
    return f"{fmt.quantity(metric.value, metric.unit)}{interval_in_brackets(metric)}"


def score_table(evidence: Evidence) -> Table:
    """Return the score at each severity, with its interval."""
    return Table(
        title="Score by severity",
        facts="Percent, with 95 % intervals. Severity 0 is the clean score.",
        columns=columns("Disturbance", numbers=[str(severity) for severity in SEVERITIES]),
        rows=[[row.title, *row.cells] for row in _by_severity(evidence, "score")],
    )


def loss_table(evidence: Evidence) -> Table:
    """Return the paired loss at each severity, with its interval."""
    metrics = evidence.evaluation.metrics
    rows = []
    for row in _by_severity(evidence, "loss"):
        half_loss = metrics.get(f"{row.disturbance}/half_loss")
        rows.append([row.title, *row.cells[1:], fmt.value_with_interval(half_loss)])  # nothing is lost at severity 0
    return Table(
        title="Loss by severity",
        facts="Clean score minus the score of the disturbed copies of the same samples, in pp, with 95 % intervals.",
        columns=columns("Disturbance", numbers=[*(str(severity) for severity in SEVERITIES[1:]), "Half lost at"]),
        rows=rows,
    )


class _SeverityRow(NamedTuple):
    """A disturbance, and a cell for its value at each severity, from 0 on."""

    disturbance: str
    title: str
    cells: list[str]


def _by_severity(evidence: Evidence, kind: str) -> list[_SeverityRow]:
    """Return the values of each disturbance by severity, the largest loss first.

    Args:
        kind: ``score`` or ``loss``.
    """
    rows = []
    for disturbance in _losses(evidence.evaluation):
        curve = evidence.curve(f"{disturbance}/{kind}_by_severity")
        missing = [None] * len(curve.y)
        cells = []
        for y, low, high in zip(curve.y, curve.low or missing, curve.high or missing, strict=True):
            cells.append(fmt.value_with_interval(Metric(value=y, low=low, high=high, unit=curve.unit)))
        rows.append(_SeverityRow(disturbance, subset_title(disturbance, evidence.evaluation.subsets), cells))
    if not rows:
        raise MissingEvidence("no disturbance has a measured loss of score")
    return rows


def flipped_pairs(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return pairs of a clean image and a disturbed copy, of which only the clean one is answered right."""
    if not evidence.has_column("disturbed_image"):
        raise NotAsked("disturbed images")
    names = [_title(name, evidence.evaluation) for name in words(evidence, "condition")]
    answer = "label" if evidence.has_column("label") else "caption"
    right, margin = words(evidence, answer), evidence.numbers("flip_margin")

    def describe_disturbance(row: int) -> str:
        severity = margin[row] + len(SEVERITIES)  # margins of wrong answers are below 0, the lowest first
        return f"{names[row]}, severity {fmt.count(severity)}"

    return gallery(
        evidence,
        budget,
        title="Images whose answer flipped",
        note="One for each disturbance, at the smallest severity at which an answer flips.",
        wrong=np.isfinite(margin),
        margin="flip_margin",
        facts=[
            FactColumn("Disturbance", describe_disturbance),
            FactColumn("Clean", answer),
            FactColumn("Disturbed", "chosen"),
        ],
        images=images(
            evidence,
            ("clean", "image"),
            ("disturbed", "disturbed_image"),
            say=lambda row, role: f"A {role} image of {quoted(right[row])}, by {names[row]}.",
        ),
    )


SECTION = Section(
    advice={
        FRAGILE: (
            "Half of what the model can do is gone by the middle severity. If your images or queries look like these"
            " copies, fine-tune with such copies, or restore them first: enlarge thumbnails, correct typos. Larger"
            " models usually lose less (Hendrycks and Dietterich 2019, arXiv:1903.12261)."
        ),
    },
    title="Disturbed images and texts",
    figures=(SCORES,),
    galleries=(flipped_pairs,),
    tables=(loss_table, score_table),
    findings=findings,
    plots={
        "perturbation": Plot(
            summary="scores by the severity of each disturbance",
            definition="Severities 1 to 5 of each disturbance. Only queries or class names are disturbed.",
            draws=(SCORES,),
        )
    },
    drawn_figures=("loss",),
    sample_columns=(
        SampleColumn(name="condition", title="Disturbance", is_of_sample=True),
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="caption", title="Caption", is_of_sample=True),
    ),
)

"""Few labels: accuracy by the number of labels, the labels that the prompts are worth, and images named wrongly with
all.
"""

from collections.abc import Sequence
from itertools import pairwise

from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.stats.claims import above_chance
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.drawing.marks import Axis, Mark, Rule, Shade, log_axis
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.findings import Finding, claim, defined, interval_in_brackets
from clipbench_reports.galleries import FactColumn, Gallery, PageBudget, gallery, one_image
from clipbench_reports.sections.section import Plot, SampleColumn, Section
from clipbench_reports.text import NO_REASON


def _axis(numbers: Sequence[Number], label: str) -> Axis:
    sizes = sorted(set(numbers))
    has_room = [next_size >= 1.4 * size for size, next_size in pairwise(sizes)]
    ticks = [size for size, is_apart in zip(sizes, [*has_room, True], strict=True) if is_apart]
    if len(ticks) < 2:
        return log_axis(numbers, label)
    return Axis(low=sizes[0], high=sizes[-1], ticks=ticks, label=label, is_log=True)


def _references(evidence: Evidence, y_label: str) -> list[Mark]:
    """Return the accuracy of the prompts, and the labels that they are worth."""
    zero_shot, worth = defined(evidence.evaluation.metrics, "zero_shot_acc1", "zero_shot_worth")
    marks: list[Mark] = []
    if worth is not None and worth.low is not None and worth.high is not None:
        marks.append(Shade(low=worth.low, high=worth.high, name="labels that zero-shot is worth", of="linear probe"))
    if zero_shot is not None:
        marks.append(Rule(at=zero_shot.value or 0.0, axis="y", role="text", name="zero-shot", is_dashed=True))
    return marks


def _state(evidence: Evidence, curves: Curves) -> Statement:
    zero_shot, worth = defined(evidence.evaluation.metrics, "zero_shot_acc1", "zero_shot_worth")
    curve = next((curve for curve in curves if curve.series == "linear probe"), curves[0])
    few = f"{fmt.percent(curve.y[0])} % with {_labels(curve.x[0])}"
    many = f"{fmt.percent(curve.y[-1])} % with {_labels(curve.x[-1])}"
    subject = f"Accuracy of a {curve.series}, and of the prompts"
    value = f"{few}, {many}; prompts {fmt.percent(zero_shot.value if zero_shot else None)} %"
    if worth is None:
        return Statement(subject, value)
    shaded = " (its interval is shaded)" if worth.low is not None else ""
    return Statement(
        subject,
        f"{value}, worth {fmt.number(worth.value, worth.unit)} labels per class",
        f"The prompts are worth the number of labels with which the linear probe reaches them{shaded}.",
    )


def _labels(number: float) -> str:
    mean = "" if float(number).is_integer() else " on average"  # with all labels, classes have unequal numbers
    return f"{fmt.significant(number)} {'label' if number == 1 else 'labels'} a class{mean}"


FEW_SHOT = CurvesFigure(
    name="labels",
    reading=(
        "Each classifier is trained on this number of labelled images per class, and the last point on all of them."
        " Bands: 95 % intervals, over draws of training images and test images. "
        "Dashed: the prompts, on the same test images."
    ),
    x_axis=_axis,
    references=_references,
    state=_state,
)


METHODS = {"knn": "k-NN", "linear_probe": "Linear probe", "prompt_probe": "Prompt-initialised probe"}
ALL = "all"
LINEAR = "linear_probe_acc1@"
FEW = 4
"""Labels a class up to which the prompts are worth few."""
FEW_LABELS_ENOUGH = "A few labels do better than the prompts"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how many labels the prompts are worth, and the accuracy of a linear probe with all labels."""
    worth, accuracy = (evaluation.metrics.get(name) for name in ("zero_shot_worth", f"{LINEAR}{ALL}"))
    if worth is None or accuracy is None:
        return []
    sentence = "A linear probe with all labels names the right class first for {value} of {n} images"
    return [_worth(worth, evaluation.metrics.get("zero_shot_acc1")), claim(sentence, accuracy)]


def _worth(worth: Metric, zero_shot: Metric | None) -> Finding:
    if zero_shot is None or not above_chance(zero_shot)[0]:
        chance = "not known" if zero_shot is None else f"{fmt.percent(zero_shot.chance)} %"
        text = f"It does not reliably exceed chance ({chance}), so the labels that it is worth are not known."
        return Finding("plain", f"The accuracy of the prompts is {fmt.value_with_interval(zero_shot)} %. {text}")
    if worth.value is None:
        reason = worth.reason or NO_REASON
        weakness = FEW_LABELS_ENOUGH if reason.startswith("exceeded") else ""
        return Finding("plain", f"The accuracy of the prompts is {reason}.", weakness=weakness)
    prompts = f", {fmt.bounded(zero_shot)}"
    text = (
        f"The prompts are worth {fmt.number(worth.value, worth.unit)} labels per class{interval_in_brackets(worth)}:"
        f" with these, a linear probe reaches their accuracy{prompts}."
    )
    is_few = worth.high is not None and worth.high <= FEW
    return Finding("plain", text, weakness=FEW_LABELS_ENOUGH if is_few else "")


def table_by_labels(evidence: Evidence) -> Table:
    """Return the accuracy of each classifier with each number of labels."""
    metrics = evidence.evaluation.metrics
    numbers = [name.removeprefix(LINEAR) for name in metrics if name.startswith(LINEAR)]
    if not numbers:
        raise MissingEvidence("the run has no accuracy of a linear probe")
    rows = []
    for number in numbers:
        accuracies = [metrics.get(f"{method}_acc1@{number}") for method in METHODS]
        rows.append([number, *(fmt.value_with_interval(accuracy) for accuracy in accuracies)])
    zero_shot = metrics.get("zero_shot_acc1")
    return Table(
        title="Accuracy by the number of labels",
        facts=(
            "Top-1 accuracy in percent, with 95 % intervals. The prompts, which need no labels, have "
            f"{fmt.value_with_interval(zero_shot)} on the same images."
        ),
        columns=columns("Labels per class", numbers=list(METHODS.values())),
        rows=rows,
    )


def misclassified_images(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images that a linear probe with all labels takes for another class by the widest margin."""
    return gallery(
        evidence,
        budget,
        title="Images that a linear probe takes for another class",
        note="Margin: the probability of the true class minus the highest of another class, with all labels.",
        wrong=evidence.numbers(f"{LINEAR}{ALL}") < 1,  # undefined in the rows of draws
        margin="margin",
        facts=[
            FactColumn("True class", "label"),
            FactColumn("Probe", "predicted"),
            FactColumn("Prompts", "by_prompt"),
            FactColumn("Margin", "margin", unit="difference"),
        ],
        images=one_image(evidence, "An image of {label}, taken for {predicted}."),
    )


SECTION = Section(
    advice={
        FEW_LABELS_ENOUGH: (
            "The vectors separate the classes better than the prompts name them, so try better names and several "
            "prompts first. With few labels, a probe that starts at the prompts is safer than a plain one "
            "(Silva-Rodríguez et al. 2024, arXiv:2312.12730). You can average its weights with the prompts to keep "
            "robustness (Wortsman et al. 2022, arXiv:2109.01903)."
        ),
    },
    title="Few labels",
    figures=(FEW_SHOT,),
    galleries=(misclassified_images,),
    tables=(table_by_labels,),
    findings=findings,
    plots={
        "few-shot": Plot(
            summary="accuracy by the number of labels per class, compared with zero-shot",
            definition=(
                "k-NN: the 20 nearest vote with weights exp(cosine / 0.07) (Wu et al., 2018). Linear probe: logistic"
                " regression on unit vectors, C = 10. Prompt-initialised probe: the same, regularised towards the logit"
                " scale times the prompts' vectors."
            ),
            draws=(FEW_SHOT,),
        )
    },
    sample_columns=(
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="predicted", title="By the probe, all labels"),
        SampleColumn(name="by_prompt", title="By the prompts"),
    ),
)

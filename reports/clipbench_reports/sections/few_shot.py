"""Few labels: accuracy by the number of labels, the labels that the prompts are worth, and images named wrongly with
all.
"""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.stats.claims import above_chance
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Role, Rule, Shade, fraction_axis, log_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, PlottedCurve, read_each
from clipbench_reports.figures.shared import chance_rule, curve_line, points_in_words, xs_of
from clipbench_reports.findings import Finding, claim, interval_in_brackets
from clipbench_reports.galleries import Fact, Gallery, PageBudget, gallery, one_image, words
from clipbench_reports.sections.section import Plot, SampleColumn, Section
from clipbench_reports.text import NO_REASON, quoted

BY_LABELS: dict[str, tuple[Role, str]] = {
    "knn_acc1_by_labels": ("image", "k-NN"),
    "linear_probe_acc1_by_labels": ("ink", "linear probe"),
    "prompt_probe_acc1_by_labels": ("pair", "prompt-initialised probe"),
}
"""The curves, with the role and the name of each: one of images alone, and one of images and texts, have their
colours.
"""
PROBE_CURVE = "linear_probe_acc1_by_labels"


def few_shot(models: Models) -> Chart:
    """Return the accuracy of each classifier by the number of labels, with that of the prompts."""
    by_model = read_each(models, _read)
    return facet_chart(
        Panel(x=_axis(xs_of(by_model)), y=fraction_axis("Top-1 accuracy, %")),
        by_model,
        reading=(
            "Each classifier is trained on so many labelled images of each class, the last point on all training"
            " images. Bands: 95 % intervals, over draws of training images and test images. Dashed: the prompts, on the"
            " same test images."
        ),
    )


def _axis(numbers: Sequence[float]) -> Axis:
    ticks = sorted(set(numbers))
    shown = [tick for tick, after in zip(ticks, [*ticks[1:], float("inf")], strict=True) if after >= 1.4 * tick]
    if len(shown) < 2:
        return log_axis(numbers, "Labelled images of each class")
    return Axis(low=ticks[0], high=ticks[-1], ticks=shown, label="Labelled images of each class", is_log=True)


def _read(evidence: Evidence) -> Layer:
    curves = evidence.curves(BY_LABELS, MissingEvidence("the run kept no accuracy by the number of labels"))
    metrics = evidence.evaluation.metrics
    zero_shot, worth = metrics.get("zero_shot_acc1"), metrics.get("zero_shot_worth")
    marks = chance_rule(zero_shot.chance if zero_shot else None)
    if worth is not None and worth.low is not None and worth.high is not None:
        name, of = "labels that zero-shot is worth", BY_LABELS[PROBE_CURVE][1]
        marks.insert(0, Shade(low=worth.low, high=worth.high, name=name, of=of))
    if zero_shot is not None and zero_shot.value is not None:
        marks.append(Rule(at=zero_shot.value, axis="y", role="text", name="zero-shot", is_dashed=True))
    lines = [curve_line(curve, *BY_LABELS[name]) for name, curve in curves.items()]
    return Layer([*marks, *lines], _state(curves, zero_shot, worth))


def _state(curves: Mapping[str, PlottedCurve], zero_shot: Metric | None, worth: Metric | None) -> Statement:
    name = PROBE_CURVE if PROBE_CURVE in curves else next(iter(curves))
    curve, words = curves[name], BY_LABELS[name][1]
    few, many = fmt.percent(curve.y[0]), fmt.percent(curve.y[-1])
    title = f"A {words} has {few} % with {_labels(curve.x[0])} and {many} % with {_labels(curve.x[-1])}"
    prompts = fmt.percent(zero_shot.value if zero_shot else None)
    title += f"; the prompts have {prompts} %"
    reading = ""
    if worth is not None and worth.value is not None:
        title += f", and are worth {fmt.number(worth.value, worth.unit)} labels a class"
        reading = "The prompts are worth the number of labels with which the linear probe reaches them"
        reading += "; its interval is shaded." if worth.low is not None else "."
    return Statement(
        title=f"{title}.",
        subject=f"Accuracy of a {words} with {_labels(curve.x[-1])}, and of the prompts",
        value=f"{many} and {prompts} %",
        detail=" ".join(points_in_words(BY_LABELS[name][1], curve) for name, curve in curves.items()),
        reading=reading,
    )


def _labels(number: float) -> str:
    mean = "" if float(number).is_integer() else " on average"  # with all labels, classes have unequal numbers
    return f"{fmt.significant(number)} {'label' if number == 1 else 'labels'} a class{mean}"


METHODS = {"knn": "k-NN", "linear_probe": "Linear probe", "prompt_probe": "Prompt-initialised probe"}
ALL = "all"
LINEAR = "linear_probe_acc1@"
FEW = 4
"""Labels a class up to which the prompts are worth few."""
FEW_LABELS_ENOUGH = "A few labels do better than the prompts"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how many labels the prompts are worth, and what a linear probe reaches with all."""
    worth, accuracy = (evaluation.metrics.get(name) for name in ("zero_shot_worth", f"{LINEAR}{ALL}"))
    if worth is None or accuracy is None:
        return []
    sentence = "A linear probe with all labels names the right class first for {value} of {n} images"
    return [_worth(worth, evaluation.metrics.get("zero_shot_acc1")), claim(sentence, accuracy)]


def _worth(worth: Metric, zero_shot: Metric | None) -> Finding:
    if worth.value is None:
        reason = worth.reason or NO_REASON
        weakness = FEW_LABELS_ENOUGH if reason.startswith("exceeded") else ""
        return Finding("plain", f"The accuracy of the prompts is {reason}.", weakness=weakness)
    if zero_shot is None or not above_chance(zero_shot)[0]:
        chance = "not known" if zero_shot is None else f"{fmt.percent(zero_shot.chance)} %"
        text = f"chance is {chance}: too near to say how many labels it is worth"
        return Finding("plain", f"The accuracy of the prompts is {fmt.shown(zero_shot)} %; {text}.")
    prompts = f", {fmt.bounded(zero_shot)}"
    text = (
        f"The prompts are worth {fmt.number(worth.value, worth.unit)} labels a class{interval_in_brackets(worth)}: with"
        f" so many, a linear probe reaches their accuracy{prompts}."
    )
    is_few = worth.high is not None and worth.high <= FEW
    return Finding("plain", text, weakness=FEW_LABELS_ENOUGH if is_few else "")


def by_labels(evidence: Evidence) -> Table:
    """Return the accuracy of each classifier with each number of labels."""
    metrics = evidence.evaluation.metrics
    numbers = [name.removeprefix(LINEAR) for name in metrics if name.startswith(LINEAR)]
    if not numbers:
        raise MissingEvidence("the run has no accuracy of a linear probe")
    rows = [[number, *(fmt.shown(metrics.get(f"{method}_acc1@{number}")) for method in METHODS)] for number in numbers]
    zero_shot = metrics.get("zero_shot_acc1")
    return Table(
        title="Accuracy by the number of labels",
        facts=(
            "Top-1 accuracy in percent, with 95 % intervals. The prompts, which need no labels, have "
            f"{fmt.shown(zero_shot)} on the same images."
        ),
        columns=columns("Labels a class", numbers=list(METHODS.values())),
        rows=rows,
    )


def misnamed(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images that a linear probe with all labels takes for another class by the widest margin."""
    label, predicted, by_prompt = (words(evidence, name) for name in ("label", "predicted", "by_prompt"))
    margin = evidence.numbers("margin")

    def facts(row: int) -> list[Fact]:
        return [
            Fact("True class", label[row]),
            Fact("Probe", predicted[row]),
            Fact("Prompts", by_prompt[row]),
            Fact("Margin", fmt.quantity(float(margin[row]), "difference")),
        ]

    return gallery(
        evidence,
        budget,
        title="Images that a linear probe takes for another class",
        note="Margin: the probability of the true class minus that of the best other one, with all labels.",
        wrong=evidence.numbers(f"{LINEAR}{ALL}") < 1,  # undefined in the rows of draws
        margin=margin,
        facts=facts,
        images=one_image(
            evidence, lambda row: f"An image of {quoted(label[row])}, taken for {quoted(predicted[row])}."
        ),
    )


SECTION = Section(
    advice={
        FEW_LABELS_ENOUGH: (
            "The vectors tell the classes apart better than the prompts name them: better names "
            "and several prompts come first. With labels, a probe that starts at the prompts is safer than a plain "
            "one while they are few (Silva-Rodríguez et al. 2024, arXiv:2312.12730); averaging its weights with the "
            "prompts keeps robustness (Wortsman et al. 2022, arXiv:2109.01903)."
        ),
    },
    title="Few labels",
    figures=(few_shot,),
    galleries=(misnamed,),
    tables=(by_labels,),
    findings=findings,
    plots={
        "few-shot": Plot(
            summary="accuracy by the number of labels of each class, beside zero-shot",
            definition=(
                "k-NN: the 20 nearest vote with weights exp(cosine / 0.07) (Wu et al., 2018). Linear probe: logistic"
                " regression on unit vectors, C = 10; the prompt-initialised one is regularised towards the logit scale"
                " times the prompts' vectors."
            ),
            draws=(few_shot,),
        )
    },
    drawn_curves=tuple(BY_LABELS),
    sample_columns=(
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="predicted", title="By the probe, all labels"),
        SampleColumn(name="by_prompt", title="By the prompts"),
    ),
)

"""Accuracy by the number of labelled images of each class, beside that of the prompts."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Role, Rule, Shade, fraction_axis, log_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import chance_rule, curve_line, lines_of, points_in_words
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

BY_LABELS: dict[str, tuple[Role, str]] = {
    "knn_acc1_by_labels": ("image", "k-NN"),
    "linear_probe_acc1_by_labels": ("ink", "linear probe"),
    "prompt_probe_acc1_by_labels": ("pair", "prompt-initialised probe"),
}
"""The curves, with the role and the name of each: one of images alone, and one of images and texts, have their colours."""
LINEAR = "linear_probe_acc1_by_labels"
ZERO_SHOT = "zero-shot"


def few_shot(models: Sequence[ModelEvidence]) -> Chart:
    """Return the accuracy of each classifier by the number of labels, with that of the prompts.

    Raises:
        MissingEvidence: no run kept such a curve.
    """
    by_model = read_each(models, _read)
    return facet_chart(
        Panel(x=_axis([x for line in lines_of(by_model) for x in line.xs]), y=fraction_axis("Top-1 accuracy, %")),
        by_model,
        reading="Each classifier is trained on so many labelled images of each class, the last point on all training images. "
        "Bands: 95 % intervals, over draws of training images and test images. Dashed: the prompts, on the same test images.",
    )


def _axis(numbers: Sequence[float]) -> Axis:
    """Return the axis of the numbers of labels, each marked, unless they are too near to be read."""
    ticks = sorted(set(numbers))
    shown = [tick for tick, after in zip(ticks, [*ticks[1:], float("inf")], strict=True) if after >= 1.4 * tick]
    if len(shown) < 2:
        return log_axis(numbers, "Labelled images of each class")
    return Axis(low=ticks[0], high=ticks[-1], ticks=shown, label="Labelled images of each class", is_log=True)


def _read(evidence: Evidence) -> Layer:
    curves = evidence.curves(BY_LABELS)
    if not curves:
        raise MissingEvidence("the run kept no accuracy by the number of labels")
    metrics = evidence.evaluation.metrics
    zero_shot, worth = metrics.get("zero_shot_acc1"), metrics.get("zero_shot_worth")
    marks = [
        *_worth(worth),
        *chance_rule(zero_shot.chance if zero_shot else None),
        *_prompts(zero_shot),
        *(curve_line(curve, *BY_LABELS[name]) for name, curve in curves.items()),
    ]
    return Layer(marks, _state(curves, zero_shot, worth))


def _prompts(zero_shot: Metric | None) -> list[Mark]:
    if zero_shot is None or zero_shot.value is None:
        return []
    return [Rule(at=zero_shot.value, axis="y", role="text", name=ZERO_SHOT, is_dashed=True)]


def _worth(worth: Metric | None) -> list[Mark]:
    """Return the shade of the interval of the labels that the prompts are worth; nothing where there is none."""
    if worth is None or worth.low is None or worth.high is None:
        return []
    name, of = "labels that zero-shot is worth", BY_LABELS[LINEAR][1]
    return [Shade(low=worth.low, high=worth.high, name=name, of=of)]


def _state(curves: Mapping[str, PlottedCurve], zero_shot: Metric | None, worth: Metric | None) -> Statement:
    name = LINEAR if LINEAR in curves else next(iter(curves))
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

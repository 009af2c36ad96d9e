"""Controls beside the metrics that they are read against: what a blind rule scores, how often scores tie."""

from collections.abc import Mapping
from dataclasses import dataclass

from clipbench.results.numbers import number, symbol
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import full_title, metric_title, within_sentence


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control in few words, beside the metric that is read against it."""

    words: str
    value: str
    """With its unit."""


def controls_of(name: str, evaluation: EvaluationRecord) -> list[Control]:
    """Return the controls of a metric, in their order.

    One without a value is left out: the table of controls says why. A variant of the metric itself, such as ``Text
    score, ties as misses``, is left out where it has the metric's own value.
    """
    metric, found = evaluation.metrics[name], []
    for other, control in evaluation.controls.items():
        if name not in control.control_of or control.value is None:
            continue
        title = metric_title(other, control)
        variant = title.removeprefix(f"{metric_title(name, metric)}, ")
        if variant == title or control.value != metric.value:
            found.append(_control(variant, control))
    return found


def loose_controls(evaluation: EvaluationRecord, controls: Mapping[str, Metric]) -> list[Control]:
    """Return those of some controls that have a title and belong to no metric of the evaluation."""
    return [
        _control(full_title(name, control, evaluation.subsets), control)
        for name, control in controls.items()
        if control.value is not None and control.title and not set(control.control_of) & set(evaluation.metrics)
    ]


def _control(words: str, metric: Metric) -> Control:
    return Control(words=within_sentence(words), value=f"{number(metric.value, metric.unit)} {symbol(metric.unit)}")

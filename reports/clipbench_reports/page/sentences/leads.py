"""The best of several models in each evaluation, and whether a paired test tells it from the next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.compare import compare
from clipbench.comparison.records import CompareOptions, Difference
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench.results.titles import full_title, headlines, within_sentence
from clipbench.stats.significance import holm
from clipbench_reports.page.groups import Entry, Group
from clipbench_reports.page.sentences.findings import Finding
from clipbench_reports.page.sentences.highlights import Sentence
from clipbench_reports.page.text import isolated

RULE = (
    "For each evaluation, the first headline metric that all models have: the best model against the next one, by a "
    "paired test, corrected for the number of these sentences (Holm). `clipbench compare` tests every metric."
)
"""The rule, for a reader."""


class _Lead(NamedTuple):
    """The models that have a metric, the best first; where neither direction is better, the largest."""

    group: Group
    name: str
    entries: list[Entry]
    difference: Difference | None
    """The first less the second; None where it was not to be tested."""
    why: str
    """The reason why there is no test."""


def leads(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation that two models or more have, and that may be compared."""
    rankings = [lead for group in groups if not group.differences for lead in _leads(group)]
    tested = [each for each in rankings if each.difference is not None and each.difference.p_value is not None]
    corrected = holm([each.difference.p_value for each in tested])  # type: ignore[union-attr, misc]
    p_values = {id(each): p for each, p in zip(tested, corrected, strict=True)}
    return [Sentence(each.group.anchor, _finding(each, p_values.get(id(each)))) for each in rankings]


def _leads(group: Group) -> list[_Lead]:
    """Return the first headline metric, or else the first metric, that all have a value of, with the models ranked.

    Empty where there is none, or only one model.
    """
    entries = group.measured
    if len(entries) < 2:
        return []
    first = entries[0].evaluation
    name = next((name for name in [*headlines(first), *first.metrics] if _are_defined(entries, name)), None)
    if name is None:
        return []
    rising = entries[0].evaluation.metrics[name].higher_is_better is False
    ranked = sorted(entries, key=lambda entry: _value(entry, name) * (1 if rising else -1))
    if entries[0].evaluation.metrics[name].higher_is_better is None:
        return [_Lead(group, name, ranked, None, "neither direction is better")]
    try:
        (difference,) = compare(_alone(ranked[1], name), _alone(ranked[0], name)).differences
    except ClipbenchError as error:
        return [_Lead(group, name, ranked, None, f"not tested: {error}")]
    return [_Lead(group, name, ranked, difference, difference.test if difference.p_value is None else "")]


def _are_defined(entries: Sequence[Entry], name: str) -> bool:
    metrics = [entry.evaluation.metrics.get(name) for entry in entries]
    return all(metric is not None and metric.value is not None for metric in metrics)


def _value(entry: Entry, name: str) -> float:
    value = entry.evaluation.metrics[name].value
    assert value is not None, name
    return value


def _alone(entry: Entry, name: str) -> Run:
    """Return the run with one metric of one evaluation, so that nothing else is read and tested."""
    evaluation = replace(entry.evaluation, metrics={name: entry.evaluation.metrics[name]})
    return Run(entry.run.folder, replace(entry.run.result, evaluations=[evaluation]))


def _finding(lead: _Lead, p_value: float | None) -> Finding:
    unit = lead.entries[0].evaluation.metrics[lead.name].unit
    values = [fmt.quantity(_value(each, lead.name), unit) for each in lead.entries]
    first, second = (isolated(each.label) for each in lead.entries[:2])
    rest = _rest(lead, values)
    both = f"{first} {values[0]}, {second} {values[1]}"
    if p_value is None or lead.difference is None:
        return Finding("plain", f"{_what(lead)}: {both}{rest} ({lead.why}).")
    difference = _difference_text(lead.difference, unit)
    if p_value > CompareOptions().alpha:
        return Finding("level", f"{_what(lead)}: no evidence either way, {both} ({difference}){rest}.")
    return Finding(
        "ahead", f"{_what(lead)}: {first} is ahead with {values[0]}, {second} has {values[1]} ({difference}){rest}."
    )


def _rest(lead: _Lead, values: Sequence[str]) -> str:
    """Return what the models after the second have."""
    if len(values) < 4:
        return "".join(
            f"; {isolated(each.label)} {value}" for each, value in zip(lead.entries[2:], values[2:], strict=True)
        )
    return f"; the other {len(values) - 2}: {values[2]} to {values[-1]}"


def _what(lead: _Lead) -> str:
    """Return the metric by its title, with task, data and subset."""
    evaluation = lead.entries[0].evaluation
    title = within_sentence(full_title(lead.name, evaluation.metrics[lead.name], evaluation.subsets))
    return f"{isolated(lead.group.task)} on {isolated(lead.group.data)}, {isolated(title)}"


def _difference_text(difference: Difference, unit: str) -> str:
    """Return the difference with its interval."""
    words = f"difference {fmt.change(difference.value, unit)}"
    if difference.low is None:
        return words
    return f"{words}, 95 % interval {fmt.change_interval(difference.low, difference.high, unit)}"

"""The model with the best value in each evaluation, and whether paired tests tell it from the others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.compare import compare
from clipbench.comparison.records import Difference
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench.results.titles import full_title, headlines, within_sentence
from clipbench.stats.claims import claimed
from clipbench_reports.page.groups import Entry, Group
from clipbench_reports.page.sentences.findings import Finding
from clipbench_reports.page.sentences.highlights import Sentence
from clipbench_reports.page.text import isolated

RULE = (
    "For each evaluation, the first headline metric that all models have: the model with the best value against each other "
    "one, by paired tests, corrected for all tests of these sentences (Holm). `clipbench compare` tests every metric."
)
"""The rule, for a reader."""


class _Lead(NamedTuple):
    """The models that have a metric, the best value first; where neither direction is better, the largest."""

    group: Group
    name: str
    entries: list[Entry]
    differences: list[Difference]
    """The first less each other one; of the second alone where already that is not significant, and empty where none
    was to be tested."""
    why: str
    """The reason why there is no test."""


def leads(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation that two models or more have, and that may be compared."""
    rankings = [lead for group in groups if not group.differences for lead in _leads(group)]
    may_claim = iter(claimed([each.p_value for lead in rankings for each in lead.differences]))
    told = [[next(may_claim) for _ in lead.differences] for lead in rankings]
    return [
        Sentence(lead.group.anchor, _finding(lead, is_ahead=all(own))) for lead, own in zip(rankings, told, strict=True)
    ]


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
        return [_Lead(group, name, ranked, [], "neither direction is better")]
    try:
        differences = _differences(ranked, name)
    except ClipbenchError as error:
        return [_Lead(group, name, ranked, [], f"not tested: {error}")]
    untested = next((each.test for each in differences if each.p_value is None), "")
    return [_Lead(group, name, ranked, differences, untested)]


def _differences(ranked: Sequence[Entry], name: str) -> list[Difference]:
    """Return the differences of the first model from the others, as far as it takes to tell whether it is ahead of all."""
    differences: list[Difference] = []
    for other in ranked[1:]:
        differences += compare(_alone(other, name), _alone(ranked[0], name)).differences
        if not claimed([differences[-1].p_value])[0]:
            break  # no correction makes it significant, and the first is not ahead of all
    return differences


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


def _finding(lead: _Lead, *, is_ahead: bool) -> Finding:
    unit = lead.entries[0].evaluation.metrics[lead.name].unit
    values = [fmt.quantity(_value(each, lead.name), unit) for each in lead.entries]
    first, second = (isolated(each.label) for each in lead.entries[:2])
    rest = _rest(lead, values)
    both = f"{first} {values[0]}, {second} {values[1]}"
    if lead.why:
        return Finding("plain", f"{_what(lead)}: {both}{rest} ({lead.why}).")
    difference = _difference_text(lead.differences[0], unit)
    if not is_ahead:
        untold = "no evidence either way" if len(values) == 2 else "none is significantly ahead of all others"
        return Finding("level", f"{_what(lead)}: {untold}, {both} ({difference}){rest}.")
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

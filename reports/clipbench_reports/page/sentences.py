"""The sentences at the top of a report: of one model chosen by a rule, of several the model that is ahead in each evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.compare import compare
from clipbench.comparison.records import Difference
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench.results.titles import first_headline, full_title, within_sentence
from clipbench.stats.claims import claimed
from clipbench_reports.evidence.findings import Finding, Mark
from clipbench_reports.evidence.text import in_turn, isolated
from clipbench_reports.page.groups import Entry, Group

MOST = 3
"""Sentences with numbers at the top of a report. Whatever is missing is said besides."""

KINDS: tuple[tuple[Mark, ...], ...] = (("weak", "level"), ("good",), ("plain",))
"""Marks of sentences that take places together: what is not better than chance, by a test, waits in one line."""
TURNS = (0, 0, 1)
"""The kinds in the order in which they take places; places that a kind cannot fill go to the others, in their order."""
ORDER: tuple[Mark, ...] = ("weak", "level", "good", "plain")

RULE = (
    "The sentences at the top are chosen by rule: of the results that are not better than chance the two lowest, and of "
    "the others the one farthest above it; if a kind has fewer, the other fills its place, and results without a chance "
    "come last. Results of a kind come from different sections where possible. What every model of the kind shows, or "
    "what holds by construction, is never chosen."
)
"""The rule, for a reader."""


class Sentence(NamedTuple):
    """A sentence, and the anchor of the section that holds its evidence."""

    anchor: str
    finding: Finding


def in_short(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that matter most: weaknesses, strengths, neither of them, then everything that is missing.

    At most ``MOST`` have numbers. Weaknesses, and what no test tells from chance, are taken from the lowest on, strengths
    from the highest on, by how far they lie from chance; the first of every section comes before the second of any.
    """
    waiting = [_ranked(sentences, marks) for marks in KINDS]
    taken: list[Sentence] = []
    for kind in (*TURNS, *(kind for kind in range(len(KINDS)) for _ in range(MOST))):
        if waiting[kind] and len(taken) < MOST:
            taken.append(waiting[kind].pop(0))
    chosen = [each for mark in ORDER for each in taken if each.finding.mark == mark]
    return [*chosen, *(each for each in sentences if each.finding.mark == "missing")]


def _ranked(sentences: Sequence[Sentence], marks: Sequence[Mark]) -> list[Sentence]:
    """Return the sentences of a kind, the most telling first, and the sections in turn."""
    sign = {"good": -1, "plain": 0}.get(marks[0], 1)
    ordered = sorted(
        (each for each in sentences if each.finding.mark in marks and not each.finding.is_expected),
        key=lambda each: sign * each.finding.skill,
    )
    return in_turn(ordered, lambda each: each.anchor)


RULE_OF_SEVERAL = (
    "For each evaluation, the first headline metric that all models have: the model with the best value against each other "
    "one, by paired tests, corrected for all tests of these sentences (Holm). `clipbench compare` tests every metric."
)
"""The rule, for a reader."""


class _Lead(NamedTuple):
    """The models that have a metric, the best value first; where neither direction is better, the largest."""

    group: Group
    name: str
    entries: list[Entry]
    values: list[float]
    differences: list[Difference]
    """The first less each other one; of the second alone where already that is not significant, and empty where none
    was to be tested."""
    why: str
    """The reason why there is no test."""


def leads(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation that two models or more have, and that may be compared."""
    found = [lead for group in groups if not group.differences and (lead := _lead(group)) is not None]
    may_claim = iter(claimed([each.p_value for lead in found for each in lead.differences]))
    told = [[next(may_claim) for _ in lead.differences] for lead in found]
    return [
        Sentence(lead.group.anchor, _finding(lead, is_ahead=all(own))) for lead, own in zip(found, told, strict=True)
    ]


def _lead(group: Group) -> _Lead | None:
    """Return the first headline metric that all of several models have a value of."""
    entries = group.measured
    if len(entries) < 2:
        return None
    first = entries[0].evaluation
    if not first.metrics:
        return None

    def values_of(name: str) -> list[float]:
        metrics = [entry.evaluation.metrics.get(name) for entry in entries]
        return [metric.value for metric in metrics if metric is not None and metric.value is not None]

    name = first_headline(first.metrics, lambda each: len(values_of(each)) == len(entries))
    values = values_of(name)
    if len(values) < len(entries):
        return None
    is_higher_better = first.metrics[name].higher_is_better
    order = sorted(range(len(entries)), key=lambda at: values[at] * (1 if is_higher_better is False else -1))
    lead = _Lead(group, name, [entries[at] for at in order], [values[at] for at in order], [], "")
    if is_higher_better is None:
        return lead._replace(why="neither direction is better")
    try:
        differences = _differences(lead.entries, name)
    except ClipbenchError as error:
        return lead._replace(why=f"not tested: {error}")
    untested = next((each.test for each in differences if each.p_value is None), "")
    return lead._replace(differences=differences, why=untested)


def _differences(ranked: Sequence[Entry], name: str) -> list[Difference]:
    """Return the differences of the first model from the others, as far as it takes to tell whether it is ahead of all."""
    differences: list[Difference] = []
    for other in ranked[1:]:
        differences += compare(_alone(other, name), _alone(ranked[0], name)).differences
        if not claimed([differences[-1].p_value])[0]:
            break  # no correction makes it significant, and the first is not ahead of all
    return differences


def _alone(entry: Entry, name: str) -> Run:
    """Return the run with one metric of one evaluation, so that nothing else is read and tested."""
    evaluation = replace(entry.evaluation, metrics={name: entry.evaluation.metrics[name]})
    return Run(entry.run.folder, replace(entry.run.result, evaluations=[evaluation]))


def _finding(lead: _Lead, *, is_ahead: bool) -> Finding:
    evaluation = lead.entries[0].evaluation
    metric = evaluation.metrics[lead.name]
    values = [fmt.quantity(value, metric.unit) for value in lead.values]
    first, second, *others = (isolated(each.label) for each in lead.entries)
    rest = "".join(f"; {label} {value}" for label, value in zip(others, values[2:], strict=True))
    if len(others) > 1:
        rest = f"; the other {len(others)}: {values[2]} to {values[-1]}"
    title = within_sentence(full_title(lead.name, metric, evaluation.subsets))
    what = f"{isolated(lead.group.task)} on {isolated(lead.group.data)}, {isolated(title)}"
    both = f"{first} {values[0]}, {second} {values[1]}"
    if lead.why:
        return Finding("plain", f"{what}: {both}{rest} ({lead.why}).")
    found = lead.differences[0]
    difference = f"difference {fmt.change(found.value, metric.unit)}"
    if found.low is not None:
        difference += f", 95 % interval {fmt.change_interval(found.low, found.high, metric.unit)}"
    if is_ahead:
        ahead = f"{first} is ahead with {values[0]}, {second} has {values[1]}"
        return Finding("ahead", f"{what}: {ahead} ({difference}){rest}.")
    untold = "none is significantly ahead of all others" if others else "inconclusive"
    return Finding("level", f"{what}: {untold}, {both} ({difference}){rest}.")

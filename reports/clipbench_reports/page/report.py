"""The report: one HTML file with no outside reference, made from results alone.

The sentences at its top are of one model chosen by a rule, of several the model that is ahead in each evaluation.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clipbench.comparison.compare import compare
from clipbench.comparison.records import Difference
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import is_one_training
from clipbench.results.provenance import cost_tables, moment
from clipbench.results.run import Run, labels
from clipbench.results.table.html import tight
from clipbench.results.titles import first_headline, full_title, within_sentence
from clipbench.stats.claims import claimed, one_page
from clipbench.training.history import history_of_runs
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures import training
from clipbench_reports.findings import Finding, Mark
from clipbench_reports.galleries import MAX_BYTES, PageBudget
from clipbench_reports.page.groups import Entry, Group, group, page_labels, scope, uncompared
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Heading, assets, of_tasks, rendered, write_html
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import headline_card, scorecard
from clipbench_reports.page.section import n_shares, task_results
from clipbench_reports.text import in_turn, isolated

MAX_DRAWN = 48
"""Evaluations, or label sets, of all models together, that get figures: more would not be read, nor fit 2 MB."""


def write_report(runs: Sequence[Run], path: Path, *, prints_all: bool = False) -> None:
    """Write the report of one or more runs, whole or not at all; equal runs give equal bytes.

    Args:
        prints_all: True for a page that is printed with all that is folded.

    Raises:
        UsageError: there is no run, or the file cannot be written.
        ClipbenchError: a run is damaged.
    """
    write_html(report_html(runs, prints_all=prints_all), path)


def report_html(runs: Sequence[Run], *, prints_all: bool = False) -> str:
    """Return the report of one or more runs, as ``write_report`` writes it."""
    if not runs:
        raise UsageError("a report needs at least one run: got none")
    return rendered("report.html.j2", {**_context(runs), "prints_all": prints_all})


def _context(runs: Sequence[Run]) -> dict[str, object]:
    """Return all that the page says, in which no statement claims more than a test supports that is corrected over the page."""
    groups = group(runs)
    measured = [(each.section, entry.evaluation) for each in groups for entry in each.measured]
    n_figures = sum(
        len(section.label_sets(evaluation)) for section, evaluation in measured
    )  # one of each makes a claim
    with one_page(
        lambda: [section.summary(evaluation) for section, evaluation in measured], n_more=n_figures + (len(runs) > 1)
    ):
        return _said(runs, groups)


def _said(runs: Sequence[Run], groups: list[Group]) -> dict[str, object]:
    names = page_labels(runs)
    labelled = list(zip(names, runs, strict=True))
    is_one = len(runs) == 1
    measured = [each for each in groups if each.measured]
    training = _training(runs, {each.task: each.title for each in groups})
    failures_of = len(runs) - 1 if training else None
    n_drawn = sum(len(each.section.label_sets(entry.evaluation)) for each in measured for entry in each.measured)
    budget = PageBudget(MAX_BYTES, n_shares=n_shares(groups, failures_of)) if n_drawn <= MAX_DRAWN else None
    sections = [task_results(each, budget=budget, failures_of=failures_of) for each in measured]
    found = leads(groups) if not is_one else []
    # Of a training, what changed through it stands at the top: the comparison of its checkpoints says less.
    firsts = [Sentence("training", Finding("plain", chart.title)) for chart in training[-1:]]
    firsts = firsts or sorted(found, key=lambda each: each.finding.mark != "ahead")[:MOST]
    averages = {name: run.result.average for name, run in labelled}
    all_metrics = (
        metric for each in measured for entry in each.measured for metric in entry.evaluation.metrics.values()
    )
    return {
        **assets(),
        "models": [
            {"label": label, "name": name, "facts": headline_facts(run)}
            for (label, run), name in zip(labelled, labels(runs), strict=True)
        ],
        "preflight": [
            {"place": place, "label": name, "finding": finding}
            for place, (name, run) in enumerate(labelled)
            for finding in run.result.preflight or ()
        ],
        "contents": [
            SUMMARY,
            *([Heading("training", "Through the training")] if training else []),
            *of_tasks(Heading(each.anchor, each.title, each.data) for each in sections),
            PROVENANCE,
        ],
        "created": moment(max(run.result.created for run in runs)),
        "scope": scope(groups),
        "sentences": in_short(
            [
                Sentence(each.anchor, finding)
                for each in groups
                for finding in each.section.summary(each.entries[0].evaluation)
            ]
        )
        if is_one
        else firsts,
        "leads": {each.anchor: each.finding for each in found},
        "rule": RULE if is_one else RULE_OF_SEVERAL,
        "uncompared": [] if is_one else uncompared(groups, len(runs)),
        "headlines": headline_card(measured, averages),
        "card": scorecard(groups, averages),
        "interval_name": tight(fmt.interval_name(all_metrics)),
        "training": training,
        "sections": sections,
        "is_drawn": budget is not None,
        "citations": citations(runs),
        "costs": cost_tables([run.result for _, run in labelled[-1:]], names[-1:])
        if training
        else cost_tables([run.result for run in runs], names),
        "origins": [origin(run, name, place) for place, (name, run) in enumerate(labelled)],
    }


def _training(runs: Sequence[Run], titles: Mapping[str, str]) -> list[Chart]:
    """Return what the metrics do through a training, where the runs are of one training's checkpoints.

    First the headline metrics, then the gap with cosines and recall.
    """
    if not is_one_training(runs):
        return []
    try:
        history = history_of_runs(runs)
    except ClipbenchError:
        return []  # measured in different ways: the warnings above the sections say so
    drawn = []
    with suppress(MissingEvidence):
        drawn.append(training.progress(history, runs, titles))
    with suppress(MissingEvidence):
        drawn.append(training.track([history], [history.label]))
    return [replace(each, n_columns=min(3, len(each.panels))) for each in drawn]


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
    found = [lead for group in groups if not group.same.differences and (lead := _lead(group)) is not None]
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

"""The report: one HTML file with no outside reference, made from results alone.

The sentences at its top are of one model chosen by a rule, of several the model that is ahead in each evaluation.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import is_one_training
from clipbench.results.model_costs import cost_tables
from clipbench.results.provenance import moment
from clipbench.results.run import Run, labels
from clipbench.results.table.html import tight
from clipbench.stats.claims import one_page
from clipbench.training.history import history_of_runs
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures import training
from clipbench_reports.findings import Finding
from clipbench_reports.galleries import MAX_BYTES, PageBudget
from clipbench_reports.page.groups import Group, group, page_labels, scope, task_titles, uncompared
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Heading, assets, of_tasks, rendered, write_html
from clipbench_reports.page.leads import RULE_OF_SEVERAL, lead_line, leads
from clipbench_reports.page.opening import MOST, RULE, Sentence, in_short, opening_line
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import headline_card, scorecard
from clipbench_reports.page.section import n_shares, task_results
from clipbench_reports.page.trends import RULE_OF_TRAINING, trend_line, trends

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
    """Return all that the page says, in which no statement claims more than a test supports that is corrected over the
    page.
    """
    groups = group(runs)
    measured = [(each.section, entry.evaluation) for each in groups for entry in each.measured]
    with one_page(lambda: [section.summary(evaluation) for section, evaluation in measured], n_more=len(runs) > 1):
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
    line, sentences, by_section = _opening(groups, len(runs), is_training=bool(training))
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
        "line": line,
        "sentences": sentences,
        "trends": by_section,
        "rule": RULE if is_one else RULE_OF_TRAINING if training else RULE_OF_SEVERAL,
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


def _opening(
    groups: Sequence[Group], n_models: int, *, is_training: bool
) -> tuple[str, list[Sentence], dict[str, Finding]]:
    """Return the line in large type, the sentences below it, and of one training the trend of each section."""
    if n_models == 1:
        titles = task_titles(groups)
        every = [
            Sentence(group.anchor, finding, titles[group.anchor])
            for group in groups
            for finding in group.section.summary(group.entries[0].evaluation)
        ]
        return opening_line([sentence.finding for sentence in every]), in_short(every), {}
    compared = trends(groups) if is_training else leads(groups)
    line = trend_line(compared) if is_training else lead_line(compared, n_models)
    firsts = sorted(compared, key=lambda sentence: sentence.finding.mark not in ("ahead", "gained", "lost"))[:MOST]
    return line, firsts, {sentence.anchor: sentence.finding for sentence in compared if is_training}


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

"""The report: one HTML file with no outside reference, made from results only.

The sentences at its top are of one model chosen by a rule, of several the model that is ahead in each evaluation.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from clipbench.comparison.best_models import BestModels
from clipbench.comparison.compare_runs import repeated_run
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import is_one_training
from clipbench.results.model_costs import cost_tables
from clipbench.results.provenance import moment
from clipbench.results.run import Run, labels
from clipbench.results.table.html import bind_percent_signs
from clipbench.results.tried_changes import change_lines
from clipbench.stats.claims import one_page
from clipbench.training.history import history_of_runs
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures import training
from clipbench_reports.findings import Finding
from clipbench_reports.galleries import MAX_BYTES, PageBudget
from clipbench_reports.page.groups import (
    Group,
    comparison_notes,
    group_evaluations,
    page_labels,
    scope,
    task_titles,
    uncompared,
)
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Heading, assets, render_template, task_headings, write_html
from clipbench_reports.page.leads import RULE_OF_SEVERAL, best_line, lead_line, leads
from clipbench_reports.page.opening import MOST, RULE, Sentence, key_sentences, opening_line
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import headline_card, scorecard
from clipbench_reports.page.task_results import n_shares, task_results
from clipbench_reports.page.trends import RULE_OF_TRAINING, trend_line, trends

FEWEST_RANKED = 3
"""Models of a report that ranks them: of two, the sentences say which is ahead."""
MAX_DRAWN = 48
"""Evaluations, or label sets, of all models together, that get figures: more would not be read, nor fit 2 MB."""


def write_report(runs: Sequence[Run], path: Path, *, prints_all: bool = False) -> None:
    """Write the report of one or more runs, whole or not at all. Equal runs give equal bytes.

    Args:
        prints_all: True for a page that is printed with all that is folded.

    Raises:
        UsageError: no run is given, or the file cannot be written.
        ClipbenchError: a run is damaged.
    """
    write_html(report_html(runs, prints_all=prints_all), path)


def report_html(runs: Sequence[Run], *, prints_all: bool = False) -> str:
    """Return the report of one or more runs, as ``write_report`` writes it."""
    if not runs:
        raise UsageError("a report needs at least one run: got none")
    repeated = repeated_run(runs)
    if repeated is not None:
        raise UsageError(f"{repeated.label} is given twice: a report shows each run once. Remove one of them")
    return render_template("report.html.j2", **_corrected_context(runs), prints_all=prints_all)


def _corrected_context(runs: Sequence[Run]) -> dict[str, object]:
    """Return the context of the template, with the tests of all its statements corrected together."""
    groups = group_evaluations(runs)
    measured = [(group.section, model.evaluation) for group in groups for model in group.measured]
    with one_page(lambda: [section.summary(evaluation) for section, evaluation in measured], n_more=len(runs) > 1):
        return _page_context(runs, groups)


def _page_context(runs: Sequence[Run], groups: list[Group]) -> dict[str, object]:
    names = page_labels(runs)
    labelled = list(zip(names, runs, strict=True))
    is_one = len(runs) == 1
    measured = [group for group in groups if group.measured]
    training = _training(runs, {group.task: group.title for group in groups})
    failures_of = len(runs) - 1 if training else None
    costed = labelled[-1:] if training else labelled
    n_drawn = sum(len(group.section.label_sets(model.evaluation)) for group in measured for model in group.measured)
    budget = PageBudget(MAX_BYTES, n_shares=n_shares(groups, failures_of)) if n_drawn <= MAX_DRAWN else None
    sections = [task_results(group, budget=budget, failures_of=failures_of) for group in measured]
    averages = {name: run.result.average for name, run in labelled}
    headlines = headline_card(measured, averages, has_ranks=len(runs) >= FEWEST_RANKED and not training)
    line, sentences, by_section = _opening(groups, names, headlines.best, is_training=bool(training))
    all_metrics = (
        metric for group in measured for model in group.measured for metric in model.evaluation.metrics.values()
    )
    return {
        **assets(),
        "models": [
            {"label": label, "name": name, "facts": headline_facts(run)}
            for (label, run), name in zip(labelled, labels(runs), strict=True)
        ],
        "preflight": [
            {"position": position, "label": name, "finding": finding}
            for position, (name, run) in enumerate(labelled)
            for finding in run.result.preflight or ()
        ],
        "tries": [
            {"position": position, "line": sentence}
            for position, (_, run) in enumerate(labelled)
            for sentence in change_lines(run.result.evaluations)
        ],
        "contents": [
            SUMMARY,
            *([Heading("training", "Through the training")] if training else []),
            *task_headings(Heading(section.anchor, section.title, section.data) for section in sections),
            PROVENANCE,
        ],
        "created": moment(max(run.result.created for run in runs)),
        "scope": scope(groups),
        "line": line,
        "sentences": sentences,
        "trends": by_section,
        "rule": RULE if is_one else RULE_OF_TRAINING if training else RULE_OF_SEVERAL,
        "uncompared": [] if is_one else uncompared(groups, len(runs), headlines.unranked),
        "comparison_notes": [] if is_one else comparison_notes(groups, headlines.unranked),
        "headlines": headlines,
        "card": scorecard(groups, averages),
        "interval_name": bind_percent_signs(fmt.interval_name(all_metrics)),
        "training": training,
        "sections": sections,
        "is_drawn": budget is not None,
        "citations": citations(runs),
        "costs": cost_tables([run.result for _, run in costed], [name for name, _ in costed]),
        "origins": [origin(run, name, position) for position, (name, run) in enumerate(labelled)],
    }


def _opening(
    groups: Sequence[Group], names: Sequence[str], best: Sequence[BestModels], *, is_training: bool
) -> tuple[str, list[Sentence], dict[str, Finding]]:
    """Return the line in large type, the sentences below it, and of one training the trend of each section.

    Args:
        names: of the models.
        best: the models that could be best, if there are ranks.
    """
    if len(names) == 1:
        titles = task_titles(groups)
        every = [
            Sentence(group.anchor, finding, titles[group.anchor])
            for group in groups
            for finding in group.section.summary(group.models[0].evaluation)
        ]
        return opening_line([sentence.finding for sentence in every]), key_sentences(every), {}
    compared = trends(groups) if is_training else leads(groups)
    if is_training:
        line = trend_line(compared)
    elif best:
        line = best_line(compared, best, groups, names)
    else:
        line = lead_line(compared, len(names))
    firsts = sorted(compared, key=lambda sentence: sentence.finding.mark not in ("ahead", "gained", "lost"))[:MOST]
    return line, firsts, {sentence.anchor: sentence.finding for sentence in compared if is_training}


def _training(runs: Sequence[Run], titles: Mapping[str, str]) -> list[Chart]:
    """Return figures of the metrics through a training, or none if the runs are not checkpoints of one training.

    First the headline metrics, then the gap with cosines and recall.
    """
    if not is_one_training(runs):
        return []
    try:
        history = history_of_runs(runs)
    except ClipbenchError:
        return []  # measured in different ways: the warnings above the sections say so
    charts = []
    with suppress(MissingEvidence):
        charts.append(training.progress(history, runs, titles))
    with suppress(MissingEvidence):
        charts.append(training.track([history], [history.label]))
    return [replace(chart, n_columns=min(3, len(chart.panels))) for chart in charts]

"""The report: one HTML file with no outside reference, made from results only.

The sentences at its top are of one model chosen by a rule, of several the model that is ahead in each evaluation.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from clipbench.comparison.best_models import BestModels
from clipbench.comparison.compare_runs import repeated_run
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import is_one_training
from clipbench.results.model_costs import cost_tables
from clipbench.results.provenance import moment
from clipbench.results.record import Metric
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
from clipbench_reports.page.task_results import TaskResults, n_shares, task_results
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
    measured = [group for group in groups if group.measured]
    training = _training(runs, {group.task: group.title for group in groups})
    # For a training, failures and costs are shown for the last checkpoint only.
    failures_of = len(runs) - 1 if training else None
    first_costed = len(runs) - 1 if training else 0
    budget = _image_budget(groups, failures_of)
    sections = [task_results(group, budget=budget, failures_of=failures_of) for group in measured]
    averages = {name: run.result.average for name, run in zip(names, runs, strict=True)}
    has_ranks = len(runs) >= FEWEST_RANKED and not training
    headlines = headline_card(measured, averages, has_ranks=has_ranks)
    opening = _opening(groups, names, headlines.best, is_training=bool(training))
    not_compared, comparison_lines = [], []
    if len(runs) > 1:
        not_compared = uncompared(groups, len(runs), headlines.unranked)
        comparison_lines = comparison_notes(groups, headlines.unranked)
    costs = cost_tables([run.result for run in runs[first_costed:]], names[first_costed:])
    return {
        **assets(),
        **_models(runs, names),
        "contents": _contents(sections, has_training=bool(training)),
        "created": moment(max(run.result.created for run in runs)),
        "scope": scope(groups),
        "line": opening.line,
        "sentences": opening.sentences,
        "trends": opening.trends,
        "rule": opening.rule,
        "uncompared": not_compared,
        "comparison_notes": comparison_lines,
        "headlines": headlines,
        "card": scorecard(groups, averages),
        "interval_name": bind_percent_signs(fmt.interval_name(_all_metrics(measured))),
        "training": training,
        "sections": sections,
        "is_drawn": budget is not None,
        "citations": citations(runs),
        "costs": costs,
    }


def _image_budget(groups: list[Group], failures_of: int | None) -> PageBudget | None:
    """Return the budget for images in the page, or None if it has too many evaluations for figures and images."""
    n_drawn = 0
    for group in groups:
        n_drawn += sum(len(group.section.label_sets(model.evaluation)) for model in group.measured)
    if n_drawn > MAX_DRAWN:
        return None
    return PageBudget(MAX_BYTES, n_shares=n_shares(groups, failures_of))


def _models(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """Return the facts on each model, the findings of its quick checks and of its tried texts, and its origin.

    Args:
        names: the names of the runs on this page.
    """
    parts: dict[str, list[dict[str, object]]] = {"models": [], "preflight": [], "tries": [], "origins": []}
    for position, (run, name, full_name) in enumerate(zip(runs, names, labels(runs), strict=True)):
        parts["models"].append({"label": name, "name": full_name, "facts": headline_facts(run)})
        for finding in run.result.preflight or ():
            parts["preflight"].append({"position": position, "label": name, "finding": finding})
        for line in change_lines(run.result.evaluations):
            parts["tries"].append({"position": position, "line": line})
        parts["origins"].append(origin(run, name, position))
    return parts


def _contents(sections: Sequence[TaskResults], *, has_training: bool) -> list[Heading]:
    training = [Heading("training", "Through the training")] if has_training else []
    tasks = task_headings(Heading(section.anchor, section.title, section.data) for section in sections)
    return [SUMMARY, *training, *tasks, PROVENANCE]


def _all_metrics(groups: Sequence[Group]) -> Iterator[Metric]:
    for group in groups:
        for model in group.measured:
            yield from model.evaluation.metrics.values()


class _Opening(NamedTuple):
    """The first words of a page."""

    line: str
    """The line in large type."""
    sentences: list[Sentence]
    """The sentences below it."""
    rule: str
    """The rule by which they are chosen, for a reader."""
    trends: Mapping[str, Finding] = MappingProxyType({})
    """For a training, the trend of each section by the anchor of the section."""


def _opening(
    groups: Sequence[Group], names: Sequence[str], best: Sequence[BestModels], *, is_training: bool
) -> _Opening:
    """Return the first words of a page.

    Args:
        names: of the models.
        best: the models that could be best, if there are ranks.
    """
    if len(names) == 1:
        titles = task_titles(groups)
        sentences = []
        for group in groups:
            for finding in group.section.summary(group.models[0].evaluation):
                sentences.append(Sentence(group.anchor, finding, titles[group.anchor]))
        line = opening_line([sentence.finding for sentence in sentences])
        return _Opening(line, key_sentences(sentences), RULE)
    compared = trends(groups) if is_training else leads(groups)
    shown_first = sorted(compared, key=lambda sentence: sentence.finding.mark not in ("ahead", "gained", "lost"))
    if is_training:
        by_section = {sentence.anchor: sentence.finding for sentence in compared}
        return _Opening(trend_line(compared), shown_first[:MOST], RULE_OF_TRAINING, by_section)
    line = best_line(compared, best, groups, names) if best else lead_line(compared, len(names))
    return _Opening(line, shown_first[:MOST], RULE_OF_SEVERAL)


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

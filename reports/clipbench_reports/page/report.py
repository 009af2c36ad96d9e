"""The report: one HTML file with no outside reference, made from results alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from markupsafe import Markup

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import is_one_training
from clipbench.results.provenance import cost_table, moment
from clipbench.results.run import Run
from clipbench.results.shown_samples import evenly_spaced
from clipbench.results.table.html import tight
from clipbench.stats.claims import one_page
from clipbench.training.history import history_of_runs
from clipbench_reports.drawing.marks import Axis, Chart, Dots
from clipbench_reports.drawing.page import draw
from clipbench_reports.evidence.evidence import MissingEvidence
from clipbench_reports.evidence.findings import Finding, missing
from clipbench_reports.evidence.text import isolated
from clipbench_reports.figures import training
from clipbench_reports.page.groups import Group, group, notes, page_labels, scope, warnings
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Entry, assets, of_tasks, rendered, write_html
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import first_headline, headline_cards, scorecard
from clipbench_reports.page.section import TaskResults, n_shares, task_results
from clipbench_reports.page.sentences import MOST, RULE, RULE_OF_SEVERAL, Sentence, in_short, leads
from clipbench_reports.sections.gallery import MAX_BYTES, PageBudget

MAX_DRAWN = 48
"""Evaluations, or label sets, of all models together, that get figures: more would not be read, nor fit 2 MB."""
CLOUD_BREADTH, CLOUD_DOTS = 0.9, 300
"""Breadth of a small scatter on the first screen, shown at a fraction of that, and its dots of each kind: they are still seen."""


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
    headlines, further = headline_cards(measured, averages)
    all_metrics = (
        metric for each in measured for entry in each.measured for metric in entry.evaluation.metrics.values()
    )
    return {
        **assets(),
        "models": [{"label": name, "facts": headline_facts(run)} for name, run in labelled],
        "preflight": [
            {"place": place, "label": name, "finding": finding}
            for place, (name, run) in enumerate(labelled)
            for finding in run.result.preflight or ()
        ],
        "contents": [
            SUMMARY,
            *([Entry("training", "Through the training")] if training else []),
            Entry("scorecard", "Scorecard"),
            *of_tasks(Entry(each.anchor, each.title, each.data) for each in sections),
            PROVENANCE,
        ],
        "created": moment(max(run.result.created for run in runs)),
        "scope": scope(groups),
        "sentences": [*firsts, *in_short(_sentences(groups, len(runs)))],
        "leads": {each.anchor: each.finding for each in found},
        "rule": RULE if is_one else RULE_OF_SEVERAL,
        "warnings": warnings(groups),
        "notes": notes(groups),
        "rows": [_overview(each, results) for each, results in zip(measured, sections, strict=True)],
        "headlines": headlines,
        "further": further,
        "card": scorecard(groups, averages),
        "interval_name": tight(fmt.interval_name(all_metrics)),
        "training": training,
        "sections": sections,
        "is_drawn": budget is not None,
        "citations": citations(runs),
        "costs": cost_table([run.result for _, run in labelled[-1:]], names[-1:])
        if training
        else cost_table([run.result for run in runs], names),
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
    for draws in (
        partial(training.progress, history, runs, titles),
        partial(training.track, [history], [history.label]),
    ):
        try:
            made = draws()
            drawn.append(replace(made, n_columns=min(3, len(made.panels))))
        except MissingEvidence:
            continue
    return drawn


def _sentences(groups: list[Group], n_models: int) -> list[Sentence]:
    """Return all sentences of one model; of several, what is missing."""
    if n_models == 1:
        return [
            Sentence(each.anchor, finding)
            for each in groups
            for finding in each.section.summary(each.entries[0].evaluation)
        ]
    sentences = []
    for each in groups:
        for gap in each.gaps:
            models = "all models" if len(gap.labels) == n_models else ", ".join(map(isolated, gap.labels))
            finding = missing(f"{each.task}@{each.data}", f"{gap.status} ({models})", gap.reason)
            sentences.append(Sentence(each.anchor, finding))
    return sentences


def _overview(measured: Group, results: TaskResults) -> dict[str, object]:
    """Return the row of a task on the first screen: its first headline metric, and its most telling failure or its cloud."""
    # Of checkpoints the failures of the last count, and so those of the last model come first.
    galleries = (each for part in reversed(results.parts) for block in part.blocks for each in block.galleries)
    images = (image for each in galleries for failure in each.failures[:1] for image in failure.images)
    return {
        "anchor": measured.anchor,
        "title": results.title,
        "data": measured.data,
        "metric": first_headline(measured),
        "thumb": next((image for image in images if image.address), None),
        "cloud": _cloud(results),
    }


def _cloud(results: TaskResults) -> Markup | None:
    """Return the first scatter of a task, of one model, without axes and words, which stand in the section."""
    blocks = [*results.joint, *(block for part in results.parts for block in part.blocks)]
    for figure in (figure for block in blocks for figure in block.figures):
        for panel in figure.panels:
            dots = [_few(mark) for mark in panel.marks if isinstance(mark, Dots) and mark.is_dense]
            if len(dots) > 1:
                x, y = (Axis(low=axis.low, high=axis.high) for axis in (panel.x, panel.y))
                bare = replace(panel, x=x, y=y, marks=dots, title="", model=None)
                small = replace(figure, panels=[bare], n_columns=1, breadth=CLOUD_BREADTH)
                return Markup(re.sub(r' role="img" aria-label="[^"]*"', ' aria-hidden="true"', draw(small), count=1))
    return None


def _few(dots: Dots) -> Dots:
    rows = evenly_spaced(len(dots.xs), CLOUD_DOTS)
    return replace(dots, name="", ids=(), xs=[dots.xs[row] for row in rows], ys=[dots.ys[row] for row in rows])

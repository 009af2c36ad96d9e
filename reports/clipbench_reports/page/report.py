"""The report: one HTML file with no outside reference, made from results alone."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape

from clipbench.errors import ClipbenchError, UsageError
from clipbench.files import write_atomic
from clipbench.results import numbers as fmt
from clipbench.results.costs import cost_table
from clipbench.results.provenance import moment
from clipbench.results.run import Run
from clipbench.results.table import Table, as_html
from clipbench.training.history import history_of_runs
from clipbench_reports import figures
from clipbench_reports.compiled import environment
from clipbench_reports.drawing import page
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.drawing.told import told
from clipbench_reports.galleries.images import MAX_BYTES, PageBudget
from clipbench_reports.page.contents import PROVENANCE, SUMMARY, Entry, of_tasks
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.groups import Group, group, notes, page_labels, scope, warnings
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import headline_cards, scorecard
from clipbench_reports.page.section import n_shares, task_results
from clipbench_reports.page.sentences import leads
from clipbench_reports.page.sentences.findings import Finding, missing
from clipbench_reports.page.sentences.highlights import MOST, RULE, Sentence, in_short
from clipbench_reports.page.summary import summary_rows
from clipbench_reports.page.text import isolated, slug

CONTROL_CHARACTERS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, *range(128, 160)], "\ufffd")
"""HTML may hold none of them; a damaged file name may."""

SHEETS = ("page", "contents", "summary", "scorecard", "section", "figure", "failure")
"""The style sheets of the page's parts, in the order in which they are joined; that for paper is the last."""
SCRIPTS = ("page", "contents", "summary", "scorecard", "figure", "download", "failure")
"""The scripts of the page's parts, likewise: each knows only the first, and keeps its names to itself."""

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
    if not runs:
        raise UsageError("a report needs at least one run: got none")
    write_page("report.html.j2", _context(runs, prints_all=prints_all), path)


def write_page(template: str, context: Mapping[str, object], path: Path) -> None:
    """Render a template and write the page, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    text = _environment().get_template(template).render(**context).translate(CONTROL_CHARACTERS)
    write_atomic({path: text.encode("utf-8", errors="replace")})  # a lone surrogate of a file name becomes "?"


def assets(*sheets: str) -> dict[str, Markup]:
    """Return style and script of a page, and a policy under which it asks for nothing and runs no other script.

    Args:
        sheets: further style sheets, over those of the report.
    """
    style = "\n".join(_static(f"{name}.css") for name in (*SHEETS, *sheets, "print"))
    script = "\n".join(_static(f"{name}.js") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}


def _static(name: str) -> str:
    return files("clipbench_reports").joinpath(f"static/{name}").read_text(encoding="utf-8")


def _context(runs: Sequence[Run], *, prints_all: bool = False) -> dict[str, object]:
    """Return what the template writes."""
    names, groups = page_labels(runs), group(runs)
    is_one = len(runs) == 1
    measured = [each for each in groups if each.measured]
    training = _training(runs, {each.task: each.title for each in groups})
    failures_of = len(runs) - 1 if training else None
    n_drawn = sum(len(each.section.label_sets(entry.evaluation)) for each in measured for entry in each.measured)
    budget = PageBudget(MAX_BYTES, n_shares=n_shares(groups, failures_of)) if n_drawn <= MAX_DRAWN else None
    sections = [task_results(each, budget=budget, failures_of=failures_of) for each in measured]
    found = leads.leads(groups) if not is_one else []
    averages = {name: run.result.average for name, run in zip(names, runs, strict=True)}
    headlines, further = headline_cards(measured, averages)
    entries = [Entry(each.anchor, each.title, each.data) for each in sections]
    all_metrics = (
        metric for each in measured for entry in each.measured for metric in entry.evaluation.metrics.values()
    )
    return {
        **assets(),
        "models": [{"label": name, "facts": headline_facts(run)} for name, run in zip(names, runs, strict=True)],
        "preflight": [
            {"place": place, "label": name, "finding": finding}
            for place, (name, run) in enumerate(zip(names, runs, strict=True))
            for finding in run.result.preflight or ()
        ],
        "contents": [
            SUMMARY,
            *([Entry("training", "Through the training")] if training else []),
            Entry("scorecard", "Scorecard"),
            *of_tasks(entries),
            PROVENANCE,
        ],
        "created": moment(max(run.result.created for run in runs)),
        "scope": scope(groups),
        "sentences": [*(_changes(training) or _first(found)), *in_short(_sentences(groups, len(runs)))],
        "leads": {each.anchor: each.finding for each in found},
        "rule": RULE if is_one else leads.RULE,
        "warnings": warnings(groups),
        "notes": notes(groups),
        "rows": summary_rows(measured, sections),
        "headlines": headlines,
        "further": further,
        "card": scorecard(groups, averages),
        "interval_name": _tight(fmt.interval_name(all_metrics)),
        "training": training,
        "sections": sections,
        "is_drawn": budget is not None,
        "prints_all": prints_all,
        "citations": citations(runs),
        "costs": cost_table([run.result for run in runs[-1:]], names[-1:])
        if training
        else cost_table([run.result for run in runs], names),
        "origins": [origin(run, name, place) for place, (name, run) in enumerate(zip(names, runs, strict=True))],
    }


def _changes(training: Sequence[Chart]) -> list[Sentence]:
    """Return what changed through a training, of which the comparison of its checkpoints says less."""
    return [Sentence("training", Finding("plain", chart.title)) for chart in training[-1:]]


def _first(found: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences on several models that stand at the top: those that tell one ahead come first."""
    return sorted(found, key=lambda each: each.finding.mark != "ahead")[:MOST]


def _training(runs: Sequence[Run], titles: Mapping[str, str]) -> list[Chart]:
    """Return what the metrics do through a training, where the runs are of one training's checkpoints.

    First the headline metrics, then the gap with cosines and recall.
    """
    if len(runs) < 2 or any(run.result.model.get("step") is None for run in runs):
        return []
    try:
        history = history_of_runs(runs)
    except ClipbenchError:
        return []  # of several trainings, or measured in different ways: the warnings above the sections say so
    drawn = []
    draws = (partial(figures.progress, history, runs, titles), partial(figures.track, [history], [history.label]))
    for draw in draws:
        try:
            made = draw()
            drawn.append(replace(made, n_columns=min(3, len(made.panels))))
        except MissingEvidence:
            continue
    return drawn


def _environment() -> Environment:
    """Return what renders the templates, and knows how numbers are written."""
    return environment(
        "clipbench_reports",
        {
            "number": fmt.number,
            "unit": fmt.symbol,
            "interval": fmt.interval,
            "count": fmt.count,
            "at": _on_axis,
            "prose": _prose,
            "listed": _listed,
            "slug": slug,
            "tight": _tight,
            "breakable": _breakable,
            "drawn": page.draw,
            "told": _told,
            "drawn_narrow": page.draw_narrow,
            "drawn_apart": page.draw_apart,
            "alt": page.alt,
        },
    )


def _on_axis(fraction: float) -> str:
    """Return where a fraction lies on the common axis, as a CSS percentage; one outside stands at the end."""
    return f"{100 * min(1.0, max(0.0, fraction)):.4g}%"


def _prose(text: str) -> Markup:
    """Return a text escaped, with what stands in backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r'<code class="typed">\1</code>', str(escape(_tight(text)))))


def _told(figure: Chart) -> Markup:
    """Return the numbers of a figure escaped as content, in which quotation marks may stand."""
    return Markup(told(figure).replace("&", "&amp;").replace("<", "&lt;"))


def _listed(table: Table) -> Markup:
    """Return a table without its title, which stands above it."""
    return Markup(as_html(replace(table, title=""), "list"))


def _breakable(name: str) -> Markup:
    """Return a name escaped, in which a line may end after a slash."""
    return Markup("/<wbr>").join(name.split("/"))


def _tight(text: str) -> str:
    """Return a text in which no line breaks between a number and its percent sign."""
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


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

"""The page of a comparison: the outcomes of the gate, all differences and verdicts, and the samples that changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from clipbench.comparison.chain import Chain
from clipbench.comparison.explanation_records import Explanation
from clipbench.comparison.formats import difference_tables as tables
from clipbench.comparison.gate_outcomes import QUIET, REPORTED, GateResult, Outcome
from clipbench.comparison.metric_difference import Difference, Verdict
from clipbench.comparison.records import Comparison
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import split_evaluation
from clipbench.results.model_costs import cost_tables
from clipbench.results.numbers import change_interval, quantity
from clipbench.results.provenance import moment
from clipbench.results.run import Run
from clipbench.results.short_names import last_parts
from clipbench.results.table import Cell, Column, Row, Table, as_html
from clipbench.results.table.html import mark
from clipbench.results.titles import first_headline, readable
from clipbench_reports.drawing.marks import Axis, Chart
from clipbench_reports.figures.chain import staircases
from clipbench_reports.figures.differences import (
    difference_axis,
    difference_panel,
    relative_width,
    row_names,
    select_differences,
)
from clipbench_reports.galleries import MAX_BYTES, PageBudget
from clipbench_reports.page.explanation import explanation_part
from clipbench_reports.page.flipped import flipped_samples
from clipbench_reports.page.groups import anchors
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Heading, assets, render_template, task_headings, write_html
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.relabelled import relabelled_parts
from clipbench_reports.page.scorecard import arrow
from clipbench_reports.sections.section import load_section
from clipbench_reports.text import interleave, sentence_case, two_lines

GLYPHS: Mapping[tables.Rating, str] = {"bad": "▲", "doubtful": "■", "good": "●", "open": "○"}

BREADTH = 1.2
"""Width of a figure next to the samples that changed."""
NAME_LENGTH = 24
"""Characters per line of the name of a row, which has two lines."""
MAX_ROWS, MAX_LISTED = 12, 8
"""Rows of a figure and of a table that are not folded."""
N_NAMED: Mapping[Verdict, int] = {"worse": 3, "better": 3, "different": 1}
"""Metrics of a verdict that are named at the top: the surest of each evaluation before the second of any."""
MOST_OUTCOMES = 8
"""Outcomes of the gate that are not folded."""


def write_compare(
    comparisons: Sequence[Comparison],
    runs: Sequence[Run | None],
    path: Path,
    explanations: Sequence[Explanation | None] = (),
    chain: Chain | None = None,
) -> None:
    """Write the page of comparisons with one base, whole or not at all.

    Args:
        runs: the base, then the candidate of each comparison, None for results that are not a run of clipbench.
        explanations: where each candidate got worse, empty, or None for a candidate, if that was not asked for.
        chain: the steps from the base to the only candidate, None if there are none.

    Raises:
        UsageError: the file cannot be written.
    """
    write_html(compare_html(comparisons, runs, explanations=explanations, chain=chain), path)


def compare_html(
    comparisons: Sequence[Comparison],
    runs: Sequence[Run | None],
    *,
    swap: str = "",
    explanations: Sequence[Explanation | None] = (),
    chain: Chain | None = None,
) -> str:
    """Return the page of comparisons with one base, as ``write_compare`` writes it.

    Args:
        comparisons: with one base.
        runs: the base, then the candidate of each comparison.
        explanations: where each candidate got worse, for a section each.
        swap: address of the page on which base and candidate change places, empty to offer none.
        chain: the steps from the base to the only candidate, None if there are none.
    """
    base, *candidates = runs
    explained = []
    for explanation, candidate in zip(explanations, candidates, strict=False):
        if explanation is not None and base is not None and candidate is not None:
            explained.append(explanation_part(explanation, [base, candidate]))
    context = _context(comparisons, runs)
    steps = None
    if chain is not None:
        steps = {"figures": staircases(chain), "table": Markup(as_html(chain.table(), "claims"))}
        context["contents"] = [SUMMARY, Heading("chain", "Step by step"), *context["contents"][1:]]
    return render_template("compare.html.j2", **context, swap=swap, explanations=explained, chain=steps)


class _Model(NamedTuple):
    """A model of the page: its name there, and its run, None for results of another tool."""

    name: str
    run: Run | None


def _context(comparisons: Sequence[Comparison], runs: Sequence[Run | None]) -> dict[str, Any]:
    names = last_parts([comparisons[0].base, *(comparison.candidate for comparison in comparisons)])
    models = [_Model(name, run) for name, run in zip(names, runs, strict=True)]
    base, *candidates = models
    ids = [evaluation_anchors(comparison, index, len(comparisons)) for index, comparison in enumerate(comparisons)]
    budget = PageBudget(MAX_BYTES)
    parts = []
    for comparison, anchors_by_name, candidate in zip(comparisons, ids, candidates, strict=True):
        parts.append(_part(comparison, anchors_by_name, base, candidate, budget))
    rows, reach = difference_rows(comparisons, ids)
    # Results of other tools have no run, and so no costs, citations or provenance.
    clipbench_runs, run_names, origins = [], [], []
    for position, model in enumerate(models):
        if model.run is not None:
            clipbench_runs.append(model.run)
            run_names.append(model.name)
            origins.append(origin(model.run, model.name, position))
    created = ""
    if clipbench_runs:
        created = moment(max(run.result.created for run in clipbench_runs))
    return {
        **assets("compare", "explanation"),
        "prints_all": False,
        "training": [],
        "models": [{"label": model.name, "name": model.name, "facts": _facts(model.run)} for model in models],
        "contents": [SUMMARY, *_headings(parts), PROVENANCE],
        "created": created,
        "glyphs": tables.VERDICTS,
        "rows": rows,
        "reach": reach,
        "overview": overview_html(comparisons, names, ids) if len(comparisons) > 1 else "",
        "parts": parts,
        "citations": citations(clipbench_runs),
        "costs": cost_tables([run.result for run in clipbench_runs], run_names),
        "origins": origins,
    }


def _facts(run: Run | None) -> str:
    return headline_facts(run) if run else "results without samples: values only"


def _headings(parts: Sequence[Mapping[str, Any]]) -> list[Heading]:
    """Return a heading for each candidate, or for each evaluation of the only one."""
    if len(parts) > 1:
        return [Heading(f"c{position}", part["label"]) for position, part in enumerate(parts, 1)]
    evaluations = parts[0]["evaluations"]
    return task_headings(
        Heading(evaluation["anchor"], evaluation["title"], evaluation["data"]) for evaluation in evaluations
    )


def _part(
    comparison: Comparison, anchors: Mapping[str, str], base: _Model, candidate: _Model, budget: PageBudget
) -> dict[str, Any]:
    """Return what the template shows of a candidate.

    Args:
        anchors: the ids of the candidate's evaluations, by name.
    """
    severity = tables.rating(comparison)
    verdict_summaries = [_verdict_summary(comparison, verdict, anchors) for verdict in tables.VERDICTS]
    tally = tables.tally(comparison.differences)
    by_evaluation = tables.by_evaluation(comparison.differences)
    return {
        "label": candidate.name,
        "title": f"{candidate.name} against {base.name}",
        "standing": severity,
        "glyph": GLYPHS[severity],
        "word": comparison.verdict.capitalize(),
        "reason": comparison.reason,
        **_gate_parts(comparison.gate),
        "tally": tally,
        "verdicts": [summary for summary in verdict_summaries if summary],
        "refused": [str(refusal) for refusal in comparison.refused],
        "warnings": comparison.warnings,
        "notes": comparison.notes,
        "evaluations": _evaluation_parts(comparison, anchors, base, candidate, budget),
        "n_metrics": len(comparison.differences),
        "table": difference_html(by_evaluation | tables.by_grouping(comparison), tally),
    }


def _gate_parts(gate: GateResult) -> dict[str, object]:
    """Return the outcomes of the gate, those that need attention first, and folded what is beyond the first few."""
    reported = gate.with_status(*REPORTED)
    shown = reported[:MOST_OUTCOMES]
    folded = [*reported[MOST_OUTCOMES:], *gate.with_status(*QUIET)]
    return {
        "gate_counts": gate.counts,
        "gate_glyph": _gate_glyph(gate),
        "gate": gate_html(shown) if shown else "",
        "more_gate": gate_html(folded) if folded else "",
        "n_more_gate": len(folded),
        "ungated": [sentence_case(line) for line in tables.ungated_lines(gate)],
    }


def _evaluation_parts(
    comparison: Comparison, anchors: Mapping[str, str], base: _Model, candidate: _Model, budget: PageBudget
) -> list[dict[str, object]]:
    """Return the leading differences of each evaluation, with what other labels change and the samples that changed."""
    by_evaluation = tables.by_evaluation(comparison.differences)
    relabelled: dict[str, list[dict[str, Any]]] = {}
    flipped: dict[str, list[dict[str, Any]]] = {}
    if base.run and candidate.run:
        runs = (base.run, candidate.run)
        # They are few, and first to have room for their images.
        for name in by_evaluation:
            relabelled[name] = relabelled_parts(comparison, name, runs, budget)
        for metric in flipped_samples(comparison, *runs, budget):
            flipped.setdefault(metric["evaluation"], []).append(metric)
    # One axis for all evaluations of the candidate, so that their differences can be compared by eye.
    fractions = [difference for difference in comparison.differences if difference.base.unit == "fraction"]
    axis = replace(difference_axis(fractions, n_steps=4), label="Percentage points")
    names = (base.name, candidate.name)
    parts = []
    for name, differences in by_evaluation.items():
        part = {
            "anchor": anchors[name],
            "title": evaluation_title(name),
            "data": split_evaluation(name).data,
            "tally": tables.tally(differences),
            "relabelled": relabelled.get(name, []),
            "similarity": similarity_html(comparison, name),
            "flipped": flipped.get(name, []),
        }
        parts.append(part | _leading_differences(differences, axis, names))
    return parts


def _gate_glyph(gate: GateResult) -> str:
    """Return the mark of the gravest outcome, empty without a gate."""
    for status, (glyph, _) in tables.STATUSES.items():
        if gate.with_status(status):
            return glyph
    return ""


def _verdict_summary(comparison: Comparison, verdict: Verdict, anchors: Mapping[str, str]) -> dict[str, object]:
    """Return the number of metrics with a verdict, and the surest of them with their headings, nothing without any."""
    decided = [difference for difference in comparison.differences if difference.verdict == verdict]
    if not decided:
        return {}
    by_certainty = interleave(sorted(decided, key=relative_width), lambda difference: difference.evaluation)
    named = by_certainty[: N_NAMED.get(verdict, 0)]
    return {
        "glyph": tables.VERDICTS[verdict],
        "count": f"{len(decided)} {tables.TALLIED[verdict]}",
        "surest": [
            (difference.label, tables.difference_text(difference), anchors[difference.evaluation])
            for difference in named
        ],
        "n_more": len(decided) - len(named) if named else 0,
    }


def _leading_differences(differences: Sequence[Difference], axis: Axis, names: tuple[str, str]) -> dict[str, object]:
    """Return the leading differences of an evaluation: a figure if its headline is a fraction, otherwise a table.

    ``all_fractions`` is a figure of all fractions, unless the first has them.
    """
    fractions = [difference for difference in differences if difference.base.unit == "fraction"]
    all_fractions = _figure(fractions, axis, names, f"All {len(fractions)} fractions") if fractions else None
    if headline_difference(differences).base.unit != "fraction":
        table = difference_html({"": select_differences(differences, MAX_LISTED)})
        return {"figure": None, "table": table, "all_fractions": all_fractions}
    few = select_differences(fractions, MAX_ROWS)
    figure = _figure(few, axis, names, f"{sentence_case(tables.tally(differences))}.")
    if len(few) == len(fractions):
        return {"figure": figure, "table": "", "all_fractions": None}
    reading = f"{len(few)} of {len(fractions)} fractions: headline metrics, and the surest differences."
    return {"figure": replace(figure, reading=reading), "table": "", "all_fractions": all_fractions}


def _figure(differences: Sequence[Difference], axis: Axis, names: tuple[str, str], title: str) -> Chart:
    """Return a figure of differences, with the mark of each verdict after the name of its row."""
    metrics = row_names(differences, two_lines, NAME_LENGTH)
    glyphs = [tables.VERDICTS[difference.verdict] for difference in differences]
    rows = [f"{metric} {glyph}" for metric, glyph in zip(metrics, glyphs, strict=True)]
    return Chart(title=title, panels=[difference_panel(differences, rows, axis, names)], breadth=BREADTH, reading="")


SHOWN = (0, 1, 2, 3, 4, 6, 7, 9, 8)
"""Columns of the table that all formats share: the verdict comes last, and the p-value that decides it is enough."""


def difference_rows(
    comparisons: Sequence[Comparison], ids: Sequence[Mapping[str, str]]
) -> tuple[list[dict[str, object]], str]:
    """Return a row for the headline of each evaluation, with a line for each candidate that has it.

    The lines have positions on an axis of fractions that all rows share: 0.5 is a difference of zero. The second value
    is the largest difference of the axis, in words.
    """
    headlines: dict[str, dict[int, Difference]] = {}
    fractions = []
    for candidate_index, comparison in enumerate(comparisons):
        for evaluation, differences in tables.by_evaluation(comparison.differences).items():
            headline = headline_difference(differences)
            headlines.setdefault(evaluation, {})[candidate_index] = headline
            if headline.base.unit == "fraction":
                fractions.append(headline)
    axis = difference_axis(fractions)
    reach = max(abs(axis.low), abs(axis.high)) / 100
    rows: list[dict[str, object]] = []
    for evaluation, by_candidate in headlines.items():
        first_candidate, first = next(iter(by_candidate.items()))
        lines = [_candidate_line(headline, index + 1, reach) for index, headline in by_candidate.items()]
        rows.append(
            {
                "anchor": ids[first_candidate][evaluation],
                "title": evaluation_title(evaluation),
                "data": split_evaluation(evaluation).data,
                "metric": first.title,
                "direction": arrow(first.base),
                "lines": lines,
            }
        )
    return rows, f"{100 * reach:g} pp" if fractions else ""


def headline_difference(differences: Sequence[Difference]) -> Difference:
    """Return the difference of the first headline metric of an evaluation, or of its first metric if it has none."""
    name = first_headline({difference.name: difference.candidate for difference in differences})
    return next(difference for difference in differences if difference.name == name)


def _candidate_line(difference: Difference, position: int, reach: float) -> dict[str, object]:
    base, candidate, unit = difference.base, difference.candidate, difference.base.unit

    def at(value: float | None) -> float | None:
        if value is None or unit != "fraction":
            return None
        return 0.5 + 0.5 * value / reach

    interval = ""
    if difference.low is not None:
        interval = change_interval(difference.low, difference.high, unit)
    return {
        "position": position,
        "both": f"{quantity(base.value, unit)} → {quantity(candidate.value, candidate.unit)}",
        "difference": tables.difference_text(difference),
        "interval": interval,
        "verdict": difference.verdict,
        "glyph": tables.VERDICTS[difference.verdict],
        "at": at(difference.value),
        "low": at(difference.low),
        "high": at(difference.high),
    }


def evaluation_title(evaluation: str) -> str:
    """Return the title of the task of ``task@data``."""
    task = split_evaluation(evaluation).task
    return load_section(task).section.title or readable(task)


def evaluation_anchors(comparison: Comparison, candidate_index: int, n_candidates: int) -> dict[str, str]:
    """Return the ids of a candidate's evaluations. With several, each id begins with the candidate's index."""
    names = list(tables.by_evaluation(comparison.differences))
    anchor_by_name = zip(names, anchors([split_evaluation(name) for name in names]), strict=True)
    prefix = f"c{candidate_index + 1}-" if n_candidates > 1 else ""
    return {name: prefix + anchor for name, anchor in anchor_by_name}


def difference_html(groups: Mapping[str, Sequence[Difference]], facts: str = "") -> Markup:
    """Return differences as a table, under the name of each group that has one."""
    differences = [difference for group_differences in groups.values() for difference in group_differences]
    table = tables.difference_table("", differences).select(SHOWN)
    ungrouped = iter(table.rows)
    rows: list[Row | str] = []
    for name, group_differences in groups.items():
        if name:
            rows.append(name)
        rows += islice(ungrouped, len(group_differences))
    return _table_html(replace(table, facts=facts, rows=rows), "verdicts")


def gate_html(outcomes: Sequence[Outcome]) -> Markup:
    """Return outcomes of a gate as a table."""
    return _table_html(tables.gate_table(outcomes), "verdicts gate")


def similarity_html(comparison: Comparison, evaluation: str) -> Markup | None:
    """Return the representational similarity of an evaluation's vectors as a table, or None if there is none."""
    similarities = tables.by_evaluation(comparison.representational_similarity).get(evaluation)
    return _table_html(tables.similarity_table(similarities), "likeness") if similarities else None


def _table_html(table: Table, css: str) -> Markup:
    """Return a table, with a capital at the start of each header except for p-values."""
    columns = []
    for column in table.columns:
        is_p_value = column.header.startswith("p")
        columns.append(column if is_p_value else replace(column, header=sentence_case(column.header)))
    return Markup(as_html(replace(table, columns=columns), css))


def overview_html(comparisons: Sequence[Comparison], names: Sequence[str], ids: Sequence[Mapping[str, str]]) -> Markup:
    """Return a table of all metrics by evaluation, with the difference of every candidate.

    A task that was asked twice on the same data has its metrics twice.

    Args:
        names: of the base, then of each candidate.
        ids: the ids of each candidate's evaluations.
    """
    by_metric: dict[tuple[str, str, int], dict[int, Difference]] = {}
    for candidate_index, comparison in enumerate(comparisons):
        counts = Counter[tuple[str, str]]()
        for difference in comparison.differences:
            name = difference.evaluation, difference.name
            counts[name] += 1
            by_metric.setdefault((*name, counts[name]), {})[candidate_index] = difference
    rows_by_evaluation = group_values(
        (evaluation, _overview_row(by_candidate, ids)) for (evaluation, _, _), by_candidate in by_metric.items()
    )
    rows: list[Row | str] = []
    for evaluation, metric_rows in rows_by_evaluation.items():
        rows += [evaluation, *metric_rows]
    base, *candidates = names
    table = Table(
        facts="Values of the base, and the differences of each candidate",
        columns=[
            Column("Metric", is_number=False),
            Column(f"Base: {base}", model=0),
            *(Column(candidate, model=position) for position, candidate in enumerate(candidates, 1)),
        ],
        rows=rows,
    )
    return Markup(as_html(table, "verdicts overview"))


def _overview_row(by_candidate: Mapping[int, Difference], ids: Sequence[Mapping[str, str]]) -> Row:
    first = next(iter(by_candidate.values()))
    cells = [tables.metric_cell(first), Cell(quantity(first.base.value, first.base.unit), sort_key=first.base.value)]
    for candidate_index, names in enumerate(ids):
        if candidate_index not in by_candidate:
            cells.append(Cell("not compared", sort_key=""))
            continue
        difference = by_candidate[candidate_index]
        link = Markup('<a href="#{}">{}</a>').format(names[first.evaluation], tables.difference_text(difference))
        verdict = f'<span class="verdict">{mark(tables.VERDICTS[difference.verdict])}{difference.verdict}</span>'
        css = difference.verdict.replace(" ", "-")
        cells.append(Cell(difference.verdict, html=f"{link} {verdict}", sort_key=difference.value, css=css))
    return cells

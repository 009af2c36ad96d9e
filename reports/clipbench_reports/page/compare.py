"""The page of a comparison: what the gate says, all differences with their verdicts, and the samples that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clipbench.comparison.explanation_records import Explanation
from clipbench.comparison.formats import tables
from clipbench.comparison.gate import REPORTED, GatedComparison
from clipbench.comparison.records import Comparison, Difference, Outcome, Verdict
from clipbench.results.model_costs import cost_tables
from clipbench.results.numbers import change_interval, quantity
from clipbench.results.provenance import moment
from clipbench.results.run import Run
from clipbench.results.short_names import last_parts
from clipbench.results.table import Cell, Column, Row, Table, as_html
from clipbench.results.table.html import mark
from clipbench.results.titles import first_headline, readable
from clipbench_reports.drawing.marks import Axis, Chart
from clipbench_reports.figures.differences import difference_axis, difference_panel, doubt, most_telling, row_names
from clipbench_reports.galleries import MAX_BYTES, PageBudget
from clipbench_reports.page.explanation import explanation_part
from clipbench_reports.page.flipped import flipped
from clipbench_reports.page.groups import anchors
from clipbench_reports.page.html import PROVENANCE, SUMMARY, Heading, assets, of_tasks, rendered, write_html
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.scorecard import arrow
from clipbench_reports.sections.section import load_section
from clipbench_reports.text import in_turn, sentence_case, two_lines

GLYPHS: Mapping[tables.Standing, str] = {"bad": "▲", "doubtful": "■", "good": "●", "open": "○"}

BREADTH = 1.2
"""Width of a figure beside the samples that changed."""
NAME_LENGTH = 24
"""Letters of a line of a name beside a row, which has two."""
MAX_ROWS, MAX_LISTED = 12, 8
"""Rows of a figure and of a table that stand open."""
N_NAMED: Mapping[Verdict, int] = {"worse": 3, "better": 3, "different": 1}
"""Metrics of a verdict that are named at the top: the surest of each evaluation before the second of any."""
MOST_OUTCOMES = 8
"""Outcomes of the gate that are not folded."""


def write_compare(
    gated: Sequence[GatedComparison],
    runs: Sequence[Run | None],
    path: Path,
    explanations: Sequence[Explanation | None] = (),
) -> None:
    """Write the page of comparisons with one base, whole or not at all.

    Args:
        runs: the base, then the candidate of each comparison; None for results that are no run of clipbench.
        explanations: where each candidate got worse; empty, or None for a candidate, if that was not asked for.

    Raises:
        UsageError: the file cannot be written.
    """
    write_html(compare_html(gated, runs, explanations=explanations), path)


def compare_html(
    gated: Sequence[GatedComparison],
    runs: Sequence[Run | None],
    *,
    swap: str = "",
    explanations: Sequence[Explanation | None] = (),
) -> str:
    """Return the page of comparisons with one base, as ``write_compare`` writes it.

    Args:
        gated: the comparisons.
        runs: the base, then the candidate of each comparison.
        explanations: where each candidate got worse, for a section each.
        swap: address of the page on which base and candidate change places; without one, none is offered.
    """
    explained = [
        explanation_part(explanation, [runs[0], candidate])
        for explanation, candidate in zip(explanations, runs[1:], strict=False)
        if explanation is not None and runs[0] is not None and candidate is not None
    ]
    return rendered("compare.html.j2", {**_context(gated, runs), "swap": swap, "explanations": explained})


def _context(gated: Sequence[GatedComparison], runs: Sequence[Run | None]) -> dict[str, object]:
    comparisons = [candidate.comparison for candidate in gated]
    names = last_parts([comparisons[0].base, *(each.candidate for each in comparisons)])
    budget = PageBudget(MAX_BYTES)
    known = [(place, name, run) for place, (name, run) in enumerate(zip(names, runs, strict=True)) if run is not None]
    ids = [evaluation_anchors(each, place, len(gated)) for place, each in enumerate(comparisons)]
    rows, reach = difference_rows(comparisons, ids)
    parts = [
        _part(each, own, (names[0], name), (runs[0], run), budget)
        for each, own, name, run in zip(gated, ids, names[1:], runs[1:], strict=True)
    ]
    if len(parts) > 1:
        sections = [Heading(f"c{place}", name) for place, name in enumerate(names[1:], 1)]
    else:
        sections = of_tasks(Heading(each["anchor"], each["title"], each["data"]) for each in parts[0]["evaluations"])
    return {
        **assets("compare", "explanation"),
        "prints_all": False,
        "training": [],
        "models": [
            {
                "label": name,
                "name": name,
                "facts": headline_facts(run) if run else "results without samples: values only",
            }
            for name, run in zip(names, runs, strict=True)
        ],
        "contents": [SUMMARY, *sections, PROVENANCE],
        "created": moment(max(run.result.created for _, _, run in known)) if known else "",
        "glyphs": tables.VERDICTS,
        "rows": rows,
        "reach": reach,
        "overview": overview_html(comparisons, names, ids) if len(gated) > 1 else "",
        "parts": parts,
        "citations": citations([run for _, _, run in known]),
        "costs": cost_tables([run.result for _, _, run in known], [name for _, name, _ in known]),
        "origins": [origin(run, name, place) for place, name, run in known],
    }


Pair = tuple[str, str]


def _part(
    gated: GatedComparison,
    anchors: Mapping[str, str],
    names: Pair,
    runs: tuple[Run | None, Run | None],
    budget: PageBudget,
) -> dict[str, Any]:
    comparison, (base, candidate) = gated.comparison, runs
    changed = list(flipped(comparison, base, candidate, budget)) if base and candidate else []
    fractions = [each for each in comparison.differences if each.base.unit == "fraction"]
    axis = replace(difference_axis(fractions, n_steps=4), label="Percentage points")
    reported, passed = gated.with_status(*REPORTED), gated.with_status("pass")
    standing = tables.standing(gated)
    return {
        "label": names[1],
        "title": f"{names[1]} against {names[0]}",
        "standing": standing,
        "glyph": GLYPHS[standing],
        "word": gated.verdict.word.capitalize(),
        "reason": gated.verdict.reason,
        "gate_counts": tables.gate_counts(gated),
        "gate": gate_html(reported[:MOST_OUTCOMES]) if reported else "",
        "more_gate": gate_html([*reported[MOST_OUTCOMES:], *passed]) if reported[MOST_OUTCOMES:] or passed else "",
        "n_more_gate": len(reported[MOST_OUTCOMES:]) + len(passed),
        "tally": tables.tally(comparison.differences),
        "verdicts": [line for verdict in tables.VERDICTS if (line := _verdict(comparison, verdict, anchors))],
        "ungated": sentence_case(tables.ungated_line(gated)),
        "refused": [str(each) for each in comparison.refused],
        "notes": comparison.notes,
        "evaluations": [
            {
                "anchor": anchors[name],
                "title": evaluation_title(name),
                "data": name.partition("@")[2],
                "tally": tables.tally(differences),
                "similarity": similarity_html(comparison, name),
                "flipped": [each for each in changed if each["evaluation"] == name],
                **_most_telling(differences, axis, names),
            }
            for name, differences in tables.by_evaluation(comparison.differences).items()
        ],
        "n_metrics": len(comparison.differences),
        "table": difference_html(
            tables.by_evaluation(comparison.differences) | tables.by_grouping(comparison),
            tables.tally(comparison.differences),
        ),
    }


def _verdict(comparison: Comparison, verdict: Verdict, anchors: Mapping[str, str]) -> dict[str, object]:
    """Return the number of metrics with a verdict, and the surest of them with their headings; nothing without any."""
    decided = [each for each in comparison.differences if each.verdict == verdict]
    named = in_turn(sorted(decided, key=doubt), lambda each: each.evaluation)[: N_NAMED.get(verdict, 0)]
    if not decided:
        return {}
    return {
        "glyph": tables.VERDICTS[verdict],
        "count": f"{len(decided)} {tables.TALLIED[verdict]}",
        "named": [(each.label, tables.difference_text(each), anchors[each.evaluation]) for each in named],
        "n_more": len(decided) - len(named) if named else 0,
    }


def _most_telling(differences: Sequence[Difference], axis: Axis, names: Pair) -> dict[str, object]:
    """Return the most telling differences of an evaluation: a figure if its headline is a fraction, or else a table.

    ``whole`` is a figure of all fractions, unless the first has them.
    """
    fractions = [each for each in differences if each.base.unit == "fraction"]
    if telling(differences).base.unit != "fraction":
        whole = _figure(fractions, axis, names, f"All {len(fractions)} fractions") if fractions else None
        table = difference_html({"": most_telling(differences, MAX_LISTED)})
        return {"figure": None, "table": table, "whole": whole}
    few = most_telling(fractions, MAX_ROWS)
    figure = _figure(few, axis, names, f"{sentence_case(tables.tally(differences))}.")
    if len(few) == len(fractions):
        return {"figure": figure, "table": "", "whole": None}
    reading = f"{len(few)} of {len(fractions)} fractions: headline metrics, and the surest differences."
    whole = _figure(fractions, axis, names, f"All {len(fractions)} fractions")
    return {"figure": replace(figure, reading=reading), "table": "", "whole": whole}


def _figure(shown: Sequence[Difference], axis: Axis, names: Pair, title: str) -> Chart:
    """Return a figure in which the mark of each verdict stands beside its row."""
    names_of_rows = row_names(shown, two_lines, NAME_LENGTH)
    rows = [f"{name} {tables.VERDICTS[each.verdict]}" for name, each in zip(names_of_rows, shown, strict=True)]
    return Chart(
        title=title,
        panels=[difference_panel(shown, rows, axis, names)],
        breadth=BREADTH,
        reading="",
    )


SHOWN = (0, 1, 2, 3, 4, 6, 7, 9, 8)
"""Columns of the table that all formats share: the verdict comes last, and the p-value that decides it is enough."""


def difference_rows(
    comparisons: Sequence[Comparison], ids: Sequence[Mapping[str, str]]
) -> tuple[list[dict[str, object]], str]:
    """Return a row for the headline of each evaluation, with a line for each candidate that has it.

    A fraction lies on an axis that all rows share, from 0 to 1, whose middle is no difference; what it reaches to on
    both sides is returned besides, in words.
    """
    heads: dict[str, dict[int, Difference]] = {}
    for place, comparison in enumerate(comparisons):
        for evaluation, differences in tables.by_evaluation(comparison.differences).items():
            heads.setdefault(evaluation, {})[place] = telling(differences)
    fractions = [each for by_place in heads.values() for each in by_place.values() if each.base.unit == "fraction"]
    axis = difference_axis(fractions)
    reach = max(abs(axis.low), abs(axis.high)) / 100
    rows: list[dict[str, object]] = [
        {
            "anchor": ids[next(iter(by_place))][evaluation],
            "title": evaluation_title(evaluation),
            "data": evaluation.partition("@")[2],
            "metric": next(iter(by_place.values())).title,
            "direction": arrow(next(iter(by_place.values())).base),
            "lines": [_line(each, place + 1, reach) for place, each in by_place.items()],
        }
        for evaluation, by_place in heads.items()
    ]
    return rows, f"{100 * reach:g} pp" if fractions else ""


def telling(differences: Sequence[Difference]) -> Difference:
    """Return the difference that stands for those of an evaluation: of its first headline metric, or else the first."""
    name = first_headline({each.name: each.candidate for each in differences})
    return next(each for each in differences if each.name == name)


def _line(each: Difference, place: int, reach: float) -> dict[str, object]:
    unit = each.base.unit

    def at(value: float | None) -> float | None:
        return None if value is None or unit != "fraction" else 0.5 + 0.5 * value / reach

    return {
        "place": place,
        "both": f"{quantity(each.base.value, unit)} → {quantity(each.candidate.value, each.candidate.unit)}",
        "difference": tables.difference_text(each),
        "interval": change_interval(each.low, each.high, unit) if each.low is not None else "",
        "verdict": each.verdict,
        "glyph": tables.VERDICTS[each.verdict],
        "at": at(each.value),
        "low": at(each.low),
        "high": at(each.high),
    }


def evaluation_title(evaluation: str) -> str:
    """Return the title of the task of ``task@data``."""
    task = evaluation.partition("@")[0]
    return load_section(task).section.title or readable(task)


def evaluation_anchors(comparison: Comparison, place: int, n_candidates: int) -> dict[str, str]:
    """Return the ids of a candidate's evaluations; of several candidates, each begins with its place."""
    names = list(tables.by_evaluation(comparison.differences))
    pairs = [(task, data) for task, _, data in (name.partition("@") for name in names)]
    start = f"c{place + 1}-" if n_candidates > 1 else ""
    return {name: start + own for name, own in zip(names, anchors(pairs), strict=True)}


def difference_html(groups: Mapping[str, Sequence[Difference]], facts: str = "") -> Markup:
    """Return differences as a table, under the name of each group that has one."""
    table = tables.difference_table("", [each for differences in groups.values() for each in differences]).select(SHOWN)
    columns = [
        replace(each, header=each.header if each.header.startswith("p") else sentence_case(each.header))
        for each in table.columns
    ]
    own = iter(table.rows)
    rows = [row for name, those in groups.items() for row in (*([name] if name else []), *islice(own, len(those)))]
    return Markup(as_html(replace(table, facts=facts, columns=columns, rows=rows), "verdicts"))


def gate_html(outcomes: Sequence[Outcome]) -> Markup:
    """Return outcomes of a gate as a table."""
    table = tables.gate_table(outcomes)
    columns = [replace(column, header=sentence_case(column.header)) for column in table.columns]
    return Markup(as_html(replace(table, columns=columns), "verdicts gate"))


def similarity_html(comparison: Comparison, evaluation: str) -> Markup | None:
    """Return the representational similarity of an evaluation's vectors as a table; None where there is none."""
    found = tables.by_evaluation(comparison.representational_similarity).get(evaluation)
    if not found:
        return None
    table = tables.similarity_table(found)
    columns = [replace(each, header=sentence_case(each.header)) for each in table.columns]
    return Markup(as_html(replace(table, columns=columns), "likeness"))


def overview_html(comparisons: Sequence[Comparison], names: Sequence[str], ids: Sequence[Mapping[str, str]]) -> Markup:
    """Return a table of all metrics by evaluation, with the difference of every candidate.

    A task that was asked twice on the same data has its metrics twice.

    Args:
        names: of the base, then of each candidate.
        ids: those of each candidate's evaluations.
    """
    by_metric: dict[tuple[str, str, int], dict[int, Difference]] = {}
    for place, comparison in enumerate(comparisons):
        seen: dict[tuple[str, str], int] = {}
        for each in comparison.differences:
            name = each.evaluation, each.name
            seen[name] = seen.get(name, 0) + 1
            by_metric.setdefault((*name, seen[name]), {})[place] = each
    rows: dict[str, list[Row]] = {}
    for (evaluation, _, _), by_place in by_metric.items():
        rows.setdefault(evaluation, []).append(_overview_row(by_place, ids))
    table = Table(
        facts="Values of the base, and what each candidate differs by",
        columns=[
            Column("Metric", is_number=False),
            Column(f"Base: {names[0]}", model=0),
            *(Column(name, model=place) for place, name in enumerate(names[1:], 1)),
        ],
        rows=[row for evaluation, those in rows.items() for row in (evaluation, *those)],
    )
    return Markup(as_html(table, "verdicts overview"))


def _overview_row(by_place: Mapping[int, Difference], ids: Sequence[Mapping[str, str]]) -> Row:
    first = next(iter(by_place.values()))
    cells = [tables.metric_cell(first), Cell(quantity(first.base.value, first.base.unit), sort_key=first.base.value)]
    for place, names in enumerate(ids):
        if place not in by_place:
            cells.append(Cell("not compared", sort_key=""))
            continue
        own = by_place[place]
        link = Markup('<a href="#{}">{}</a>').format(names[first.evaluation], tables.difference_text(own))
        verdict = f'<span class="verdict">{mark(tables.VERDICTS[own.verdict])}{own.verdict}</span>'
        css = own.verdict.replace(" ", "-")
        cells.append(Cell(own.verdict, html=f"{link} {verdict}", sort_key=own.value, css=css))
    return cells

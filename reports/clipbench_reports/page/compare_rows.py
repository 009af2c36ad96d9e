"""The tables of a comparison's page: a row for each difference, and one table of all candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from clipbench.comparison.formats import VERDICTS, by_evaluation, difference_table, difference_text, metric_cell, tally
from clipbench.comparison.records import Comparison, Difference
from clipbench.results.numbers import quantity
from clipbench.results.table import Cell, Column, Row, Table, as_html
from clipbench.results.table.html import mark
from clipbench_reports.page.text import sentence_case

SHOWN = (0, 1, 2, 3, 4, 6, 7, 9, 8)
"""Columns of the table that all formats share: the verdict comes last, and the p-value that decides it is enough."""


def difference_html(differences: Sequence[Difference]) -> Markup:
    """Return the differences of an evaluation as a table with the tally of their verdicts for a caption."""
    table = difference_table("", differences).select(SHOWN)
    columns = [
        replace(each, header=each.header if each.header.startswith("p") else sentence_case(each.header))
        for each in table.columns
    ]
    return Markup(as_html(replace(table, facts=tally(differences), columns=columns), "verdicts"))


def overview_html(comparisons: Sequence[Comparison], names: Sequence[str]) -> Markup:
    """Return a table of all metrics by evaluation, with the difference of every candidate.

    A task that was asked twice on the same data has its metrics twice.

    Args:
        names: of the base, then of each candidate.
    """
    by_metric: dict[tuple[str, str, int], dict[int, Difference]] = {}
    for place, comparison in enumerate(comparisons):
        seen: dict[tuple[str, str], int] = {}
        for each in comparison.differences:
            name = each.evaluation, each.name
            seen[name] = seen.get(name, 0) + 1
            by_metric.setdefault((*name, seen[name]), {})[place] = each
    anchors = [
        {name: anchor(place, k) for k, name in enumerate(by_evaluation(comparison))}
        for place, comparison in enumerate(comparisons)
    ]
    rows: dict[str, list[Row]] = {}
    for (evaluation, _, _), by_place in by_metric.items():
        rows.setdefault(evaluation, []).append(_overview_row(by_place, anchors))
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


def anchor(candidate: int, evaluation: int) -> str:
    """Return the id of an evaluation's heading in a candidate's part, both by their places."""
    return f"c{candidate + 1}-{evaluation + 1}"


def _overview_row(by_place: Mapping[int, Difference], anchors: Sequence[Mapping[str, str]]) -> Row:
    first = next(iter(by_place.values()))
    base = Cell(quantity(first.base.value, first.base.unit), sort_key=first.base.value)
    return [
        metric_cell(first),
        base,
        *(
            _overview_cell(by_place[place], names[first.evaluation])
            if place in by_place
            else Cell("not compared", sort_key="")
            for place, names in enumerate(anchors)
        ),
    ]


def _overview_cell(difference: Difference, anchor: str) -> Cell:
    link = Markup('<a href="#{}">{}</a>').format(anchor, difference_text(difference))
    verdict = f'<span class="verdict">{mark(VERDICTS[difference.verdict])}{difference.verdict}</span>'
    css = difference.verdict.replace(" ", "-")
    return Cell(difference.verdict, html=f"{link} {verdict}", sort_key=difference.value, css=css)

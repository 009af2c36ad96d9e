"""The rows of a comparison's page: the headline of each evaluation, and the tables of all differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from markupsafe import Markup

from clipbench.comparison.formats import (
    VERDICTS,
    by_data,
    by_evaluation,
    by_grouping,
    difference_table,
    difference_text,
    metric_cell,
    similarity_table,
    tally,
)
from clipbench.comparison.records import Comparison, Difference, Verdict
from clipbench.results.numbers import change_interval, quantity
from clipbench.results.table import Cell, Column, Row, Table, as_html
from clipbench.results.table.html import mark
from clipbench.results.titles import readable
from clipbench_reports import figures
from clipbench_reports.page.groups import anchors
from clipbench_reports.page.text import sentence_case
from clipbench_reports.sections.loading import load_section

SHOWN = (0, 1, 2, 3, 4, 6, 7, 9, 8)
"""Columns of the table that all formats share: the verdict comes last, and the p-value that decides it is enough."""


@dataclass(frozen=True, kw_only=True)
class DifferenceLine:
    """The difference of one candidate in a metric."""

    place: int
    """That of the candidate among the models."""
    values: str
    """Those of the base and of the candidate."""
    difference: str
    interval: str
    """Nothing where there is none."""
    verdict: Verdict
    glyph: str
    at: float | None
    """Where the difference lies on the axis of all rows, whose middle, 0.5, is none; None for what is no fraction."""
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """The headline metric of an evaluation, with a line for each candidate."""

    anchor: str
    title: str
    data: str
    metric: str
    direction: str
    """``↑``, ``↓`` or nothing."""
    lines: list[DifferenceLine]


def difference_rows(comparisons: Sequence[Comparison]) -> tuple[list[DifferenceRow], str]:
    """Return a row for each evaluation, and what their axis of fractions reaches to on both sides, in words."""
    heads: dict[str, dict[int, Difference]] = {}
    for place, comparison in enumerate(comparisons):
        for evaluation, differences in by_evaluation(comparison).items():
            heads.setdefault(evaluation, {})[place] = telling(differences)
    fractions = [each for by_place in heads.values() for each in by_place.values() if each.base.unit == "fraction"]
    axis = figures.difference_axis(fractions)
    reach = max(abs(axis.low), abs(axis.high)) / 100
    ids = [evaluation_anchors(comparison, place, len(comparisons)) for place, comparison in enumerate(comparisons)]
    rows = []
    for evaluation, by_place in heads.items():
        place, first = next(iter(by_place.items()))
        rows.append(
            DifferenceRow(
                anchor=ids[place][evaluation],
                title=evaluation_title(evaluation),
                data=evaluation.partition("@")[2],
                metric=first.title,
                direction={True: "↑", False: "↓", None: ""}[first.base.higher_is_better],
                lines=[_line(each, place + 1, reach) for place, each in by_place.items()],
            )
        )
    return rows, f"{100 * reach:g} pp" if fractions else ""


def telling(differences: Sequence[Difference]) -> Difference:
    """Return the difference that stands for those of an evaluation: of its first headline metric, or else the first."""
    return next((each for each in differences if each.candidate.is_headline), differences[0])


def _line(each: Difference, place: int, reach: float) -> DifferenceLine:
    is_fraction = each.base.unit == "fraction"

    def at(value: float | None) -> float | None:
        return None if value is None or not is_fraction else 0.5 + 0.5 * value / reach

    values = [quantity(metric.value, metric.unit) for metric in (each.base, each.candidate)]
    return DifferenceLine(
        place=place,
        values=" → ".join(values),
        difference=difference_text(each),
        interval=change_interval(each.low, each.high, each.base.unit) if each.low is not None else "",
        verdict=each.verdict,
        glyph=VERDICTS[each.verdict],
        at=at(each.value),
        low=at(each.low),
        high=at(each.high),
    )


def evaluation_title(evaluation: str) -> str:
    """Return the title of the task of ``task@data``."""
    task = evaluation.partition("@")[0]
    return load_section(task).section.title or readable(task)


def evaluation_anchors(comparison: Comparison, place: int, n_candidates: int) -> dict[str, str]:
    """Return the ids of a candidate's evaluations; of several candidates, each begins with its place."""
    names = list(by_evaluation(comparison))
    pairs = [(task, data) for task, _, data in (name.partition("@") for name in names)]
    start = f"c{place + 1}-" if n_candidates > 1 else ""
    return {name: start + own for name, own in zip(names, anchors(pairs), strict=True)}


def all_differences_html(comparison: Comparison) -> Markup:
    """Return all differences by evaluation, and those of headline metrics by slice, as a table."""
    return difference_html(by_evaluation(comparison) | by_grouping(comparison), tally(comparison.differences))


def difference_html(groups: Mapping[str, Sequence[Difference]], facts: str = "") -> Markup:
    """Return differences as a table, under the name of each group that has one."""
    table = difference_table("", [each for differences in groups.values() for each in differences]).select(SHOWN)
    columns = [
        replace(each, header=each.header if each.header.startswith("p") else sentence_case(each.header))
        for each in table.columns
    ]
    own = iter(table.rows)
    rows = [row for name, those in groups.items() for row in (*([name] if name else []), *islice(own, len(those)))]
    return Markup(as_html(replace(table, facts=facts, columns=columns, rows=rows), "verdicts"))


def similarity_html(comparison: Comparison, evaluation: str) -> Markup | None:
    """Return the representational similarity of an evaluation's vectors as a table; None where there is none."""
    found = by_data(comparison).get(evaluation)
    if not found:
        return None
    table = similarity_table(found)
    columns = [replace(each, header=sentence_case(each.header)) for each in table.columns]
    return Markup(as_html(replace(table, columns=columns), "likeness"))


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
    ids = [evaluation_anchors(comparison, place, len(comparisons)) for place, comparison in enumerate(comparisons)]
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
    base = Cell(quantity(first.base.value, first.base.unit), sort_key=first.base.value)
    return [
        metric_cell(first),
        base,
        *(
            _overview_cell(by_place[place], names[first.evaluation])
            if place in by_place
            else Cell("not compared", sort_key="")
            for place, names in enumerate(ids)
        ),
    ]


def _overview_cell(difference: Difference, anchor: str) -> Cell:
    link = Markup('<a href="#{}">{}</a>').format(anchor, difference_text(difference))
    verdict = f'<span class="verdict">{mark(VERDICTS[difference.verdict])}{difference.verdict}</span>'
    css = difference.verdict.replace(" ", "-")
    return Cell(difference.verdict, html=f"{link} {verdict}", sort_key=difference.value, css=css)

"""All metrics that are fractions, on one axis; and what is between two models."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.records import Difference
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import full_title
from clipbench.stats.claims import above_chance
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Chart,
    Dots,
    Mark,
    Panel,
    Ranges,
    Rule,
    fraction_axis,
    nice_axis,
)
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.groups import Group

NAME_LENGTH = 34
ROW = 0.08
"""Height of a row, where 1 is the width of a plane."""
MAX_LINES, HEAD = 70, 2.8
"""Lines that fit on a printed page, a row each; and those that a panel takes beside its rows."""
ASIDE = 0.5
"""Share of the distance of two rows that the models of one row are spread over."""


class _ScorecardRow(NamedTuple):
    name: str
    metric: str
    """The recorded name."""
    by_place: dict[int, Metric]
    """The metric of each model, by its place among the runs."""


def scorecard(groups: Sequence[Group], labels: Sequence[str]) -> Chart:
    """Return every metric that is a fraction and has a chance level, with interval, chance and published value.

    Args:
        labels: of the models.

    Raises:
        MissingEvidence: no model has such a metric; or there are more models than can be told apart.
    """
    if len(labels) > len(MODELS):
        raise MissingEvidence(f"{len(labels)} models cannot be told apart in one panel: at most {len(MODELS)}")
    shown = [(group, rows) for group in groups if (rows := _rows(group))]
    if not shown:
        raise MissingEvidence("no metric is a fraction with a chance level")
    n_all = sum(len(rows) for _, rows in shown)
    if n_all + HEAD * len(shown) > MAX_LINES:
        shown = [(group, [row for row in rows if _is_headline(row)] or rows[:1]) for group, rows in shown]
    n_left = n_all - sum(len(rows) for _, rows in shown)
    left_out = f" Headline metrics alone: {fmt.count(n_left)} more would not fit on a page." if n_left else ""
    measured = [
        (f"{group.task}@{group.data}/{row.metric}", labels[place], metric)
        for group, rows in shown
        for row in rows
        for place, metric in row.by_place.items()
    ]
    above = sum(above_chance(*(metric for _, _, metric in measured)))
    last = len(shown) - 1
    return Chart(
        title=f"{above} of {len(measured)} values lie above chance, by tests corrected for their number (Holm).",
        panels=[_panel(group, rows, labels, is_last=k == last) for k, (group, rows) in enumerate(shown)],
        reading=f"Values with their 95 % intervals; those without a chance level are left out.{left_out}",
        detail=" ".join(f"{name}, {label}: {fmt.percent(metric.value)} %." for name, label, metric in measured),
    )


def _panel(group: Group, rows: Sequence[_ScorecardRow], labels: Sequence[str], *, is_last: bool) -> Panel:
    x = fraction_axis("%" if is_last else "")
    return Panel(
        title=f"{group.task}@{group.data}",
        x=x if is_last else replace(x, names=[""] * len(x.ticks)),
        y=Axis(low=len(rows) - 0.5, high=-0.5, ticks=range(len(rows)), names=[row.name for row in rows]),
        marks=_marks(rows, labels),
        aspect=ROW * len(rows) + 0.03,
        n_rows=len(rows),
    )


def compare(differences: Sequence[Difference], labels: tuple[str, str]) -> Chart:
    """Return the difference of two models in every fraction, with its paired interval and a line at zero.

    Raises:
        MissingEvidence: they share no metric that is a fraction.
    """
    shown = [each for each in differences if each.base.unit == "fraction"]
    if not shown:
        raise MissingEvidence("the runs share no metric that is a fraction")
    by_evaluation: dict[str, list[Difference]] = {}
    for each in shown:
        by_evaluation.setdefault(each.evaluation, []).append(each)
    ends = [end for each in shown for end in (each.value, each.low, each.high) if end is not None]
    axis = nice_axis([0, *(100 * end for end in ends)], "Difference, percentage points")
    verdicts = Counter(each.verdict for each in shown)
    n_others = len(shown) - verdicts["better"] - verdicts["worse"]
    last = next(reversed(by_evaluation))
    return Chart(
        title=f"{labels[1]} against {labels[0]}: {verdicts['better']} better, {verdicts['worse']} worse, {n_others} neither.",
        panels=[
            _difference_panel(name, rows, axis, f"{labels[1]} minus {labels[0]}", is_last=name == last)
            for name, rows in by_evaluation.items()
        ],
        reading="Differences in percentage points, to the right where the second model has the larger value, with 95 % "
        "intervals paired by sample; a value without a bar has no paired interval. ↓: less is better. Better and worse "
        "are the verdicts of paired tests, corrected for their number (Holm).",
    )


def _difference_panel(
    evaluation: str, differences: Sequence[Difference], x: Axis, name: str, *, is_last: bool
) -> Panel:
    arrows = {True: "", False: " ↓", None: ""}
    names = [shorten(each.title, NAME_LENGTH) + arrows[each.base.higher_is_better] for each in differences]
    return Panel(
        title=evaluation,
        x=x if is_last else replace(x, names=[""] * len(x.ticks), label=""),
        y=Axis(low=len(differences) - 0.5, high=-0.5, ticks=range(len(differences)), names=names),
        marks=[
            Rule(at=0, axis="x", role="ink"),
            Ranges(
                xs=[100 * each.value for each in differences],
                ys=list(range(len(differences))),
                lows=[math.nan if each.low is None else 100 * each.low for each in differences],
                highs=[math.nan if each.high is None else 100 * each.high for each in differences],
                role="ink",
                name=name,
                is_upright=False,
                ids=[f"{each.evaluation}/{each.name}" for each in differences],
            ),
        ],
        aspect=ROW * len(differences) + 0.03,
        n_rows=len(differences),
    )


def _rows(group: Group) -> list[_ScorecardRow]:
    names = dict.fromkeys(name for entry in group.measured for name in entry.evaluation.metrics)
    rows = []
    for name in names:
        by_place = {
            entry.place: metric
            for entry in group.measured
            if (metric := entry.evaluation.metrics.get(name)) is not None
            and metric.unit == "fraction"
            and metric.value is not None
            and metric.chance is not None
        }
        if by_place:
            metric, subsets = next(iter(by_place.values())), group.measured[0].evaluation.subsets
            rows.append(_ScorecardRow(shorten(full_title(name, metric, subsets), NAME_LENGTH), name, by_place))
    return rows


def _is_headline(row: _ScorecardRow) -> bool:
    return any(metric.is_headline for metric in row.by_place.values())


def _marks(rows: Sequence[_ScorecardRow], labels: Sequence[str]) -> list[Mark]:
    marks: list[Mark] = []
    for k, row in enumerate(rows):
        for chance in sorted({metric.chance for metric in row.by_place.values() if metric.chance is not None}):
            marks.append(Rule(at=chance, axis="x", role="chance", name=CHANCE, span=(k - 0.4, k + 0.4)))
    for place, label in enumerate(labels):
        aside = ASIDE * ((place + 0.5) / len(labels) - 0.5) if len(labels) > 1 else 0.0
        own = [(k + aside, row.by_place[place]) for k, row in enumerate(rows) if place in row.by_place]
        names = [row.metric for row in rows if place in row.by_place]
        lows, highs = bounds(metric for _, metric in own)
        marks.append(
            Ranges(
                xs=[metric.value or 0.0 for _, metric in own],
                ys=[y for y, _ in own],
                lows=lows,
                highs=highs,
                role=MODELS[place],
                name=label,
                is_upright=False,
                ids=names,
            )
        )
        published = [
            (each.value, y, name) for (y, metric), name in zip(own, names, strict=True) for each in metric.published
        ]
        if published:
            xs, ys, ids = zip(*published, strict=True)
            marks.append(Dots(xs=xs, ys=ys, role="pair", name="published", ids=ids))
    return marks

"""All metrics that are fractions, on one axis."""

from collections.abc import Sequence
from typing import NamedTuple

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
)
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import CHANCE, HEAD, MAX_LINES, NAME_LENGTH, bounds, unwritten
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.groups import Group

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
        x=x if is_last else unwritten(x),
        y=Axis(low=len(rows) - 0.5, high=-0.5, ticks=range(len(rows)), names=[row.name for row in rows]),
        marks=_marks(rows, labels),
        n_rows=len(rows),
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

"""Marks and reasons that several figures share."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from clipbench.comparison.metric_difference import Difference
from clipbench.results.numbers import Number
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Mark, Ranges, Role, Rule, Shade
from clipbench_reports.evidence import Evidence, NotAsked

MAX_POINTS = 300
"""Points of a line. More cannot be seen."""
MAX_DOTTED = 30
"""Points up to which each gets a dot."""
CHANCE = "chance"
NAME_LENGTH = 34
"""Characters of the name of a row that is one line high."""
MAX_LINES, HEAD = 70, 2.8
"""Lines that fit on a printed page, one per row, and lines that a panel takes in addition to its rows."""


def refuse_judged(evidence: Evidence) -> None:
    """Raise NotAsked for data with judgements, which have figures of their own."""
    if evidence.curves_of("relevance"):
        raise NotAsked("data with judgements has nDCG and recall of relevant documents instead of this figure")


def ends_of(values: Iterable[Metric | Difference]) -> list[float]:
    """Return values and the ends of their intervals, as far as they are defined."""
    ends: list[float | None] = []
    for value in values:
        ends += [value.value, value.low, value.high]
    return [end for end in ends if end is not None]


def chance_rule(chance: float | None) -> list[Mark]:
    """Return the line across a panel at the height of chance, empty if chance is unknown."""
    return [] if chance is None else [Rule(at=chance, axis="y", role="chance", name=CHANCE)]


def without_words(axis: Axis) -> Axis:
    """Return an axis without words, for a panel over another one with the same axis."""
    return replace(axis, names=[""] * len(axis.ticks), label="")


def intervals(  # noqa: PLR0913  as many as a mark has
    metrics: Mapping[str, Metric],
    positions: Sequence[Number],
    role: Role,
    name: str,
    *,
    is_upright: bool = True,
    is_joined: bool = False,
    aside: Number = 0,
) -> Ranges:
    """Return the values of metrics with their intervals, at positions on the other axis."""
    values = [metric.value or 0.0 for metric in metrics.values()]
    xs, ys = (positions, values) if is_upright else (values, positions)
    return Ranges(
        xs=xs,
        ys=ys,
        lows=[math.nan if metric.low is None else metric.low for metric in metrics.values()],
        highs=[math.nan if metric.high is None else metric.high for metric in metrics.values()],
        role=role,
        name=name,
        is_upright=is_upright,
        is_joined=is_joined,
        aside=aside,
        ids=list(metrics),
    )


def chance_strokes(rows: Iterable[tuple[Number, Metric]], *, half: float = 0.4, of: str = "") -> list[Mark]:
    """Return a stroke at the chance level of each metric, across the row of the metric."""
    strokes: list[Mark] = []
    for row, metric in rows:
        if metric.chance is not None:
            span = (row - half, row + half)
            strokes.append(Rule(at=metric.chance, axis="x", role="chance", name=CHANCE, span=span, of=of))
    return strokes


def value_line(metric: Metric | None, name: str, *, of: str = "") -> list[Mark]:
    """Return a dashed line at the value of a metric and the shade of its interval, empty if it is undefined."""
    if metric is None or metric.value is None:
        return []
    line = Rule(at=metric.value, axis="x", role="ink", name=name, is_dashed=True, of=of)
    if metric.low is None or metric.high is None:
        return [line]
    return [line, Shade(low=metric.low, high=metric.high, name=name, of=of)]


def log_spaced_rows(n: int) -> list[int]:
    """Return at most ``MAX_POINTS`` of ``n`` rows, evenly spaced on a logarithmic scale, with both ends."""
    if n <= MAX_POINTS:
        return list(range(n))
    return sorted({round(row) - 1 for row in np.geomspace(1, n, MAX_POINTS).tolist()})

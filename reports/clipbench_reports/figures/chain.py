"""A chain of runs as a staircase: a headline metric of each run with its interval, step by step."""

import math
from collections.abc import Sequence

from clipbench.comparison.chain import Chain
from clipbench.comparison.metric_difference import Difference
from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench.results.short_names import last_parts
from clipbench_reports.drawing.marks import Chart, Line, Panel, Ranges, columns_axis, nice_axis
from clipbench_reports.text import two_lines

NAME_LENGTH = 12
"""Characters per line of the name of a run, which has two lines."""
HALF_STEP, MARGIN = 0.5, 0.1
"""Half of the width of a step, where the distance of two runs is 1, and what the first and the last are shorter."""


def staircases(chain: Chain) -> list[Chart]:
    """Return a figure for each headline metric that is a fraction in all runs of the chain."""
    names = last_parts(chain.labels)
    charts = []
    for headline in chain.whole.differences:
        steps = []
        for comparison in chain.steps:
            step = _same_metric(comparison.differences, headline)
            if step is not None:
                steps.append(step)
        is_in_all = len(steps) == len(chain.steps)
        if headline.is_headline and headline.base.unit == "fraction" and is_in_all:
            charts.append(_staircase(headline, steps, names))
    return charts


def _same_metric(differences: Sequence[Difference], headline: Difference) -> Difference | None:
    for difference in differences:
        if (difference.evaluation, difference.name) == (headline.evaluation, headline.name):
            return difference
    return None


def _staircase(headline: Difference, steps: Sequence[Difference], names: Sequence[str]) -> Chart:
    metrics = [steps[0].base, *(step.candidate for step in steps)]
    intervals = Ranges(
        xs=list(range(len(metrics))),
        ys=[100 * (metric.value or 0.0) for metric in metrics],
        lows=[_percent(metric.low) for metric in metrics],
        highs=[_percent(metric.high) for metric in metrics],
        role="ink",
        name="value",
        ids=list(names),
    )
    panel = Panel(
        x=columns_axis([two_lines(name, NAME_LENGTH) for name in names]),
        y=nice_axis([*intervals.ys, *intervals.lows, *intervals.highs], f"{headline.title}, percent"),
        marks=[_stairs(intervals.ys), intervals],
    )
    change = fmt.change(headline.value, headline.base.unit)
    return Chart(
        title=f"{headline.label}: {change} from {names[0]} to {names[-1]}, {headline.verdict}.",
        panels=[panel],
        keys=["steps", "value"],
        breadth=1.2,
        reading=(
            "Bars are 95 % intervals of each value. The runs have the same samples, so that a test can show a step"
            " although the bars of its two runs overlap: the table has the paired intervals and tests."
        ),
    )


def _stairs(values: Sequence[Number]) -> Line:
    """Return a line with a step as wide as a column at the height of each value."""
    xs: list[float] = []
    ys: list[Number] = []
    for column, value in enumerate(values):
        xs += [column - HALF_STEP, column + HALF_STEP]
        ys += [value, value]
    xs[0] += MARGIN
    xs[-1] -= MARGIN
    return Line(xs=xs, ys=ys, role="ink", name="steps")


def _percent(bound: float | None) -> float:
    return math.nan if bound is None else 100 * bound

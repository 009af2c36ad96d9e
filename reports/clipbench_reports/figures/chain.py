"""A chain of runs as a staircase: a headline metric of each run with its interval, step by step."""

import math
from collections.abc import Sequence

from clipbench.comparison.chain import Chain
from clipbench.comparison.metric_difference import Difference
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
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
        steps = [_same_metric(step.differences, headline) for step in chain.steps]
        found = [step for step in steps if step is not None]
        if headline.is_headline and headline.base.unit == "fraction" and len(found) == len(chain.steps):
            charts.append(_staircase(headline, found, names))
    return charts


def _same_metric(differences: Sequence[Difference], headline: Difference) -> Difference | None:
    for difference in differences:
        if (difference.evaluation, difference.name) == (headline.evaluation, headline.name):
            return difference
    return None


def _staircase(headline: Difference, steps: Sequence[Difference], names: Sequence[str]) -> Chart:
    metrics = [steps[0].base, *(step.candidate for step in steps)]
    values = [100 * (metric.value or 0.0) for metric in metrics]
    lows, highs = ([_bound(metric, side) for metric in metrics] for side in ("low", "high"))
    stairs_x: list[float] = []
    stairs_y: list[float] = []
    for column, value in enumerate(values):
        stairs_x += [column - HALF_STEP, column + HALF_STEP]
        stairs_y += [value, value]
    stairs_x[0] += MARGIN
    stairs_x[-1] -= MARGIN
    change = fmt.change(headline.value, headline.base.unit)
    verdict = headline.verdict
    panel = Panel(
        x=columns_axis([two_lines(name, NAME_LENGTH) for name in names]),
        y=nice_axis([*values, *lows, *highs], f"{headline.title}, percent"),
        marks=[
            Line(xs=stairs_x, ys=stairs_y, role="ink", name="steps"),
            Ranges(
                xs=list(range(len(values))),
                ys=values,
                lows=lows,
                highs=highs,
                role="ink",
                name="value",
                ids=list(names),
            ),
        ],
    )
    return Chart(
        title=f"{headline.label}: {change} from {names[0]} to {names[-1]}, {verdict}.",
        panels=[panel],
        keys=["steps", "value"],
        breadth=1.2,
        reading=(
            "Bars are 95 % intervals of each value. The runs have the same samples, so that a test can show a step"
            " although the bars of its two runs overlap: the table has the paired intervals and tests."
        ),
    )


def _bound(metric: Metric, side: str) -> float:
    bound = getattr(metric, side)
    return math.nan if bound is None else 100 * bound

"""Differences between two models in each fraction, with paired intervals and a line at zero."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from clipbench.comparison.metric_difference import Difference
from clipbench.results import numbers as fmt
from clipbench.results.grouping import group_values
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Ranges, Rule, nice_axis, rows_axis
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures.shared import HEAD, MAX_LINES, NAME_LENGTH, ends_of, without_words
from clipbench_reports.text import shorten


def compare(differences: Sequence[Difference], labels: tuple[str, str]) -> Chart:
    """Return the difference of two models in every fraction, with its paired interval and a line at zero.

    Of more than fit on a page, the most telling ones are drawn.

    Raises:
        MissingEvidence: they share no metric that is a fraction.
    """
    fractions = [difference for difference in differences if difference.base.unit == "fraction"]
    if not fractions:
        raise MissingEvidence("the runs share no metric that is a fraction")
    n_panels = len({difference.evaluation for difference in fractions})
    drawn_differences = select_differences(fractions, max(n_panels, int(MAX_LINES - HEAD * n_panels)))
    by_evaluation = group_values((difference.evaluation, difference) for difference in drawn_differences)
    axis = difference_axis(drawn_differences)
    lowest = next(reversed(by_evaluation))
    panels = []
    for evaluation, differences_there in by_evaluation.items():
        names = row_names(differences_there, shorten, NAME_LENGTH)
        x = axis if evaluation == lowest else without_words(axis)
        panels.append(difference_panel(differences_there, names, x, labels, title=evaluation))
    verdicts = Counter(difference.verdict for difference in fractions)
    n_better, n_worse = verdicts["better"], verdicts["worse"]
    n_neither = len(fractions) - n_better - n_worse
    reading = (
        "Differences in percentage points, to the right where the second model has the larger value. Bars are 95 %"
        " intervals paired by sample, and a value without a bar has no paired interval. ↓: lower is better. Better"
        " and worse are the verdicts of paired tests, corrected for their number (Holm)."
    )
    n_left = len(fractions) - len(drawn_differences)
    if n_left:
        reading += f" Headline metrics and the surest differences: {fmt.count(n_left)} others would not fit on a page."
    return Chart(
        title=f"{labels[1]} against {labels[0]}: {n_better} better, {n_worse} worse, {n_neither} neither.",
        panels=panels,
        reading=reading,
    )


def select_differences(differences: Sequence[Difference], limit: int) -> list[Difference]:
    """Return at most ``limit`` differences in their order: headline metrics first, then those with a verdict."""

    def rank(difference: Difference) -> tuple[bool, bool, float]:
        has_verdict = difference.verdict in ("better", "worse", "different")
        return (not difference.candidate.is_headline, not has_verdict, relative_width(difference))

    selected_ids = {id(difference) for difference in sorted(differences, key=rank)[:limit]}
    return [difference for difference in differences if id(difference) in selected_ids]


def relative_width(difference: Difference) -> float:
    """Return the width of a difference's interval, where 1 is the difference itself."""
    if difference.low is None or difference.high is None or not difference.value:
        return math.inf
    return (difference.high - difference.low) / abs(difference.value)


def difference_axis(differences: Sequence[Difference], *, n_steps: int = 5) -> Axis:
    """Return the axis of percentage points that has room for some differences of fractions, and for zero."""
    ends = [100 * end for end in ends_of(differences)]
    return nice_axis([0, *ends], "Difference, percentage points", n_steps=n_steps)


def row_names(differences: Sequence[Difference], shorten_title: Callable[[str, int], str], length: int) -> list[str]:
    """Return the titles of metrics, cut to a length, with an arrow where less is better."""
    arrows = {True: "", False: " ↓", None: ""}
    return [
        shorten_title(difference.title, length) + arrows[difference.base.higher_is_better] for difference in differences
    ]


def difference_panel(
    differences: Sequence[Difference], names: Sequence[str], x: Axis, labels: tuple[str, str], *, title: str = ""
) -> Panel:
    """Return a row for each difference of a fraction, with its paired interval, and a line at zero."""
    zero = Rule(at=0, axis="x", role="ink")
    ranges = Ranges(
        xs=[100 * difference.value for difference in differences],
        ys=list(range(len(differences))),
        lows=[_percent(difference.low) for difference in differences],
        highs=[_percent(difference.high) for difference in differences],
        role="ink",
        name=f"{labels[1]} minus {labels[0]}",
        is_upright=False,
        ids=[f"{difference.evaluation}/{difference.name}" for difference in differences],
    )
    return Panel(title=title, x=x, y=rows_axis(names), marks=[zero, ranges], n_rows=len(differences))


def _percent(bound: float | None) -> float:
    return math.nan if bound is None else 100 * bound

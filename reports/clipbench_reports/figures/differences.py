"""Differences between two models: that of each fraction, with its paired interval and a line at zero."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from clipbench.comparison.records import Difference
from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Chart, Panel, Ranges, Rule, nice_axis, rows_axis
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures.shared import HEAD, MAX_LINES, NAME_LENGTH, unwritten
from clipbench_reports.text import shorten


def compare(differences: Sequence[Difference], labels: tuple[str, str]) -> Chart:
    """Return the difference of two models in every fraction, with its paired interval and a line at zero.

    Of more than fit on a page, the most telling ones are drawn.

    Raises:
        MissingEvidence: they share no metric that is a fraction.
    """
    fractions = [each for each in differences if each.base.unit == "fraction"]
    if not fractions:
        raise MissingEvidence("the runs share no metric that is a fraction")
    n_panels = len({each.evaluation for each in fractions})
    shown = most_telling(fractions, max(n_panels, int(MAX_LINES - HEAD * n_panels)))
    by_evaluation: dict[str, list[Difference]] = {}
    for each in shown:
        by_evaluation.setdefault(each.evaluation, []).append(each)
    verdicts = Counter(each.verdict for each in fractions)
    n_others = len(fractions) - verdicts["better"] - verdicts["worse"]
    last, axis = next(reversed(by_evaluation)), difference_axis(shown)
    n_left = len(fractions) - len(shown)
    left_out = (
        f" Headline metrics and the surest differences: {fmt.count(n_left)} others would not fit on a page."
        if n_left
        else ""
    )
    return Chart(
        title=(
            f"{labels[1]} against {labels[0]}: {verdicts['better']} better, {verdicts['worse']} worse, {n_others}"
            " neither."
        ),
        panels=[
            difference_panel(
                rows,
                row_names(rows, shorten, NAME_LENGTH),
                axis if name == last else unwritten(axis),
                labels,
                title=name,
            )
            for name, rows in by_evaluation.items()
        ],
        reading=(
            "Differences in percentage points, to the right where the second model has the larger value, with 95 %"
            " intervals paired by sample; a value without a bar has no paired interval. ↓: less is better. Better and"
            f" worse are the verdicts of paired tests, corrected for their number (Holm).{left_out}"
        ),
    )


def most_telling(differences: Sequence[Difference], most: int) -> list[Difference]:
    """Return at most so many differences, in their order: headline metrics, then those with a verdict, the surest
    first.
    """

    def rank(each: Difference) -> tuple[bool, bool, float]:
        is_told = each.verdict in ("better", "worse", "different")
        return (not each.candidate.is_headline, not is_told, doubt(each))

    kept = {id(each) for each in sorted(differences, key=rank)[:most]}
    return [each for each in differences if id(each) in kept]


def doubt(each: Difference) -> float:
    """Return the width of a difference's interval, where 1 is the difference itself."""
    if each.low is None or each.high is None or not each.value:
        return math.inf
    return (each.high - each.low) / abs(each.value)


def difference_axis(differences: Sequence[Difference], *, n_steps: int = 5) -> Axis:
    """Return the axis of percentage points that has room for some differences of fractions, and for zero."""
    ends = [end for each in differences for end in (each.value, each.low, each.high) if end is not None]
    return nice_axis([0, *(100 * end for end in ends)], "Difference, percentage points", n_steps=n_steps)


def row_names(differences: Sequence[Difference], cut: Callable[[str, int], str], length: int) -> list[str]:
    """Return the titles of metrics, cut to a length, with an arrow where less is better."""
    arrows = {True: "", False: " ↓", None: ""}
    return [cut(each.title, length) + arrows[each.base.higher_is_better] for each in differences]


def difference_panel(
    differences: Sequence[Difference], names: Sequence[str], x: Axis, labels: tuple[str, str], *, title: str = ""
) -> Panel:
    """Return a row for each difference of a fraction, with its paired interval, and a line at zero."""
    return Panel(
        title=title,
        x=x,
        y=rows_axis(names),
        marks=[
            Rule(at=0, axis="x", role="ink"),
            Ranges(
                xs=[100 * each.value for each in differences],
                ys=list(range(len(differences))),
                lows=[math.nan if each.low is None else 100 * each.low for each in differences],
                highs=[math.nan if each.high is None else 100 * each.high for each in differences],
                role="ink",
                name=f"{labels[1]} minus {labels[0]}",
                is_upright=False,
                ids=[f"{each.evaluation}/{each.name}" for each in differences],
            ),
        ],
        n_rows=len(differences),
    )

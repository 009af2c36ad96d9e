"""The change of groups of samples: each with its simultaneous interval, on one axis with a line at zero."""

from clipbench.comparison.explanation_records import Explanation, GroupChange
from clipbench_reports.drawing.marks import Chart, Panel, Ranges, Rule, nice_axis, rows_axis
from clipbench_reports.text import shorten, two_lines

MOST_ROWS = 14
"""Groups of the figure, of which at least ``LEAST_OTHERS`` are without evidence."""
LEAST_OTHERS = 3
NAME_LENGTH = 22
MARKS = {"worse": "▲", "better": "●", "": "○"}


def group_changes(explanation: Explanation) -> Chart:
    """Return the changes of the claimed groups, and of others that lost most, with their intervals."""
    claims = {claim.slice: claim.claim.partition(" ")[0] for claim in explanation.claims}
    # A group that passes a test and is not listed has its change from those that are: it would show that once more.
    unclaimed = [group for group in explanation.changes if min(group.p_here, group.p_elsewhere) > explanation.alpha]
    unclaimed.sort(key=lambda group: group.difference)
    n_unclaimed = max(LEAST_OTHERS, MOST_ROWS - len(claims))
    groups: list[GroupChange] = [*explanation.claims, *unclaimed[:n_unclaimed]]
    zero = Rule(at=0, axis="x", role="ink")
    ranges = Ranges(
        xs=[100 * group.difference for group in groups],
        ys=list(range(len(groups))),
        lows=[100 * group.low for group in groups],
        highs=[100 * group.high for group in groups],
        role="ink",
        name="Candidate minus base",
        is_upright=False,
        ids=[group.slice for group in groups],
    )
    panel = Panel(
        x=nice_axis([zero.at, *ranges.lows, *ranges.highs], "Percentage points", n_steps=4),
        y=rows_axis([f"{_lines(group.slice)} {MARKS[claims.get(group.slice, '')]}" for group in groups]),
        marks=[zero, ranges],
        n_rows=len(groups),
    )
    return Chart(
        title="Change by group: claims, and groups without evidence",
        panels=[panel],
        reading=(
            "▲ worse, ● better, ○ not shown (the groups that lost most without passing a test). Intervals of all"
            f" {explanation.n_groups:,} groups hold their true differences at once, with a chance of 95 %."
        ),
    )


def _lines(name: str) -> str:
    """Return the name of a group in two lines. A pair of columns has one line per column."""
    first, _, second = name.partition(" and ")
    if not second:
        return two_lines(name, NAME_LENGTH)
    return f"{shorten(first, NAME_LENGTH)}\nand {shorten(second, NAME_LENGTH)}"

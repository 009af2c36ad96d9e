"""Any curve of any task."""

from collections.abc import Callable

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Panel, nice_axis
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.text import quoted

LABEL_LENGTHS = 44, 32
"""Of a label under and beside a plane; the explanation has the whole."""


def curve(name: str) -> Callable[[Evidence], Chart]:
    """Return the function that draws the curve of a name, with its bounds where it has them."""

    def draw(evidence: Evidence) -> Chart:
        found = evidence.curve(name)
        line = curve_line(found, "ink", name)
        if not line.xs:
            raise MissingEvidence(f"the curve {quoted(name)} has no finite point")
        x_label, y_label = found.x_label or "x", found.y_label or "y"
        heights = [*line.ys, *(line.lows or []), *(line.highs or [])]
        ends = f"from {fmt.significant(line.ys[0])} to {fmt.significant(line.ys[-1])}"
        return Chart(
            title=f"{quoted(name)}: {ends} over {fmt.counted(len(found.x), 'point')}.",
            panels=[
                Panel(
                    x=nice_axis(line.xs, shorten(x_label, LABEL_LENGTHS[0])),
                    y=nice_axis(heights, shorten(y_label, LABEL_LENGTHS[1])),
                    marks=[line],
                )
            ],
            reading=f"{y_label} against {x_label}.",
            keys=[name],
            subject=f"{quoted(name)} at both ends",
            value=f"{fmt.significant(line.ys[0])} and {fmt.significant(line.ys[-1])}",
        )

    return draw

"""Any curve of any task."""

from collections.abc import Callable, Sequence

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Panel, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each
from clipbench_reports.page.text import quoted

X_LABEL_LENGTH, Y_LABEL_LENGTH = 44, 32
"""Letters of a label under and beside a plane; the explanation has the whole."""


def curve(name: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws the curve of a name, with its bounds where it has them."""

    def read(evidence: Evidence) -> tuple[PlottedCurve, Line]:
        found = evidence.curve(name)
        line = curve_line(found)
        if not line.xs:
            raise MissingEvidence(f"the curve {quoted(name)} has no finite point")
        return found, line

    def claim(found: tuple[PlottedCurve, Line]) -> Statement:
        curve, line = found
        first, last = fmt.significant(line.ys[0]), fmt.significant(line.ys[-1])
        return Statement(
            title=f"{quoted(name)}: from {first} to {last} over {fmt.counted(len(curve.x), 'point')}.",
            subject=f"{quoted(name)} at both ends",
            value=f"{first} and {last}",
        )

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        found = read_each(models, read)
        lines = found.map(lambda each: each[1])
        first = next(iter(found.values.values()))[0]
        x_label, y_label = first.x_label or "x", first.y_label or "y"
        heights = [y for line in lines.values() for y in (*line.ys, *(line.lows or []), *(line.highs or []))]
        plane = Panel(
            x=nice_axis([x for line in lines.values() for x in line.xs], shorten(x_label, X_LABEL_LENGTH)),
            y=nice_axis(heights, shorten(y_label, Y_LABEL_LENGTH)),
        )
        panels = facets(plane, [Series(name, "ink", lines)], found, keys=[name])
        return chart([panels], found.map(claim), found, reading=f"{y_label} against {x_label}.")

    return draw

"""Any curve of any task."""

from collections.abc import Callable, Sequence

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Panel, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import curve_line, lines_of
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

X_LABEL_LENGTH, Y_LABEL_LENGTH = 44, 32
"""Letters of a label under and beside a plane; the explanation has the whole."""


def curve(name: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws the curve of a name, with its bounds where it has them."""

    def read(evidence: Evidence) -> Layer:
        line = curve_line(evidence.curve(name), "ink", name)
        if not line.xs:
            raise MissingEvidence(f"the curve {quoted(name)} has no finite point")
        first, last = fmt.significant(line.ys[0]), fmt.significant(line.ys[-1])
        statement = Statement(
            title=f"{quoted(name)}: from {first} to {last} over {fmt.counted(len(evidence.curve(name).x), 'point')}.",
            subject=f"{quoted(name)} at both ends",
            value=f"{first} and {last}",
        )
        return Layer([line], statement)

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, read)
        lines = lines_of(by_model)
        curves = [evidence.evaluation.curves[name] for model, evidence in models if model in by_model.values]
        x_label, y_label = curves[0].x_label or "x", curves[0].y_label or "y"
        heights = [y for line in lines for y in (*line.ys, *(line.lows or []), *(line.highs or []))]
        plane = Panel(
            x=nice_axis([x for line in lines for x in line.xs], shorten(x_label, X_LABEL_LENGTH)),
            y=nice_axis(heights, shorten(y_label, Y_LABEL_LENGTH)),
        )
        return facet_chart(plane, by_model, reading=f"{y_label} against {x_label}.", keys=[name])

    return draw

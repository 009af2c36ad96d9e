"""Any curve of any task."""

import math
from collections.abc import Callable

from clipbench.result import Curve
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure, thinned
from clipbench_reports.format import Number
from clipbench_reports.svg import Axis, Plot, nice_axis

LABEL, LETTER = 30, 8.3
"""Width of a turned label with its gaps, and of a letter on a narrow screen, in pixels."""


def curve(name: str) -> Callable[[Evidence], Figure]:
    """Return the function that draws the curve of a name, with its bounds where it has them."""

    def draw(evidence: Evidence) -> Figure:
        found = _finite(evidence.curve(name))
        if not found.x:
            raise Lacking(f"the curve {fmt.named(name)} has no finite point")
        x_label, y_label = found.x_label or "x", found.y_label or "y"
        bounds = [*(found.low or []), *(found.high or [])]
        y_axis = nice_axis([*found.y, *bounds], y_label)
        plot = Plot(x=nice_axis(found.x, x_label), y=y_axis, left=_room(y_axis))
        band = [plot.band(found.x, found.low, found.high, "ink")] if found.low and found.high else []
        dots = [plot.dots(found.x, found.y, "ink")] if len(found.x) <= 30 else []
        ends = f"from {fmt.significant(found.y[0])} to {fmt.significant(found.y[-1])}"
        return figure(
            f"{fmt.named(name)}: {ends} over {fmt.counted(len(evidence.curve(name).x), 'point')}.",
            [plot.frame(), *band, plot.line(found.x, found.y, "ink"), *dots],
            height=plot.height,
            reading=f"{y_label} against {x_label}.",
        )

    return draw


def _room(axis: Axis) -> Number:
    """Return the space left of a plot for the marks of its axis and the turned label beside them."""
    return max(52, LABEL + LETTER * max(len(axis.words(tick)) for tick in axis.ticks))


def _finite(found: Curve) -> Curve:
    kept = [row for row, y in enumerate(found.y) if math.isfinite(y) and math.isfinite(found.x[row])]
    kept = [kept[row] for row in thinned(len(kept))]
    low, high = ([bound[row] for row in kept] if bound else None for bound in (found.low, found.high))
    return Curve(
        x=[found.x[row] for row in kept],
        y=[found.y[row] for row in kept],
        low=low,
        high=high,
        x_label=found.x_label,
        y_label=found.y_label,
    )

"""Axes that panels of one quantity share, however many models they are of."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import Axis, Cells, Panel, log_axis, nice_axis


def sharing(panels: Sequence[Panel]) -> list[Panel]:
    """Return panels of one quantity on the same axes, and of the same shape where they are to scale.

    Marks with names stay those of each panel. Matrices of different sizes have no axis in common, and stay as they are.
    """
    if len({_size(panel) for panel in panels}) > 1:
        return list(panels)
    xs, ys = (united([getattr(panel, name) for panel in panels]) for name in ("x", "y"))
    shared = [replace(panel, x=x, y=y) for panel, x, y in zip(panels, xs, ys, strict=True)]
    highest = max((panel.aspect for panel in shared if panel.is_to_scale), default=1.0)
    # To scale, panels of different shapes would be widened to different axes.
    return [replace(panel, aspect=highest) if panel.is_to_scale else panel for panel in shared]


def united(axes: Sequence[Axis]) -> list[Axis]:
    """Return the axes from the first end of all to the last: marks with names stay, others become the same.

    Example:
        >>> [axis.high for axis in united([Axis(low=0, high=1), Axis(low=0, high=3)])]
        [3, 3]
    """
    if not any(axis.names for axis in axes):
        return [_union(axes)] * len(axes)
    low, high = _ends(axes)
    return [replace(axis, low=low, high=high) for axis in axes]


def _size(panel: Panel) -> tuple[int, ...]:
    """Return the rows and columns of the matrix of a panel; nothing where it has none."""
    return next((mark.depths.shape for mark in panel.marks if isinstance(mark, Cells)), ())


def _ends(axes: Sequence[Axis]) -> tuple[Number, Number]:
    first, last = (min, max) if axes[0].low <= axes[0].high else (max, min)
    return first(axis.low for axis in axes), last(axis.high for axis in axes)


def _union(axes: Sequence[Axis]) -> Axis:
    """Return an axis that holds all of them."""
    first = axes[0]
    if all((axis.low, axis.high) == (first.low, first.high) for axis in axes):
        return first
    low, high = _ends(axes)
    if first.is_log:
        return log_axis([low, high], first.label)
    if not first.ticks:
        return replace(first, low=low, high=high)
    made = nice_axis([low, high])
    if all(axis.ticks and (axis.low, axis.high) == (axis.ticks[0], axis.ticks[-1]) for axis in axes):
        low, high = (made.low, made.high) if low < high else (low, high)
    inside = [tick for tick in made.ticks if min(low, high) <= tick <= max(low, high)]
    return replace(first, low=low, high=high, ticks=inside)

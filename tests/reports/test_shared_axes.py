"""The axes that panels of several models share: they hold all of them, and stay what they were."""

from itertools import pairwise

import numpy as np

from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import (
    Axis,
    Cells,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    fraction_axis,
    log_axis,
    nice_axis,
)
from clipbench_reports.drawing.models import ModelKey
from clipbench_reports.drawing.together import together

A, B = ModelKey("base", 0), ModelKey("tuned", 1)


def figure(mark: Mark, *, x: Axis | None = None, y: Axis | None = None) -> Chart:
    panel = Panel(x=x or Axis(low=0, high=10, ticks=[0, 10]), y=y or fraction_axis("Right, %"), marks=[mark])
    return Chart(title="", panels=[panel], reading="")


def cloud(low: float, high: float) -> Chart:
    dots = Dots(xs=[low, high], ys=[low, high], role="image", name="image", is_dense=True)
    return figure(dots, x=nice_axis([low, high]), y=nice_axis([low, high]))


def test_models_share_axes_that_hold_them_all() -> None:
    found = together([cloud(-1, 1), cloud(0, 3)], [A, B])
    for each in found.panels:
        assert all(each.x.low <= tick <= each.x.high for tick in each.x.ticks)
        assert len({round(b - a, 9) for a, b in pairwise(each.x.ticks)}) == 1


def test_logarithmic_axes_stay_so() -> None:
    found = together([figure(Line(xs=[1], ys=[0.5], role="ink"), x=log_axis([1, top])) for top in (48, 512)], [A, B])
    assert [(each.x.low, each.x.high, each.x.is_log) for each in found.panels] == [(1, 512, True)]


def test_axes_that_run_downwards_still_do() -> None:
    axes = [Axis(low=n - 0.4, high=-0.6) for n in (15, 20)]
    found = together([figure(Dots(xs=[1], ys=[0], role="ink"), y=axis) for axis in axes], [A, B])
    assert [(each.y.low, each.y.high) for each in found.panels] == [(19.6, -0.6)]


def test_models_to_scale_share_their_axes_whatever_the_shapes_of_their_planes() -> None:
    made = [
        Chart(
            title="",
            panels=[Panel(x=Axis(low=0, high=wide), y=Axis(low=0, high=1), marks=[], aspect=aspect, is_to_scale=True)],
            reading="",
        )
        for wide, aspect in ((1, 1.0), (2, 0.6))
    ]
    (row,) = lay_out(together(made, [A, B])).rows
    first, second = (place.panel for place in row)
    assert (first.x, first.y, first.aspect) == (second.x, second.y, second.aspect)


def test_matrices_of_other_sizes_are_not_stretched_to_one() -> None:
    made = [
        figure(Cells(depths=np.eye(n), values=np.eye(n)), x=Axis(low=0, high=n), y=Axis(low=n, high=0)) for n in (2, 3)
    ]
    assert [(each.x.high, each.y.low) for each in together(made, [A, B]).panels] == [(2, 2), (3, 3)]

"""The first screen: a row for each task with its first headline metric, and its most telling failure or its cloud."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from clipbench.results.even_spacing import evenly_spaced
from clipbench_reports.drawing.marks import Axis, Dots, Panel
from clipbench_reports.drawing.page import draw
from clipbench_reports.page.groups import Group
from clipbench_reports.page.scorecard import MetricLines, first_headline
from clipbench_reports.page.section import TaskResults

CLOUD_BREADTH = 0.9
"""Breadth of a small scatter; the page shows it at a fraction of that, where its dots are still seen."""

CLOUD_DOTS = 300
"""Dots of each kind in a small scatter."""


@dataclass(frozen=True, kw_only=True)
class Thumb:
    """The image of a failure, and the failure in words."""

    address: str
    words: str


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """A task on the first screen."""

    anchor: str
    title: str
    data: str
    metric: MetricLines | None
    """None where the models have no metric in common."""
    thumb: Thumb | None
    cloud: Markup | None
    """The scatter of a task whose samples are points, without axes and words."""


def summary_rows(groups: Sequence[Group], sections: Sequence[TaskResults]) -> list[SummaryRow]:
    """Return the rows of measured groups, in their order."""
    return [
        SummaryRow(
            anchor=group.anchor,
            title=results.title,
            data=group.data,
            metric=first_headline(group),
            thumb=_thumb(results),
            cloud=_cloud(results),
        )
        for group, results in zip(groups, sections, strict=True)
    ]


def _thumb(results: TaskResults) -> Thumb | None:
    """Return the worst failure of the last model that has one with an image: of checkpoints, the last is what counts."""
    for part in reversed(results.parts):
        for block in part.blocks:
            for gallery in block.galleries:
                for image in (image for failure in gallery.failures[:1] for image in failure.images):
                    if image.address:
                        return Thumb(address=image.address, words=image.alt)
    return None


def _cloud(results: TaskResults) -> Markup | None:
    """Return the first scatter of a task, of one model; the section has it in full, with its words."""
    blocks = [*results.joint, *(block for part in results.parts for block in part.blocks)]
    for figure in (figure for block in blocks for figure in block.figures):
        for panel in figure.panels:
            dots = [_few(mark) for mark in panel.marks if isinstance(mark, Dots) and mark.is_dense]
            if len(dots) > 1:
                small = replace(figure, panels=[_bare(panel, dots)], n_columns=1, breadth=CLOUD_BREADTH)
                return Markup(re.sub(r' role="img" aria-label="[^"]*"', ' aria-hidden="true"', draw(small), count=1))
    return None


def _few(dots: Dots) -> Dots:
    rows = evenly_spaced(len(dots.xs), CLOUD_DOTS)
    return replace(dots, name="", ids=(), xs=[dots.xs[row] for row in rows], ys=[dots.ys[row] for row in rows])


def _bare(panel: Panel, dots: list[Dots]) -> Panel:
    x, y = (Axis(low=axis.low, high=axis.high) for axis in (panel.x, panel.y))
    return replace(panel, x=x, y=y, marks=dots, title="", model=None)

"""The samples behind the points of a scatter: image, caption and name, for those who point at one."""

from dataclasses import dataclass

from clipbench.results.even_spacing import evenly_spaced
from clipbench_reports.drawing.marks import Chart, Dots
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.galleries.gallery import MAX_LETTERS, known
from clipbench_reports.galleries.images import PageBudget, address
from clipbench_reports.page.evidence import Evidence, MissingEvidence

CLOUD_SHARES = 10
"""Shares of a page's budget that a cloud takes: as much as so many galleries, which have fewer and larger images."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A sample that a scatter has a point for, or several."""

    id: str
    caption: str
    """Nothing where the run recorded none."""
    address: str
    """Address of its image; empty where the run kept none or the budget of the page is used up."""


def points(figure: Chart, evidence: Evidence, budget: PageBudget) -> list[Point]:
    """Return what the points of a figure's first cloud are, in their order; nothing for a figure without a cloud.

    Args:
        budget: of the page; where it does not hold the images of all points, those that have one are evenly spread.
    """
    clouds = [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, Dots) and mark.is_dense]
    if not clouds or not clouds[0].ids:
        return []
    try:
        ids, captions, digests = (known(evidence, name) for name in ("sample_id", "caption", "image"))
    except MissingEvidence:  # the table cannot be read: the figure, of arrays, stands without it
        return []
    rows = {name: row for row, name in enumerate(ids)}
    places = [rows.get(name) for name in clouds[0].ids]
    images = [
        address(evidence.run, digests[row], is_small=True) if digests and row is not None else "" for row in places
    ]
    fitting = _fitting(images, budget.share(CLOUD_SHARES))
    return [
        Point(
            id=name, caption=shorten(captions[row], MAX_LETTERS) if captions and row is not None else "", address=image
        )
        for name, row, image in zip(clouds[0].ids, places, fitting, strict=True)
    ]


def _fitting(addresses: list[str], budget: PageBudget) -> list[str]:
    """Return the addresses that there is room for, evenly spread, and nothing in the place of the others."""
    there = [place for place, each in enumerate(addresses) if each]
    needed = sum(len(addresses[place]) for place in there)
    n_fitting = len(there) if needed <= budget.left else len(there) * budget.left // needed
    chosen = {there[row] for row in evenly_spaced(len(there), n_fitting)}
    return [each if place in chosen and budget.take(each) else "" for place, each in enumerate(addresses)]

"""What the points of a scatter are, for who points at one: its picture, its caption and its name."""

from dataclasses import dataclass

from clipbench_reports.drawing import Dots, Figure
from clipbench_reports.evidence import Evidence
from clipbench_reports.gallery import known
from clipbench_reports.pictures import Room, address


@dataclass(frozen=True, kw_only=True)
class Point:
    """A sample that a scatter has a point for, or several."""

    id: str
    caption: str
    """Nothing where the run recorded none."""
    address: str
    """Of its picture; nothing where the run kept none or the page has no more room."""


def points(figure: Figure, evidence: Evidence, room: Room) -> list[Point]:
    """Return what the points of a figure's first cloud are, in their order; nothing for a figure without a cloud."""
    clouds = [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, Dots) and mark.is_dense]
    if not clouds or not clouds[0].ids:
        return []
    names = known(evidence, "sample_id")
    rows = {name: row for row, name in enumerate(names)}
    captions, digests = known(evidence, "caption"), known(evidence, "image")
    found = []
    for name in clouds[0].ids:
        row = rows.get(name)
        picture = address(evidence.run, digests[row]) if digests and row is not None else ""
        caption = captions[row] if captions and row is not None else ""
        found.append(Point(id=name, caption=caption, address=picture if room.take(picture) else ""))
    return found

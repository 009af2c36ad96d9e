"""The figures of one model, or of several together, with what their points are and why some are not there."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clipbench_reports.drawing.marks import Chart
from clipbench_reports.drawing.models import ModelKey
from clipbench_reports.drawing.together import together
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.galleries.points import Point, points
from clipbench_reports.page.evidence import Evidence, MissingEvidence

Draw = Callable[[Evidence], Chart]
Absence = tuple[str, str]
"""The models that lack something, nothing where it is all that there are, and why."""


class Drawn(NamedTuple):
    """What one function draws of the same evaluation of some models."""

    figure: Chart | None
    """Of all who have it: the only one, or all together."""
    single: list[tuple[ModelKey, Evidence, Chart]]
    """What it is made of."""
    lacking: dict[ModelKey, MissingEvidence]


class Drawings(NamedTuple):
    """Figures, and what goes with them."""

    figures: list[Chart]
    points: dict[int, dict[int, list[Point]]]
    """What the points of a figure are, by its place among the figures, then by that of the model."""
    lacking: list[Absence]


def drawings(makers: Sequence[Draw], found: Sequence[tuple[ModelKey, Evidence]], *, room: PageBudget) -> Drawings:
    """Return what can be drawn of the same evaluation of some models.

    Args:
        room: of the page, in which the images of points have their share.
    """
    made = [drawn(make, found) for make in makers]
    lacking = dict.fromkeys(absence for each in made for absence in _absences(each.lacking, len(found)))
    clouds = dict[int, dict[int, list[Point]]]()
    for place, each in enumerate(each for each in made if each.figure is not None):
        told = {model.place: points(figure, evidence, room) for model, evidence, figure in each.single}
        clouds[place] = {model: named for model, named in told.items() if named}
    return Drawings([each.figure for each in made if each.figure is not None], clouds, list(lacking))


def drawn(make: Draw, found: Sequence[tuple[ModelKey, Evidence]]) -> Drawn:
    """Return what a function draws of the same evaluation of some models: of one as it is, of several together."""
    single, lacking = list[tuple[ModelKey, Evidence, Chart]](), dict[ModelKey, MissingEvidence]()
    for model, evidence in found:
        try:
            single.append((model, evidence, make(evidence)))
        except MissingEvidence as reason:
            lacking[model] = reason
    figures = [figure for _, _, figure in single]
    if len(found) > 1 and figures:
        return Drawn(together(figures, [model for model, _, _ in single]), single, lacking)
    return Drawn(figures[0] if figures else None, single, lacking)


def _absences(lacking: dict[ModelKey, MissingEvidence], n_models: int) -> list[Absence]:
    """Return the reasons why something is not there, with the models that each holds for, unless it holds for all."""
    names: dict[str, list[str]] = {}
    for model, reason in lacking.items():
        names.setdefault(str(reason), []).append(model.label)
    return [("" if len(those) == n_models else ", ".join(those), reason) for reason, those in names.items()]

"""The figures of one model, or of several together, with what their points are and why some are not there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench_reports.drawing.marks import Chart, ModelKey
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.galleries.points import Point, points
from clipbench_reports.page.evidence import AllMissing, MissingEvidence, ModelEvidence, NotAsked
from clipbench_reports.sections.section import Draw

Absence = tuple[str, str]
"""The models that lack something, nothing where it is all that there are, and why."""


class Drawings(NamedTuple):
    """Figures, and what goes with them."""

    figures: list[Chart]
    points: dict[int, dict[int, list[Point]]]
    """The samples behind the points of a figure, by its place among the figures, then by that of the model."""
    lacking: list[Absence]


def drawings(makers: Sequence[Draw], models: Sequence[ModelEvidence], *, budget: PageBudget) -> Drawings:
    """Return what can be drawn of the same evaluation of some models.

    Args:
        budget: of the page, in which the images of points have their share.
    """
    figures, lacking = list[Chart](), dict[Absence, None]()
    for make in makers:
        charts, missing = drawn(make, models)
        figures += charts
        told = {model: reason for model, reason in missing.items() if not isinstance(reason, NotAsked)}
        lacking |= dict.fromkeys(_absences(told, len(models)))
    clouds = {place: _points(figure, models, budget) for place, figure in enumerate(figures)}
    return Drawings(figures, clouds, list(lacking))


def drawn(make: Draw, models: Sequence[ModelEvidence]) -> tuple[list[Chart], Mapping[ModelKey, MissingEvidence]]:
    """Return what a function draws of some models, and why not of all of them."""
    try:
        made = make(models)
    except AllMissing as error:
        return [], error.by_model
    except MissingEvidence as error:
        return [], {each.model: error for each in models}
    charts = [made] if isinstance(made, Chart) else list(made)
    return charts, {model: reason for chart in charts for model, reason in chart.missing.items()}


def _points(figure: Chart, models: Sequence[ModelEvidence], budget: PageBudget) -> dict[int, list[Point]]:
    """Return what the points of a figure are, by the place of the model that they are of."""
    clouds = {}
    for (_, place), evidence in models:
        own = [panel for panel in figure.panels if panel.model in (None, place)]
        clouds[place] = points(replace(figure, panels=own), evidence, budget)
    return {place: named for place, named in clouds.items() if named}


def _absences(lacking: Mapping[ModelKey, MissingEvidence], n_models: int) -> list[Absence]:
    """Return the reasons why something is not there, with the models that each holds for, unless it holds for all."""
    names: dict[str, list[str]] = {}
    for model, reason in lacking.items():
        names.setdefault(str(reason), []).append(model.label)
    return [("" if len(those) == n_models else ", ".join(those), reason) for reason, those in names.items()]

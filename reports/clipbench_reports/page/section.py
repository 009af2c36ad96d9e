"""One section a task: the question, the answer in sentences, and the figures, galleries and tables behind it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NamedTuple, TypeVar

from clipbench.results.shown_samples import evenly_spaced
from clipbench.results.table import Table
from clipbench.results.titles import subset_title
from clipbench_reports.drawing.marks import Chart, Dots
from clipbench_reports.evidence import (
    PLAIN,
    AllMissing,
    Evidence,
    MissingEvidence,
    ModelEvidence,
    ModelKey,
    Models,
    NotAsked,
    figure_of,
    shared_notes,
)
from clipbench_reports.figures import any_task
from clipbench_reports.figures.curves import CurvesFigure
from clipbench_reports.findings import Finding
from clipbench_reports.galleries import MAX_LETTERS, Gallery, MakeGallery, PageBudget, address, known
from clipbench_reports.page.groups import Entry, Group
from clipbench_reports.page.scorecard import MetricLines, metric_lines
from clipbench_reports.sections.section import Draw, LoadedSection
from clipbench_reports.text import shorten

Made = TypeVar("Made", Table, Gallery)
Absence = tuple[str, str]
"""The models that lack something, nothing where it is all that there are, and why."""


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


@dataclass(frozen=True, kw_only=True)
class SetResults:
    """The results of one model, or of all together, on one label set, or altogether."""

    title: str
    classes: str = ""
    """The number of classes of the set, and some of them."""
    findings: list[Finding] = field(default_factory=list)
    figures: list[Chart] = field(default_factory=list)
    """The first stands open, the others are folded."""
    points: Mapping[int, Mapping[int, list[Point]]] = field(default_factory=dict)
    """The samples at the points of a figure, by its place among the figures, then by that of the model."""
    tables: list[Table] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    lacking: list[Absence] = field(default_factory=list)
    """Reasons why a figure, table or gallery of this task is not there, with the models that lack it."""
    notes: list[str] = field(default_factory=list)

    @property
    def n_open(self) -> int:
        """The number of figures that stand open: two small ones where there are no failures beside the first."""
        is_pair = (
            not self.galleries and len(self.figures) > 1 and not any(figure.is_wide for figure in self.figures[:2])
        )
        return 2 if is_pair else 1

    def points_from(self, first: int) -> Mapping[int, Mapping[int, list[Point]]]:
        """Return the samples at the points of the figures from one on."""
        return {place - first: named for place, named in self.points.items() if place >= first}


class ModelResults(NamedTuple):
    """The results of one model."""

    label: str
    place: int
    blocks: list[SetResults]
    """One for each label set; a single one without a title where there are no several."""
    notes: list[str]
    """Notes on all blocks."""


@dataclass(frozen=True, kw_only=True)
class TaskResults:
    """A task on a data set, for all models that were measured on it."""

    anchor: str
    task: str
    title: str
    data: str
    question: str
    scoring: str
    fault: str
    """The reason why a section that a package brings for the task is not there."""
    differences: list[str]
    advice: Mapping[str, str]
    """Remedies that people use, by the weakness."""
    joint: list[SetResults]
    """The figures of several models together, for each label set; empty where there is one, or they are not
    comparable.
    """
    parts: list[ModelResults]
    metrics: list[MetricLines]
    controls: list[MetricLines]
    footnotes: list[str]


def n_shares(groups: list[Group], failures_of: int | None = None) -> int:
    """Return into how many shares the images of a page are budgeted: one for each possible gallery, more for a cloud.

    Args:
        failures_of: the place of the only model whose failures are shown; None for those of all.
    """
    total = 0
    for group in groups:
        section = group.section.section
        for entry in group.measured:
            n_galleries = len(section.galleries) if failures_of in (None, entry.place) else 0
            n_sets = len(group.section.label_sets(entry.evaluation))
            total += n_sets * (n_galleries + CLOUD_SHARES * section.has_cloud)
    return total


def task_results(group: Group, *, budget: PageBudget | None, failures_of: int | None = None) -> TaskResults:
    """Return the section of a group that has at least one measured entry.

    The figures of several models are drawn together, unless they must not be compared: then each model has its own.

    Args:
        budget: for images in the page; None for no figures, tables and galleries.
        failures_of: the place of the only model whose tables and failures are shown; None for those of all.
    """
    loaded = group.section
    measured = [(entry, loaded.parts(Evidence(entry.run, entry.evaluation))) for entry in group.measured]
    is_joint = len(measured) > 1 and not group.same.differences
    footnotes: list[str] = []

    def recorded(field: str) -> str:
        return next(filter(None, (getattr(entry.evaluation, field) for entry in group.entries)), "")

    parts = []
    for entry, own in measured:
        images = budget if failures_of in (None, entry.place) or not is_joint else None
        blocks = [_set_results(entry, each, loaded, budget=images, has_figures=not is_joint) for each in own]
        notes = shared_notes(entry.evaluation) if loaded.is_split else list(entry.evaluation.notes)
        parts.append(ModelResults(entry.label, entry.place, blocks, notes))
    return TaskResults(
        anchor=group.anchor,
        task=group.task,
        title=group.title,
        data=group.data,
        question=recorded("question"),
        scoring=recorded("scoring"),
        fault=loaded.fault,
        differences=list(group.same.differences),
        advice=loaded.section.advice,
        joint=[] if budget is None or not is_joint else _joint(loaded, measured, budget=budget),
        parts=parts,
        metrics=metric_lines(group.measured, footnotes) if loaded.section.lists_metrics else [],
        controls=metric_lines(group.measured, footnotes, choose=attrgetter("controls")),
        footnotes=footnotes,
    )


def _joint(
    loaded: LoadedSection, measured: Sequence[tuple[Entry, list[Evidence]]], *, budget: PageBudget
) -> list[SetResults]:
    by_set: dict[str, list[ModelEvidence]] = {}
    for entry, own in measured:
        for each in own:
            model = ModelEvidence(ModelKey(entry.label, entry.place), each)
            by_set.setdefault(each.label_set, []).append(model)
    return [_with_figures(models, loaded, budget) for models in by_set.values()]


def _set_results(
    entry: Entry, evidence: Evidence, loaded: LoadedSection, *, budget: PageBudget | None, has_figures: bool
) -> SetResults:
    """Return the results of a model on a label set, without figures, tables and galleries where ``budget`` is None."""
    results = SetResults(title=_title(evidence))
    if budget is not None and has_figures:
        results = _with_figures([ModelEvidence(ModelKey(entry.label, entry.place), evidence)], loaded, budget)
    results = replace(
        results,
        findings=loaded.findings(evidence.evaluation),
        notes=[] if evidence.label_set == PLAIN else evidence.evaluation.notes,
    )
    if budget is None:
        return results
    lacking = [reason for _, reason in results.lacking]
    tables = _make_all([loaded.guard(make, Table) for make in loaded.section.tables], evidence, lacking)
    galleries = [_budgeted(loaded.guard(make, Gallery), budget) for make in loaded.section.galleries]
    return replace(
        results,
        tables=tables,
        galleries=_make_all(galleries, evidence, lacking),
        lacking=[("", reason) for reason in dict.fromkeys(lacking)],
    )


def _budgeted(make: MakeGallery, budget: PageBudget) -> Callable[[Evidence], Gallery]:
    # The share is taken when the gallery's turn comes: what the one before left is there for it.
    return lambda evidence: make(evidence, budget.share())


def _title(evidence: Evidence) -> str:
    return subset_title(evidence.label_set, evidence.evaluation.subsets)


def _with_figures(models: Models, loaded: LoadedSection, budget: PageBudget) -> SetResults:
    """Return what can be drawn of the same evaluation of some models, and why other figures are not there."""
    shown, lacking, first = list[Chart](), dict[Absence, None](), models[0].evidence
    for make in _figure_makers(loaded, [evidence for _, evidence in models]):
        charts, missing = drawn(make, models)
        shown += charts
        names: dict[str, list[str]] = {}
        for model, reason in missing.items():
            if not isinstance(reason, NotAsked):
                names.setdefault(str(reason), []).append(model.label)
        for why, those in names.items():
            lacking["" if len(those) == len(models) else ", ".join(those), why] = None
    points = {place: _points(figure, models, budget) for place, figure in enumerate(shown)}
    classes, describe = "", loaded.section.describe_label_set
    if describe is not None and first.label_set != PLAIN:
        with suppress(MissingEvidence):
            classes = loaded.guard(describe, str)(first)
    return SetResults(title=_title(first), classes=classes, figures=shown, points=points, lacking=list(lacking))


def drawn(make: Draw, models: Models) -> tuple[list[Chart], Mapping[ModelKey, MissingEvidence]]:
    """Return what a function draws of some models, and why not of all of them."""
    try:
        made = make(models)
    except AllMissing as error:
        return [], error.by_model
    except MissingEvidence as error:
        return [], {each.model: error for each in models}
    charts = [made] if isinstance(made, Chart) else list(made)
    return charts, {model: reason for chart in charts for model, reason in chart.missing.items()}


def _points(figure: Chart, models: Models, budget: PageBudget) -> dict[int, list[Point]]:
    clouds = {}
    for (_, place), evidence in models:
        own = [panel for panel in figure.panels if panel.model in (None, place)]
        clouds[place] = points_at(replace(figure, panels=own), evidence, budget)
    return {place: named for place, named in clouds.items() if named}


def _figure_makers(loaded: LoadedSection, evidence: Sequence[Evidence]) -> list[Draw]:
    """Return the functions that draw the figures of a task, and every curve that none of them shows."""
    figures = loaded.section.figures
    is_drawn = {*loaded.section.drawn_figures, *(each.name for each in figures if isinstance(each, CurvesFigure))}
    named = (figure_of(*item) for each in evidence for item in each.evaluation.curves.items())
    others = [name for name in dict.fromkeys(filter(None, named)) if name not in is_drawn]
    groupings = dict.fromkeys(name for each in evidence for name in each.evaluation.slices)
    own = [loaded.guard(draw, Chart) for draw in figures]
    return [*own, *map(any_task.slices, groupings), *(CurvesFigure(name=name) for name in others)]


def _make_all(makers: list[Callable[[Evidence], Made]], evidence: Evidence, lacking: list[str]) -> list[Made]:
    """Return what can be made; add the reasons for the rest to ``lacking``."""
    made: list[Made] = []
    for make in makers:
        try:
            made.append(make(evidence))
        except NotAsked:
            continue
        except MissingEvidence as reason:
            lacking.append(str(reason))
    return made


def points_at(figure: Chart, evidence: Evidence, budget: PageBudget) -> list[Point]:
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

"""One section a task: the question, the answer in sentences, and the figures, galleries and tables behind it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from clipbench_reports.galleries import MAX_LETTERS, Gallery, MakeGallery, PageBudget, address, optional_words
from clipbench_reports.page.groups import EvaluatedModel, Group
from clipbench_reports.page.scorecard import MetricLines, metric_lines
from clipbench_reports.sections.section import Draw, LoadedSection
from clipbench_reports.text import shorten

Part = TypeVar("Part", Table, Gallery)
Absence = tuple[str, str]
"""The models that lack something, nothing where it is all that there are, and why."""


CLOUD_SHARES = 10
"""Fractions of a page's budget that a cloud takes. A gallery takes one share, as it has fewer and larger images."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A sample that a scatter has a point for, or several."""

    id: str
    caption: str
    """Nothing where the run recorded none."""
    address: str
    """Address of its image, empty if the run kept none or the budget of the page is used up."""


@dataclass(frozen=True, kw_only=True)
class SetResults:
    """The results of one model, or of all together, on one label set, or altogether."""

    title: str
    classes: str = ""
    """The number of classes of the set, and some of them."""
    findings: list[Finding] = field(default_factory=list)
    figures: list[Chart] = field(default_factory=list)
    """The first is open, the others are folded."""
    points: Mapping[int, Mapping[int, list[Point]]] = field(default_factory=dict)
    """The samples at the points of a figure, by its index among the figures, then by the position of the model."""
    tables: list[Table] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    """Reasons why a figure, table or gallery of this task is not there, with the models that lack it."""
    notes: list[str] = field(default_factory=list)

    @property
    def n_open(self) -> int:
        """The number of figures that are not folded: two small ones without failures."""
        if self.galleries or len(self.figures) < 2:
            return 1
        return 1 if any(figure.is_wide for figure in self.figures[:2]) else 2

    def points_from(self, first: int) -> Mapping[int, Mapping[int, list[Point]]]:
        """Return the samples at the points of the figures from one on."""
        return {
            figure_index - first: points_by_model
            for figure_index, points_by_model in self.points.items()
            if figure_index >= first
        }


class ModelResults(NamedTuple):
    """The results of one model."""

    label: str
    position: int
    blocks: list[SetResults]
    """One for each label set, or a single one without a title if there is only one set."""
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
    """Remedies that people use, by the weakness, of the weaknesses that a finding states."""
    joint: list[SetResults]
    """The figures of several models together, for each label set, empty if there is one, or they are not
    comparable.
    """
    parts: list[ModelResults]
    metrics: list[MetricLines]
    baselines: list[MetricLines]
    footnotes: list[str]


def n_shares(groups: list[Group], failures_of: int | None = None) -> int:
    """Return into how many shares the images of a page are budgeted: one for each possible gallery, more for a cloud.

    Args:
        failures_of: the position of the only model whose failures are shown, None for all models.
    """
    total = 0
    for group in groups:
        section = group.section.section
        for model in group.measured:
            n_galleries = len(section.galleries) if failures_of in (None, model.position) else 0
            n_sets = len(group.section.label_sets(model.evaluation))
            total += n_sets * (n_galleries + CLOUD_SHARES * section.has_cloud)
    return total


def task_results(group: Group, *, budget: PageBudget | None, failures_of: int | None = None) -> TaskResults:
    """Return the section of a group that has at least one measured model.

    The figures of several models are drawn together, unless they must not be compared: then each model has its own.

    Args:
        budget: for images in the page, None to leave out figures, tables and galleries.
        failures_of: the position of the only model whose tables and failures are shown, None for all models.
    """
    loaded = group.section
    measured = [(model, loaded.parts(Evidence(model.run, model.evaluation))) for model in group.measured]
    is_joint = len(measured) > 1 and not group.same.differences
    footnotes: list[str] = []

    parts = []
    for model, set_evidences in measured:
        shows_failures = failures_of in (None, model.position) or not is_joint
        blocks = []
        for evidence in set_evidences:
            images = budget if shows_failures else None
            blocks.append(_set_results(model, evidence, loaded, budget=images, has_figures=not is_joint))
        notes = shared_notes(model.evaluation) if loaded.is_split else list(model.evaluation.notes)
        parts.append(ModelResults(model.label, model.position, blocks, notes))
    evaluations = [model.evaluation for model in group.models]
    return TaskResults(
        anchor=group.anchor,
        task=group.task,
        title=group.title,
        data=group.data,
        question=_first_text(evaluation.question for evaluation in evaluations),
        scoring=_first_text(evaluation.scoring for evaluation in evaluations),
        fault=loaded.fault,
        differences=list(group.same.differences),
        advice=_advice(loaded.section.advice, parts),
        joint=[] if budget is None or not is_joint else _joint_results(loaded, measured, budget=budget),
        parts=parts,
        metrics=metric_lines(group.measured, footnotes) if loaded.section.lists_metrics else [],
        baselines=metric_lines(group.measured, footnotes, choose=attrgetter("baselines")),
        footnotes=footnotes,
    )


def _first_text(texts: Iterable[str]) -> str:
    """Return the first text that is not empty, or an empty one."""
    return next((text for text in texts if text), "")


def _advice(advice: Mapping[str, str], parts: Sequence[ModelResults]) -> dict[str, str]:
    """Return the remedies of the weaknesses that a finding of a model states: others would read as if it had them."""
    stated: set[str] = set()
    for part in parts:
        for block in part.blocks:
            stated.update(finding.weakness for finding in block.findings)
    return {weakness: text for weakness, text in advice.items() if weakness in stated}


def _joint_results(
    loaded: LoadedSection, measured: Sequence[tuple[EvaluatedModel, list[Evidence]]], *, budget: PageBudget
) -> list[SetResults]:
    by_label_set: dict[str, list[ModelEvidence]] = {}
    for model, set_evidences in measured:
        key = ModelKey(model.label, model.position)
        for evidence in set_evidences:
            by_label_set.setdefault(evidence.label_set, []).append(ModelEvidence(key, evidence))
    return [_draw_results(models, loaded, budget) for models in by_label_set.values()]


def _set_results(
    model: EvaluatedModel, evidence: Evidence, loaded: LoadedSection, *, budget: PageBudget | None, has_figures: bool
) -> SetResults:
    """Return the results of a model on a label set, without figures, tables and galleries where ``budget`` is None."""
    results = SetResults(title=_title(evidence))
    if budget is not None and has_figures:
        results = _draw_results([ModelEvidence(ModelKey(model.label, model.position), evidence)], loaded, budget)
    results = replace(
        results,
        findings=loaded.findings(evidence.evaluation),
        notes=[] if evidence.label_set == PLAIN else evidence.evaluation.notes,
    )
    if budget is None:
        return results
    absence_reasons = [reason for _, reason in results.absences]
    tables = _make_all([loaded.guard(make, Table) for make in loaded.section.tables], evidence, absence_reasons)
    galleries = [_make_within_budget(loaded.guard(make, Gallery), budget) for make in loaded.section.galleries]
    return replace(
        results,
        tables=tables,
        galleries=_make_all(galleries, evidence, absence_reasons),
        absences=[("", reason) for reason in dict.fromkeys(absence_reasons)],
    )


def _make_within_budget(make: MakeGallery, budget: PageBudget) -> Callable[[Evidence], Gallery]:
    # The share is taken when the gallery's turn comes: what the one before left is there for it.
    return lambda evidence: make(evidence, budget.share())


def _title(evidence: Evidence) -> str:
    return subset_title(evidence.label_set, evidence.evaluation.subsets)


def _draw_results(models: Models, loaded: LoadedSection, budget: PageBudget) -> SetResults:
    """Return the figures of one evaluation of some models, and the reasons for figures that are missing."""
    figures, absences = list[Chart](), dict[Absence, None]()
    for make in _figure_makers(loaded, [evidence for _, evidence in models]):
        charts, missing = draw_charts(make, models)
        figures += charts
        labels_by_reason: dict[str, list[str]] = {}
        for model, reason in missing.items():
            if not isinstance(reason, NotAsked):
                labels_by_reason.setdefault(str(reason), []).append(model.label)
        for text, labels in labels_by_reason.items():
            are_all = len(labels) == len(models)
            absences["" if are_all else ", ".join(labels), text] = None
    first = models[0].evidence
    classes, describe = "", loaded.section.describe_label_set
    if describe is not None and first.label_set != PLAIN:
        with suppress(MissingEvidence):
            classes = loaded.guard(describe, str)(first)
    return SetResults(
        title=_title(first),
        classes=classes,
        figures=figures,
        points={figure_index: _points(figure, models, budget) for figure_index, figure in enumerate(figures)},
        absences=list(absences),
    )


def draw_charts(make: Draw, models: Models) -> tuple[list[Chart], Mapping[ModelKey, MissingEvidence]]:
    """Return the figures that a function draws of models, and the reasons for the models that it leaves out."""
    try:
        drawing = make(models)
    except AllMissing as error:
        return [], error.by_model
    except MissingEvidence as error:
        return [], {model: error for model, _ in models}
    charts = [drawing] if isinstance(drawing, Chart) else list(drawing)
    missing: dict[ModelKey, MissingEvidence] = {}
    for chart in charts:
        missing |= chart.missing
    return charts, missing


def _points(figure: Chart, models: Models, budget: PageBudget) -> dict[int, list[Point]]:
    clouds = {}
    for (_, position), evidence in models:
        panels = [panel for panel in figure.panels if panel.model in (None, position)]
        clouds[position] = points_at(replace(figure, panels=panels), evidence, budget)
    return {position: points for position, points in clouds.items() if points}


def _figure_makers(loaded: LoadedSection, evidences: Sequence[Evidence]) -> list[Draw]:
    """Return the functions that draw the figures of a task, and every curve that none of them shows."""
    figures = loaded.section.figures
    drawn_curves = set(loaded.section.drawn_figures)
    drawn_curves.update(draw.name for draw in figures if isinstance(draw, CurvesFigure))
    groupings, curve_figures = dict[str, None](), dict[str, None]()  # in the order in which they first appear
    for evidence in evidences:
        groupings |= dict.fromkeys(evidence.evaluation.slices)
        curve_figures |= dict.fromkeys(figure_of(name, curve) for name, curve in evidence.evaluation.curves.items())
    makers: list[Draw] = [loaded.guard(draw, Chart) for draw in figures]
    makers += [any_task.slices(grouping) for grouping in groupings]
    makers += [CurvesFigure(name=name) for name in curve_figures if name and name not in drawn_curves]
    return makers


def _make_all(makers: list[Callable[[Evidence], Part]], evidence: Evidence, absence_reasons: list[str]) -> list[Part]:
    """Return the tables or galleries that can be made, and add the reasons for the rest to ``absence_reasons``."""
    parts: list[Part] = []
    for make in makers:
        try:
            parts.append(make(evidence))
        except NotAsked:
            continue
        except MissingEvidence as reason:
            absence_reasons.append(str(reason))
    return parts


def points_at(figure: Chart, evidence: Evidence, budget: PageBudget) -> list[Point]:
    """Return the samples at the points of a figure's first cloud, in their order, or none without a cloud.

    Args:
        budget: of the page; where it does not hold the images of all points, those that have one are evenly spread.
    """
    clouds = []
    for panel in figure.panels:
        clouds += [mark for mark in panel.marks if isinstance(mark, Dots) and mark.is_dense]
    if not clouds or not clouds[0].ids:
        return []
    try:
        ids, captions, digests = (optional_words(evidence, name) for name in ("sample_id", "caption", "image"))
    except MissingEvidence:  # the table cannot be read: the figure, of arrays, stands without it
        return []
    rows = {name: row for row, name in enumerate(ids)}
    points = []
    for name in clouds[0].ids:
        row = rows.get(name)
        caption = shorten(captions[row], MAX_LETTERS) if captions and row is not None else ""
        image = address(evidence.run, digests[row], is_small=True) if digests and row is not None else ""
        points.append(Point(id=name, caption=caption, address=image))
    kept_addresses = _addresses_within_budget([point.address for point in points], budget.share(CLOUD_SHARES))
    return [replace(point, address=image) for point, image in zip(points, kept_addresses, strict=True)]


def _addresses_within_budget(addresses: list[str], budget: PageBudget) -> list[str]:
    """Return the addresses that fit the budget, evenly spread, with the others emptied."""
    filled_rows = [row for row, address in enumerate(addresses) if address]
    needed = sum(len(addresses[row]) for row in filled_rows)
    n_fitting = len(filled_rows)
    if needed > budget.left:
        n_fitting = n_fitting * budget.left // needed
    kept = [""] * len(addresses)
    for filled_index in evenly_spaced(len(filled_rows), n_fitting):
        row = filled_rows[filled_index]
        if budget.take(addresses[row]):
            kept[row] = addresses[row]
    return kept

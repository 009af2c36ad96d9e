"""One section a task: the question, the answer in sentences, and the figures, galleries and tables behind it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from clipbench.results.table import Table
from clipbench.results.titles import subset_title
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Chart, ModelKey
from clipbench_reports.drawing.models import figure_labels
from clipbench_reports.galleries.gallery import Gallery, MakeGallery
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.galleries.points import CLOUD_SHARES, Point
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, NotAsked
from clipbench_reports.page.groups import Entry, Group
from clipbench_reports.page.label_sets import PLAIN, shared_notes
from clipbench_reports.page.scorecard import MetricLines, metric_lines
from clipbench_reports.page.section_figures import Absence, drawings
from clipbench_reports.page.sentences.findings import Finding
from clipbench_reports.sections.loading import OWN, LoadedSection
from clipbench_reports.sections.section import Draw

Made = TypeVar("Made", Table, Gallery)
Measured = tuple[Entry, Evidence]


@dataclass(frozen=True, kw_only=True)
class SetResults:
    """The results of one model, or of all together, on one label set, or altogether."""

    title: str
    name: str
    """The recorded name of the label set, where the title is another."""
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

    @property
    def points_of_rest(self) -> Mapping[int, Mapping[int, list[Point]]]:
        """The samples at the points of the figures that are folded."""
        return {place - self.n_open: named for place, named in self.points.items() if place >= self.n_open}


@dataclass(frozen=True, kw_only=True)
class ModelResults:
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
    has_own_advice: bool
    """True where the advice is of clipbench, whose documentation says more."""
    joint: list[SetResults]
    """The figures of several models together, for each label set; empty where there is one, or they are not comparable."""
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
    measured = [(entry, Evidence(entry.run, entry.evaluation)) for entry in group.measured]
    is_joint = len(measured) > 1 and not group.differences
    footnotes: list[str] = []
    return TaskResults(
        anchor=group.anchor,
        task=group.task,
        title=group.title,
        data=group.data,
        question=_recorded(group, "question"),
        scoring=_recorded(group, "scoring"),
        fault=group.section.fault,
        differences=group.differences,
        advice=group.section.section.advice,
        has_own_advice=group.section.package == OWN,
        joint=[] if budget is None or not is_joint else _joint(group, measured, budget=budget),
        parts=[
            _model_results(
                each,
                group.section,
                budget=budget if failures_of in (None, each[0].place) or not is_joint else None,
                has_figures=not is_joint,
            )
            for each in measured
        ],
        metrics=metric_lines(group.measured, footnotes) if group.section.section.lists_metrics else [],
        controls=metric_lines(group.measured, footnotes, choose=lambda evaluation: evaluation.controls),
        footnotes=footnotes,
    )


def _recorded(group: Group, field: str) -> str:
    """Return a text of the task, from the first model whose run recorded it."""
    return next(filter(None, (getattr(entry.evaluation, field) for entry in group.entries)), "")


def _joint(group: Group, measured: Sequence[Measured], *, budget: PageBudget) -> list[SetResults]:
    """Return the figures of several models together, for each label set."""
    names = [entry.label for entry in group.entries] + group.unasked
    short = dict(zip(names, figure_labels(names), strict=True))
    loaded = group.section
    blocks = []
    for label_set in dict.fromkeys(name for entry, _ in measured for name in loaded.label_sets(entry.evaluation)):
        having = [
            ModelEvidence(ModelKey(short[entry.label], entry.place), _evidence_of(label_set, evidence, loaded))
            for entry, evidence in measured
            if label_set in loaded.label_sets(entry.evaluation)
        ]
        drawn = drawings(_figure_makers(loaded, [evidence for _, evidence in having]), having, budget=budget)
        first = having[0][1]
        blocks.append(
            replace(_heading(label_set, first), classes=_classes(label_set, first, loaded), **drawn._asdict())
        )
    return blocks


def _model_results(
    measured: Measured, loaded: LoadedSection, *, budget: PageBudget | None, has_figures: bool
) -> ModelResults:
    entry, evidence = measured
    is_split = loaded.section.describe_label_set is not None
    return ModelResults(
        label=entry.label,
        place=entry.place,
        blocks=[
            _set_results(measured, label_set, loaded, budget=budget, has_figures=has_figures)
            for label_set in loaded.label_sets(evidence.evaluation)
        ],
        notes=shared_notes(evidence.evaluation) if is_split else list(evidence.evaluation.notes),
    )


def _set_results(
    measured: Measured, label_set: str, loaded: LoadedSection, *, budget: PageBudget | None, has_figures: bool
) -> SetResults:
    """Return the results on a label set, without figures, tables and galleries where ``budget`` is None."""
    entry, whole = measured
    evidence = _evidence_of(label_set, whole, loaded)
    results = replace(
        _heading(label_set, evidence),
        findings=loaded.findings(evidence.evaluation),
        notes=[] if label_set == PLAIN else evidence.evaluation.notes,
    )
    if budget is None:
        return results
    makers = _figure_makers(loaded, [evidence]) if has_figures else []
    drawn = drawings(makers, [ModelEvidence(ModelKey(entry.label, entry.place), evidence)], budget=budget)
    lacking = [reason for _, reason in drawn.lacking]
    tables = _make_all([loaded.guard(make, Table) for make in loaded.section.tables], evidence, lacking)
    galleries = [_budgeted(loaded.guard(make, Gallery), budget) for make in loaded.section.galleries]
    return replace(
        results,
        classes=_classes(label_set, evidence, loaded) if has_figures else "",
        figures=drawn.figures,
        points=drawn.points,
        tables=tables,
        galleries=_make_all(galleries, evidence, lacking),
        lacking=[("", reason) for reason in dict.fromkeys(lacking)],
    )


def _budgeted(make: MakeGallery, budget: PageBudget) -> Callable[[Evidence], Gallery]:
    # The share is taken when the gallery's turn comes: what the one before left is there for it.
    return lambda evidence: make(evidence, budget.share())


def _evidence_of(label_set: str, evidence: Evidence, loaded: LoadedSection) -> Evidence:
    return evidence.of(label_set) if loaded.section.describe_label_set is not None else evidence


def _heading(label_set: str, evidence: Evidence) -> SetResults:
    """Return only the heading of a label set."""
    title = subset_title(label_set, evidence.evaluation.subsets)
    return SetResults(title=title, name=label_set if title != label_set else "")


def _figure_makers(loaded: LoadedSection, evidence: Sequence[Evidence]) -> list[Draw]:
    """Return the functions that draw the figures of a task, and every curve that none of them shows."""
    drawn = loaded.section.drawn_curves
    # A curve of a label set, kind/reliability, is shown with its others where the whole evaluation is drawn.
    others = dict.fromkeys(
        name for each in evidence for name in each.evaluation.curves if not {name, name.rpartition("/")[2]} & drawn
    )
    groupings = dict.fromkeys(name for each in evidence for name in each.evaluation.slices)
    own = [loaded.guard(draw, Chart) for draw in loaded.section.figures]
    return [*own, *map(figures.slices, groupings), *map(figures.curve, others)]


def _classes(label_set: str, evidence: Evidence, loaded: LoadedSection) -> str:
    describe = loaded.section.describe_label_set
    if describe is None or label_set == PLAIN:
        return ""
    try:
        return loaded.guard(describe, str)(evidence)
    except MissingEvidence:
        return ""


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

"""One section a task: what was asked, what came out, the figures and the tables behind it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.drawing.models import ModelKey, figure_labels
from clipbench_reports.galleries import failures, unfound
from clipbench_reports.galleries.failures import Make
from clipbench_reports.galleries.gallery import Gallery
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.galleries.points import CLOUD_SHARES, Point
from clipbench_reports.page.evidence import Evidence, MissingEvidence, NotAsked
from clipbench_reports.page.groups import Entry, Group
from clipbench_reports.page.label_sets import PLAIN, label_sets, shared_notes
from clipbench_reports.page.scorecard import MetricLines, metric_lines
from clipbench_reports.page.section_figures import Absence, Draw, drawings
from clipbench_reports.page.sentences.findings import Finding, findings, label_set_findings
from clipbench_reports.page.sentences.words import ASKED, SCORED, label_set_words
from clipbench_reports.page.tables import attacks as attack_tables
from clipbench_reports.page.tables import choices as choice_tables
from clipbench_reports.page.tables import classes as tables
from clipbench_reports.page.tables.classes import Table
from clipbench_reports.page.text import quoted, sentence_case

Made = TypeVar("Made", Table, Gallery)
Measured = tuple[Entry, Evidence]
Tabulate = Callable[[Evidence], Table]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the section of a task holds."""

    figures: tuple[Draw, ...] = ()
    tables: tuple[Tabulate, ...] = ()
    galleries: tuple[Make, ...] = ()
    drawn_curves: frozenset[str] = frozenset()
    """Curves that one of the figures shows; each other curve gets a plain figure of its own."""
    has_cloud: bool = False
    """Whether a figure has points that are samples, whose images are shown to who points at them."""
    lists_metrics: bool = False
    """True to repeat all metrics in the section."""


KINDS = {
    "zero-shot": Kind(
        figures=(figures.confusion, figures.reliability, figures.templates),
        tables=(tables.confused_pairs, tables.class_recall, tables.template_scores),
        galleries=(failures.misnamed,),
        drawn_curves=frozenset({"reliability", "templates"}),
    ),
    "retrieval": Kind(
        figures=(figures.similarity, figures.recall, figures.recall_within),
        galleries=tuple(map(unfound.unfound, unfound.SEARCHES)),
        drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN}),
    ),
    "modality-gap": Kind(
        figures=(
            figures.cones,
            figures.gap,
            figures.spectrum,
            figures.shift,
            figures.corrections,
            figures.similarity_calibration,
        ),
        drawn_curves=figures.GEOMETRY,
        has_cloud=True,
    ),
    "composition": Kind(
        figures=(figures.composition, figures.twins),
        tables=(choice_tables.lost_choices,),
        galleries=(failures.mistaken, failures.misplaced),
    ),
    "long-caption": Kind(
        figures=(figures.tokens_kept, figures.positions, figures.token_lengths, figures.similarity, figures.recall),
        galleries=(*map(unfound.unfound, unfound.SEARCHES), unfound.misjudged),
        drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN, *figures.KEPT, figures.BY_POSITION}),
    ),
    "text-in-image": Kind(
        figures=(figures.hijacking, *map(figures.response, figures.SETTINGS), figures.reading),
        tables=(attack_tables.attacked_objects, attack_tables.misread_words),
        galleries=(failures.hijacked, failures.misread),
        drawn_curves=figures.RESPONSES,
    ),
}
"""The tasks that ship. Any other gets its metrics and its curves."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one model gave."""

    label: str
    place: int
    blocks: list["Block"]
    """One for each label set; a single one without a title where there are no several."""
    notes: list[str]
    """What holds for all blocks."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one model, or all together, gave on one label set, or altogether."""

    title: str
    name: str
    """Of the label set as it is recorded, where the title says it in words."""
    classes: str
    """How many classes the set has, and some of them."""
    findings: list[Finding]
    figures: list[Chart]
    points: Mapping[int, Mapping[int, list[Point]]]
    """What the points of a figure are, by its place among the figures, then by that of the model among the runs."""
    tables: list[Table]
    galleries: list[Gallery]
    lacking: list[Absence]
    """Why a figure, table or gallery of this task is not there, and of which models, where others have it."""
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A task on a data set, for all models that were measured on it."""

    number: int
    anchor: str
    task: str
    data: str
    asked: str
    scored: str
    differences: list[str]
    joint: list[Block]
    """The figures of several models together, for each label set; empty where there is one, or they are not comparable."""
    parts: list[Part]
    metrics: list[MetricLines]
    controls: list[MetricLines]
    footnotes: list[str]


def n_shares(groups: list[Group]) -> int:
    """Return into how many shares the room of a page is cut: one for each gallery that there may be, more for a cloud."""
    kinds = {group.task: KINDS.get(group.task, Kind()) for group in groups}
    return sum(
        (len(kinds[group.task].galleries) + CLOUD_SHARES * kinds[group.task].has_cloud)
        * len(label_sets(entry.evaluation))
        for group in groups
        for entry in group.measured
    )


def section(group: Group, number: int, *, room: PageBudget | None) -> Section:
    """Return the section of a group that has at least one measured entry.

    The figures of several models are drawn together, unless they must not be compared: then each model has its own.

    Args:
        room: for images in the page; None for no figures, tables and galleries.
    """
    kind = KINDS.get(group.task, Kind(lists_metrics=True))
    found = [(entry, Evidence(entry.run, entry.evaluation)) for entry in group.measured]
    is_joint = len(found) > 1 and not group.differences
    footnotes: list[str] = []
    return Section(
        number=number,
        anchor=group.anchor,
        task=group.task,
        data=group.data,
        asked=ASKED.get(group.task, ""),
        scored=SCORED.get(group.task, ""),
        differences=group.differences,
        joint=[] if room is None or not is_joint else _joint(group, found, kind, room=room),
        parts=[_part(each, kind, room=room, has_figures=not is_joint) for each in found],
        metrics=metric_lines(group.measured, footnotes) if kind.lists_metrics else [],
        controls=metric_lines(group.measured, footnotes, controls=True),
        footnotes=footnotes,
    )


def _joint(group: Group, found: Sequence[Measured], kind: Kind, *, room: PageBudget) -> list[Block]:
    """Return the figures of several models together, for each label set."""
    names = [entry.label for entry in group.entries] + group.unasked
    called = dict(zip(names, figure_labels(names), strict=True))
    blocks = []
    for label_set in dict.fromkeys(name for entry, _ in found for name in label_sets(entry.evaluation)):
        having = [
            (ModelKey(called[entry.label], entry.place), evidence.of(label_set))
            for entry, evidence in found
            if label_set in label_sets(entry.evaluation)
        ]
        first = having[0][1]
        drawn = drawings(_makers(kind, [evidence for _, evidence in having]), having, room=room)
        classes = "" if label_set == PLAIN else _classes(first)
        blocks.append(replace(_empty(first, label_set), classes=classes, **drawn._asdict()))
    return blocks


def _part(found: Measured, kind: Kind, *, room: PageBudget | None, has_figures: bool) -> Part:
    entry, whole = found
    makes = partial(_block, kind=kind, room=room, has_figures=has_figures)
    return Part(
        label=entry.label,
        place=entry.place,
        blocks=[makes(found, each) for each in label_sets(whole.evaluation)],
        notes=shared_notes(whole.evaluation),
    )


def _block(found: Measured, label_set: str, *, kind: Kind, room: PageBudget | None, has_figures: bool) -> Block:
    """Return a block, without figures, tables and galleries where ``room`` is None."""
    entry, whole = found
    evidence, is_plain = whole.of(label_set), label_set == PLAIN
    block = replace(
        _empty(evidence, label_set),
        findings=findings(evidence.evaluation) if is_plain else label_set_findings(whole.evaluation, label_set),
        notes=[] if is_plain else evidence.evaluation.notes,
    )
    if room is None:
        return block
    makers = _makers(kind, [evidence]) if has_figures else []
    drawn = drawings(makers, [(ModelKey(entry.label, entry.place), evidence)], room=room)
    lacking = [reason for _, reason in drawn.lacking]
    folded = _made(list(kind.tables), evidence, lacking)
    galleries = _made([_hung(make, room) for make in kind.galleries], evidence, lacking)
    return replace(
        block,
        classes="" if is_plain or not has_figures else _classes(evidence),
        figures=drawn.figures,
        points=drawn.points,
        tables=folded,
        galleries=galleries,
        lacking=[("", reason) for reason in dict.fromkeys(lacking)],
    )


def _empty(evidence: Evidence, label_set: str) -> Block:
    """Return a block that has only the heading of its label set."""
    words = label_set_words(evidence.evaluation.dataset.id, label_set)
    return Block(
        title=sentence_case(words) or label_set,
        name=label_set if words else "",
        classes="",
        findings=[],
        figures=[],
        points={},
        tables=[],
        galleries=[],
        lacking=[],
        notes=[],
    )


def _makers(kind: Kind, found: Sequence[Evidence]) -> list[Draw]:
    """Return what draws the figures of a task, and every curve that none of them shows."""
    others = dict.fromkeys(name for each in found for name in each.evaluation.curves if not _is_drawn(name, kind))
    return [*kind.figures, *map(figures.curve, others)]


def _hung(make: Make, room: PageBudget) -> Callable[[Evidence], Gallery]:
    return lambda evidence: make(evidence, room.share())


def _is_drawn(curve: str, kind: Kind) -> bool:
    """Whether a figure of the task shows a curve; one of a label set is shown with its others."""
    return curve in kind.drawn_curves or curve.rpartition("/")[2] in kind.drawn_curves


def _classes(evidence: Evidence) -> str:
    """Return how many classes a label set has, and three of them; nothing where the run does not tell."""
    acc1 = evidence.evaluation.metrics.get("acc1")
    if acc1 is None or not acc1.chance:
        return ""
    try:
        names = np.unique(evidence.column("label").astype(str)).tolist()
    except MissingEvidence:
        return ""
    few = dict.fromkeys([names[0], names[len(names) // 2], names[-1]])
    return f"{fmt.count(round(1 / acc1.chance))} classes, such as {', '.join(quoted(name) for name in few)}"


def _made(makers: list[Callable[[Evidence], Made]], evidence: Evidence, lacking: list[str]) -> list[Made]:
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

"""One section a task: what was asked, what came out, the figures and the tables behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clipbench_reports import attack_tables, choice_tables, failures, figures, tables
from clipbench_reports import format as fmt
from clipbench_reports.drawing import Figure
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.failures import Make
from clipbench_reports.findings import Finding, findings, label_set_findings
from clipbench_reports.format import sentence_case
from clipbench_reports.gallery import Gallery
from clipbench_reports.groups import Entry, Group
from clipbench_reports.label_sets import PLAIN, label_sets, shared_notes
from clipbench_reports.pictures import Room
from clipbench_reports.points import Point, points
from clipbench_reports.scorecard import MetricLines, metric_lines
from clipbench_reports.tables import Table
from clipbench_reports.words import ASKED, SCORED, label_set_words

Made = TypeVar("Made", Figure, Table, Gallery)
Draw = Callable[[Evidence], Figure]
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
    """Whether a figure has points that are samples, whose pictures are shown to who points at them."""
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
        galleries=tuple(map(failures.unfound, failures.QUERIES)),
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
        galleries=(failures.mistaken,),
    ),
    "long-caption": Kind(
        figures=(figures.tokens_kept, figures.positions, figures.token_lengths, figures.similarity, figures.recall),
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
    """What one model gave on one label set, or altogether."""

    title: str
    name: str
    """Of the label set as it is recorded, where the title says it in words."""
    classes: str
    """How many classes the set has, and some of them."""
    findings: list[Finding]
    figures: list[Figure]
    points: Mapping[int, list[Point]]
    """What the points of a figure are, by its place among the figures."""
    tables: list[Table]
    galleries: list[Gallery]
    lacking: list[str]
    """Why a figure, table or gallery of this task is not there."""
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
    parts: list[Part]
    metrics: list[MetricLines]
    controls: list[MetricLines]
    footnotes: list[str]


def n_galleries(groups: list[Group]) -> int:
    """Return how many galleries the sections of some groups may hold, which share the room of a page; so do clouds."""
    kinds = {group.task: KINDS.get(group.task, Kind()) for group in groups}
    return sum(
        (len(kinds[group.task].galleries) + kinds[group.task].has_cloud) * len(label_sets(entry.evaluation))
        for group in groups
        for entry in group.measured
    )


def section(group: Group, number: int, *, is_drawn: bool = True, room: int = 0) -> Section:
    """Return the section of a group that has at least one measured entry.

    Args:
        is_drawn: whether there are figures, tables and galleries.
        room: of the pictures of each gallery, in characters.
    """
    kind = KINDS.get(group.task, Kind(lists_metrics=True))
    footnotes: list[str] = []
    return Section(
        number=number,
        anchor=group.anchor,
        task=group.task,
        data=group.data,
        asked=ASKED.get(group.task, ""),
        scored=SCORED.get(group.task, ""),
        differences=group.differences,
        parts=[_part(entry, kind, room=room if is_drawn else None) for entry in group.measured],
        metrics=metric_lines(group.measured, footnotes) if kind.lists_metrics else [],
        controls=metric_lines(group.measured, footnotes, controls=True),
        footnotes=footnotes,
    )


def _part(entry: Entry, kind: Kind, *, room: int | None) -> Part:
    whole = Evidence(entry.run, entry.evaluation)
    return Part(
        label=entry.label,
        place=entry.place,
        blocks=[_block(whole, each, kind, room=room) for each in label_sets(entry.evaluation)],
        notes=shared_notes(entry.evaluation),
    )


def _block(whole: Evidence, label_set: str, kind: Kind, *, room: int | None) -> Block:
    """Return a block, without figures, tables and galleries where ``room`` is None."""
    evidence, lacking = whole.of(label_set), list[str]()
    drawn: list[Figure] = []
    folded: list[Table] = []
    galleries: list[Gallery] = []
    if room is not None:
        others = [figures.curve(name) for name in evidence.evaluation.curves if not _is_drawn(name, kind)]
        drawn = _made([*kind.figures, *others], evidence, lacking)
        folded = _made(list(kind.tables), evidence, lacking)
        galleries = _made([_hung(make, room) for make in kind.galleries], evidence, lacking)
    is_plain, words = label_set == PLAIN, label_set_words(evidence.evaluation.dataset.id, label_set)
    return Block(
        title=sentence_case(words) or label_set,
        name=label_set if words else "",
        classes="" if is_plain or room is None else _classes(evidence),
        findings=findings(evidence.evaluation) if is_plain else label_set_findings(whole.evaluation, label_set),
        figures=drawn,
        points={} if room is None else _points(drawn, evidence, room),
        tables=folded,
        galleries=galleries,
        lacking=list(dict.fromkeys(lacking)),
        notes=[] if is_plain else evidence.evaluation.notes,
    )


def _points(drawn: list[Figure], evidence: Evidence, room: int) -> dict[int, list[Point]]:
    found = {place: points(figure, evidence, Room(room)) for place, figure in enumerate(drawn)}
    return {place: each for place, each in found.items() if each}


def _hung(make: Make, room: int) -> Callable[[Evidence], Gallery]:
    return lambda evidence: make(evidence, Room(room))


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
    except Lacking:
        return ""
    few = dict.fromkeys([names[0], names[len(names) // 2], names[-1]])
    return f"{fmt.count(round(1 / acc1.chance))} classes, such as {', '.join(fmt.named(name) for name in few)}"


def _made(makers: list[Callable[[Evidence], Made]], evidence: Evidence, lacking: list[str]) -> list[Made]:
    """Return what can be made; add the reasons for the rest to ``lacking``."""
    made: list[Made] = []
    for make in makers:
        try:
            made.append(make(evidence))
        except Lacking as reason:
            lacking.append(str(reason))
    return made

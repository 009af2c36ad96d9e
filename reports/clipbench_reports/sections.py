"""One section a task: what was asked, what came out, the figures and the tables behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clipbench_reports import attack_tables, choice_tables, figures, tables
from clipbench_reports import format as fmt
from clipbench_reports.drawing import Figure
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.findings import Finding, findings, label_set_findings
from clipbench_reports.format import sentence_case
from clipbench_reports.groups import Entry, Group
from clipbench_reports.label_sets import PLAIN, label_sets, shared_notes
from clipbench_reports.scorecard import MetricLines, metric_lines
from clipbench_reports.tables import Table
from clipbench_reports.words import ASKED, SCORED, label_set_words

Made = TypeVar("Made", Figure, Table)
Draw = Callable[[Evidence], Figure]
Tabulate = Callable[[Evidence], Table]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the section of a task holds."""

    figures: tuple[Draw, ...] = ()
    tables: tuple[Tabulate, ...] = ()
    drawn_curves: frozenset[str] = frozenset()
    """Curves that one of the figures shows; each other curve gets a plain figure of its own."""
    lists_metrics: bool = False
    """True to repeat all metrics in the section."""


KINDS = {
    "zero-shot": Kind(
        figures=(figures.confusion, figures.reliability, figures.templates),
        tables=(tables.confused_pairs, tables.class_recall, tables.template_scores),
        drawn_curves=frozenset({"reliability", "templates"}),
    ),
    "retrieval": Kind(
        figures=(figures.similarity, figures.recall, figures.recall_within),
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
    ),
    "composition": Kind(figures=(figures.composition, figures.twins), tables=(choice_tables.lost_choices,)),
    "long-caption": Kind(
        figures=(figures.tokens_kept, figures.positions, figures.token_lengths, figures.similarity, figures.recall),
        drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN, *figures.KEPT, figures.BY_POSITION}),
    ),
    "text-in-image": Kind(
        figures=(figures.hijacking, *map(figures.response, figures.SETTINGS), figures.reading),
        tables=(attack_tables.attacked_objects, attack_tables.misread_words),
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
    tables: list[Table]
    lacking: list[str]
    """Why a figure or table of this task is not there."""
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


def section(group: Group, number: int, *, is_drawn: bool = True) -> Section:
    """Return the section of a group that has at least one measured entry; figures and tables only if ``is_drawn``."""
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
        parts=[_part(entry, kind, is_drawn=is_drawn) for entry in group.measured],
        metrics=metric_lines(group.measured, footnotes) if kind.lists_metrics else [],
        controls=metric_lines(group.measured, footnotes, controls=True),
        footnotes=footnotes,
    )


def _part(entry: Entry, kind: Kind, *, is_drawn: bool) -> Part:
    whole = Evidence(entry.run, entry.evaluation)
    return Part(
        label=entry.label,
        place=entry.place,
        blocks=[_block(whole, each, kind, is_drawn=is_drawn) for each in label_sets(entry.evaluation)],
        notes=shared_notes(entry.evaluation),
    )


def _block(whole: Evidence, label_set: str, kind: Kind, *, is_drawn: bool) -> Block:
    evidence, lacking = whole.of(label_set), list[str]()
    drawn: list[Figure] = []
    folded: list[Table] = []
    if is_drawn:
        others = [figures.curve(name) for name in evidence.evaluation.curves if not _is_drawn(name, kind)]
        drawn = _made([*kind.figures, *others], evidence, lacking)
        folded = _made(list(kind.tables), evidence, lacking)
    is_plain, words = label_set == PLAIN, label_set_words(evidence.evaluation.dataset.id, label_set)
    return Block(
        title=sentence_case(words) or label_set,
        name=label_set if words else "",
        classes="" if is_plain or not is_drawn else _classes(evidence),
        findings=findings(evidence.evaluation) if is_plain else label_set_findings(whole.evaluation, label_set),
        figures=drawn,
        tables=folded,
        lacking=list(dict.fromkeys(lacking)),
        notes=[] if is_plain else evidence.evaluation.notes,
    )


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

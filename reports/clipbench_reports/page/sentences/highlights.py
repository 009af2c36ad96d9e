"""The few sentences at the top of a report: chosen by a rule, not by hand."""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench_reports.page.sentences.findings import Finding, Mark
from clipbench_reports.page.text import in_turn

MOST = 3
"""Sentences with numbers at the top of a report. Whatever is missing is said besides."""

KINDS: tuple[tuple[Mark, ...], ...] = (("weak", "level"), ("good",), ("plain",))
"""Marks of sentences that take places together: what is not better than chance, by a test, waits in one line."""
TURNS = (0, 0, 1)
"""The kinds in the order in which they take places; places that a kind cannot fill go to the others, in their order."""
ORDER: tuple[Mark, ...] = ("weak", "level", "good", "plain")

RULE = (
    "The sentences at the top are chosen by rule: of the results that are not better than chance the two lowest, and of "
    "the others the one farthest above it; if a kind has fewer, the other fills its place, and results without a chance "
    "come last. Results of a kind come from different sections where possible. What every model of the kind shows, or "
    "what holds by construction, is never chosen."
)
"""The rule, for a reader."""


class Sentence(NamedTuple):
    """A sentence, and the anchor of the section that holds its evidence."""

    anchor: str
    finding: Finding


def in_short(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that matter most: weaknesses, strengths, neither of them, then everything that is missing.

    At most ``MOST`` have numbers. Weaknesses, and what no test tells from chance, are taken from the lowest on, strengths
    from the highest on, by how far they lie from chance; the first of every section comes before the second of any.
    """
    waiting = [_ranked(sentences, marks) for marks in KINDS]
    taken: list[Sentence] = []
    for kind in (*TURNS, *(kind for kind in range(len(KINDS)) for _ in range(MOST))):
        if waiting[kind] and len(taken) < MOST:
            taken.append(waiting[kind].pop(0))
    chosen = [each for mark in ORDER for each in taken if each.finding.mark == mark]
    return [*chosen, *(each for each in sentences if each.finding.mark == "missing")]


def _ranked(sentences: Sequence[Sentence], marks: Sequence[Mark]) -> list[Sentence]:
    """Return the sentences of a kind, the most telling first, and the sections in turn."""
    sign = {"good": -1, "plain": 0}.get(marks[0], 1)
    ordered = sorted(
        (each for each in sentences if each.finding.mark in marks and not each.finding.is_expected),
        key=lambda each: sign * each.finding.skill,
    )
    return in_turn(ordered, lambda each: each.anchor)

"""The few sentences at the top of a report: chosen by a rule, not by hand."""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench_reports.page.sentences.findings import Finding, Mark

MOST = 5
"""Sentences with numbers at the top of a report. Whatever is missing is said besides."""

TURNS: tuple[Mark, ...] = ("weak", "good", "plain", "weak", "good")
"""The kinds in the order in which they take places; places that a kind cannot fill go to the others, weaknesses first."""

RULE = (
    "Chosen by rule: the two worst results against chance, the two best, and one that is neither; if a kind has fewer, "
    "the others fill its place. Results of a kind come from different sections where possible."
)
"""The rule, for a reader."""


class Sentence(NamedTuple):
    """A sentence, and the anchor of the section that holds its evidence."""

    anchor: str
    finding: Finding


def in_short(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that matter most: strengths, weaknesses, neither of them, then everything that is missing.

    At most ``MOST`` have numbers. Weaknesses are taken from the worst on, strengths from the best on, by how far they
    lie from chance; the first of every section comes before the second of any.
    """
    waiting = {mark: _ranked(sentences, mark) for mark in ("weak", "good", "plain")}
    taken: list[Sentence] = []
    for mark in (*TURNS, *(kind for kind in waiting for _ in range(MOST))):
        if waiting[mark] and len(taken) < MOST:
            taken.append(waiting[mark].pop(0))
    order: tuple[Mark, ...] = ("good", "weak", "plain")
    chosen = [each for mark in order for each in taken if each.finding.mark == mark]
    return [*chosen, *(each for each in sentences if each.finding.mark == "missing")]


def n_left(sentences: Sequence[Sentence]) -> int:
    """Return how many sentences with numbers are not at the top."""
    return max(0, sum(each.finding.mark != "missing" for each in sentences) - MOST)


def _ranked(sentences: Sequence[Sentence], mark: Mark) -> list[Sentence]:
    """Return the sentences of a kind, the most telling first, and the sections in turn."""
    sign = {"good": -1, "weak": 1}.get(mark, 0)
    ordered = sorted(
        (each for each in sentences if each.finding.mark == mark), key=lambda each: sign * each.finding.skill
    )
    seen: dict[str, int] = {}
    rounds = []
    for each in ordered:
        seen[each.anchor] = seen.get(each.anchor, 0) + 1
        rounds.append(seen[each.anchor])
    return [each for _, each in sorted(zip(rounds, ordered, strict=True), key=lambda pair: pair[0])]

"""The few sentences at the top of a report: chosen by a rule, not by hand."""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench_reports.page.sentences.findings import Finding, Mark

MOST = 5
"""Sentences with numbers that stand at the top. What is missing comes on top of them, all of it."""

TURNS: tuple[Mark, ...] = ("weak", "good", "plain", "weak", "good")
"""Which kind takes the next place; places that a kind cannot fill go to the others, weaknesses first."""

RULE = (
    "Chosen by rule: the two results that fall furthest short of chance or lie nearest to it, the two that lie "
    "furthest above it, and one that is neither; if a kind has fewer, the others fill its place. Those "
    "of a kind are from different sections where that can be."
)
"""The rule, for a reader."""


class Told(NamedTuple):
    """A sentence, and the anchor of the section that holds its evidence."""

    anchor: str
    finding: Finding


def in_short(told: Sequence[Told]) -> list[Told]:
    """Return the sentences that matter most: strengths, weaknesses, what is neither, then everything that is missing.

    At most ``MOST`` have numbers. Weaknesses are taken from the worst on, strengths from the best on, by how far they
    lie from chance; the first of every section comes before the second of any.
    """
    waiting = {mark: _ranked(told, mark) for mark in ("weak", "good", "plain")}
    taken: list[Told] = []
    for mark in (*TURNS, *(kind for kind in waiting for _ in range(MOST))):
        if waiting[mark] and len(taken) < MOST:
            taken.append(waiting[mark].pop(0))
    order: tuple[Mark, ...] = ("good", "weak", "plain")
    chosen = [each for mark in order for each in taken if each.finding.mark == mark]
    return [*chosen, *(each for each in told if each.finding.mark == "missing")]


def n_left(told: Sequence[Told]) -> int:
    """Return how many sentences with numbers are not at the top."""
    return max(0, sum(each.finding.mark != "missing" for each in told) - MOST)


def _ranked(told: Sequence[Told], mark: Mark) -> list[Told]:
    """Return the sentences of a kind, the most telling first, and the sections in turn."""
    sign = {"good": -1, "weak": 1}.get(mark, 0)
    ordered = sorted((each for each in told if each.finding.mark == mark), key=lambda each: sign * each.finding.skill)
    seen: dict[str, int] = {}
    rounds = []
    for each in ordered:
        seen[each.anchor] = seen.get(each.anchor, 0) + 1
        rounds.append(seen[each.anchor])
    return [each for _, each in sorted(zip(rounds, ordered, strict=True), key=lambda pair: pair[0])]

"""The first words of a report on one model: a line in large type, and the sentences that matter most, both by rules."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipbench.results.grouping import group_values
from clipbench.results.numbers import listed
from clipbench_reports.findings import Degree, Finding, Mark
from clipbench_reports.text import interleave, sentence_case

MOST = 3
"""Sentences with numbers at the top of a report. Whatever is missing is said besides."""

KINDS: tuple[tuple[Mark, ...], ...] = (("weak", "blind", "level"), ("good",), ("plain",))
"""Marks of sentences of one kind: results that are not shown to be better than chance are one kind."""
TURNS = (0, 0, 1)
"""The kinds in the order in which they take places. Places that a kind cannot fill go to the others, in their order."""
ORDER: tuple[Mark, ...] = ("weak", "blind", "level", "good", "plain")

RULE = (
    "The sentences at the top are chosen by rule. Two are the lowest results that are not better than chance, or than "
    "always giving one answer. One is the result farthest above chance. If one kind has fewer results, the other kind "
    "fills up, and results without a chance come last. Results of a kind come from different sections where possible. "
    "A result that every CLIP-style model shows, or that holds by construction, is never chosen. The line over them "
    "counts only results that a test shows: without a further word, a model reaches at least half of the way from "
    "chance to the best value. “Sometimes” means better than chance, and “hardly” and “does not” mean less than a "
    "tenth of that way."
)
"""The rule, for a reader."""


class Sentence(NamedTuple):
    """A sentence, and the anchor of the section that holds its evidence."""

    anchor: str
    finding: Finding
    task: str = ""
    """The title of the task, with the title of the data if the report has several sections of the task."""
    ahead: str = ""
    """The model that is ahead, if one is."""


def key_sentences(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences that matter most: weaknesses, strengths, other results, then missing results.

    At most ``MOST`` have numbers. Weaknesses and results that show no difference are taken from the lowest on,
    strengths from the
    highest on, by their distance from chance. The first of every section comes before the second of any.
    """
    waiting = [_ranked(sentences, marks) for marks in KINDS]
    chosen: list[Sentence] = []
    for kind in TURNS:
        if waiting[kind]:
            chosen.append(waiting[kind].pop(0))
    for sentences_left in waiting:  # they fill the places that a kind left empty
        chosen += sentences_left[: MOST - len(chosen)]
    chosen.sort(key=lambda sentence: ORDER.index(sentence.finding.mark))
    return [*chosen, *(sentence for sentence in sentences if sentence.finding.mark == "missing")]


def _ranked(sentences: Sequence[Sentence], marks: Sequence[Mark]) -> list[Sentence]:
    """Return the sentences of a kind by their distance from chance, with the sections in turn."""
    sign = {"good": -1, "plain": 0}.get(marks[0], 1)
    eligible = [
        sentence for sentence in sentences if sentence.finding.mark in marks and not sentence.finding.is_expected
    ]
    ordered = sorted(eligible, key=lambda sentence: sign * sentence.finding.skill)
    return interleave(ordered, lambda sentence: sentence.anchor)


ADVERBS: Mapping[Degree, str] = {"partly": "sometimes", "barely": "hardly"}
GUESSING = "Nothing here is shown to differ from guessing"
TOO_FEW = "Too few samples to distinguish this model from guessing"


def opening_line(findings: Sequence[Finding]) -> str:
    """Return the abilities of a model in one line, an empty text if nothing was tested against chance.

    Example:
        >>> from clipbench_reports.findings import Ability, Finding
        >>> naming = Ability("names classes", "does not name classes", degree="fully")
        >>> reading = Ability("reads words", "does not read words", degree="never")
        >>> opening_line([Finding("good", "", ability=naming), Finding("level", "", ability=reading)])
        'Names classes; does not read words'
    """
    abilities = [finding.ability for finding in findings if finding.ability is not None]
    marks = {finding.mark for finding in findings}
    if not marks & {"good", "weak", "blind"}:
        if "level" not in marks:
            return ""
        return TOO_FEW if any(ability.degree == "open" for ability in abilities) else GUESSING
    decided = [ability for ability in abilities if ability.degree not in ("unclear", "open")]
    degrees = group_values((ability.does, ability.degree) for ability in decided)
    by_degree: dict[Degree, list[str]] = {}
    for does, reached in degrees.items():  # of several degrees, as on two data sets, "partly"
        degree = reached[0] if len(set(reached)) == 1 else "partly"
        does_not = next(ability.does_not for ability in abilities if ability.does == does)
        by_degree.setdefault(degree, []).append(does_not if degree == "never" else does)
    able = by_degree.get("fully", [])
    partly_able = [f"{adverb} {listed(by_degree[degree])}" for degree, adverb in ADVERBS.items() if degree in by_degree]
    unable = [*by_degree.get("never", []), *by_degree.get("reversed", [])]
    clauses = [listed(phrases) for phrases in (able, partly_able, unable) if phrases]
    return sentence_case("; ".join(clauses))

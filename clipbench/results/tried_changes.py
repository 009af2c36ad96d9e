"""Tried changes of the input in words: the best one that was named, and what it does to the score."""

from collections.abc import Iterable, Sequence

from clipbench.results.numbers import counted, quantity
from clipbench.results.record import EvaluationRecord, TriedChange

TITLES = {"prompts": "top-1", "captions": "recall@1 of images"}


def best_change(changes: Iterable[TriedChange]) -> TriedChange | None:
    """Return the named change of the highest score, or None if none is named.

    Example:
        >>> best_change([TriedChange(kind="prompts", setting="texts in lower case", score=0.5)]) is None
        True
    """
    return max((change for change in changes if change.is_named), key=lambda change: change.score or 0.0, default=None)


def gain_sentence(change: TriedChange, title: str | None = None) -> str:
    """Return what a change does to the score.

    Example:
        >>> gain_sentence(TriedChange(kind="prompts", setting="texts in lower case", score=0.5, change=0.25, n=40))
        'With texts in lower case, top-1 is 50.0 % instead of 25.0 % (on 40 samples)'
    """
    assert change.score is not None and change.change is not None
    after, before = quantity(change.score, "fraction"), quantity(change.score - change.change, "fraction")
    name = title or TITLES.get(change.kind, "the score")
    return f"With {change.setting}, {name} is {after} instead of {before} (on {counted(change.n, 'sample')})"


def opening_lines(evaluations: Sequence[EvaluationRecord]) -> list[str]:
    """Return a line per evaluation whose score a tried change raises, with what brings the change."""
    lines = []
    for record in evaluations:
        best = best_change(record.tries)
        if best is not None:
            lines.append(f"{gain_sentence(best)}: {record.task} on {record.dataset.id}. To change it: {best.fix}")
    return lines

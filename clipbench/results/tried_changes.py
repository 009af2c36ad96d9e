"""Tried changes of the input in words: the best one that was named, and what it does to the score."""

from collections.abc import Iterable, Sequence

from clipbench.results.numbers import change as change_text
from clipbench.results.numbers import counted, listed, quantity
from clipbench.results.record import EvaluationRecord, TriedChange

METRICS = {"zero-shot": "acc1", "retrieval": "image_retrieval_recall@1"}
"""The metric that changes are tried for, by the task."""
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
    what = change.setting if change.setting.startswith("without") else f"with {change.setting}"
    return f"{what[:1].upper()}{what[1:]}, {name} is {after} instead of {before} (on {counted(change.n, 'sample')})"


def cause_sentence(changes: Sequence[TriedChange]) -> str:
    """Return which aspects of the input raise the score and which do not, empty if none was tried.

    Example:
        >>> from dataclasses import replace
        >>> lower = TriedChange(kind="prompts", switch="case", setting="texts in lower case", score=0.2, change=0.0)
        >>> cause_sentence([replace(lower, high=0.01), replace(lower, switch="space", high=0.03)])
        'No change of the texts that was tried raises it clearly: not the case or space (at most by 3.00 pp)'
    """
    tried = [change for change in changes if change.change is not None]
    if not tried:
        return ""
    best = {}
    for change in sorted(tried, key=lambda change: change.score or 0.0):
        if change.is_named:
            best[change.switch] = change
    others = {change.switch: None for change in tried if change.switch not in best}
    bounds = [change.high for change in tried if change.switch in others and change.high is not None]
    most = f" (at most by {change_text(max(0.0, *bounds), 'fraction', is_signed=False)})" if bounds else ""
    not_these = f"not the {listed(list(others), 'or')}{most}" if others else ""
    if not best:
        return f"No change of the texts that was tried raises it clearly: {not_these}"
    raising = [f"{change.setting} ({change_text(change.change, 'fraction')})" for change in best.values()]
    return "; ".join(filter(None, [f"Changes of the texts that raise it: {listed(raising)}", not_these]))


def not_tried_reason(changes: Sequence[TriedChange]) -> str | None:
    """Return the reason why no change could be tried, None if some were, or none was to be tried.

    Example:
        >>> not_tried_reason([TriedChange(kind="prompts", setting="texts in lower case", reason="no memory")])
        'no memory'
    """
    if any(change.reason is None for change in changes):
        return None
    return next((change.reason for change in changes), None)


def change_lines(evaluations: Sequence[EvaluationRecord]) -> list[str]:
    """Return a line per evaluation whose score a tried change raises, or whose changes could not be tried."""
    lines = []
    for record in evaluations:
        best, reason = best_change(record.tries), not_tried_reason(record.tries)
        if best is not None:
            lines.append(f"{gain_sentence(best)}: {record.task} on {record.dataset.id}. To change it: {best.fix}")
        if reason is not None:
            lines.append(f"Changes of the texts were not examined: {record.task} on {record.dataset.id}: {reason}")
    return lines

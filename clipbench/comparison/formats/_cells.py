"""What all formats say alike: the cells of a difference, and a comparison in a line."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from clipbench.comparison.gate import Judged, Status
from clipbench.comparison.records import Comparison, Difference, Verdict
from clipbench.results.numbers import change, change_interval, counted, p_value, quantity

HEADINGS = ("metric", "base", "candidate", "difference", "95 % interval", "p", "p (Holm)", "detectable", "verdict")
"""``detectable``: the smallest difference that so many samples find in 4 of 5 cases."""
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "different", "too small to matter", "no evidence", "not tested")
NOUNS: dict[Status, tuple[str, str]] = {
    "regression": ("regression", "regressions"),
    "unmet": ("requirement not met", "requirements not met"),
    "missing": ("gated metric missing", "gated metrics missing"),
    "untested": ("loss that no test can judge", "losses that no test can judge"),
    "acknowledged": ("known regression", "known regressions"),
    "pass": ("passed", "passed"),
}
"""Of outcomes, the gravest first."""
WORDS = {
    "different": "changed where neither direction is better",
    "no evidence": "without evidence either way",
}


class Cells(NamedTuple):
    """A difference as texts, in the order of ``HEADINGS``."""

    metric: str
    base: str
    candidate: str
    difference: str
    interval: str
    p: str
    p_adjusted: str
    detectable: str
    verdict: str


def cells(found: Difference) -> Cells:
    """Return a difference as texts; an arrow tells a metric of which less is better."""
    unit = found.base.unit
    return Cells(
        metric=found.name + (" ↓" if found.base.higher_is_better is False else ""),
        base=quantity(found.base.value, unit),
        candidate=quantity(found.candidate.value, unit),
        difference=change(found.value, unit),
        interval=change_interval(found.low, found.high, unit),
        p=p_value(found.p_value),
        p_adjusted=p_value(found.p_adjusted),
        detectable=change(found.detectable, unit, is_signed=False),
        verdict=found.verdict,
    )


def headline(judged: Judged) -> str:
    """Return what the gate says, in a few words; without a gate, nothing."""
    found = {status: len(judged.of(status)) for status in NOUNS}
    return ", ".join(counted(n, *NOUNS[status]) for status, n in found.items() if n)


def tally(differences: Iterable[Difference]) -> str:
    """Return how many metrics have which verdict.

    Example:
        >>> tally([])
        'no metric compared'
    """
    counts = Counter(each.verdict for each in differences)
    parts = [f"{counts[verdict]} {WORDS.get(verdict, verdict)}" for verdict in VERDICTS if counts[verdict]]
    return ", ".join(parts) or "no metric compared"


def ungated(judged: Judged) -> dict[str, list[str]]:
    """Return the metrics that a pattern matches and its tolerance means nothing for, by the reason."""
    found: dict[str, list[str]] = {}
    for each in judged.of("not gated"):
        found.setdefault(each.message, []).append(each.metric)
    return found


def untested(differences: Iterable[Difference]) -> list[str]:
    """Return a line for each reason why there is no test, with how many metrics it holds for."""
    reasons = Counter(each.test for each in differences if each.p_value is None)
    return [f"{counted(n, 'metric')}: {reason}" for reason, n in reasons.items()]


def by_evaluation(comparison: Comparison) -> dict[str, list[Difference]]:
    """Return the differences by ``task@data``, in their order."""
    found: dict[str, list[Difference]] = {}
    for each in comparison.differences:
        found.setdefault(each.evaluation, []).append(each)
    return found


def refusals(comparison: Comparison) -> list[str]:
    """Return a line for each evaluation that was not compared."""
    return [str(each) for each in comparison.refused]

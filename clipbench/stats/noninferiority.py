"""Ways to store vectors that are shown to lose less than a margin, at one error rate for all ways of one question."""

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import NamedTuple

from clipbench.stats.clusters import Clusters, Values, cluster_codes
from clipbench.stats.intervals import DIFFERENCES, mean_interval, unchanged_interval

ERROR_RATE = 0.05
"""Chance, at most, for each question, that any format is said to lose less than the margin that does lose as much."""


class Walk(NamedTuple):
    """The formats that were tested, from the largest to the smallest of each kind."""

    most_lost: Mapping[str, float]
    """Upper bound of each format's loss, by its name, up to the first of each kind that is not below the margin."""
    passed: Sequence[str]
    """Names of those that are shown to lose less than the margin."""


def walk(changes: Sequence[Mapping[str, Values]], margin: float, *, clusters: Clusters = None) -> Walk:
    """Return which formats are shown to lose less than a margin.

    Each kind is walked from the largest to the smallest, up to the first format whose upper bound of the loss is not
    below the margin. So a format is said to lose less only where all larger ones of its kind are, and a kind has one
    chance of an error, however many formats it has (fixed-sequence testing; Maurer, Hothorn and Lehmacher 1995). With K
    kinds, each bound is missed with a chance of 5 % / K (Bonferroni). Several questions, each with a walk of its own,
    have 5 % each.

    Args:
        changes: of each kind, the formats from the largest to the smallest, with the change of each query's credit.
        margin: above 0, as a fraction.
    """
    most_lost: dict[str, float] = {}
    passed: list[str] = []
    confidence = 1 - 2 * ERROR_RATE / max(1, len(changes))
    codes = cluster_codes(clusters)  # once: names are slow to sort
    for kind in changes:
        for name, change in kind.items():
            low = mean_interval(change, clusters=codes, within=DIFFERENCES, confidence=confidence).low
            most_lost[name] = 1.0 if low is None else -low
            if most_lost[name] >= margin:
                break
            passed.append(name)
    return Walk(most_lost, passed)


def least_lost(n: int, n_kinds: int) -> float:
    """Return the upper bound of the loss of a format that changes no answer of n queries, or clusters of them."""
    low = unchanged_interval(0.0, n, DIFFERENCES, tail=ERROR_RATE / n_kinds).low
    assert low is not None
    return -low


def least_queries(margin: float, n_kinds: int) -> int:
    """Return the number of queries, or clusters, from which on a format that changes no answer is shown to lose less.

    Example:
        >>> least_queries(0.01, 5), least_lost(459, 5) < 0.01 < least_lost(458, 5)
        (459, True)
    """
    return ceil(log(ERROR_RATE / n_kinds) / log(1 - margin))

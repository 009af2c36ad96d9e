"""Rows of the table of speed: works that are timed in turns, their ratios, and how far they have to reach.

A row is a module of this folder with a function ``measure(size: str) -> Row``; `bench.py` finds it. Sizes are "small"
(the guard in CI: about a second), "default" (a row takes up to a minute on two cores) and "full" (the sizes of the
reaches).
"""

import gc
import resource
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SIZES = ("small", "default", "full")


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """One quantity, once a round."""

    values: Sequence[float]
    """Seconds of the clock, or another unit."""
    unit: str = "s"
    cpu: Sequence[float] = ()
    """Seconds of all processors for this process and its ended children; none for other units."""

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A bound that a row has to keep, with what was found."""

    what: str
    """The finding, in words that follow the number: "times the bare product"."""
    found: Rounds
    at_most: float | None = None
    at_least: float | None = None
    is_judged: bool = True
    """False where this size says nothing of the bound, such as seconds of a smaller set."""

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps the bound; None where this size says nothing of it."""
        if not self.is_judged:
            return None
        value = self.found.median
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: one work, a peer's way to do it, and the least that it can take."""

    what: str
    """The work with its sizes: "recall both ways, 5,000 x 25,000 x 512"."""
    ours: Rounds
    reaches: Sequence[Reach]
    peer: Rounds | None = None
    limit: Rounds | None = None
    """The bare work: forward passes over ready tensors, the product alone, reading the file."""
    peer_is: str = ""
    """Name of the peer: a package with its version, or its published routine as it is written here."""
    limit_is: str = ""
    notes: Sequence[str] = ()
    """Facts that a reader should know too, such as that the results are the same to 1e-5."""


def in_turns(works: Mapping[str, Callable[[], object]], *, rounds: int = 5, warm_up: bool = True) -> dict[str, Rounds]:
    """Return the seconds of each work, done in turns so that other load of the machine meets them alike.

    Every second round goes backwards, so that a steady change of speed favours none.

    Args:
        works: by name; what they return is dropped.
        warm_up: do each once before, untimed.
    """
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    if warm_up:
        for work in works.values():
            work()
    for number in range(rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            gc.collect()
            start, start_cpu = time.perf_counter(), cpu_seconds()
            works[name]()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - start_cpu)
    return {name: Rounds(values=tuple(wall[name]), cpu=tuple(cpu[name])) for name in works}


def ratio(one: Rounds, other: Rounds, *, of_cpu: bool = False) -> Rounds:
    """Return how many times the other one takes, round by round.

    Args:
        of_cpu: compare seconds of the processors, which other load of the machine hardly moves, in place of the
            clock's.
    """
    pairs = zip(one.cpu, other.cpu, strict=True) if of_cpu else zip(one.values, other.values, strict=True)
    return Rounds(values=tuple(first / second for first, second in pairs), unit="x")


def times(
    what: str,
    one: Rounds,
    other: Rounds,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    is_judged: bool = True,
) -> Reach:
    """Return a bound of a ratio of seconds: ``times("the bare product", ours, limit, at_most=1.5)``."""
    return Reach(what=f"times {what}", found=ratio(one, other), at_most=at_most, at_least=at_least, is_judged=is_judged)


def count(
    what: str, number: float, *, at_most: float | None = None, at_least: float | None = None, is_judged: bool = True
) -> Reach:
    """Return a bound of something that is counted or measured once, such as encodings, or MB."""
    found = Rounds(values=(number,), unit="")
    return Reach(what=what, found=found, at_most=at_most, at_least=at_least, is_judged=is_judged)


def peak_mb(work: Callable[[], Any]) -> float:
    """Return the most memory that Python and numpy held during a work beyond what was held before, in MB.

    Tensors of torch are not counted.
    """
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def cpu_seconds() -> float:
    """Return the seconds of all processors so far, for this process and its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)

"""A gallery of failures: pictures, what was asked, what was chosen, the right answer, and by how much it was missed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.pictures import Room, address
from clipbench_reports.svg import shorten

MAX_FAILURES, N_OPEN = 24, 8
"""Failures in a gallery, and those of them that do not have to be folded out."""
MAX_LETTERS = 300
"""Of a caption; the whole one is in the sample table."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a failure."""

    address: str
    """A ``data:`` address, or nothing where the run kept no small copy."""
    alt: str
    """What it is and what it was taken for, for who cannot see it."""
    role: str = ""
    """Which it is, where a failure has several."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that was judged wrong."""

    pictures: list[Picture]
    facts: list[tuple[str, str]]
    """What was asked, chosen and right, and by how much: terms with their values."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Failures, the worst first."""

    title: str
    note: str
    failures: list[Failure]

    @property
    def shown(self) -> list[Failure]:
        """The failures that stand open."""
        return self.failures[:N_OPEN]

    @property
    def folded(self) -> list[Failure]:
        """The failures that have to be folded out."""
        return self.failures[N_OPEN:]


@dataclass(frozen=True, kw_only=True)
class Failing:
    """Where the failures of a task are found in its sample table, and what is said of each."""

    title: str
    note: str
    """How the margin is meant."""
    wrong: Bool[np.ndarray, " n"]
    margin: Float64[np.ndarray, " n"]
    """The least is the worst."""
    terms: Mapping[str, Sequence[str]]
    """Columns of words by what they are called; an empty word is left out."""
    pictures: Callable[[int], list[Picture]]
    """What is shown of a row."""


def gallery(failing: Failing, room: Room) -> Gallery:
    """Return the worst failures, as many as there is room for.

    Raises:
        Lacking: nothing is wrong, or there is no room for even one picture.
    """
    what = f"{failing.title[0].lower()}{failing.title[1:]}"
    rows = np.flatnonzero(failing.wrong)
    if not len(rows):
        raise Lacking(f"{what}: there are none")
    failures: list[Failure] = []
    for row in rows[np.argsort(failing.margin[rows], kind="stable")][:MAX_FAILURES].tolist():
        pictures = failing.pictures(row)
        if not room.take(*(picture.address for picture in pictures)):
            break
        facts = [(term, words[row]) for term, words in failing.terms.items() if words[row]]
        failures.append(Failure(pictures=pictures, facts=facts))
    if not failures:
        raise Lacking(f"{what}: their pictures would make the page too large")
    n_shown, n_wrong = fmt.count(len(failures)), fmt.count(len(rows))
    head = f"All {n_wrong}" if n_shown == n_wrong else f"The {n_shown} worst of {n_wrong}"
    return Gallery(title=failing.title, note=f"{head}, the worst first. {failing.note}".strip(), failures=failures)


def one_picture(evidence: Evidence, say: Callable[[int], str]) -> Callable[[int], list[Picture]]:
    """Return a function that shows a row's own picture, with words that ``say`` gives."""
    digests = known(evidence, "image")

    def show(row: int) -> list[Picture]:
        return [Picture(address=address(evidence.run, digests[row]) if digests else "", alt=say(row))]

    return show


def numbers(evidence: Evidence, name: str) -> Float64[np.ndarray, " n"]:
    """Return a column of numbers.

    Raises:
        Lacking: the run kept no such column.
    """
    return evidence.column(name).astype(np.float64)


def words(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, none longer than can be read; what is no word is empty.

    Raises:
        Lacking: the run kept no such column.
    """
    return [shorten(each, MAX_LETTERS) if isinstance(each, str) else "" for each in evidence.column(name)]


def known(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, or nothing where the run did not keep it."""
    return words(evidence, name) if evidence.has_column(name) else []


def cosines(values: Float64[np.ndarray, " n"]) -> list[str]:
    """Return numbers as they are written, with what they are; what is not finite is empty."""
    return [f"{fmt.significant(value)} cosine" if np.isfinite(value) else "" for value in values.tolist()]

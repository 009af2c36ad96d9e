"""A gallery of failures: images, what was asked, what was chosen, the right answer, and by how much it was missed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.results import numbers as fmt
from clipbench.results.failures import NEAREST, worst
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.galleries.images import PageBudget, address
from clipbench_reports.page.evidence import Evidence, MissingEvidence, NotAsked

N_OPEN = 4
"""Failures of a gallery that do not have to be folded out."""
MAX_LETTERS, MAX_WHOLE = 300, 2000
"""Letters of a caption that are shown on a card, and where it is opened; the whole one is in the sample table."""
MAX_NEAR = 120
"""Letters of a neighbour."""
LEAD = 60
"""Letters that are left of what two long captions share before they part."""
TERSE, WORDY = 14, 120
"""Letters up to which words fit beside a score, and from which on they need a broad column."""
COSINES = {"right_cosine": "the two cosines"}
"""Columns that older runs did not record, with what they hold."""


@dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """One image of a failure."""

    address: str
    """A ``data:`` address, or nothing where the run kept no small copy."""
    alt: str
    """Words for those who cannot see it."""
    role: str = ""
    """The part that it plays, where a failure has several."""


class Fact(NamedTuple):
    """Something that is said of a failure: what was asked, what is right, what was chosen instead, by how much."""

    term: str
    words: str
    """Nothing where an image says it."""
    score: str = ""
    """Its cosine with what was asked, where it is one of those that were chosen among."""
    aside: str = ""
    """A remark beside the score."""
    whole: str = ""
    """The words in full, where a card shows a part of them."""

    def cut(self) -> "Fact":
        """Return what a card shows, with the whole beside it where that is more."""
        whole = self.whole or self.words
        words = self.words if len(self.words) <= MAX_LETTERS else shorten(self.words, MAX_LETTERS)
        return self._replace(words=words, whole="" if whole == words else whole)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that was judged wrong."""

    id: str = ""
    """Its name in the sample table; empty where the run kept none."""
    images: list[GalleryImage]
    """Empty where no failure of the gallery has one to show."""
    facts: list[Fact]
    nearest: list["Near"] = field(default_factory=list)
    """The nearest items, in order; they are shown where the failure is opened."""


class Near(NamedTuple):
    """A text or image that was nearest to what was asked."""

    words: str
    cosine: str
    is_right: bool
    address: str = ""
    """A ``data:`` address of its image, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Failures, the worst first."""

    title: str
    note: str
    failures: list[Failure]

    @property
    def build(self) -> str:
        """The layout: words beside the scores, below them, or below them in broad columns."""
        facts = [fact for failure in self.failures for fact in failure.facts]
        if any(len(fact.words) > WORDY for fact in facts):
            return "wordy"
        return "terse" if all(len(fact.words) <= TERSE for fact in facts if fact.score) else "plain"

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
    """The failures of a task in its sample table, and what is said of each."""

    title: str
    note: str
    """The meaning of the margin."""
    wrong: Bool[np.ndarray, " n"]
    margin: Float64[np.ndarray, " n"]
    """The least is the worst."""
    facts: Callable[[int], list[Fact]]
    """Facts on a row; those that are only a term are left out."""
    images: Callable[[int], list[GalleryImage]]
    """Images of a row."""
    ids: Sequence[str] = ()
    """Names of the rows, which are addresses in the page."""
    nearest: Callable[[str], list[Near]] = lambda _: []
    """The nearest items to a row, by its name."""


MakeGallery = Callable[[Evidence, PageBudget], Gallery]
"""Makes a gallery with the images that fit into its share of the page."""


def gallery(failing: Failing, budget: PageBudget) -> Gallery:
    """Return the worst failures, as many as fit the budget.

    Raises:
        MissingEvidence: nothing is wrong, or there is no room for even one image.
    """
    what = f"{failing.title[0].lower()}{failing.title[1:]}"
    n_wrong = int(failing.wrong.sum())
    if not n_wrong:
        raise MissingEvidence(f"{what}: there are none")
    failures: list[Failure] = []
    for row in worst(failing.margin, failing.wrong).tolist():
        images = [replace(image, alt=shorten(image.alt, MAX_LETTERS)) for image in failing.images(row)]
        if not budget.take(*(image.address for image in images)):
            break
        facts = [fact.cut() for fact in failing.facts(row) if any(fact[1:])]
        name = failing.ids[row] if failing.ids else ""
        failures.append(Failure(id=name, images=images, facts=facts, nearest=failing.nearest(name)))
    if not failures:
        raise MissingEvidence(f"{what}: their images would make the page too large")
    failures = [*(_with_images(each, budget) for each in failures[:N_OPEN]), *map(_without_images, failures[N_OPEN:])]
    n_shown, n_all = fmt.count(len(failures)), fmt.count(n_wrong)
    head = f"All {n_all}" if n_shown == n_all else f"The {n_shown} worst of {n_all}"
    has_scores = any(fact.score for failure in failures for fact in failure.facts)
    has_images = any(image.address for failure in failures for image in failure.images)
    gone = (
        ""
        if has_images or not any(each.images for each in failures)
        else "The run kept no small copies of their images."
    )
    if not has_images:
        failures = [replace(failure, images=[]) for failure in failures]
    notes = [f"{head}, the worst first.", "Numbers are cosines." if has_scores else "", failing.note, gone]
    return Gallery(title=failing.title, note=" ".join(filter(None, notes)), failures=failures)


def _with_images(failure: Failure, budget: PageBudget) -> Failure:
    """Return a failure with the images of its neighbours that there is room for: few and small, they may take it from others."""
    room = budget.whole or budget
    return replace(
        failure, nearest=[each if room.take(each.address) else each._replace(address="") for each in failure.nearest]
    )


def _without_images(failure: Failure) -> Failure:
    return replace(failure, nearest=[each._replace(address="") for each in failure.nearest])


def nearest(evidence: Evidence) -> Callable[[str], list[Near]]:
    """Return a function of what was nearest to a row, by its name; nothing where the run kept none."""

    def near(name: str) -> list[Near]:
        return [
            Near(
                words=shorten(each.text, MAX_NEAR),
                cosine=fmt.number(each.cosine, "cosine"),
                is_right=each.is_right,
                address=address(evidence.run, each.image, is_small=True),
            )
            for each in evidence.neighbours.get(name, ())[:NEAREST]
        ]

    return near


def one_image(evidence: Evidence, say: Callable[[int], str]) -> Callable[[int], list[GalleryImage]]:
    """Return a function that shows a row's own image, with the words of ``say``; an empty place if there is none."""
    digests = known(evidence, "image")

    def show(row: int) -> list[GalleryImage]:
        return [GalleryImage(address=address(evidence.run, digests[row]) if digests else "", alt=say(row))]

    return show


def images(
    evidence: Evidence, *roles: tuple[str, str], say: Callable[[int, str], str]
) -> Callable[[int], list[GalleryImage]]:
    """Return a function that shows the images of a row that there are.

    Args:
        roles: what each is, and the column of its content hash.
        say: words for who cannot see an image, by row and role.
    """
    columns = [(role, known(evidence, name)) for role, name in roles]

    def show(row: int) -> list[GalleryImage]:
        return [
            GalleryImage(address=address(evidence.run, digests[row]), alt=say(row, role), role=role)
            for role, digests in columns
            if digests and digests[row]
        ]

    return show


def words(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, none longer than can be read; what is no word is empty.

    Raises:
        MissingEvidence: the run kept no such column.
    """
    return [each if len(each) <= MAX_WHOLE else shorten(each, MAX_WHOLE) for each in evidence.words(name).tolist()]


def credits_of(evidence: Evidence, name: str, *, of_subsets: bool = True) -> Float64[np.ndarray, " n"]:
    """Return the least credit of each sample in a column, or in those of all subsets.

    Raises:
        NotAsked: there is no such column.
    """
    names = [each for each in evidence.columns if each == name or (of_subsets and each.endswith(f"/{name}"))]
    if not names:
        raise NotAsked(name)
    return np.fmin.reduce([evidence.numbers(each) for each in names])


def known(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, or nothing where the run did not keep it."""
    return words(evidence, name) if evidence.has_column(name) else []


def around_difference(one: str, other: str) -> tuple[str, str]:
    """Return two texts so that a reader sees where they part: of what long ones share before that, a few words are left.

    Example:
        >>> around_difference("a cat", "a dog")
        ('a cat', 'a dog')
        >>> [text[-36:] for text in around_difference(50 * "It is a hut. " + "It is old.", 50 * "It is a hut. " + "It is new.")]
        ['It is a hut. It is a hut. It is old.', 'It is a hut. It is a hut. It is new.']
    """
    shared = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
    if max(len(one), len(other)) > MAX_LETTERS and shared > LEAD:
        at = max(one.rfind(" ", 0, shared - LEAD) + 1, shared - 2 * LEAD)
        one, other = f"… {one[at:]}", f"… {other[at:]}"
    return shorten(one, MAX_LETTERS), shorten(other, MAX_LETTERS)


@dataclass(frozen=True)
class Cosines:
    """The cosines of what is right and of what was chosen instead, and the difference, in words."""

    right: Float64[np.ndarray, " n"] | None
    """None where the run did not record them."""
    chosen: Float64[np.ndarray, " n"] | None
    margin: Float64[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        margin: Float64[np.ndarray, " n"],
        *,
        right: str = "right_cosine",
        chosen: str = "chosen_cosine",
    ) -> "Cosines":
        """Return the cosines that a run recorded, or none, beside a margin that it did."""
        if not (evidence.has_column(right) and evidence.has_column(chosen)):
            return cls(None, None, margin)
        return cls(evidence.numbers(right), evidence.numbers(chosen), margin)

    def written(self, row: int) -> tuple[str, str, str]:
        """Return the cosine of what is right, that of what was chosen, and the margin; empty where not known.

        They have as many decimals as it takes for a margin of two digits.
        """
        values = [float(each[row]) if each is not None else np.nan for each in (self.right, self.chosen, self.margin)]
        margin = abs(values[-1])
        decimals = 1 - math.floor(math.log10(margin)) if 0 < margin < 1 else 0
        right, chosen, by = (fmt.number(x, "cosine", decimals) if np.isfinite(x) else "" for x in values)
        return right, chosen, by


def note(evidence: Evidence, meaning: str, columns: Mapping[str, str] | None = None) -> str:
    """Return how a margin is meant, and a sentence on what an older run did not record.

    Args:
        columns: what each of them would say.
    """
    lacking = [what for column, what in (columns or {}).items() if not evidence.has_column(column)]
    *most, last = dict.fromkeys(lacking) or [""]
    said = f"Not recorded: {', '.join(most)}{' and ' if most else ''}{last}." if lacking else ""
    return f"{meaning} {said}".strip()

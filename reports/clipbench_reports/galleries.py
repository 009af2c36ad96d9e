"""A gallery of failures: small images of the run, the query, the chosen and the right answer, and the margin."""

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import is_in_subset
from clipbench.results.run import Run
from clipbench.results.shown_samples import NEAREST, worst
from clipbench.results.titles import readable
from clipbench.untrusted.reading import read_bytes
from clipbench_reports.evidence import Evidence, MissingEvidence, NotAsked
from clipbench_reports.text import quoted, shorten

MAX_BYTES = 2_200_000
"""Characters of all images of a page: with figures and tables one of a few tasks stays under 3 MB."""


@dataclass
class PageBudget:
    """The number of characters of images that may still be embedded."""

    left: int
    n_shares: int = 1
    """Parts that share it: the next part can use the rest of a share."""
    parent: "PageBudget | None" = None
    """The budget that this is a fraction of."""

    def share(self, n: int = 1) -> "PageBudget":
        """Return a fraction of the budget that counts as ``n`` parts.

        Example:
            >>> page = PageBudget(900, n_shares=3)
            >>> page.share().take("x" * 100), page.share().left
            (True, 400)
        """
        part = PageBudget(self.left * n // max(n, self.n_shares), parent=self)
        self.n_shares -= n
        return part

    def take(self, *addresses: str) -> bool:
        """Return whether all addresses fit the budget, and subtract them if they do."""
        needed = sum(map(len, addresses))
        if needed > self.left or not (self.parent is None or self.parent.take(*addresses)):
            return False
        self.left -= needed
        return True


def address(run: Run, digest: str, *, is_small: bool = False) -> str:
    """Return the ``data:`` address of an image by its content hash, empty if the run kept none, or a damaged one.

    Args:
        digest: what a sample table holds; anything but a hash finds nothing.
        is_small: whether a smaller copy will do, where the run kept both; where it kept one, that is the image.
    """
    if not re.fullmatch(r"[0-9a-f]{8,128}", digest):
        return ""
    thumbs = run.folder / "thumbs"
    paths = [thumbs / f"{digest}.webp", thumbs / "small" / f"{digest}.webp"]
    if is_small:
        paths.reverse()
    for path in paths:
        if embedded := _embedded(path, run.folder):
            return embedded
    return ""


def _embedded(path: Path, folder: Path) -> str:
    try:
        data = read_bytes(path, inside=folder)  # a run that another has made may link to any image of this machine
    except OSError:
        return ""
    is_whole = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}" if is_whole else ""


N_OPEN = 3
"""Failures of a gallery that do not have to be folded out."""
MAX_LETTERS, MAX_WHOLE = 300, 2000
"""Letters of a caption that are shown on a card, and where it is opened; the whole one is in the sample table."""
MAX_NEAR = 120
"""Letters of a neighbour."""
LEAD = 60
"""Characters that are kept of the common start of two long captions."""
TERSE = 14
"""Largest number of characters of words that fit next to a score."""


@dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """One image of a failure."""

    address: str
    """A ``data:`` address, or nothing where the run kept no small copy."""
    alt: str
    """The text for readers who cannot see it."""
    role: str = ""
    """The part that it plays, where a failure has several."""


class Fact(NamedTuple):
    """A fact about a failure, such as the query, the right answer, the chosen answer or the margin."""

    term: str
    words: str
    """Nothing where an image says it."""
    score: str = ""
    """Its cosine with the query, if it is one of the candidates."""
    aside: str = ""
    """A remark next to the score."""
    full_words: str = ""
    """The words in full, where a card shows a part of them."""

    def cut(self) -> "Fact":
        """Return the fact as a card shows it, with the full words if the card shows only a part of them."""
        full_words = self.full_words or self.words
        words = self.words if len(self.words) <= MAX_LETTERS else shorten(self.words, MAX_LETTERS)
        return self._replace(words=words, full_words="" if full_words == words else full_words)


class FactColumn(NamedTuple):
    """A fact about each failure, by the columns of the sample table that hold it."""

    term: str
    words: str | Callable[[int], str] = ""
    """The column with the words, or a function of a row that returns them. Empty if an image shows it."""
    score: str = ""
    """The column with its cosine with the query, if it is one of the candidates."""
    twin: str = ""
    """The column of a similar text: two long texts are shown from their first difference."""
    unit: str = ""
    """The unit of the numbers, if the column holds numbers."""
    is_optional: bool = False
    """True if a run without the column leaves out the fact, not the gallery."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that was judged wrong."""

    id: str = ""
    """Its name in the sample table, empty if the run kept none."""
    images: list[GalleryImage]
    """Empty where no failure of the gallery has one to show."""
    facts: list[Fact]
    nearest: list["Near"] = field(default_factory=list)
    """The nearest items, in order, shown when the failure is opened."""


class Near(NamedTuple):
    """A text or image that was nearest to the query."""

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
    def is_terse(self) -> bool:
        """True if the words are next to the scores, not below them."""
        return all(len(fact.words) <= TERSE for failure in self.failures for fact in failure.facts if fact.score)

    @property
    def open_failures(self) -> list[Failure]:
        """The failures that are not folded."""
        return self.failures[:N_OPEN]

    @property
    def folded_failures(self) -> list[Failure]:
        """The failures that are folded."""
        return self.failures[N_OPEN:]


MakeGallery = Callable[[Evidence, PageBudget], Gallery]
"""Makes a gallery with the images that fit into its fraction of the page."""


def gallery(  # noqa: PLR0913  what sections say of failures differs in each
    evidence: Evidence,
    budget: PageBudget,
    *,
    title: str,
    note: str,
    wrong: Bool[np.ndarray, " n"],
    margin: str,
    facts: Sequence[FactColumn] | Callable[[int], list[Fact]],
    images: Callable[[int], list[GalleryImage]],
) -> Gallery:
    """Return the worst failures in the sample table that fit the budget, with their nearest items if the run kept them.

    Args:
        note: the meaning of the margin.
        margin: the column with the margin. The least is the worst.
        facts: the columns of the facts, or the facts of a row. Facts that are only a term are left out.
        images: images of a row.

    Raises:
        MissingEvidence: nothing is wrong, or there is no room for even one image.
    """
    subject = f"{title[0].lower()}{title[1:]}"
    n_wrong = int(wrong.sum())
    if not n_wrong:
        raise MissingEvidence(f"{subject}: there are none")
    failures: list[Failure] = []
    ids, nearest_to = optional_words(evidence, "sample_id"), nearest(evidence)
    read_facts = facts if callable(facts) else _column_facts(evidence, facts, margin)
    for row in worst(evidence.numbers(margin), wrong).tolist():
        row_images = [replace(image, alt=shorten(image.alt, MAX_LETTERS)) for image in images(row)]
        if not budget.take(*(image.address for image in row_images)):
            break
        row_facts = [fact.cut() for fact in read_facts(row) if any(fact[1:])]
        name = ids[row] if ids else ""
        failures.append(Failure(id=name, images=row_images, facts=row_facts, nearest=nearest_to(name)))
    if not failures:
        raise MissingEvidence(f"{subject}: their images would make the page too large")
    room = budget.parent or budget  # few and small, neighbours may take the room from other galleries
    for rank, failure in enumerate(failures):
        neighbours = []
        for near in failure.nearest:
            is_shown = rank < N_OPEN and room.take(near.address)
            neighbours.append(near if is_shown else near._replace(address=""))
        failures[rank] = replace(failure, nearest=neighbours)
    notes = _gallery_notes(failures, n_wrong, note)
    if not _has_small_copies(failures):
        failures = [replace(failure, images=[]) for failure in failures]
    return Gallery(title=title, note=" ".join(notes), failures=failures)


def _gallery_notes(failures: Sequence[Failure], n_wrong: int, note: str) -> list[str]:
    """Return sentences on a gallery: how many failures it shows, what its numbers are, and its section's own note."""
    n_shown, n_all = fmt.count(len(failures)), fmt.count(n_wrong)
    head = f"All {n_all}" if n_shown == n_all else f"The {n_shown} worst of {n_all}"
    notes = [f"{head}, the worst first."]
    if any(fact.score for failure in failures for fact in failure.facts):
        notes.append("Numbers are cosines.")
    if note:
        notes.append(note)
    if any(failure.images for failure in failures) and not _has_small_copies(failures):
        notes.append("The run kept no small copies of their images.")
    return notes


def _has_small_copies(failures: Sequence[Failure]) -> bool:
    return any(image.address for failure in failures for image in failure.images)


def _column_facts(evidence: Evidence, columns: Sequence[FactColumn], margin: str) -> Callable[[int], list[Fact]]:
    """Return a function that lists the facts of a row."""
    scores = cosines(evidence, margin, *(column.score for column in columns))
    readers = [_fact_reader(evidence, column) for column in columns]
    return lambda row: [read(row)._replace(score=score) for read, score in zip(readers, scores(row), strict=True)]


def _fact_reader(evidence: Evidence, column: FactColumn) -> Callable[[int], Fact]:
    """Return a function that returns the fact of a row without its score."""
    term, source = column.term, column.words
    if callable(source):
        return lambda row: Fact(term, source(row))
    if not source or (column.is_optional and not evidence.has_column(source)):
        return lambda row: Fact(term, "")
    if column.unit:
        numbers = evidence.numbers(source).tolist()
        return lambda row: Fact(term, fmt.quantity(numbers[row], column.unit))
    if column.twin:
        texts, twins = evidence.words(source), evidence.words(column.twin)
        return lambda row: Fact(term, around_difference(texts[row], twins[row])[0], full_words=texts[row])
    shortened = words(evidence, source)
    return lambda row: Fact(term, shortened[row])


def nearest(evidence: Evidence) -> Callable[[str], list[Near]]:
    """Return a function that lists the nearest items of a sample by its id, an empty list if the run kept none."""

    def near(name: str) -> list[Near]:
        items = []
        for neighbour in evidence.neighbours.get(name, ())[:NEAREST]:
            text = shorten(neighbour.text, MAX_NEAR)
            cosine = fmt.number(neighbour.cosine, "cosine") if np.isfinite(neighbour.cosine) else ""
            image = address(evidence.run, neighbour.image, is_small=True)
            items.append(Near(words=text, cosine=cosine, is_right=neighbour.is_right, address=image))
        return items

    return near


def one_image(evidence: Evidence, say: str | Callable[[int], str]) -> Callable[[int], list[GalleryImage]]:
    """Return a function that lists the image of a row. A missing image has no address.

    Args:
        say: the text for readers who cannot see it, as a function of the row, or as a sentence with the names of
            columns in braces. For example, "An image of {label}." The words of the columns are quoted.
    """
    digests = optional_words(evidence, "image")
    alt = _sentence_reader(evidence, say) if isinstance(say, str) else say

    def show(row: int) -> list[GalleryImage]:
        return [GalleryImage(address=address(evidence.run, digests[row]) if digests else "", alt=alt(row))]

    return show


def _sentence_reader(evidence: Evidence, pattern: str) -> Callable[[int], str]:
    """Return a function that returns the sentence of a row: quoted words replace the names of columns in braces."""
    columns = {name: evidence.words(name) for _, name, _, _ in Formatter().parse(pattern) if name}
    return lambda row: pattern.format_map({name: quoted(column[row]) for name, column in columns.items()})


def images(
    evidence: Evidence, *roles: tuple[str, str], say: Callable[[int, str], str]
) -> Callable[[int], list[GalleryImage]]:
    """Return a function that shows the images of a row that there are.

    Args:
        roles: what each is, and the column of its content hash.
        say: words for who cannot see an image, by row and role.
    """
    columns = [(role, optional_words(evidence, name)) for role, name in roles]

    def show(row: int) -> list[GalleryImage]:
        row_images = []
        for role, digests in columns:
            if digests and digests[row]:
                image = address(evidence.run, digests[row])
                row_images.append(GalleryImage(address=image, alt=say(row, role), role=role))
        return row_images

    return show


def words(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, shortened to ``MAX_WHOLE`` characters. A cell that is not a word is empty.

    Raises:
        MissingEvidence: the run kept no such column.
    """
    texts = evidence.words(name).tolist()
    return [text if len(text) <= MAX_WHOLE else shorten(text, MAX_WHOLE) for text in texts]


def credits_of(evidence: Evidence, name: str, *, of_subsets: bool = True) -> Float64[np.ndarray, " n"]:
    """Return the least credit of each sample in a column, or in the columns of all subsets.

    Raises:
        NotAsked: there is no such column.
    """
    names = [column for column in evidence.columns if column == name or (of_subsets and is_in_subset(column, name))]
    if not names:
        raise NotAsked(name)
    return np.fmin.reduce([evidence.numbers(column) for column in names])


def optional_words(evidence: Evidence, name: str) -> list[str]:
    """Return a column of words, or an empty list if the run did not keep it."""
    return words(evidence, name) if evidence.has_column(name) else []


def around_difference(one: str, other: str) -> tuple[str, str]:
    """Return two texts so that their first difference is visible: a long common start is shortened to a few words.

    Example:
        >>> around_difference("a cat", "a dog")
        ('a cat', 'a dog')
        >>> [
        ...     text[-36:]
        ...     for text in around_difference(50 * "It is a hut. " + "It is old.", 50 * "It is a hut. " + "It is new.")
        ... ]
        ['It is a hut. It is a hut. It is old.', 'It is a hut. It is a hut. It is new.']
    """
    shared = len(commonprefix([one, other]))  # noqa: RUF071  texts are compared by characters
    if max(len(one), len(other)) > MAX_LETTERS and shared > LEAD:
        at = max(one.rfind(" ", 0, shared - LEAD) + 1, shared - 2 * LEAD)
        one, other = f"… {one[at:]}", f"… {other[at:]}"
    return shorten(one, MAX_LETTERS), shorten(other, MAX_LETTERS)


def cosines(evidence: Evidence, margin: str, *names: str) -> Callable[[int], list[str]]:
    """Return a function that lists the cosines of a row in words, one per column.

    They have enough decimals for a margin of two digits. A cosine is empty if it is not finite or its column is "".
    """
    margins = evidence.numbers(margin)
    columns = [evidence.numbers(name) if name else np.full(len(margins), np.nan) for name in names]

    def written(row: int) -> list[str]:
        far = abs(margins[row])
        decimals = 1 - math.floor(math.log10(far)) if 0 < far < 1 else 0
        values = [float(column[row]) for column in columns]
        return [fmt.number(value, "cosine", decimals) if np.isfinite(value) else "" for value in values]

    return written


MAX_FACTS = 4
"""Columns of words that are shown of a sample whose task says nothing of them."""
NO_FACTS = ("sample_id", "image", "cluster")


def worst_samples(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the samples with a negative margin, the least first, with their columns of words.

    Raises:
        NotAsked: samples have no image or no margin.
        MissingEvidence: no margin is negative.
    """
    if not (evidence.has_column("image") and evidence.has_column("margin")):
        raise NotAsked("image and margin")
    ids, margin = words(evidence, "sample_id"), evidence.numbers("margin")
    shown_columns: dict[str, list[str]] = {}
    for name in evidence.columns:
        can_be_fact = name not in NO_FACTS and not name.endswith("_image")
        if can_be_fact and len(shown_columns) < MAX_FACTS:
            column = words(evidence, name)
            if any(column):
                shown_columns[name] = column

    def facts(row: int) -> list[Fact]:
        row_facts = [Fact(readable(name), column[row]) for name, column in shown_columns.items()]
        row_facts.append(Fact("Margin", "", fmt.number(float(margin[row]), "margin")))
        row_facts.append(Fact("Sample", ids[row]))
        return row_facts

    return gallery(
        evidence,
        budget,
        title="Samples that failed",
        note="Margin: how far the sample is from failing, as its task measures it.",
        wrong=margin < 0,
        margin="margin",
        facts=facts,
        images=one_image(evidence, lambda row: f"The image of sample {ids[row]}."),
    )

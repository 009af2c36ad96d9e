"""Questions about images: contrasts (a few images and captions, some of which match), attacks (an image with a
misleading written word), and judged relevance (queries, documents, and the grade of a document for a query).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data.images import check_ids
from clipbench.data.part import (
    DataPart,
    Fields,
    KeptRows,
    LimitedFields,
    RowSelection,
    array_bytes,
    check_unicode,
    sample,
    text_bytes,
)
from clipbench.errors import DataError


class Contrast(NamedTuple):
    """A few images and captions, and which caption is true of which image.

    In SugarCrepe an item is one image with a true caption and a hard negative, in Winoground two of each, in NLVR one
    caption with several images. Reading a written word is a choice among captions that quote one word each.
    """

    id: str
    """Distinct within a data set."""
    subset: str
    """The kind of difference between true and false, such as ``swap_att``, with scores for each subset."""
    images: tuple[int, ...]
    """Rows of the data set's images."""
    captions: tuple[str, ...]
    is_true: tuple[tuple[bool, ...], ...]
    """A row for each image, a column for each caption."""
    group: str | None = None
    """Items of one group, such as a relation, are averaged first where a published score is a mean of means."""

    @property
    def truth(self) -> Bool[np.ndarray, "n_images n_captions"]:
        """``is_true`` as an array."""
        return np.array(self.is_true, bool).reshape(len(self.images), len(self.captions))


class Attack(NamedTuple):
    """One object in up to four images: without an overlay, with a blank one, with its own name, and with a wrong
    name.
    """

    id: str
    """Distinct within a data set."""
    label: int
    """Class of the object, as a row of the data set's class names."""
    word: int
    """Class that the attacking overlay names, as a row of the class names, different from ``label``."""
    attacked: int
    """Row of the data set's images, as are ``clean``, ``blank`` and ``benign``."""
    clean: int | None = None
    blank: int | None = None
    benign: int | None = None
    condition: str = ""
    """Style of the overlay, such as ``height=0.1``, in data that vary it, or "" for the data set's one style."""
    object: str | None = None
    """Name of the object: attacks on one object are one cluster, not independent samples. None where each has its
    own.
    """

    @property
    def images(self) -> tuple[int, ...]:
        """Rows of the images that exist, the attacked one first."""
        return tuple(row for row in (self.attacked, self.clean, self.blank, self.benign) if row is not None)


@dataclass(frozen=True, kw_only=True)
class ContrastPart(DataPart):
    """Questions about a few images and captions at a time."""

    contrasts: Sequence[Contrast] | None = None
    """Questions about a few images and captions at a time."""

    def _take(self, selection: RowSelection) -> Fields:
        """Return the contrasts all of whose images are kept."""
        if self.contrasts is None:
            return {}
        new_rows = selection.new_image.tolist()
        contrasts = (
            contrast._replace(images=tuple(new_rows[row] for row in contrast.images)) for contrast in self.contrasts
        )
        return {"contrasts": tuple(contrast for contrast in contrasts if min(contrast.images) >= 0)}

    def _sort(self) -> Fields:
        return {"contrasts": _by_id(self.contrasts)}

    def _texts(self) -> list[object]:
        return [] if self.contrasts is None else [[tuple(contrast) for contrast in self.contrasts]]

    def _check(self) -> None:
        """Raise DataError unless each contrast has a unique id, existing images, and a true and a false pair."""
        contrasts = self.contrasts or ()
        check_ids([contrast.id for contrast in contrasts], "item", self.id)
        for contrast in contrasts:
            check_unicode(self.id, "caption", contrast.captions)
            name = _checked_name(self, contrast)
            widths = {len(row) for row in contrast.is_true}
            if len(contrast.is_true) != len(contrast.images) or widths != {len(contrast.captions)}:
                raise DataError(
                    f"{name} has a truth matrix of the wrong size: expected one value for each pair of an image and a"
                    " caption"
                )
            if not all(caption.strip() for caption in contrast.captions):
                raise DataError(f"{name} has an empty caption")
            if contrast.truth.all() or not contrast.truth.any():
                raise DataError(
                    f"{name} has only true or only false pairs of an image and a caption: expected at least one of each"
                )

    def _limit(self, n: int, rng: np.random.Generator) -> LimitedFields:
        if self.contrasts is None:
            return {}, ()
        contrasts = sample(self.contrasts, n, rng)
        return {"contrasts": contrasts}, _images_of(contrasts)


@dataclass(frozen=True, kw_only=True)
class AttackPart(DataPart):
    """Objects with and without written words on them."""

    attacks: Sequence[Attack] | None = None
    """Objects with and without written words on them. ``class_names`` holds objects and words."""

    def _take(self, selection: RowSelection) -> Fields:
        """Return the attacks whose attacked image is kept, and drop references to removed control images."""
        if self.attacks is None:
            return {}
        rows = {old: new for old, new in enumerate(selection.new_image.tolist()) if new >= 0}

        def move(attack: Attack) -> Attack:
            controls: dict[str, Any] = {kind: rows.get(getattr(attack, kind)) for kind in ("clean", "blank", "benign")}
            return attack._replace(attacked=rows[attack.attacked], **controls)

        return {"attacks": tuple(move(attack) for attack in self.attacks if attack.attacked in rows)}

    def _sort(self) -> Fields:
        return {"attacks": _by_id(self.attacks)}

    def _texts(self) -> list[object]:
        return [] if self.attacks is None else [[tuple(attack) for attack in self.attacks]]

    def _check(self) -> None:
        """Raise DataError unless each attack has existing images and names a class other than its object."""
        attacks, n_classes = self.attacks or (), len(getattr(self, "class_names", None) or ())
        check_ids([attack.id for attack in attacks], "item", self.id)
        for attack in attacks:
            name = _checked_name(self, attack)
            if not (0 <= attack.label < n_classes and 0 <= attack.word < n_classes):
                raise DataError(
                    f"{name} has class {attack.label} for its object and class {attack.word} for its word, expected"
                    f" 0 to {n_classes - 1}"
                )
            if attack.label == attack.word:
                raise DataError(f"{name} is attacked by its own name: expected the name of another class")

    def _limit(self, n: int, rng: np.random.Generator) -> LimitedFields:
        """Return at most n attacks of the usual style, and the same words on the same objects in other styles."""
        if self.attacks is None:
            return {}, ()
        usual = [attack for attack in self.attacks if not attack.condition]
        if not usual or len(self.attacks) <= n:
            attacks = sample(self.attacks, n, rng)
        else:
            chosen = sample(usual, n, rng)
            pairs = {(attack.object, attack.word) for attack in chosen if attack.object is not None}
            ids = {attack.id for attack in chosen}
            attacks = [
                attack
                for attack in self.attacks
                if attack.id in ids or (attack.condition and (attack.object, attack.word) in pairs)
            ]
        return {"attacks": attacks}, _images_of(attacks)


Question = TypeVar("Question", Contrast, Attack)


def _by_id(questions: Sequence[Question] | None) -> tuple[Question, ...] | None:
    return None if questions is None else tuple(sorted(questions, key=lambda question: question.id))


def _images_of(questions: Sequence[Question]) -> list[int]:
    return [row for question in questions for row in question.images]


def _checked_name(part: DataPart, question: Contrast | Attack) -> str:
    """Return the name of a question for messages, or raise DataError unless its images exist."""
    name, n_images = f"data set {part.id}: item '{question.id}'", len(part.images)
    if not question.images or min(question.images) < 0 or max(question.images) >= n_images:
        raise DataError(f"{name} has the images {question.images}, expected rows from 0 to {n_images - 1}")
    return name


POOL_FACTS = "pool.json"
"""The file that makes a folder of judged data a pool, with the depth as ``k``."""
NO_IMAGE = -1
"""Row of the image of an item that has none."""


class JudgedItems(NamedTuple):
    """Queries or documents: each is a text, an image, or both."""

    ids: Sequence[str]
    """Distinct."""
    texts: Sequence[str]
    """Empty where an item has none."""
    images: Int64[np.ndarray, " n"]
    """Rows of the data set's images, ``NO_IMAGE`` where an item has none."""
    languages: Sequence[str] = ()
    """The language of each, of which metrics are given too, or empty if the data does not say it. No part of the
    fingerprint.
    """

    @property
    def has_text(self) -> Bool[np.ndarray, " n"]:
        """A mask of the items with a text."""
        return np.array([bool(text) for text in self.texts], bool)

    @property
    def has_both(self) -> Bool[np.ndarray, " n"]:
        """A mask of the items with a text and an image."""
        return self.has_text & (self.images != NO_IMAGE)

    def take(self, rows: KeptRows) -> "JudgedItems":
        """Return some items, in the order of ``rows``."""
        if np.array_equal(rows, np.arange(len(self.ids))):  # a large corpus is not copied
            return self
        strings = (self.ids, self.texts, self.languages)
        ids, texts, languages = (tuple(map(part.__getitem__, rows.tolist())) if part else () for part in strings)
        return JudgedItems(ids, texts, self.images[rows], languages)


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Judged relevance: which documents are relevant to a query, and how much.

    A document that was not judged for a query counts as not relevant, as with trec_eval.
    """

    queries: JudgedItems
    documents: JudgedItems
    query: Int64[np.ndarray, " n_judged"]
    """Row of the query of each judgement."""
    document: Int64[np.ndarray, " n_judged"]
    """Row of its document."""
    grade: Int64[np.ndarray, " n_judged"]
    """Relevance of the document. 0 and below is not relevant."""
    depth: int | None = None
    """Documents that each model of a pool brought to a query, all judged, or None for data that are not a pool."""

    @property
    def _sides(self) -> tuple[JudgedItems, JudgedItems]:
        return self.queries, self.documents

    def take_queries(self, rows: KeptRows) -> "Judgements":
        """Return some queries, in the order of ``rows``, with their judgements and all documents."""
        return self._take(rows, np.arange(len(self.documents.ids)))

    def with_images(self, new_image: Int64[np.ndarray, " n_images"]) -> "Judgements":
        """Return the items whose images are kept, with their judgements.

        Args:
            new_image: row of each image among those that stay, -1 for one that does not.
        """
        new = np.append(new_image, NO_IMAGE)  # the last, of which NO_IMAGE is the row, is that of no image
        rows = [np.flatnonzero((side.images == NO_IMAGE) | (new[side.images] != NO_IMAGE)) for side in self._sides]
        left = self._take(*rows)
        queries, documents = (side._replace(images=new[side.images]) for side in left._sides)
        return replace(left, queries=queries, documents=documents)

    def by_id(self) -> "Judgements":
        """Return the same with queries, documents and judgements in the order of their ids."""
        orders = [np.array(sorted(range(len(side.ids)), key=side.ids.__getitem__), np.int64) for side in self._sides]
        ordered = self._take(*orders)
        return ordered._take_judgements(np.lexsort((ordered.document, ordered.query)))

    def content(self) -> tuple[bytes, ...]:
        """Return all that a fingerprint depends on."""
        texts = [text_bytes(column) for side in self._sides for column in (side.ids, side.texts)]
        arrays = (*(side.images for side in self._sides), self.query, self.document, self.grade)
        return (*texts, *map(array_bytes, arrays))

    def _take(
        self, queries: Int64[np.ndarray, " n_queries"], documents: Int64[np.ndarray, " n_documents"]
    ) -> "Judgements":
        new_query, new_document = (np.full(len(side.ids), -1, np.int64) for side in self._sides)
        new_query[queries], new_document[documents] = np.arange(len(queries)), np.arange(len(documents))
        query, document = new_query[self.query], new_document[self.document]
        kept_queries, kept_documents = self.queries.take(queries), self.documents.take(documents)
        judgements = replace(self, queries=kept_queries, documents=kept_documents, query=query, document=document)
        return judgements._take_judgements(np.flatnonzero((query >= 0) & (document >= 0)))

    def _take_judgements(self, rows: KeptRows) -> "Judgements":
        return replace(self, query=self.query[rows], document=self.document[rows], grade=self.grade[rows])


@dataclass(frozen=True, kw_only=True)
class JudgementPart(DataPart):
    """Judged relevance."""

    judgements: Judgements | None = None
    """Queries, documents and the relevance of a document to a query. ``images`` holds the images of both, and may be
    empty.
    """

    def _take(self, selection: RowSelection) -> Fields:
        return {} if self.judgements is None else {"judgements": self.judgements.with_images(selection.new_image)}

    def _sort(self) -> Fields:
        return {} if self.judgements is None else {"judgements": self.judgements.by_id()}

    def _content(self) -> Iterable[bytes]:
        return () if self.judgements is None else self.judgements.content()

    def _check(self) -> None:
        """Raise DataError unless ids are distinct, each item has a text or an image, and no pair is judged twice."""
        judgements = self.judgements
        if judgements is None:
            return
        for kind, items in (("query", judgements.queries), ("document", judgements.documents)):
            check_unicode(self.id, f"{kind} id", items.ids)
            check_unicode(self.id, f"{kind} text", items.texts)
            if not len(items.ids):
                raise DataError(f"data set {self.id} has judgements, and no {kind}: expected at least one")
            check_ids(items.ids, f"{kind} id", self.id)
            self._check_items(kind, items)
        self._check_pairs(judgements)

    def _check_items(self, kind: str, items: JudgedItems) -> None:
        """Raise DataError unless each query or document has an existing image, or a text."""
        lacks_image = (items.images < NO_IMAGE) | (items.images >= len(self.images))
        if lacks_image.any():
            row = int(lacks_image.argmax())
            expected = f"expected 0 to {len(self.images) - 1}"
            raise DataError(f"data set {self.id}: {kind} '{items.ids[row]}' has image {items.images[row]}, {expected}")
        has_text = np.fromiter(map(bool, map(str.strip, items.texts)), bool, len(items.texts))
        is_empty = ~has_text & (items.images == NO_IMAGE)
        if is_empty.any():
            row = int(is_empty.argmax())
            raise DataError(f"data set {self.id}: {kind} '{items.ids[row]}' has neither a text nor an image")

    def _check_pairs(self, judgements: Judgements) -> None:
        """Raise DataError if a pair is judged twice."""
        pairs = np.stack([judgements.query, judgements.document], axis=1)
        distinct, counts = np.unique(pairs, axis=0, return_counts=True)
        if len(distinct) < len(pairs):
            query, document = distinct[counts.argmax()].tolist()
            raise DataError(
                f"data set {self.id} judges document '{judgements.documents.ids[document]}' twice for query"
                f" '{judgements.queries.ids[query]}': expected one grade"
            )

"""Questions about images: contrasts (a few images and captions, some of which match), attacks (an image with a
misleading written word), and judged relevance (queries, documents, and the grade of a document for a query).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data.images import check_ids
from clipbench.errors import DataError


class Contrast(NamedTuple):
    """A few images and captions, and which caption is true of which image.

    In SugarCrepe an item is one image with a true and a false caption, in Winoground two of each, in NLVR one caption
    with several images; reading a written word is a choice among captions that quote one word each.
    """

    id: str
    """Distinct within a data set."""
    subset: str
    """The kind of difference between true and false, such as ``swap_att``; each subset has scores of its own."""
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
    """One object in up to four images: without a label, with a blank one, with its own name, and with a wrong name."""

    id: str
    """Distinct within a data set."""
    label: int
    """Class of the object, as a row of the data set's class names."""
    word: int
    """Class that the attacking label names, as a row of the class names; not ``label``."""
    attacked: int
    """Row of the data set's images; so are ``clean``, ``blank`` and ``benign``."""
    clean: int | None = None
    blank: int | None = None
    benign: int | None = None
    condition: str = ""
    """Style of the label, such as ``height=0.1``, in data that vary it; "" for the data set's one style."""
    object: str | None = None
    """Name of the object: attacks on one object are one cluster, not independent samples. None where each has its
    own.
    """

    @property
    def images(self) -> tuple[int, ...]:
        """Rows of the images that exist, the attacked one first."""
        return tuple(row for row in (self.attacked, self.clean, self.blank, self.benign) if row is not None)


def contrasts_within(contrasts: Iterable[Contrast], new_rows: Mapping[int, int]) -> tuple[Contrast, ...]:
    """Return the contrasts all of whose images are kept, with their new rows.

    Args:
        new_rows: old row to new row, of the images that are kept.
    """
    return tuple(
        contrast._replace(images=tuple(new_rows[row] for row in contrast.images))
        for contrast in contrasts
        if all(row in new_rows for row in contrast.images)
    )


def attacks_within(attacks: Iterable[Attack], new_rows: Mapping[int, int]) -> tuple[Attack, ...]:
    """Return the attacks whose attacked image is kept, with the new rows of those of its other images that are."""

    def moved(attack: Attack) -> Attack:
        kinds = ("attacked", "clean", "blank", "benign")
        rows: dict[str, Any] = {kind: new_rows.get(getattr(attack, kind)) for kind in kinds}
        return attack._replace(**rows)

    return tuple(moved(attack) for attack in attacks if attack.attacked in new_rows)


def check_contrasts(contrasts: Sequence[Contrast], n_images: int, data: str) -> None:
    """Raise DataError unless each contrast has an id of its own, existing images, and both a true and a false pair."""
    check_ids([each.id for each in contrasts], "item", data)
    for contrast in contrasts:
        item = f"data set {data}: item '{contrast.id}'"
        if not contrast.images or min(contrast.images) < 0 or max(contrast.images) >= n_images:
            raise DataError(f"{item} has the images {contrast.images}, expected rows from 0 to {n_images - 1}")
        widths = {len(row) for row in contrast.is_true}
        if len(contrast.is_true) != len(contrast.images) or widths != {len(contrast.captions)}:
            raise DataError(f"{item} does not say of each image and caption whether they belong together")
        if not all(caption.strip() for caption in contrast.captions):
            raise DataError(f"{item} has an empty caption")
        if contrast.truth.all() or not contrast.truth.any():
            raise DataError(f"{item} has nothing to choose: expected something true and something false")


def check_attacks(attacks: Sequence[Attack], n_images: int, n_classes: int, data: str) -> None:
    """Raise DataError unless each attack has existing images and a word that names another class than its object."""
    check_ids([each.id for each in attacks], "item", data)
    for attack in attacks:
        item = f"data set {data}: item '{attack.id}'"
        if min(attack.images) < 0 or max(attack.images) >= n_images:
            raise DataError(f"{item} has the images {attack.images}, expected rows from 0 to {n_images - 1}")
        if not (0 <= attack.label < n_classes and 0 <= attack.word < n_classes):
            raise DataError(f"{item} has the classes {attack.label} and {attack.word}, expected 0 to {n_classes - 1}")
        if attack.label == attack.word:
            raise DataError(f"{item} is attacked by its own name: expected the name of another class")


POOL_FACTS = "pool.json"
"""The file that makes a folder of judged data a pool; its ``k`` is the depth."""
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
    """The language of each, of which metrics are given too; empty where the data do not say it. No part of the
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

    def take(self, rows: Int64[np.ndarray, " n_kept"]) -> "JudgedItems":
        """Return some items, in the order of ``rows``."""
        strings = (self.ids, self.texts, self.languages)
        ids, texts, languages = (tuple(part[row] for row in rows.tolist()) if part else () for part in strings)
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
    """Relevance of the document; 0 and below is not relevant."""
    depth: int | None = None
    """Documents that each model of a pool brought to a query, all judged; None for data that are not a pool."""

    def take_queries(self, rows: Int64[np.ndarray, " n_kept"]) -> "Judgements":
        """Return some queries, in the order of ``rows``, with what was judged for them; all documents stay."""
        return self._kept(rows, np.arange(len(self.documents.ids)))

    def within(self, new_image: Int64[np.ndarray, " n_images"]) -> "Judgements":
        """Return the items whose images are still there, with what was judged of them.

        Args:
            new_image: row of each image among those that stay, -1 for one that does not.
        """
        new = np.append(new_image, NO_IMAGE)  # the last, of which NO_IMAGE is the row, is that of no image
        sides = (self.queries, self.documents)
        rows = [np.flatnonzero((side.images == NO_IMAGE) | (new[side.images] != NO_IMAGE)) for side in sides]
        left = self._kept(*rows)
        queries, documents = (side._replace(images=new[side.images]) for side in (left.queries, left.documents))
        return replace(left, queries=queries, documents=documents)

    def by_id(self) -> "Judgements":
        """Return the same with queries, documents and judgements in the order of their ids."""
        sides = (self.queries, self.documents)
        orders = [np.array(sorted(range(len(side.ids)), key=side.ids.__getitem__), np.int64) for side in sides]
        ordered = self._kept(*orders)
        return ordered._judged(np.lexsort((ordered.document, ordered.query)))

    def content(self) -> tuple[bytes, ...]:
        """Return all that a fingerprint depends on."""
        sides = (self.queries, self.documents)
        texts = repr([(list(side.ids), list(side.texts)) for side in sides]).encode()
        arrays = (*(side.images for side in sides), self.query, self.document, self.grade)
        return (texts, *(np.ascontiguousarray(array).tobytes() for array in arrays))

    def strings(self) -> dict[str, Sequence[str]]:
        """Return all ids and texts, by what they are."""
        return {
            f"{kind} {part}": strings
            for kind, items in (("query", self.queries), ("document", self.documents))
            for part, strings in (("id", items.ids), ("text", items.texts))
        }

    def _kept(
        self, queries: Int64[np.ndarray, " n_queries"], documents: Int64[np.ndarray, " n_documents"]
    ) -> "Judgements":
        new_query, new_document = (np.full(len(side.ids), -1, np.int64) for side in (self.queries, self.documents))
        new_query[queries], new_document[documents] = np.arange(len(queries)), np.arange(len(documents))
        query, document = new_query[self.query], new_document[self.document]
        kept_queries, kept_documents = self.queries.take(queries), self.documents.take(documents)
        kept = replace(self, queries=kept_queries, documents=kept_documents, query=query, document=document)
        return kept._judged(np.flatnonzero((query >= 0) & (document >= 0)))

    def _judged(self, rows: Int64[np.ndarray, " n_kept"]) -> "Judgements":
        return replace(self, query=self.query[rows], document=self.document[rows], grade=self.grade[rows])


def check_judgements(judgements: Judgements | None, n_images: int, data: str) -> None:
    """Raise DataError unless ids are distinct, each item has a text or an image, and no pair is judged twice."""
    if judgements is None:
        return
    for kind, items in (("query", judgements.queries), ("document", judgements.documents)):
        if not len(items.ids):
            raise DataError(f"data set {data} has judgements, and no {kind}: expected at least one")
        check_ids(items.ids, f"{kind} id", data)
        for id, text, image in zip(items.ids, items.texts, items.images.tolist(), strict=True):
            if not NO_IMAGE <= image < n_images:
                raise DataError(f"data set {data}: {kind} '{id}' has image {image}, expected 0 to {n_images - 1}")
            if image == NO_IMAGE and not text.strip():
                raise DataError(f"data set {data}: {kind} '{id}' has neither a text nor an image")
    pairs = np.stack([judgements.query, judgements.document], axis=1)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    if len(distinct) < len(pairs):
        query, document = distinct[counts.argmax()].tolist()
        raise DataError(
            f"data set {data} judges document '{judgements.documents.ids[document]}' twice for query"
            f" '{judgements.queries.ids[query]}': expected one grade"
        )

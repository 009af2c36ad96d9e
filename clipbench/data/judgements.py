"""Judged relevance as a data set records it: queries, documents, and the grade of a document for a query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.errors import DataError

NO_IMAGE = -1
"""Row of the image of an item that has none."""


class JudgedItems(NamedTuple):
    """Queries or documents: each is a text, an image, or both.

    Example:
        >>> items = JudgedItems(("q1", "q2"), ("a red boat", ""), np.array([-1, 3]))
        >>> items.take(np.array([1])).ids
        ('q2',)
    """

    ids: Sequence[str]
    """Distinct."""
    texts: Sequence[str]
    """Empty where an item has none."""
    images: Int64[np.ndarray, " n"]
    """Rows of the data set's images, ``NO_IMAGE`` where an item has none."""

    def take(self, rows: Int64[np.ndarray, " n_kept"]) -> "JudgedItems":
        """Return some items, in the order of ``rows``."""
        ids, texts = (tuple(part[row] for row in rows.tolist()) for part in (self.ids, self.texts))
        return JudgedItems(ids, texts, self.images[rows])


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Judged relevance: which documents are relevant to a query, and how much.

    A document that was not judged for a query counts as not relevant, as with trec_eval.

    Example:
        >>> items = JudgedItems(("a", "b"), ("one", "two"), np.array([-1, -1]))
        >>> judged = Judgements(
        ...     queries=items, documents=items, query=np.array([0, 1]), document=np.array([1, 0]), grade=np.array([2, 0])
        ... )
        >>> judged.take_queries(np.array([1])).grade.tolist()
        [0]
    """

    queries: JudgedItems
    documents: JudgedItems
    query: Int64[np.ndarray, " n_judged"]
    """Row of the query of each judgement."""
    document: Int64[np.ndarray, " n_judged"]
    """Row of its document."""
    grade: Int64[np.ndarray, " n_judged"]
    """How relevant it is; 0 and below is not."""

    def take_queries(self, rows: Int64[np.ndarray, " n_kept"]) -> "Judgements":
        """Return some queries, in the order of ``rows``, with what was judged for them; all documents stay."""
        return self._kept(rows, np.arange(len(self.documents.ids)))

    def within(self, new_image: Int64[np.ndarray, " n_images"]) -> "Judgements":
        """Return the items whose images are still there, with what was judged of them.

        Args:
            new_image: row of each image among those that stay, -1 for one that does not.
        """
        new = np.append(new_image, NO_IMAGE)  # the last, of which NO_IMAGE is the row, is that of no image
        left = self._kept(
            *(
                np.flatnonzero((items.images == NO_IMAGE) | (new[items.images] != NO_IMAGE)).astype(np.int64)
                for items in self._sides
            )
        )
        queries, documents = (items._replace(images=new[items.images]) for items in left._sides)
        return replace(left, queries=queries, documents=documents)

    def by_id(self) -> "Judgements":
        """Return the same with queries, documents and judgements in the order of their ids."""
        orders = [np.array(sorted(range(len(items.ids)), key=items.ids.__getitem__), np.int64) for items in self._sides]
        ordered = self._kept(*orders)
        order = np.lexsort((ordered.document, ordered.query))
        return replace(
            ordered, query=ordered.query[order], document=ordered.document[order], grade=ordered.grade[order]
        )

    def content(self) -> tuple[bytes, ...]:
        """Return all that a fingerprint depends on."""
        texts = repr([(list(items.ids), list(items.texts)) for items in self._sides]).encode()
        arrays = (*(items.images for items in self._sides), self.query, self.document, self.grade)
        return (texts, *(np.ascontiguousarray(array).tobytes() for array in arrays))

    def strings(self) -> dict[str, Sequence[str]]:
        """Return all ids and texts, by what they are."""
        return {
            f"{kind} {part}": strings
            for kind, items in (("query", self.queries), ("document", self.documents))
            for part, strings in (("id", items.ids), ("text", items.texts))
        }

    @property
    def _sides(self) -> tuple[JudgedItems, JudgedItems]:
        return self.queries, self.documents

    def _kept(
        self, queries: Int64[np.ndarray, " n_queries"], documents: Int64[np.ndarray, " n_documents"]
    ) -> "Judgements":
        new_query, new_document = (
            _new_rows(rows, len(items.ids)) for rows, items in zip((queries, documents), self._sides, strict=True)
        )
        query, document = new_query[self.query], new_document[self.document]
        is_kept = (query >= 0) & (document >= 0)
        return Judgements(
            queries=self.queries.take(queries),
            documents=self.documents.take(documents),
            query=query[is_kept],
            document=document[is_kept],
            grade=self.grade[is_kept],
        )


def check_judgements(judgements: Judgements | None, n_images: int, data: str) -> None:
    """Raise DataError unless ids are distinct, each item has a text or an image, and no pair is judged twice."""
    if judgements is None:
        return
    for kind, items in (("query", judgements.queries), ("document", judgements.documents)):
        if not len(items.ids):
            raise DataError(f"data set {data} has judgements, and no {kind}: expected at least one")
        if len(set(items.ids)) < len(items.ids):
            twice = next(id for row, id in enumerate(items.ids) if id in items.ids[:row])
            raise DataError(f"data set {data} has the {kind} id '{twice}' twice: ids must be distinct")
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


def _new_rows(kept: Int64[np.ndarray, " n_kept"], n: int) -> Int64[np.ndarray, " n"]:
    """Return the row of each of n items among those that are kept, -1 for the others."""
    rows = np.full(n, -1, np.int64)
    rows[kept] = np.arange(len(kept))
    return rows

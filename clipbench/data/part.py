"""The parts of a data set: labels, captions, questions and whatever else belongs to its images.

A part is a class with the fields that hold it and four rules: what is left of it when images are taken out, its content
for the fingerprint, its check, and which images a random subset keeps for it. ``Dataset`` inherits from all of them, so
that a task reads ``dataset.captions`` and a new part is one class.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data.images import ImageRef
from clipbench.errors import DataError

T = TypeVar("T")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


Fields = Mapping[str, Any]
"""New values of some fields of a data set, by name."""
LimitedFields = tuple[Fields, Sequence[int]]
"""Fields with at most n random items, and the rows of the images that they need."""
KeptRows = Int64[np.ndarray, " n_kept"]
"""Rows that stay, in their new order."""


@dataclass(frozen=True)
class RowSelection:
    """The rows of a data set that stay, in their new order."""

    images: Int64[np.ndarray, " n_kept_images"]
    captions: Int64[np.ndarray, " n_kept_captions"]
    new_image: Int64[np.ndarray, " n_images"]
    """The new row of each image, -1 if it is left out."""
    groups: Bool[np.ndarray, " n_groups"] | None = None
    """A mask of the groups of items that stay, or None for data of images and captions only."""


class DataPart:
    """One kind of content of a data set. Each rule has a default for parts that do not need it."""

    _image_columns: ClassVar[Mapping[str, str]] = {}
    """Fields with one value per image, and their names in messages."""
    _caption_columns: ClassVar[Mapping[str, str]] = {}
    """Fields with one value per caption, and their names in messages."""

    id: str
    images: Sequence[ImageRef]
    image_ids: Sequence[str]

    def _take(self, selection: RowSelection) -> Fields:
        """Return the fields for the rows that stay, apart from columns."""
        return {}

    def _sort(self) -> Fields:
        """Return the fields in an order that does not depend on the order of the items."""
        return {}

    def _texts(self) -> list[object]:
        """Return the texts of the content, which are hashed as their code, before the arrays of all parts."""
        return []

    def _content(self) -> Iterable[bytes]:
        """Return the rest of the content that scores depend on."""
        return ()

    def _check(self) -> None:
        """Raise DataError if the part does not fit the images, or itself."""

    def _limit(self, n: int, rng: np.random.Generator) -> LimitedFields:
        """Return the fields with at most n random items, and the rows of the images that they need."""
        return {}, ()


def pick(items: Sequence[T], rows: KeptRows) -> list[T]:
    """Return some items, in the order of ``rows``."""
    return [items[row] for row in rows.tolist()]


def take_columns(data: object, names: Iterable[str], rows: KeptRows) -> dict[str, Any]:
    """Return some rows of the columns that are there."""
    taken: dict[str, Any] = {}
    for name in names:
        column = getattr(data, name)
        if column is not None:
            taken[name] = column[rows] if isinstance(column, np.ndarray) else pick(column, rows)
    return taken


def sample(items: Sequence[T], n: int, rng: np.random.Generator) -> Sequence[T]:
    """Return n random items in their old order, or all if there are no more."""
    return items if len(items) <= n else pick(items, np.sort(rng.choice(len(items), n, replace=False)))


def array_bytes(array: np.ndarray | None) -> bytes:
    """Return the bytes of an array for a fingerprint, ``-`` for None."""
    return b"-" if array is None else np.ascontiguousarray(array).tobytes()


def text_bytes(texts: Sequence[str]) -> bytes:
    """Return the bytes of texts for a fingerprint: their number, their lengths, then all of them as one text.

    With a million texts this takes a fifth of the time of their ``repr``.
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return array_bytes(np.append(len(texts), lengths)) + "".join(texts).encode("utf-8", "surrogatepass")


def check_length(
    data: str, column: Sequence[object] | np.ndarray | None, name: str, owners: Sequence[T], owners_name: str
) -> None:
    """Raise DataError if a column does not have one value per item."""
    if column is not None and len(column) != len(owners):
        raise DataError(
            f"data set {data} has {len(column)} {name} for {len(owners)} {owners_name}: expected equal numbers"
        )


def check_unicode(data: str, name: str, texts: Iterable[str]) -> None:
    """Raise DataError if a text holds half a surrogate pair, as JSON and file names may: no tokenizer can take it."""
    texts = list(texts)
    joined = "".join(texts)
    # Halves of two texts make no whole one: each is still a half.
    if joined.isascii() or not LONE_SURROGATE.search(joined):
        return
    for text in filter(LONE_SURROGATE.search, texts):
        escaped = text.encode(errors="backslashreplace").decode()
        raise DataError(
            f"data set {data} has the {name} '{escaped}', which is not Unicode text: correct it, "
            "or rename its file or folder"
        )

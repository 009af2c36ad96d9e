"""Items of several modalities, such as audio, image and text, and which of them belong together."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data.images import check_ids, content_digest
from clipbench.data.part import DataPart, Fields, KeptRows, RowSelection, array_bytes, pick
from clipbench.errors import DataError
from clipbench.untrusted.reading import is_file, read_bytes

IMAGE, TEXT = "image", "text"
"""The modalities whose items are a data set's images, and captions."""
JOINT = "image+text"
"""The modality of an image with a text, which are encoded as one."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LINK = "_to_"
"""Text between the names of two modalities, in the name of the array that pairs them."""
IDS = "_ids"
"""End of the name of the array with the ids of a modality."""

Pairs = Mapping[tuple[str, str], Int64[np.ndarray, " n_source"]]
"""By the names of source and target: for each item of the source, the row of its item of the target."""


@runtime_checkable
class ItemRef(Protocol):
    """An item that is neither image nor text."""

    @property
    def name(self) -> str:
        """The name that tells readers which it is."""
        ...

    def digest(self) -> str:
        """Return a hash of the content, or of the name where the content is not here."""
        ...


@dataclass(frozen=True, eq=False)
class ModalityItem:
    """An item in memory, such as a path, bytes or an array, which an encoder takes unchanged."""

    value: object
    name: str

    @cached_property
    def content(self) -> str | None:
        """A hash of the content: of the file that a path names, of an array, of bytes or of a text, or None for all
        others.
        """
        data = _content(self.value)
        return None if data is None else content_digest(data)

    def digest(self) -> str:
        """Return the hash of the content, or of the name where the content cannot be hashed."""
        return self.content or content_digest(self.name.encode())


@dataclass(frozen=True, eq=False)
class Modalities:
    """Items by modality, in alphabetical order, and their pairs.

    Example:
        >>> pairs = {("audio", "text"): np.array([0, 0, 1])}
        >>> data = Modalities({"audio": ["a", "b", "c"], "text": ["dog", "cat"]}, {"audio": "abc", "text": "xy"}, pairs)
        >>> {name: rows.tolist() for name, rows in data.groups.items()}
        {'audio': [0, 0, 1], 'text': [0, 1]}
    """

    items: Mapping[str, Sequence[object]]
    """Images as ``ImageRef``, texts as ``str``, all others as ``ItemRef``."""
    ids: Mapping[str, Sequence[str]]
    pairs: Pairs

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", dict(sorted(self.items.items())))

    @property
    def names(self) -> list[str]:
        """The names of the modalities."""
        return list(self.items)

    @property
    def n_groups(self) -> int:
        """Groups of items that belong together, whatever their modality."""
        return 1 + max(int(rows.max()) for rows in self.groups.values())

    @property
    def is_aligned(self) -> bool:
        """True where row i of each modality belongs to row i of all others."""
        return all(np.array_equal(rows, np.arange(self.n_groups)) for rows in self.groups.values())

    @cached_property
    def groups(self) -> dict[str, Int64[np.ndarray, " n"]]:
        """The group of each item, by modality: the items that pairs join, over any number of pairs. A group may have
        one item.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        *offsets, total = np.cumsum([0, *map(len, self.items.values())]).tolist()
        starts = dict(zip(self.items, offsets, strict=True))
        left = [starts[source] + np.arange(len(rows)) for (source, _), rows in self.pairs.items()]
        right = [starts[target] + rows for (_, target), rows in self.pairs.items()]
        ends = (np.concatenate(left), np.concatenate(right))
        links = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(total, total))
        _, group = connected_components(links, directed=False)
        parts = np.split(group.astype(np.int64), offsets[1:])
        return dict(zip(self.items, parts, strict=True))

    def rows_of_groups(
        self, rows: KeptRows
    ) -> tuple[Int64[np.ndarray, " n_kept_images"], Bool[np.ndarray, " n_groups"]]:
        """Return all images of the groups of some images, or of some groups if there are no images, and a mask of these
        groups.
        """
        group_of_image = self.groups.get(IMAGE)
        is_kept = np.zeros(self.n_groups, bool)
        is_kept[rows if group_of_image is None else group_of_image[rows]] = True
        images = np.zeros(0, np.int64) if group_of_image is None else np.flatnonzero(is_kept[group_of_image])
        return images, is_kept

    def take(self, is_kept: Bool[np.ndarray, " n_groups"]) -> "Modalities":
        """Return the items of some groups, in their order."""
        rows = {name: np.flatnonzero(is_kept[group]) for name, group in self.groups.items()}
        pairs = {}
        for (source, target), target_rows in self.pairs.items():
            kept_targets = target_rows[rows[source]]
            pairs[source, target] = np.searchsorted(rows[target], kept_targets)  # their rows among the kept ones
        return Modalities(
            items={name: pick(self.items[name], kept_rows) for name, kept_rows in rows.items()},
            ids={name: pick(self.ids[name], kept_rows) for name, kept_rows in rows.items()},
            pairs=pairs,
        )

    def parts(self) -> list[object]:
        """Return all that scores depend on, but for images, as a fingerprint takes it."""
        of_items = [(name, list(self.ids[name]), list(map(_digest, items))) for name, items in self.items.items()]
        return [*of_items, *((link, rows.tolist()) for link, rows in sorted(self.pairs.items()))]


def pairs_of(counts: Mapping[str, int], stated_pairs: Pairs) -> Pairs:
    """Return the stated pairs, and pair equally long modalities row by row if no pairs are stated."""
    pairs = dict(stated_pairs)
    for first, second in combinations(sorted(counts), 2):
        if (
            counts[first] == counts[second]
            and (first, second) not in stated_pairs
            and (second, first) not in stated_pairs
        ):
            pairs[first, second] = np.arange(counts[first])
    return pairs


def unpaired_message(modalities: Modalities, first: str, second: str) -> str:
    """Return a message on two modalities without pairs, and on the option that states them."""
    counts = f"there are {len(modalities.items[first]):,} of {first} and {len(modalities.items[second]):,} of {second}"
    return f"no pairs of {first} and {second}: give {first}{LINK}{second} (needed because {counts})"


def check_modalities(modalities: Modalities, data: str) -> None:
    """Raise DataError unless there are two modalities or more with pairs, and their parts fit together."""
    if len(modalities.items) < 2:
        raise DataError(f"data set {data} has only {' and '.join(modalities.names)}: expected two modalities or more")
    if not modalities.pairs:
        raise DataError(f"data set {data} has {unpaired_message(modalities, *modalities.names[:2])}")
    for name, items in modalities.items.items():
        ids = modalities.ids[name]
        if not len(items):
            raise DataError(f"data set {data} has no item of {name}: expected one or more")
        if len(ids) != len(items):
            raise DataError(
                f"data set {data} has {len(items)} items and {len(ids)} ids of {name}: expected one id per item"
            )
        check_ids(ids, f"{name} id", data)
    for (source, target), rows in modalities.pairs.items():
        n = len(modalities.items[target])
        if len(rows) != len(modalities.items[source]) or (len(rows) and not (rows.min() >= 0 and rows.max() < n)):
            values = f" from {rows.min()} to {rows.max()}" if len(rows) else ""
            raise DataError(
                f"data set {data}: {source}{LINK}{target} has {len(rows)} row numbers{values}: expected"
                f" {len(modalities.items[source])} (one per item of {source}), each from 0 to {n - 1} (a row of"
                f" {target})"
            )


@dataclass(frozen=True, kw_only=True)
class ModalityPart(DataPart):
    """Items of further modalities."""

    modalities: Modalities | None = None
    """Items of modalities in addition to images and captions, or instead of them, and their pairs. If it has items of
    image and text, these are ``images`` and ``captions``.
    """

    def _take(self, selection: RowSelection) -> Fields:
        """Return the items of the groups that are kept."""
        if self.modalities is None or selection.groups is None:
            return {}
        return {"modalities": self.modalities.take(selection.groups)}

    def _content(self) -> Iterable[bytes]:
        return () if self.modalities is None else (repr(self.modalities.parts()).encode(),)

    def _check(self) -> None:
        if self.modalities is not None:
            check_modalities(self.modalities, self.id)


def _content(value: object) -> bytes | None:
    """Return bytes that are equal only for equal content, or None if that cannot be decided."""
    for step in ("detach", "cpu"):  # a tensor is hashed as its array
        value = getattr(value, step)() if hasattr(value, step) else value
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        return b"file " + read_bytes(path) if is_file(path) else f"text {path}".encode(errors="surrogatepass")
    if isinstance(value, bytes):
        return b"bytes " + value
    if isinstance(value, tuple | list):  # such as samples and their rate
        parts = [_content(member) for member in value]
        return None if None in parts else b"".join(b"%d " % len(part) + part for part in parts if part)
    if isinstance(value, bool | int | float) or hasattr(value, "__array__"):
        array = np.asarray(value)
        head = f"array {array.dtype.str} {array.shape} ".encode()
        return None if array.dtype.hasobject else head + array_bytes(array)
    return None


def _digest(item: object) -> str:
    """Return a text as it is, and the hash of an item that is neither text nor image."""
    if isinstance(item, str):
        return item
    return item.digest() if isinstance(item, ItemRef) else ""

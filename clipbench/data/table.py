"""From the rows of a table to the parts of a data set: one image a key, with its label and its captions."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from clipbench.data.table_columns import Roles
from clipbench.errors import DataError, did_you_mean

Place = Callable[[int], str]
"""Names a row of a table to a person, such as ``manifest.csv, line 3``."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a table says of its images."""

    first_rows: Sequence[int]
    """Of each image, in order of first appearance: the row that it appears in."""
    image_ids: Sequence[str]
    labels: Int64[np.ndarray, " n_images"] | None
    class_names: tuple[str, ...] | None
    captions: Sequence[str] | None
    caption_image: Int64[np.ndarray, " n_captions"] | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length, and how to name a row of them."""

    columns: Mapping[str, Sequence[object]]
    place: Place

    def column(self, name: str, rows: Iterable[int]) -> list[tuple[int, object]]:
        """Return the values of a column with their rows."""
        values = self.columns[name]
        return [(row, values[row]) for row in rows]


def read_samples(
    table: Table,
    roles: Roles,
    *,
    keys: Mapping[int, Hashable],
    ids: Mapping[int, str],
    class_names: Sequence[str] | None = None,
) -> Samples:
    """Return the images of some rows; rows with the same key are one image and give it several captions.

    Labels are rows of ``class_names`` where those are given; otherwise whole numbers stand for themselves, and texts
    for their place in the sorted order of all texts of the table (not only of the rows that are kept). Numbers with
    names beside them stand for their place in the order of all numbers that are named.

    Args:
        keys: of each row that is kept, in order: what makes its image the same or another.
        ids: of each row that is kept, where no column holds them.

    Raises:
        DataError: an empty caption, label or id, labels or ids that contradict each other; names the row.
    """
    first: dict[Hashable, int] = {}
    for row, key in keys.items():
        first.setdefault(key, row)
    image_of = {key: image for image, key in enumerate(first)}
    owner = {row: image_of[key] for row, key in keys.items()}
    image_ids, notes = _image_ids(table, roles, owner, ids)
    labels, names = _labels(table, roles, owner, class_names)
    captions, caption_image = _captions(table, roles, owner)
    return Samples(
        first_rows=list(first.values()),
        image_ids=image_ids,
        labels=labels,
        class_names=names,
        captions=captions,
        caption_image=caption_image,
        notes=notes,
    )


def _image_ids(
    table: Table, roles: Roles, owner: Mapping[int, int], ids: Mapping[int, str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the id of each image, from the id column if the user named it or it fits, and a note if it does not."""
    if roles.id is None:
        return _agreed(ids, owner, table.place, "id"), ()
    found = {row: "" if value is None else str(value) for row, value in table.column(roles.id, owner)}
    if roles.id_is_named:
        for row, value in found.items():
            if not value.strip():
                raise DataError(f"{table.place(row)}: the {roles.id} is empty")
        return _agreed(found, owner, table.place, "id"), ()
    pairs = {(image, found[row]) for row, image in owner.items()}
    n_images = len(set(owner.values()))
    if len(pairs) == n_images == len(set(found.values())) and all(value.strip() for value in found.values()):
        return _agreed(found, owner, table.place, "id"), ()
    note = f"column '{roles.id}' does not give each image an id of its own, so it was not used as ids"
    return _agreed(ids, owner, table.place, "id"), (note,)


def _agreed(values: Mapping[int, str], owner: Mapping[int, int], place: Place, what: str) -> list[str]:
    """Return the one value of each image, in order."""
    agreed: dict[int, tuple[int, str]] = {}
    for row, image in owner.items():
        other, value = agreed.setdefault(image, (row, values[row]))
        if value != values[row]:
            raise DataError(
                f"{place(row)}: the image has {what} '{values[row]}', and '{value}' in {place(other)}:"
                f" name the column that holds one {what} an image with --data-option {what}=COLUMN"
            )
    return [value for _, value in agreed.values()]


def _captions(
    table: Table, roles: Roles, owner: Mapping[int, int]
) -> tuple[list[str] | None, Int64[np.ndarray, " n_captions"] | None]:
    if not roles.captions:
        return None, None
    pairs = [
        (image, caption)
        for row, image in owner.items()
        for column in roles.captions
        for caption in _texts(table.columns[column][row], column, row, table.place)
    ]
    return [caption for _, caption in pairs], np.array([image for image, _ in pairs], np.int64)


def _texts(value: object, column: str, row: int, place: Place) -> list[str]:
    """Return the captions in one cell, a text or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    if texts is None:
        texts = []
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place(row)}: expected a text or a list of texts in {column}, got {value!r:.60}")
    if not texts or not all(text.strip() for text in texts):
        raise DataError(
            f"{place(row)}: the {column} is empty, expected a caption (--data-option caption=COLUMN or label=COLUMN"
            " names another column)"
        )
    return list(texts)


def _labels(
    table: Table, roles: Roles, owner: Mapping[int, int], class_names: Sequence[str] | None
) -> tuple[Int64[np.ndarray, " n_images"] | None, tuple[str, ...] | None]:
    if roles.label is None:
        return None, None
    for row, value in table.column(roles.label, owner):
        if not _is_label(value):
            raise DataError(
                f"{table.place(row)}: expected a class name or a whole number as {roles.label}, got {value!r:.60}"
            )
    agreed = _agreed({row: str(value) for row, value in table.column(roles.label, owner)}, owner, table.place, "label")
    everything = {str(value) for value in table.columns[roles.label] if _is_label(value)}
    if not all(value.removeprefix("-").isdecimal() for value in everything):
        names = tuple(class_names or sorted(everything))
        return _places(agreed, names), names
    numbers = [int(value) for value in agreed]
    if class_names is not None or roles.class_name is None:
        return np.array(numbers, np.int64), None if class_names is None else tuple(class_names)
    named = _names_of_numbers(table, roles.label, roles.class_name)
    place = {number: row for row, number in enumerate(named)}
    return np.array([place[number] for number in numbers], np.int64), tuple(named.values())


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(str(value).strip())


def _places(labels: Sequence[str], names: Sequence[str]) -> Int64[np.ndarray, " n_images"]:
    """Return the row of each label among the class names."""
    place = {name: row for row, name in reversed(list(enumerate(names)))}  # of two equal names the first
    for label in labels:
        if label not in place:
            raise DataError(f"label '{label}' is no class name: {did_you_mean(label, names)}")
    return np.array([place[label] for label in labels], np.int64)


def _names_of_numbers(table: Table, label: str, class_name: str) -> dict[int, str]:
    """Return the names that a second column gives to the numbers of the label column, in the order of the numbers."""
    found: dict[int, tuple[int, object]] = {}
    for row, (value, name) in enumerate(zip(table.columns[label], table.columns[class_name], strict=True)):
        if not _is_label(value):
            continue
        other, known = found.setdefault(int(str(value)), (row, name))
        if known != name or not name:
            raise DataError(
                f"{table.place(row)}: label {value} has the {class_name} '{name}', and '{known}' in"
                f" {table.place(other)}: expected one name a label"
            )
    return {number: str(found[number][1]) for number in sorted(found)}

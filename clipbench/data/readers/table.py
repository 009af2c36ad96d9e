"""Rows of a table as the parts of a data set: one image a key, with its label and its captions."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Groups
from clipbench.data.readers.table_columns import CAPTION_COLUMN, Roles
from clipbench.errors import DataError, did_you_mean
from clipbench.untrusted.reading import is_int64, shown
from clipbench.untrusted.written_lists import read_written_list

Place = Callable[[int], str]
"""Returns the name of a row for messages, such as ``manifest.csv, line 3``."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The images that a table lists, with their labels and captions."""

    first_rows: Sequence[int]
    """The row in which each image first appears, in that order."""
    image_ids: Sequence[str]
    labels: Int64[np.ndarray, " n_images"] | None
    class_names: tuple[str, ...] | None
    captions: Sequence[str] | None
    caption_image: Int64[np.ndarray, " n_captions"] | None
    groups: Mapping[str, Groups]
    notes: tuple[str, ...]

    @property
    def has_ids(self) -> bool:
        """False where images have the numbers of their rows for ids."""
        return list(self.image_ids) != [str(row) for row in self.first_rows]


@dataclass(frozen=True, kw_only=True)
class ColumnTable:
    """Columns of equal length, and a name for each row in messages."""

    columns: Mapping[str, Sequence[object]]
    place: Place

    def column(self, name: str, rows: Iterable[int]) -> list[tuple[int, object]]:
        """Return (row, value) of a column for some rows."""
        values = self.columns[name]
        return [(row, values[row]) for row in rows]


def read_samples(
    table: ColumnTable,
    roles: Roles,
    *,
    keys: Mapping[int, Hashable],
    ids: Mapping[int, str],
    class_names: Sequence[str] | None = None,
) -> Samples:
    """Return the images of some rows; rows with the same key are one image and give it several captions.

    With ``class_names``, labels are rows of it. Otherwise whole numbers are used as they are, and texts become their
    place in the sorted order of all texts of the table (not only of the rows that are kept). Numbers with names beside
    them become their place in the order of all numbers that have a name.

    Args:
        table: the columns.
        roles: the column of each role.
        keys: identity of the image of each row that is kept, in order.
        ids: of each row that is kept, for tables without an id column.
        class_names: names in the order of the class numbers.

    Raises:
        DataError: an empty caption, label or id, labels or ids that contradict each other; names the row.
    """
    first_row: dict[Hashable, int] = {}
    for row, key in keys.items():
        first_row.setdefault(key, row)
    image_of = {key: image for image, key in enumerate(first_row)}
    owner = {row: image_of[key] for row, key in keys.items()}
    image_ids, notes = _image_ids(table, roles, owner, ids)
    labels, names = _labels(table, roles, owner, class_names)
    cells = _captions(table, roles, owner)
    return Samples(
        first_rows=list(first_row.values()),
        image_ids=image_ids,
        labels=labels,
        class_names=names,
        captions=[cell.text for cell in cells] if roles.captions else None,
        caption_image=np.array([cell.image for cell in cells], np.int64) if roles.captions else None,
        groups={name: _groups(table, name, owner, cells) for name in roles.groups},
        notes=notes,
    )


def _image_ids(
    table: ColumnTable, roles: Roles, owner: Mapping[int, int], ids: Mapping[int, str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the id of each image, from the id column if the user named it or it fits, and a note if it does not."""
    if roles.id is None:
        return _agreed(ids, owner, table.place, "id"), ()
    column = {row: "" if value is None else str(value) for row, value in table.column(roles.id, owner)}
    if roles.id_is_named:
        for row, value in column.items():
            if not value.strip():
                raise DataError(f"{table.place(row)}: the {roles.id} is empty")
        return _agreed(column, owner, table.place, "id"), ()
    pairs = {(image, column[row]) for row, image in owner.items()}
    n_images = len(set(owner.values()))
    if len(pairs) == n_images == len(set(column.values())) and all(value.strip() for value in column.values()):
        return _agreed(column, owner, table.place, "id"), ()
    note = f"column '{roles.id}' does not give each image an id of its own, so it was not used as ids"
    return _agreed(ids, owner, table.place, "id"), (note,)


def _agreed(values: Mapping[int, str], owner: Mapping[int, int], place: Place, what: str) -> list[str]:
    """Return the value of each image, in order; raise DataError where its rows differ."""
    agreed: dict[int, tuple[int, str]] = {}
    for row, image in owner.items():
        other, value = agreed.setdefault(image, (row, values[row]))
        if value != values[row]:
            raise DataError(
                f"{place(row)}: the image has {what} '{values[row]}', and '{value}' in {place(other)}:"
                f" name the column that holds one {what} per image with --data-option {what}=COLUMN"
            )
    return [value for _, value in agreed.values()]


class _Caption(NamedTuple):
    """A caption, and the cell that it stands in."""

    text: str
    image: int
    row: int
    column: str


def _captions(table: ColumnTable, roles: Roles, owner: Mapping[int, int]) -> list[_Caption]:
    """Return the captions of all images; where several columns hold them, a cell may be empty, as a translation may lack."""
    may_lack = len(roles.captions) > 1
    return [
        _Caption(text, image, row, column)
        for row, image in owner.items()
        for column in roles.captions
        if not (may_lack and table.columns[column][row] in (None, ""))
        for text in _texts(table.columns[column][row], column, row, table.place)
    ]


def _groups(table: ColumnTable, name: str, owner: Mapping[int, int], captions: Sequence[_Caption]) -> Groups:
    """Return the groups of a column: of images where all rows of each image agree, else of captions."""
    if name == CAPTION_COLUMN and name not in table.columns:
        return Groups([caption.column for caption in captions], of_captions=True)
    values = {row: "" if value is None else str(value).strip() for row, value in table.column(name, owner)}
    by_image: dict[int, set[str]] = {}
    for row, image in owner.items():
        by_image.setdefault(image, set()).add(values[row])
    if all(len(each) == 1 for each in by_image.values()):
        return Groups([each.pop() for each in by_image.values()])
    if not captions:
        raise DataError(
            f"column '{name}' gives an image several groups, such as {' and '.join(sorted(next(each for each in by_image.values() if len(each) > 1))[:2])}:"
            " expected one for each image, or captions"
        )
    return Groups([values[caption.row] for caption in captions], of_captions=True)


def _texts(value: object, column: str, row: int, place: Place) -> list[str]:
    """Return the captions in one cell: a text, a list of texts, or such a list as it is written in a .csv file."""
    texts = read_written_list(value) or [value] if isinstance(value, str) else value
    if texts is None:
        texts = []
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place(row)}: expected a text or a list of texts in {column}, got {shown(value)}")
    if not texts or not all(text.strip() for text in texts):
        raise DataError(
            f"{place(row)}: the {column} is empty, expected a caption (--data-option caption=COLUMN or"
            " --data-option label=COLUMN names another column)"
        )
    return list(texts)


def _labels(
    table: ColumnTable, roles: Roles, owner: Mapping[int, int], class_names: Sequence[str] | None
) -> tuple[Int64[np.ndarray, " n_images"] | None, tuple[str, ...] | None]:
    if roles.label is None:
        return None, None
    for row, value in table.column(roles.label, owner):
        if not _is_label(value):
            raise DataError(
                f"{table.place(row)}: expected a class name or a whole number as {roles.label}, got {shown(value)}"
            )
    agreed = _agreed({row: str(value) for row, value in table.column(roles.label, owner)}, owner, table.place, "label")
    # Of the whole table, so that a split or a subset numbers its classes as the whole does.
    all_labels = {str(value) for value in table.columns[roles.label] if _is_label(value)}
    if not all(value.removeprefix("-").isdecimal() for value in all_labels):
        names = tuple(class_names or sorted(all_labels))
        return _class_numbers(agreed, names), names
    for row in owner:
        if not is_int64(str(table.columns[roles.label][row])):
            raise DataError(
                f"{table.place(row)}: the {roles.label} is {shown(table.columns[roles.label][row])}, expected the number of a"
                " class"
            )
    numbers = [int(value) for value in agreed]
    if class_names is not None or roles.class_name is None:
        return np.array(numbers, np.int64), None if class_names is None else tuple(class_names)
    named = _names_of_numbers(table, roles.label, roles.class_name)
    place = {number: row for row, number in enumerate(named)}
    return np.array([place[number] for number in numbers], np.int64), tuple(named.values())


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(str(value).strip())


def _class_numbers(labels: Sequence[str], names: Sequence[str]) -> Int64[np.ndarray, " n_images"]:
    """Return the row of each label among the class names."""
    place = {name: row for row, name in reversed(list(enumerate(names)))}  # of two equal names the first
    for label in labels:
        if label not in place:
            raise DataError(f"label '{label}' is no class name: {did_you_mean(label, names)}")
    return np.array([place[label] for label in labels], np.int64)


def _names_of_numbers(table: ColumnTable, label: str, class_name: str) -> dict[int, str]:
    """Return the name of each number in the label column from a second column, in the order of the numbers."""
    first_row: dict[int, tuple[int, object]] = {}
    for row, (value, name) in enumerate(zip(table.columns[label], table.columns[class_name], strict=True)):
        if not _is_label(value) or not is_int64(str(value)):
            continue
        if not _is_label(name):
            raise DataError(
                f"{table.place(row)}: expected the name of label {value} in {class_name}, got {shown(name)}"
            )
        other, known = first_row.setdefault(int(str(value)), (row, name))
        if known != name:
            raise DataError(
                f"{table.place(row)}: label {value} has the {class_name} '{name}', and '{known}' in"
                f" {table.place(other)}: expected one name per label"
            )
    return {number: str(first_row[number][1]) for number in sorted(first_row)}

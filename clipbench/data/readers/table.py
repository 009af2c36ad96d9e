"""Tables as data sets: the columns by role (image, caption, label, id), and one image a key, with its label and
captions.
"""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.labels import Groups, label_fields
from clipbench.data.part import Fields
from clipbench.errors import DataError, UnknownSplit, UsageError, data_option, did_you_mean
from clipbench.untrusted.label_files import SEPARATOR, Classes, read_classes
from clipbench.untrusted.reading import is_int64, read_written_list, shown
from clipbench.untrusted.text_tables import ColumnTable

OPTIONS = ("image", "caption", "label", "id", "group", "labels")
"""``--data-option`` names that take the name of a column, and ``labels``, a file with the labels of the images."""

USUAL_NAMES: Mapping[str, Sequence[Sequence[str]]] = {
    "image": (
        ("image",),
        (
            "image_path",
            "image_file",
            "image_name",
            "img_path",
            "filepath",
            "file_path",
            "file_name",
            "filename",
            "path",
        ),
        ("img", "file", "jpg", "jpeg", "png", "webp"),
    ),
    "caption": (("caption", "captions"), ("text", "texts", "txt", "sentence", "sentences", "description"), ("title",)),
    "label": (
        ("label", "class"),
        ("class_index", "class_id", "label_index", "label_id", "fine_label", "cls", "target", "labels"),
    ),
    "class_name": (("class_name", "label_name"), ("name",)),
    "id": (("image_id",), ("id", "sample_id", "key", "__key__")),
    "split": (("split",),),
    "group": (("group",),),
}
"""Usual column names of each role, in tiers: a later tier counts only where a table has no name of an earlier one, so
that the canonical name wins. Between two names of one tier, only the user can choose.
"""

LABELS = "labels"
"""Option that names a file with the labels of the images, which are used instead of the labels in the data."""
CAPTION_COLUMN = "caption"
"""As a group, if captions are in several columns, such as one per language: the column of each caption."""

_NUMBERED = re.compile(r"(?:caption|text|sentence)s?_?(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The column of each role, or None if a table has none."""

    image: str
    captions: tuple[str, ...] = ()
    """Several columns (``caption_0``, ``caption_1``, ...) or one."""
    label: str | None = None
    class_name: str | None = None
    """Column with the name of each class, in addition to a label column of numbers."""
    id: str | None = None
    id_is_named: bool = False
    """True if the user named the id column. A guessed column is dropped if its values do not fit."""
    split: str | None = None
    groups: tuple[str, ...] = ()
    """Columns whose values slice the data, with ``caption`` for the column that a caption came from."""


def usual_column(role: str, columns: Iterable[str]) -> str | None:
    """Return the first column with the most usual name of a role, or None if there is none."""
    all_columns = list(columns)
    for tier in USUAL_NAMES[role]:
        for name in all_columns:
            if name.lower() in tier:
                return name
    return None


def find_roles(
    columns: Sequence[str],
    options: Mapping[str, str],
    *,
    source: str,
    image: str | None = None,
    label: str | None = None,
) -> Roles:
    """Return the column of each role.

    If the user names the captions or the labels, the other is not guessed.

    Args:
        options: the user's ``image``, ``label`` and ``id``, and ``caption`` and ``group`` (one column, or several with
            commas).
        image: the image column by its type. The user's choice takes precedence.
        label: the label column by its type. A usual name takes precedence.

    Raises:
        UsageError: a named column does not exist, a role is ambiguous, or images or annotations are missing.
    """
    choices = _Columns(columns, options, source)
    image = choices.named_column("image") or image or choices.guess("image")
    if image is None:
        raise UsageError(f"{source} has no image column: {choices.advice('image')}")
    captions, labels = choices.named_columns("caption"), choices.named_column("label")
    if not captions and labels is None:
        captions, labels = choices.guess_captions(), choices.guess("label") or label
    class_name = choices.guess("class_name") if labels or not captions else None
    has_labels = labels is not None or class_name is not None or LABELS in options
    if not captions and not has_labels:
        advice = f"{choices.advice('caption')} or {data_option(label='COLUMN')}"
        raise UsageError(f"{source} has neither captions nor labels: {advice}")
    by_caption = [CAPTION_COLUMN] if len(captions) > 1 else []
    return Roles(
        image=image,
        captions=captions,
        label=labels or class_name,
        class_name=class_name if labels else None,
        id=choices.named_column("id") or choices.guess("id"),
        id_is_named="id" in options,
        split=choices.guess("split"),
        groups=choices.named_columns("group", by_caption) or choices.guess_columns("group"),
    )


class _Columns(NamedTuple):
    """The columns of a table, and the user's options that name some."""

    columns: Sequence[str]
    options: Mapping[str, str]
    source: str

    def advice(self, role: str) -> str:
        return f"its columns are {', '.join(self.columns)}. Choose one with {data_option(**{role: 'COLUMN'})}"

    def named_columns(self, role: str, also: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the columns that an option names, with commas between them."""
        text = self.options.get(role)
        if text is None:
            return ()
        names = [text] if text in self.columns else [part.strip() for part in text.split(",")]
        for name in names:
            if name not in (*self.columns, *also):
                hint = did_you_mean(name, self.columns)
                raise UsageError(f"{self.source} has no column '{name}' ({data_option(**{role: text})}): {hint}")
        return tuple(names)

    def named_column(self, role: str) -> str | None:
        return next(iter(self.named_columns(role)), None)

    def guess(self, role: str) -> str | None:
        for tier in USUAL_NAMES[role]:
            candidates = [column for column in self.columns if column.lower() in tier]
            if len(candidates) > 1:
                both, option = " and ".join(candidates), role if role in OPTIONS else "label"
                raise UsageError(f"{self.source}: {both} could each be the {role} column: {self.advice(option)}")
            if candidates:
                return candidates[0]
        return None

    def guess_columns(self, role: str) -> tuple[str, ...]:
        """Return the guessed column of a role that may have several, which is none or one."""
        column = self.guess(role)
        return () if column is None else (column,)

    def guess_captions(self) -> tuple[str, ...]:
        numbered = {column: match for column in self.columns if (match := _NUMBERED.fullmatch(column.lower()))}
        if numbered and not any(column.lower() in USUAL_NAMES["caption"][0] for column in self.columns):
            return tuple(sorted(numbered, key=lambda column: int(numbered[column][1])))
        return self.guess_columns("caption")


def rows_of_split(column: Iterable[object], split: str | None, *, source: str) -> list[int]:
    """Return the rows of one split, by the values of the split column, or all rows without a split."""
    splits = [str(value) for value in column]
    rows = [row for row, value in enumerate(splits) if split in (None, value)]
    if split is not None and not rows:
        raise UnknownSplit(source, split, sorted(set(splits)))
    return rows


Owners = Mapping[int, int]
"""The image of each row."""


class TableImage(NamedTuple):
    """The image of a row."""

    image: ImageRef
    key: Hashable
    """Rows with the same key are one image."""
    id: str
    """For tables without an id column."""


def table_dataset(
    table: ColumnTable,
    roles: Roles,
    id: str,
    images: Mapping[int, TableImage],
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Return the data set of some rows. Rows that share an image give it several captions.

    With ``class_names``, labels are rows of it. Otherwise integers are used as they are, and texts become their index
    in the sorted order of all texts of the table (not only of the rows that are kept). Numbers with names become their
    index in the order of all numbers that have a name. A cell may hold several labels (``read_classes``).
    Images whose ids are the numbers of their rows have none (``has_ids``).

    Args:
        images: of the rows that are kept, by their numbers, in order.
    """
    first_rows: dict[Hashable, int] = {}
    for row, image in images.items():
        first_rows.setdefault(image.key, row)
    image_numbers = {key: number for number, key in enumerate(first_rows)}
    owner = {row: image_numbers[image.key] for row, image in images.items()}
    image_ids, notes = _image_ids(table, roles, owner, {row: image.id for row, image in images.items()})
    row_numbers = [str(row) for row in first_rows.values()]
    captions = _captions(table, roles, owner)
    texts, caption_image = None, None
    if roles.captions:
        texts = [caption.text for caption in captions]
        caption_image = np.array([caption.image for caption in captions], np.int64)
    return Dataset(
        id=id,
        images=[images[row].image for row in first_rows.values()],
        image_ids=image_ids,
        has_ids=image_ids != row_numbers,
        captions=texts,
        caption_image=caption_image,
        groups={name: _groups(table, name, owner, captions) for name in roles.groups},
        notes=notes,
        **_label_fields(table, roles, owner, class_names),
    )


def _image_ids(
    table: ColumnTable, roles: Roles, owner: Owners, ids: Mapping[int, str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the id of each image, from the id column if the user named it or it fits, and a note if it does not."""
    notes: tuple[str, ...] = ()
    if roles.id is not None:
        column = {row: "" if value is None else str(value) for row, value in table.column(roles.id, owner).items()}
        empty = next((row for row, value in column.items() if not value.strip()), None)
        if roles.id_is_named and empty is not None:
            raise DataError(f"{table.row_name(empty)}: the {roles.id} is empty")
        n_pairs = len({(image, column[row]) for row, image in owner.items()})
        is_one_to_one = n_pairs == len(set(owner.values())) == len(set(column.values()))
        if roles.id_is_named or (empty is None and is_one_to_one):
            ids = column
        else:
            notes = (f"column '{roles.id}' has no distinct id per image, so it was not used as ids",)
    return _one_per_image(ids, owner, table, "id"), notes


def _one_per_image(values: Mapping[int, str], owner: Owners, table: ColumnTable, role: str) -> list[str]:
    """Return one value per image, in order, or raise DataError if the rows of an image differ."""
    first_values: dict[int, tuple[int, str]] = {}
    for row, image in owner.items():
        first, value = first_values.setdefault(image, (row, values[row]))
        if value != values[row]:
            raise DataError(
                f"{table.row_name(row)}: the image has {role} '{values[row]}', and '{value}' in"
                f" {table.row_name(first)}: choose the column that holds one {role} per image with"
                f" {data_option(**{role: 'COLUMN'})}"
            )
    return [value for _, value in first_values.values()]


class _Caption(NamedTuple):
    text: str
    image: int
    row: int
    column: str


def _captions(table: ColumnTable, roles: Roles, owner: Owners) -> list[_Caption]:
    """Return the captions of all rows, row by row. With several caption columns, a cell may be empty."""
    may_lack = len(roles.captions) > 1  # as a translation may
    captions = []
    for row, image_number in owner.items():
        for column in roles.captions:
            is_lacking = may_lack and table.columns[column][row] in (None, "")
            if not is_lacking:
                captions += [_Caption(text, image_number, row, column) for text in _texts(table, column, row)]
    return captions


def _groups(table: ColumnTable, name: str, owner: Owners, captions: Sequence[_Caption]) -> Groups:
    if name == CAPTION_COLUMN and name not in table.columns:
        return Groups([caption.column for caption in captions], of_captions=True)
    values = {row: "" if value is None else str(value).strip() for row, value in table.column(name, owner).items()}
    by_image: dict[int, set[str]] = {}
    for row, image in owner.items():
        by_image.setdefault(image, set()).add(values[row])
    if all(len(image_groups) == 1 for image_groups in by_image.values()):
        return Groups([image_groups.pop() for image_groups in by_image.values()])
    if not captions:
        group_names = sorted(next(image_groups for image_groups in by_image.values() if len(image_groups) > 1))
        raise DataError(
            f"column '{name}' gives an image several groups, such as {' and '.join(group_names[:2])}: expected one"
            " group per image, because the images have no captions"
        )
    return Groups([values[caption.row] for caption in captions], of_captions=True)


def _texts(table: ColumnTable, column: str, row: int) -> list[str]:
    """Return the captions in one cell: a text, a list of texts, or a list as a .csv file writes it."""
    value = table.columns[column][row]
    texts: object = value
    if value is None:
        texts = []
    elif isinstance(value, str):
        texts = read_written_list(value) or [value]
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{table.row_name(row)}: expected a text or a list of texts in {column}, got {shown(value)}")
    if not texts or not all(text.strip() for text in texts):
        raise DataError(
            f"{table.row_name(row)}: the {column} is empty, expected a caption ({data_option(caption='COLUMN')} or"
            f" {data_option(label='COLUMN')} names another column)"
        )
    return list(texts)


def _label_fields(table: ColumnTable, roles: Roles, owner: Owners, class_names: Sequence[str] | None) -> Fields:
    """Return the labels of the images, or their lists of right classes if a cell of the table holds several."""
    if roles.label is None:
        return {}
    values = table.columns[roles.label]
    classes = [read_classes(value, class_names or ()) for value in values]
    has_lists = any(isinstance(value, list | tuple | np.ndarray) for value in values)
    if has_lists or any(len(labels or ()) > 1 for labels in classes):
        return _lists_of_labels(table, roles.label, owner, classes, class_names)
    labels, names = _labels(table, roles, roles.label, owner, class_names)
    return {"labels": labels, "class_names": names}


def _lists_of_labels(
    table: ColumnTable,
    column: str,
    owner: Owners,
    cells: Sequence[Classes | None],
    class_names: Sequence[str] | None,
) -> Fields:
    """Return the right classes of each image, of which it may have none, one or several, and the class names."""
    classes = {}
    for row in owner:
        labels = cells[row]
        if labels is None:
            raise DataError(
                f"{table.row_name(row)}: expected class names or numbers as {column}, with '{SEPARATOR}' between them"
                f" or as a list, got {shown(table.columns[column][row])}"
            )
        classes[row] = labels
    _one_per_image({row: SEPARATOR.join(labels) for row, labels in classes.items()}, owner, table, "label")
    by_image = {image: classes[row] for row, image in owner.items()}
    all_labels = {label for labels in cells for label in labels or ()}
    if not all(label.isdecimal() and is_int64(label) for label in all_labels):
        names = tuple(class_names or sorted(all_labels))
        rows = [_class_numbers(labels, names).tolist() for labels in by_image.values()]
        return {**label_fields(rows), "class_names": names}
    rows = [[*map(int, labels)] for labels in by_image.values()]
    return {**label_fields(rows), "class_names": None if class_names is None else tuple(class_names)}


def _labels(
    table: ColumnTable, roles: Roles, column: str, owner: Owners, class_names: Sequence[str] | None
) -> tuple[Int64[np.ndarray, " n_images"], tuple[str, ...] | None]:
    cells = table.column(column, owner)
    for row, value in cells.items():
        if not _is_label(value):
            raise DataError(f"{table.row_name(row)}: expected a class name or number as {column}, got {shown(value)}")
    agreed = _one_per_image({row: str(value) for row, value in cells.items()}, owner, table, "label")
    # Of the whole table, so that a split or a subset numbers its classes as the whole does.
    all_labels = {str(value) for value in table.columns[column] if _is_label(value)}
    if not all(value.removeprefix("-").isdecimal() for value in all_labels):
        names = tuple(class_names or sorted(all_labels))
        return _class_numbers(agreed, names), names
    for row, value in cells.items():
        if not is_int64(str(value)):
            raise DataError(f"{table.row_name(row)}: the {column} is {shown(value)}, expected the number of a class")
    numbers = [int(value) for value in agreed]
    if class_names is not None or roles.class_name is None:
        return np.array(numbers, np.int64), None if class_names is None else tuple(class_names)
    number_names = _names_of_numbers(table, column, roles.class_name)
    return np.searchsorted([*number_names], numbers), tuple(number_names.values())


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(str(value).strip())


def _class_numbers(labels: Sequence[str], names: Sequence[str]) -> Int64[np.ndarray, " n_images"]:
    class_rows = {name: row for row, name in reversed(list(enumerate(names)))}  # of two equal names the first
    for label in labels:
        if label not in class_rows:
            raise DataError(f"label '{label}' is not a class name: {did_you_mean(label, names)}")
    return np.array([class_rows[label] for label in labels], np.int64)


def _names_of_numbers(table: ColumnTable, label: str, class_name: str) -> dict[int, str]:
    """Return the name of each number in the label column from a second column, in the order of the numbers."""
    first_row: dict[int, tuple[int, object]] = {}
    for row, (value, name) in enumerate(zip(table.columns[label], table.columns[class_name], strict=True)):
        if not _is_label(value) or not is_int64(str(value)):
            continue
        if not _is_label(name):
            raise DataError(
                f"{table.row_name(row)}: expected a name of label {value} in {class_name}, got {shown(name)}"
            )
        first, first_name = first_row.setdefault(int(str(value)), (row, name))
        if first_name != name:
            raise DataError(
                f"{table.row_name(row)}: label {value} has the {class_name} '{name}', and '{first_name}' in"
                f" {table.row_name(first)}: expected one name per label"
            )
    return {number: str(first_row[number][1]) for number in sorted(first_row)}

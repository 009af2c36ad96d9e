"""Class labels of others: cells that hold one or several classes, and files of labels by image.

A file of labels is a table (CSV, TSV, JSON Lines or JSON) with ``id`` and ``label``, or a JSON list of lists of class
numbers in the order of ImageNet's validation images, as the ReaL labels are published (Beyer et al., Are we done with
ImageNet?, 2020).
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipbench.errors import DataError, UsageError
from clipbench.untrusted.reading import is_int64, read_json, read_written_list, shown
from clipbench.untrusted.text_tables import READERS, read_table

SEPARATOR = ";"
"""Separates the classes of a cell."""
COLUMNS = ("id", "label")
VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_0*(\d{1,8})")
"""The name of an image of ImageNet-val, and its number."""
_NUMBERS = re.compile(r"\s*\[\s*(?:\d{1,18}(?:\s*,\s*\d{1,18})*)?\s*\]\s*")
"""A list of class numbers in a cell, or an empty list."""
LEAST_AGREEMENT = 0.5
"""Fraction of images whose recorded class must be among the classes of a list by position. For ImageNet-val and its
ReaL labels it is 0.87.
"""

Classes = tuple[str, ...]
"""The distinct right classes of an image: none, one or several, each a name or a number."""


class LabelFile(NamedTuple):
    """The right classes of images."""

    file: str
    classes: Mapping[str, Classes]
    """By the image's id."""
    is_by_position: bool = False
    """True for labels in the order of ImageNet's validation images, whose numbers, from 1 on, are the ids."""

    @property
    def are_numbers(self) -> bool:
        """True if every class is written as an integer."""
        return all(is_int64(name) for classes in self.classes.values() for name in classes)

    def of(self, image_id: str) -> Classes | None:
        """Return the classes of an image, or None if the file does not have the image."""
        if not self.is_by_position:
            return self.classes.get(image_id)
        match = VALIDATION_IMAGE.search(image_id)
        return self.classes.get(match[1] if match else image_id)

    def of_images(self, image_ids: Sequence[str], data: str) -> list[Classes | None]:
        """Return the classes of each image, None for an image that the file does not have.

        Args:
            image_ids: of one or more images.
            data: name of the images' data, for messages.

        Raises:
            DataError: the file has none of the images, or a class for none.
        """
        by_image = [self.of(image_id) for image_id in image_ids]
        has_none = all(classes is None for classes in by_image)
        if has_none and self.is_by_position:
            raise DataError(
                f"{self.file} labels the images of ImageNet-val by number: got the id '{image_ids[0]}' in {data},"
                " expected ids such as 'ILSVRC2012_val_00000001.JPEG'"
            )
        if has_none:
            raise DataError(
                f"{self.file} names none of the {len(image_ids):,} images of {data}: got '{next(iter(self.classes))}',"
                f" expected such as '{image_ids[0]}'"
            )
        if not any(by_image):
            raise DataError(f"{self.file} has a class for none of the {len(image_ids):,} images of {data}")
        return by_image

    def check_order(self, agrees: Sequence[bool], data: str) -> None:
        """Raise DataError if labels by position have the recorded class of few images: then their order is another.

        Args:
            agrees: for each image with a class, whether the recorded one is among its classes.
            data: name of the images' data.
        """
        agreement = sum(agrees) / max(1, len(agrees))
        if self.is_by_position and agreement < LEAST_AGREEMENT:
            raise DataError(
                f"{self.file} does not match the images of {data}: its labels include the recorded class for"
                f" {agreement:.0%} of them, expected {LEAST_AGREEMENT:.0%} or more. Number the images as ILSVRC2012_val"
                " does"
            )


def read_classes(value: object, names: Collection[str] = ()) -> Classes | None:
    """Return the classes in a cell, or None if it holds something else.

    A cell is a name, an integer, several of either with ``;`` between them, or a list, also as CSV and Python write it.
    A cell that is empty, or an empty list, has no class. A class that is named twice counts once.

    Args:
        value: of the cell.
        names: of classes. A cell that is one of them is one class, even if the name has a ``;``.

    Example:
        >>> read_classes("cat;dog"), read_classes([3, 5]), read_classes("[3, 5]"), read_classes(" "), read_classes("a;")
        (('cat', 'dog'), ('3', '5'), ('3', '5'), (), None)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if isinstance(value, str):
        parts: Sequence[object] = (value,) if value in names else _written_classes(value)
    else:
        value = value.tolist() if isinstance(value, np.ndarray) else value  # as pandas has the lists of parquet
        parts = value if isinstance(value, list | tuple) else (value,)
    if not all(_is_class(part) for part in parts):
        return None
    return tuple(dict.fromkeys(map(str, parts)))


def _written_classes(text: str) -> Sequence[str]:
    """Return the classes that a text lists. A single class is returned as it is, with its spaces."""
    if _NUMBERS.fullmatch(text):
        return re.findall(r"\d+", text)
    listed = read_written_list(text)
    if listed is not None:
        return listed
    return [part.strip() for part in text.split(SEPARATOR)] if SEPARATOR in text else (text,)


def _is_class(value: object) -> bool:
    return isinstance(value, str | int | np.integer) and not isinstance(value, bool) and bool(str(value).strip())


def read_label_file(path: Path) -> LabelFile:
    """Return the labels of a file.

    Raises:
        UsageError: it is of another kind.
        DataError: it cannot be read, has no rows, lacks a column, names an id twice, or a cell holds something else.
    """
    if path.suffix.lower() not in READERS:
        kinds = ", ".join(READERS)
        raise UsageError(f"cannot read labels from {path}: got a file of type '{path.suffix}', expected {kinds}")
    if path.suffix.lower() == ".json":
        content = read_json(path, DataError)
        if isinstance(content, list) and content and isinstance(content[0], list):
            return _by_position(path, content)
    table = read_table(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column '{missing[0]}': got {', '.join(table.columns)}, expected {' and '.join(COLUMNS)}"
        )
    ids = []
    for row, value in enumerate(table.columns["id"]):
        if not _is_class(value):
            raise DataError(f"{table.row_name(row)}: id is {shown(value)}, expected a text or an integer")
        ids.append(str(value))
    if repeated := [name for name, n in Counter(ids).items() if n > 1]:
        raise DataError(f"{path} has the id '{repeated[0]}' twice: expected one row per image")
    classes = [_read_cell(value, table.row_name(row)) for row, value in enumerate(table.columns["label"])]
    return LabelFile(str(path), dict(zip(ids, classes, strict=True)))


def _by_position(path: Path, content: Sequence[object]) -> LabelFile:
    classes = {}
    for number, value in enumerate(content, start=1):
        if not isinstance(value, list) or not all(type(label) is int and label >= 0 for label in value):
            raise DataError(f"{path}, item {number}: expected a list of class numbers from 0 on, got {shown(value)}")
        classes[str(number)] = _read_cell(value, f"{path}, item {number}")
    return LabelFile(str(path), classes, is_by_position=True)


def _read_cell(value: object, location: str) -> Classes:
    classes = read_classes(value)
    if classes is None:
        raise DataError(
            f"{location}: label is {shown(value)}, expected a class, or several with '{SEPARATOR}' between them or as a"
            " JSON list"
        )
    return classes

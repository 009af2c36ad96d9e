"""Items of an embeddings folder: which of its texts are true of which of its images, for composition."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.data.questions import Contrast
from clipbench.errors import DataError
from clipbench.untrusted.reading import is_file, reading, shown
from clipbench.untrusted.schema import check_keys
from clipbench.untrusted.text_tables import READERS

ITEMS_FILE = "items.jsonl"
NEEDED = ("id", "images", "captions", "truth")
OPTIONAL = ("subset",)


class ItemLine(NamedTuple):
    """An item as it was written, and its source for messages."""

    source: str
    fields: Mapping[str, Any]


def read_items(folder: Path) -> list[ItemLine]:
    """Return the items in a folder of arrays, or none if it has no ``items.jsonl``."""
    path = folder / ITEMS_FILE
    if not is_file(path):
        return []
    with reading(path, DataError):
        return [ItemLine(f"{path}, line {line}", row) for line, row in READERS[".jsonl"](path)]


def contrasts_of(items: Iterable[ItemLine], n_images: int, texts: Sequence[str]) -> tuple[Contrast, ...]:
    """Return items as contrasts of a data set whose captions are the names of the texts.

    Args:
        items: with ``id``, ``images`` (rows of images), ``captions`` (rows of texts), ``truth`` (a list per image,
            with 1 for each caption that is true of it, otherwise 0) and optionally ``subset``.
        n_images: number of image embeddings.
        texts: distinct name of each text embedding.

    Raises:
        DataError: a field is missing or unknown, a row is not there, or the truth table has another shape.

    Example:
        >>> fields = {"id": 7, "images": [0, 1], "captions": [1, 0], "truth": [[1, 0], [0, 1]]}
        >>> contrasts_of([ItemLine("line 1", fields)], 2, ["text 0", "text 1"])[0].captions
        ('text 1', 'text 0')
    """
    return tuple(_contrast(item, n_images, texts) for item in items)


def _contrast(item: ItemLine, n_images: int, texts: Sequence[str]) -> Contrast:
    _check_names(item)
    images, captions = _rows(item, "images", n_images), _rows(item, "captions", len(texts))
    return Contrast(
        id=str(item.fields["id"]),
        subset=str(item.fields.get("subset", "")),
        images=images,
        captions=tuple(texts[row] for row in captions),
        is_true=_truth(item, len(images), len(captions)),
    )


def _check_names(item: ItemLine) -> None:
    check_keys(item.fields, (*NEEDED, *OPTIONAL), item.source, error=DataError)
    for name in NEEDED:
        if name not in item.fields:
            raise DataError(
                f"{item.source}: no field '{name}': got {', '.join(item.fields)}, expected {', '.join(NEEDED)}"
            )
    for name in ("id", "subset"):
        value = item.fields.get(name, "")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{item.source}: {name} is {shown(value)}, expected a text or an integer")


def _rows(item: ItemLine, name: str, n_rows: int) -> tuple[int, ...]:
    rows = item.fields[name]
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{item.source}: {name} is {shown(rows)}, expected a list of rows")
    for row in rows:
        if type(row) is not int or not 0 <= row < n_rows:
            raise DataError(f"{item.source}: {name} names row {shown(row)}, expected rows from 0 to {n_rows - 1}")
    return tuple(rows)


def _truth(item: ItemLine, n_images: int, n_captions: int) -> tuple[tuple[bool, ...], ...]:
    table = item.fields["truth"]
    has_lists = isinstance(table, list) and all(isinstance(line, list) for line in table)
    shape = [len(line) for line in table] if has_lists else None
    if shape != [n_captions] * n_images:
        raise DataError(
            f"{item.source}: truth is {shown(table)}, expected {n_images} lists of {n_captions}, "
            "one list per image and one value per caption"
        )
    cells = [cell for line in table for cell in line]
    wrong = next((cell for cell in cells if type(cell) not in (int, bool) or cell not in (0, 1)), None)
    if wrong is not None:
        raise DataError(f"{item.source}: truth holds {shown(wrong)}, expected 1 for true and 0 for false")
    return tuple(tuple(bool(cell) for cell in line) for line in table)

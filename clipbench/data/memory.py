"""Data in memory: a pandas frame, a Hugging Face data set, (image, caption) pairs, or columns by the name of a
modality.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from clipbench.data import huggingface_data
from clipbench.data.dataset import DataOptions, Dataset, check, without_options
from clipbench.data.dataset_loading import with_given_classes
from clipbench.data.images import EncodedImage, Examined, FileImage, ImageRef, as_rgb, content_digest, reading_of_image
from clipbench.data.modalities import IDS, IMAGE, LINK, NAME, TEXT, Modalities, ModalityItem, pairs_of
from clipbench.data.readers.huggingface_rows import SplitRows, choose_split
from clipbench.data.readers.table import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table import TableImage, find_roles, table_dataset
from clipbench.errors import BadImage, DataError, UsageError, did_you_mean
from clipbench.untrusted.reading import is_file, user_path, why_not_there
from clipbench.untrusted.text_tables import ColumnTable

ID = "memory"
"""Id of data in memory: they have no name."""
OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
MODALITIES = "modalities"
"""Option that names the columns of a frame that are modalities, separated by commas."""
ADVICE = dict.fromkeys(
    ("captions", "caption_image"), "give them in a column 'caption', or as (image, caption) pairs"
) | {
    "labels": "give class names in a column 'label'",
    "class_names": "give class names in a column 'label'",
    "contrasts": "use a benchmark that has them, or a manifest",
    "attacks": "use a benchmark that has them, or give class names in a column 'label'",
}
"""Advice on how to give the parts that a data set lacks."""
KINDS = (
    "a reference, a pandas DataFrame, a Hugging Face data set, a list of (image, caption) pairs, or a dictionary with a"
    " list of items for each modality"
)


@dataclass(frozen=True, eq=False)
class BytesImage(EncodedImage):
    """An encoded image in memory."""

    data: bytes
    name: str = ""

    def read(self) -> bytes:
        return self.data


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image in memory."""

    image: Image.Image
    name: str

    def digest(self) -> str:
        image = self._loaded()
        return content_digest(f"{image.mode} {image.size} ".encode() + image.tobytes())

    def examine(self) -> Examined:
        return Examined(self.digest(), reading_of_image(self.image))

    def open(self) -> Image.Image:
        return as_rgb(self._loaded(), self.name)

    def _loaded(self) -> Image.Image:
        """Return the image as it was given. An image that Pillow has opened from a file is read only now."""
        try:
            self.image.load()
        except Exception as error:  # Pillow raises many kinds, one a format
            raise BadImage(self.name, str(error) or type(error).__name__) from error
        return self.image


def dataset_in_memory(data: object, options: DataOptions) -> Dataset:
    """Return data in memory as a data set.

    A frame has a column of images (paths, PIL images, arrays or encoded bytes) and one of captions or labels, by their
    usual names or as in ``options``. Rows with the same image give it several captions. For a Hugging Face data set
    with several splits, ``test`` or ``validation`` is taken unless ``options`` names another. A pair is an image and
    its caption, or its list of captions. A dictionary has a list of items for each modality, by its name, and so has a
    frame whose columns are in the option ``modalities``. Items of modalities other than ``image`` and ``text`` are
    handed to the encoder as they are.

    Raises:
        UsageError: it is none of these, or it is not clear which column is what.
        DataError: a row lacks its image, caption or label, or has another type.

    Example:
        >>> red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        >>> pairs = [(red, "a red square"), (blue, ["a blue square", "a square"])]
        >>> dataset_in_memory(pairs, DataOptions()).caption_image
        array([0, 1, 1])
        >>> dataset_in_memory(
        ...     {"audio": [b"x", b"y", b"z"], "text": ["dog", "cat"], "audio_to_text": [0, 0, 1]}, DataOptions()
        ... )
        <data memory: 2 groups of audio and text>
    """
    if isinstance(data, Dataset):
        return check(data, allow_partial=options.allow_partial)
    options = without_options(options, "n")
    library = type(data).__module__.partition(".")[0]
    is_frame = library == "pandas" and hasattr(data, "columns")
    if is_frame and MODALITIES in options.options:
        options.refuse_unknown([MODALITIES], "in memory, of modalities")
        dataset = _from_modalities(_select_modalities(_columns(data), options.options[MODALITIES]))
    elif isinstance(data, Mapping) and library != "datasets":
        options.refuse_unknown([], "in memory, of modalities")
        dataset = _from_modalities(data)
    else:
        options.refuse_unknown(OPTIONS, "in memory")
        if library == "datasets" and hasattr(data, "column_names"):
            split = options.options.get("split")
            split = choose_split(list(data), split, "the data set") if isinstance(data, dict) else split
            rows: Any = data[split] if isinstance(data, dict) else data
            dataset = huggingface_data.from_rows(SplitRows(rows, split, None), options, ID)
            check(dataset, allow_partial=options.allow_partial)
        elif is_frame:
            dataset = _from_table(_columns(data), "the data frame", options)
        elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
            dataset = _from_table(_pairs(data), "the list of pairs", options)
        else:
            raise UsageError(f"data is of type {type(data).__name__}: expected {KINDS}")
    missing = {part: how for part, how in ADVICE.items() if getattr(dataset, part) is None}
    dataset = with_given_classes(replace(dataset, missing=missing), options)
    return check(dataset, allow_partial=options.allow_partial)


def _from_table(columns: Mapping[str, list[object]], source: str, options: DataOptions) -> Dataset:
    roles = find_roles(list(columns), options.options, source=source)
    table = ColumnTable(columns=columns, source=source)
    images: dict[int, TableImage] = {}
    first_row: dict[object, int] = {}
    for row, cell in enumerate(columns[roles.image]):
        is_path = isinstance(cell, str | os.PathLike)
        key = str(cell) if is_path else id(cell)
        name = str(cell) if is_path else str(first_row.setdefault(key, row))
        images[row] = TableImage(_image(cell, table.row_name(row)), key, name)
    if not images:
        raise DataError(f"{source} is empty: expected one row or more")
    return table_dataset(table, roles, ID, images)


def _select_modalities(columns: Mapping[str, list[object]], names: str) -> dict[str, list[object]]:
    modalities = [name.strip() for name in names.split(",") if name.strip()]
    for name in modalities:
        if name not in columns:
            raise UsageError(f"the data frame has no column '{name}': {did_you_mean(name, columns)}")
    selected = {*modalities, *(f"{name}{IDS}" for name in modalities)}
    return {name: cells for name, cells in columns.items() if name in selected}


def _columns(frame: Any) -> dict[str, list[object]]:
    if not frame.columns.is_unique:
        raise DataError(f"the data frame has two columns of one name: {', '.join(map(str, frame.columns))}")
    return {str(name): frame[name].tolist() for name in frame.columns}


def _pairs(pairs: Sequence[object]) -> dict[str, list[object]]:
    for row, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes):
            fault = f"is of type {type(pair).__name__}"
        elif len(pair) != 2:
            fault = f"has {len(pair)} parts"
        else:
            continue
        raise DataError(f"data, item {row} {fault}: expected (image, caption) pairs in the list")
    return {"image": [pair[0] for pair in pairs], "caption": [pair[1] for pair in pairs]}  # type: ignore[index]


def _image(cell: object, location: str) -> ImageRef:
    if isinstance(cell, Mapping):  # as a Hugging Face data set gives it to pandas
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str | os.PathLike):
        path = user_path(cell)
        if not is_file(path):
            raise DataError(
                f"{location}: no image file {path}{why_not_there(path)}: expected a path from the current"
                " folder, or an absolute path"
            )
        return FileImage(path)
    if isinstance(cell, bytes):
        return BytesImage(cell, location)
    if isinstance(cell, np.ndarray):
        try:
            return DecodedImage(Image.fromarray(cell), location)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{location}: an image is an array of {cell.dtype} with shape {cell.shape}: expected uint8 with shape"
                " (height, width) or (height, width, 3)"
            ) from error
    if isinstance(cell, Image.Image):
        return DecodedImage(cell, location)
    raise DataError(
        f"{location}: an image is of type {type(cell).__name__}: expected a path, PIL image or encoded bytes"
    )


# -- several modalities: a list of items for each, their ids, and rows that pair them


def _from_modalities(columns: Mapping[Any, Any]) -> Dataset:
    """Return data of several modalities. Its images and texts become images and captions too.

    The column ``audio_ids`` has the names of the items of ``audio``, and ``audio_to_text`` the row of each one's text.
    Without such rows, item i of two modalities with equal numbers of items belongs to item i.
    """
    for name, cells in columns.items():
        if isinstance(cells, str | bytes | Mapping) or not hasattr(cells, "__iter__"):
            raise DataError(f"data: '{name}' is of type {type(cells).__name__}: expected a list of items")
    lists = {str(name): list(cells) for name, cells in columns.items()}
    names = [name for name in lists if not name.endswith(IDS) and LINK not in name]
    _refuse_names(lists, names)
    items = {name: _items(name, lists[name]) for name in names}
    ids = {name: _ids(name, lists) for name in names}
    link_rows = {
        link: _rows(column, lists[column]) for link in permutations(names, 2) if (column := LINK.join(link)) in lists
    }
    modalities = Modalities(items, ids, pairs_of({name: len(content) for name, content in items.items()}, link_rows))
    captions = _captions(modalities)
    return Dataset(
        id=ID,
        images=items.get(IMAGE, []),
        image_ids=ids.get(IMAGE, []),
        has_ids=all(f"{name}{IDS}" in lists for name in names),
        modalities=None if captions and set(names) == {IMAGE, TEXT} else modalities,
        **captions,
    )


def _captions(modalities: Modalities) -> dict[str, Any]:
    owner = modalities.pairs.get((TEXT, IMAGE))
    of_images = modalities.pairs.get((IMAGE, TEXT))
    if of_images is not None and np.array_equal(of_images, np.arange(len(modalities.items[TEXT]))):
        owner = of_images  # row i and row i, whichever of the two points to the other
    if owner is None or len(np.unique(owner)) < len(modalities.items[IMAGE]):
        return {}
    return {"captions": modalities.items[TEXT], "caption_image": owner, "caption_ids": modalities.ids[TEXT]}


def _refuse_names(lists: Mapping[str, list[Any]], names: Sequence[str]) -> None:
    links = [LINK.join(link) for link in permutations(names, 2)]
    allowed_names = [*names, *(f"{name}{IDS}" for name in names), *links]
    for name in lists:
        if name in ("images", "texts"):
            raise DataError(f"data: '{name}' is not a modality: call it '{name[:-1]}'")
        if name not in allowed_names or (name in names and not NAME.fullmatch(name)):
            hint = did_you_mean(name, [candidate for candidate in allowed_names if candidate != name])
            raise DataError(f"data: '{name}' is neither a modality nor the link between two modalities: {hint}")
        backwards = LINK.join(reversed(name.split(LINK))) if name in links else ""
        if backwards in lists:
            raise DataError(
                f"data: got both '{name}' and '{backwards}': keep the one from the modality with more items"
            )


def _items(name: str, cells: list[Any]) -> list[Any]:
    if name == IMAGE:
        return [_image(cell, f"data, {name} {row}") for row, cell in enumerate(cells)]
    if name == TEXT:
        for row, cell in enumerate(cells):
            if not isinstance(cell, str) or not cell.strip():
                raise DataError(f"data, {name} {row} is {cell!r:.60}: expected a text")
        return cells
    return [ModalityItem(cell, f"{row}") for row, cell in enumerate(cells)]


def _ids(name: str, lists: Mapping[str, list[Any]]) -> list[str]:
    """Return the ids of items: the user's, or distinct paths, or otherwise row numbers."""
    id_cells, cells = lists.get(f"{name}{IDS}"), lists[name]
    if id_cells is not None:
        return list(map(str, id_cells))
    are_paths = name != TEXT and all(isinstance(cell, str | os.PathLike) for cell in cells)
    paths = [os.fspath(cell) for cell in cells] if are_paths else []
    return paths if paths and len(set(paths)) == len(paths) else [str(row) for row in range(len(cells))]


def _rows(name: str, cells: list[Any]) -> Int64[np.ndarray, " n"]:
    rows = np.array(cells, dtype=object if not cells else None)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(
            f"data: '{name}' is an array of {rows.dtype} with shape {rows.shape}: expected one list of"
            f" row numbers, from 0"
        )
    return rows.astype(np.int64)

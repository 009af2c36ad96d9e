"""Data in memory: a pandas frame, a Hugging Face data set, (image, caption) pairs, or columns by the name of a modality."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from clipbench.data import huggingface
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.decoding import as_rgb, reading_of_image
from clipbench.data.images import EncodedImage, Examined, FileImage, ImageRef, content_digest
from clipbench.data.modalities import IDS
from clipbench.data.readers.huggingface_rows import SplitRows, choose_split
from clipbench.data.readers.modality_columns import from_columns
from clipbench.data.readers.table import ColumnTable, read_samples
from clipbench.data.readers.table_columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table_columns import find_roles
from clipbench.data.reference import with_given_class_names
from clipbench.errors import BadImage, DataError, UsageError, did_you_mean
from clipbench.untrusted.reading import is_file, user_path, why_not_there

ID = "memory"
"""Id of data in memory: they have no name."""
OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
MODALITIES = "modalities"
"""Option that names the columns of a frame that are modalities, separated by commas."""
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
        """Return a hash of mode, size and pixels."""
        image = self._loaded()
        return content_digest(f"{image.mode} {image.size} ".encode() + image.tobytes())

    def examine(self) -> Examined:
        """Return that hash, and how the image is read."""
        return Examined(self.digest(), reading_of_image(self.image))

    def open(self) -> Image.Image:
        """Return the image, RGB or L."""
        return as_rgb(self._loaded(), self.name)

    def _loaded(self) -> Image.Image:
        """Return the image as it was given; one that Pillow has opened from a file is read only now."""
        try:
            self.image.load()
        except Exception as error:  # Pillow raises many kinds, one a format
            raise BadImage(self.name, str(error) or type(error).__name__) from error
        return self.image


def dataset_in_memory(data: object, options: DataOptions) -> Dataset:
    """Return data in memory as a data set.

    A frame has a column of images (paths, PIL images, arrays or encoded bytes) and one of captions or labels, by their usual
    names or as ``options`` says; rows with the same image give it several captions. Of a Hugging Face data set with several
    splits, ``test`` or ``validation`` is taken unless ``options`` names another. A pair is an image and its caption,
    or its list of captions. A dictionary has a list of items for each modality, by its name; so has a frame of which the
    option ``modalities`` names the columns. Items of modalities other than ``image`` and ``text`` are handed to the encoder
    as they are.

    Raises:
        UsageError: it is none of these, or it is not clear which column is what.
        DataError: a row lacks its image, caption or label, or has another type.

    Example:
        >>> red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        >>> pairs = [(red, "a red square"), (blue, ["a blue square", "a square"])]
        >>> dataset_in_memory(pairs, DataOptions()).caption_image
        array([0, 1, 1])
        >>> dataset_in_memory({"audio": [b"x", b"y", b"z"], "text": ["dog", "cat"], "audio_to_text": [0, 0, 1]}, DataOptions())
        <data memory: 2 groups of audio and text>
    """
    if isinstance(data, Dataset):
        return check(data, allow_partial=options.allow_partial)
    options = replace(options, options={name: text for name, text in options.options.items() if name != "n"})
    library = type(data).__module__.partition(".")[0]
    if library == "pandas" and hasattr(data, "columns") and MODALITIES in options.options:
        options.refuse_unknown([MODALITIES], "in memory, of modalities")
        return _checked(from_columns(_named(_columns(data), options.options[MODALITIES]), _image), options)
    if isinstance(data, Mapping) and library != "datasets":
        options.refuse_unknown([], "in memory, of modalities")
        return _checked(from_columns(data, _image), options)
    options.refuse_unknown(OPTIONS, "in memory")
    if library == "datasets" and hasattr(data, "column_names"):
        return _from_hugging_face(data, options)
    if library == "pandas" and hasattr(data, "columns"):
        return _from_table(_columns(data), "the data frame", options)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _from_table(_pairs(data), "the list of pairs", options)
    raise UsageError(f"data is of type {type(data).__name__}: expected {KINDS}")


def _from_hugging_face(data: Any, options: DataOptions) -> Dataset:
    split = options.options.get("split")
    if isinstance(data, dict):
        split = choose_split(list(data), split, "the data set")
        data = data[split]
    dataset = huggingface.from_rows(SplitRows(data, split, None), options, ID)
    return _checked(dataset, options)


def _from_table(columns: Mapping[str, list[object]], source: str, options: DataOptions) -> Dataset:
    roles = find_roles(list(columns), options.options, source=source)
    table = ColumnTable(columns=columns, place=lambda row: f"{source}, row {row}")
    cells = columns[roles.image]
    if not cells:
        raise DataError(f"{source} is empty: expected one row or more")
    images = {row: _image(cell, table.place(row)) for row, cell in enumerate(cells)}
    keys = {row: str(cell) if isinstance(cell, str | os.PathLike) else id(cell) for row, cell in enumerate(cells)}
    ids = {row: str(cell) if isinstance(cell, str | os.PathLike) else str(row) for row, cell in enumerate(cells)}
    first = {key: row for row, key in reversed(keys.items())}
    samples = read_samples(table, roles, keys=keys, ids={row: ids[first[key]] for row, key in keys.items()})
    dataset = Dataset(
        id=ID,
        images=[images[row] for row in samples.first_rows],
        image_ids=samples.image_ids,
        has_ids=samples.has_ids,
        labels=samples.labels,
        class_names=samples.class_names,
        captions=samples.captions,
        caption_image=samples.caption_image,
        groups=samples.groups,
        notes=samples.notes,
    )
    return _checked(dataset, options)


def _named(columns: Mapping[str, list[object]], names: str) -> dict[str, list[object]]:
    """Return the columns of modalities, with the ids that belong to them."""
    modalities = [name.strip() for name in names.split(",") if name.strip()]
    for name in modalities:
        if name not in columns:
            raise UsageError(f"the data frame has no column '{name}': {did_you_mean(name, columns)}")
    wanted = {*modalities, *(f"{name}{IDS}" for name in modalities)}
    return {name: cells for name, cells in columns.items() if name in wanted}


def _checked(dataset: Dataset, options: DataOptions) -> Dataset:
    named = with_given_class_names(replace(dataset, missing=_missing(dataset)), options)
    return check(named, allow_partial=options.allow_partial)


def _columns(frame: Any) -> dict[str, list[object]]:
    if not frame.columns.is_unique:
        raise DataError(f"a column name stands twice in the data frame: {', '.join(map(str, frame.columns))}")
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


def _image(cell: object, place: str) -> ImageRef:
    if isinstance(cell, Mapping):  # as a Hugging Face data set gives it to pandas
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str | os.PathLike):
        path = user_path(cell)
        if not is_file(path):
            raise DataError(
                f"{place}: no image file {path}{why_not_there(path)}; expected a path from the current folder, or an absolute one"
            )
        return FileImage(path)
    if isinstance(cell, bytes):
        return BytesImage(cell, place)
    if isinstance(cell, np.ndarray):
        try:
            return DecodedImage(Image.fromarray(cell), place)
        except (TypeError, ValueError) as error:
            raise DataError(f"{place}: no image is an array of {cell.dtype}, {cell.shape}: expected uint8") from error
    if isinstance(cell, Image.Image):
        return DecodedImage(cell, place)
    raise DataError(
        f"{place}: the image is of type {type(cell).__name__}: expected a path, a PIL image or encoded bytes"
    )


def _missing(dataset: Dataset) -> dict[str, str]:
    """Return how to give the parts that a data set lacks."""
    advice = {
        "captions": "give them in a column 'caption', or as (image, caption) pairs",
        "labels": "give class names in a column 'label'",
        "contrasts": "name a benchmark that has them, or a manifest",
        "attacks": "name a benchmark that has them, or give class names in a column 'label'",
    }
    parts = {**advice, "caption_image": advice["captions"], "class_names": advice["labels"]}
    return {part: how for part, how in parts.items() if getattr(dataset, part) is None}

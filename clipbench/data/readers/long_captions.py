"""Published sets of long captions as they are laid out on disk once unpacked: an image and a caption each.

Each set has ``load_SET(path, options, id)``. ``LAYOUTS`` shows how each is recognised.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, existing_files
from clipbench.data.readers.table import rows_of_split
from clipbench.errors import DataError, UnknownSplit, UsageError, data_option, did_you_mean
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import (
    MOST_DEPTH,
    UTF8,
    check_depth,
    check_text,
    decode_json,
    entries,
    is_file,
    is_folder,
    matching,
    open_file,
    open_text,
    read_json,
    read_text,
    reading,
    shown,
    user_path,
)


class FileCaption(NamedTuple):
    """A caption of an image file."""

    image: Path
    image_id: str
    text: str
    id: str
    language: str = ""


def captioned_dataset(captions: Sequence[FileCaption], folder: Path, options: DataOptions, id: str) -> Dataset:
    """Return the data set of the captions whose images, named relative to a folder, exist."""
    files = [caption.image for caption in captions]
    advice = f"put the images there, or name their folder with {data_option(images='FOLDER')}"
    existing, notes = existing_files(files, folder, id, advice, allow_partial=options.allow_partial)
    existing_captions = [caption for caption in captions if caption.image in existing]
    images = {caption.image: caption.image_id for caption in existing_captions}
    image_rows = {image: number for number, image in enumerate(images)}
    return Dataset(
        id=id,
        images=[FileImage(image) for image in images],
        image_ids=list(images.values()),
        captions=[caption.text for caption in existing_captions],
        caption_image=np.array([image_rows[caption.image] for caption in existing_captions], np.int64),
        caption_ids=[caption.id for caption in existing_captions],
        notes=notes,
    )


def image_folder(options: DataOptions, candidates: Sequence[Path]) -> Path:
    """Return the folder of the option ``images``, or the first of some folders that exists.

    Raises:
        UsageError: the option does not name a folder.
    """
    user_folder = options.options.get("images")
    if user_folder is None:
        return next((folder for folder in candidates if is_folder(folder)), candidates[0])
    folder = user_path(user_folder)
    if not is_folder(folder):
        raise UsageError(
            f"{data_option(images=user_folder)}: no such folder. Expected the folder that holds the images"
        )
    return folder


# -- Urban-1k (Zhang et al., Long-CLIP, ECCV 2024): 1,000 street images with a caption of about 107 words each
#
#    image/1.jpg, image/2.jpg, ...
#    caption/1.txt, caption/2.txt, ...    the first line is the caption, as the paper's evaluation reads it

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def load_urban1k(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with the first line of their captions, in the order of their numbers."""
    options.refuse_unknown(("images",), id)
    folder = image_folder(options, [path / "image"])
    images = {file.stem: file for file in entries(folder, DataError) if file.suffix.lower() in SUFFIXES}
    texts = {file.stem: file for file in matching(path / "caption", "*.txt")}
    uncaptioned = sorted(images.keys() - texts.keys(), key=_numeric)
    if uncaptioned:
        raise DataError(
            f"{len(uncaptioned)} images of {id} have no caption, the first {images[uncaptioned[0]]}:"
            f" expected {path / 'caption' / uncaptioned[0]}.txt"
        )
    pairs = []
    for stem in sorted(texts, key=_numeric):
        caption = read_text(texts[stem], DataError).partition("\n")[0].strip()
        if not caption:
            raise DataError(f"the first line of {texts[stem]} is blank: expected the caption there")
        pairs.append(_pair(stem, images.get(stem, folder / f"{stem}.jpg"), caption))
    return captioned_dataset(pairs, folder, options, id)


def _numeric(stem: str) -> tuple[int, str]:
    """Return a key that sorts "2" before "10"."""
    return len(stem), stem


# -- DOCCI (Onoe et al., ECCV 2024): images of one photographer, each with a human description of about 136 words
#
#    docci_descriptions.jsonlines    example_id, split, image_file, description
#    images/                         content of docci_images.tar.gz

DOCCI_FILE = "docci_descriptions.jsonlines"
DOCCI_SPLIT = "test"
"""The published split, of 5,000 images. Others are train, qual_dev and qual_test."""


def load_docci(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images of a split with their descriptions."""
    options.refuse_unknown(("split", "images"), id)
    file = path if path.name == DOCCI_FILE else path / DOCCI_FILE
    folder = image_folder(options, [file.parent / "images", file.parent])
    split = options.options.get("split", DOCCI_SPLIT)
    rows = _read_lines(file)
    split_rows = rows_of_split([row.get("split") for _, row in rows], split, source=str(file))
    pairs = []
    for number in split_rows:
        location, row = rows[number]
        name, image = _text(row, "example_id", location), _text(row, "image_file", location)
        description = _text(row, "description", location)
        pairs.append(_pair(name, folder / image, description))
    return replace(captioned_dataset(pairs, folder, options, id), split=split)


# -- Densely Captioned Images (Urbanek et al., CVPR 2024), as its own code unpacks it
#
#    splits.json         names of files by split: train, valid, test
#    complete/*.json     image, short_caption, extra_caption, masks, summaries, ...
#    photos/             the images, which come from SA-1B

DCI_SPLITS, DCI_ENTRIES = "splits.json", "complete"
DCI_SPLIT = "test"
"""The published split, of 112 images."""
DCI_ALL = "all"
"""A split of ours: every image that has an entry, for papers that score retrieval on all of DCI."""


def load_dci(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images of a split with the authors' extended caption: the short caption, then the extra one."""
    options.refuse_unknown(("split", "images"), id)
    split = options.options.get("split", DCI_SPLIT)
    folder = image_folder(options, [path / "photos"])
    pairs = []
    for file in (path / DCI_ENTRIES / name for name in _dci_names(path, split)):
        entry = _json_object(file)
        extra = entry.get("extra_caption")
        caption = _text(entry, "short_caption", str(file)).strip()
        if isinstance(extra, str) and extra.strip():
            caption += f"\n{extra.strip()}"
        pairs.append(_pair(file.name, folder / _text(entry, "image", str(file)), caption))
    return replace(captioned_dataset(pairs, folder, options, id), split=split)


def _dci_names(path: Path, split: str) -> list[str]:
    if split == DCI_ALL:
        return [file.name for file in matching(path / DCI_ENTRIES, "*.json")]
    splits = _json_object(path / DCI_SPLITS)
    if split not in splits:
        raise UnknownSplit(path, split, [*map(str, splits), DCI_ALL])
    names = splits[split]
    if not isinstance(names, list):
        raise DataError(f"{path / DCI_SPLITS} has no list of files for {split}: got {shown(names)}")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{path / DCI_SPLITS} names {shown(name)}, expected the name of a file in {DCI_ENTRIES}")
    return names


def _json_object(file: Path) -> Mapping[str, object]:
    value = read_json(file, DataError)
    if not isinstance(value, dict):
        raise DataError(f"{file} holds a JSON {type(value).__name__}, expected an object")
    return value


# -- ShareGPT4V-1k: the first 1,000 captions of ShareGPT4V (Chen et al., ECCV 2024), which Long-CLIP does not train on
#
#    share-captioner_coco_lcs_sam_1246k_1107.json
#        [{"image", "conversations": [{"value": ...}, {"value": caption}]}, ...]
#    sam/images/sa_1.jpg, ...                        images under the paths that the file names

SHAREGPT4V_FILE = "share-captioner_coco_lcs_sam_1246k_1107.json"
SHAREGPT4V_CAPTIONS = 1_000
"""Captions of the published set."""
BLOCK_CHARACTERS = 1 << 16
"""Characters that are read at once: the file has 1.2 million captions, and only the first are wanted."""
MAX_ITEM_CHARACTERS = 1 << 22
"""An item that is longer is taken for damaged JSON. Without a limit, the whole file would be searched for its end."""


def fits_sharegpt4v(path: Path) -> bool:
    """Return whether a path is such a file, by its first item, or the folder of the published one."""
    if is_folder(path):
        return is_file(path / SHAREGPT4V_FILE)
    if path.suffix.lower() != ".json" or not is_file(path):
        return False
    with reading(path, DataError), open_file(path) as file:
        head = file.read(4096).lstrip()
    return head.startswith(b"[") and b'"conversations"' in head


def load_sharegpt4v(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the first images with their captions, by default 1,000 (option ``n``)."""
    options.refuse_unknown(("images", "n"), id)
    file = path / SHAREGPT4V_FILE if is_folder(path) else path
    folder = image_folder(options, [file.parent])
    n = options.whole_number("n", "a number of captions, 1 or more", minimum=1) or SHAREGPT4V_CAPTIONS
    with reading(file, DataError):
        records = list(islice(_list_items(file), n))
    pairs = []
    for number, record in enumerate(records, start=1):
        location = f"{file}, item {number}"
        match record:
            case {"conversations": [_, {**turn}, *_], **fields}:
                image = _text(fields, "image", location)
                pairs.append(_pair(image, folder / image, _text(turn, "value", location).replace("\n", " ")))
            case _:
                raise DataError(f"{location}: expected an image, and its caption as second conversation")
    return captioned_dataset(pairs, folder, options, id)


def _list_items(path: Path) -> Iterator[object]:
    """Yield the items of a list in a JSON file, reading only as far as the items that are consumed."""
    decoder, rest, before = json.JSONDecoder(), "", "["
    with open_text(path) as file:
        while True:
            body = rest.lstrip().removeprefix(before).lstrip()
            if body.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(body)
            except RecursionError as error:
                raise DataError(f"{path} is nested more than {MOST_DEPTH} deep") from error
            except ValueError as error:
                block = file.read(BLOCK_CHARACTERS) if len(body) < MAX_ITEM_CHARACTERS else ""
                if not block:
                    raise DataError(f"{path} is not a list in JSON, or is cut off: {error}") from error
                rest += block
                continue
            rest, before = body[end:], ","
            try:
                check_depth(item)
                check_text(item)
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
            yield item


# -- ImageInWords (Garg et al., EMNLP 2024): descriptions of about 217 words for images of other sets
#
#    data.jsonl    IIW, other descriptions (IIW-P5B, DOCCI, ...), and image/key or image
#
# The images come with DOCCI (IIW-400, DOCCI_Test), with SA-1B (DCI_Test), and so on: their folder must be named with
# images=FOLDER, or be called images and lie beside the file.

IIW_FILE = "data.jsonl"
IIW_CAPTION = "IIW"
IIW_IMAGES = ("image/key", "image")
"""Fields that name the image, best first. ".jpg" is added to a name without a suffix."""


def fits_iiw(path: Path) -> bool:
    """Return whether a path is a file of descriptions, by the fields of its first line, or its folder."""
    file = path / IIW_FILE if is_folder(path) else path
    if file.suffix.lower() != ".jsonl" or not is_file(file):
        return False
    with reading(file, DataError), open_file(file) as lines:
        line = lines.readline(MAX_ITEM_CHARACTERS)
    try:
        first = decode_json(line.decode(UTF8))
    except ValueError:
        return False
    return isinstance(first, dict) and IIW_CAPTION in first and any(field in first for field in IIW_IMAGES)


def load_iiw(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with their descriptions, by default from the field IIW (option ``caption``)."""
    options.refuse_unknown(("images", "caption"), id)
    file = path / IIW_FILE if is_folder(path) else path
    folder = image_folder(options, [file.parent / "images", file.parent])
    rows = _read_lines(file)
    caption = options.options.get("caption", IIW_CAPTION)
    if caption not in rows[0][1]:
        raise UsageError(f"{file} has no field '{caption}': {did_you_mean(caption, rows[0][1])}")
    pairs = []
    for location, row in rows:
        field = next((field for field in IIW_IMAGES if field in row), None)
        if field is None:
            raise DataError(f"{location}: expected the image in {' or '.join(IIW_IMAGES)}")
        name = _text(row, field, location)
        image = folder / (name if Path(name).suffix else f"{name}.jpg")
        pairs.append(_pair(name, image, _text(row, caption, location)))
    return captioned_dataset(pairs, folder, options, id)


# -- what the sets share


def _pair(id: str, image: Path, caption: str) -> FileCaption:
    return FileCaption(image, id, caption, id)


def _text(row: Mapping[Any, object], field: str, location: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{location}: expected a text in {field}, got {shown(value)}")
    return value


def _read_lines(path: Path) -> list[tuple[str, Mapping[str, object]]]:
    with reading(path, DataError):
        return [(f"{path}, line {number}", row) for number, row in text_tables.READERS[".jsonl"](path)]


LAYOUTS = (
    (
        "Urban-1k (image/, caption/)",
        lambda path: bool(matching(path, "caption/*.txt")) and is_folder(path / "image"),
        load_urban1k,
    ),
    (
        "DOCCI (docci_descriptions.jsonlines)",
        lambda path: path.name == DOCCI_FILE or is_file(path / DOCCI_FILE),
        load_docci,
    ),
    (
        "Densely Captioned Images (splits.json, complete/)",
        lambda path: is_file(path / DCI_SPLITS) and is_folder(path / DCI_ENTRIES),
        load_dci,
    ),
    ("ShareGPT4V (a .json of conversations)", fits_sharegpt4v, load_sharegpt4v),
    ("ImageInWords (a .jsonl of IIW)", fits_iiw, load_iiw),
)
"""Name of each set, a test of whether a path is one, and its loader."""

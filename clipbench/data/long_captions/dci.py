"""Densely Captioned Images (Urbanek et al., CVPR 2024), as its own code unpacks it.

    splits.json         names of files by split: train, valid, test
    complete/*.json     image, short_caption, extra_caption, masks, summaries, ...
    photos/             the images, which come from SA-1B

The caption is the short one followed by the extra one, which the authors call the extended caption.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import CaptionedFile, dataset_of, image_folder, read_text, text_of
from clipbench.errors import DataError, UsageError, did_you_mean

SPLITS, ENTRIES = "splits.json", "complete"
SPLIT = "test"
"""The published split, of 112 images."""
ALL = "all"
"""A split of ours: every image that has an entry, for papers that score retrieval on all of DCI."""


def fits(path: Path) -> bool:
    """Return whether a folder has DCI's splits and entries."""
    return (path / SPLITS).is_file() and (path / ENTRIES).is_dir()


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images of a split with their extended captions.

    Raises:
        Unavailable: images are missing.
        DataError: an entry is missing or malformed.
        UsageError: there is no such split.
    """
    options.refuse_unknown(("split", "images"), id)
    split = options.options.get("split", SPLIT)
    folder = image_folder(options, [path / "photos"])
    pairs = [_pair(path / ENTRIES / name, folder) for name in _names(path, split)]
    return dataset_of(pairs, options, id, split=split)


def _names(path: Path, split: str) -> list[str]:
    if split == ALL:
        return sorted(file.name for file in (path / ENTRIES).glob("*.json"))
    splits = _object(path / SPLITS)
    if split not in splits:
        raise UsageError(f"{path} has no split '{split}': {did_you_mean(split, [*map(str, splits), ALL])}")
    names = splits[split]
    if not isinstance(names, list):
        raise DataError(f"{path / SPLITS} has no list of files for {split}: got {names!r:.60}")
    return [str(name) for name in names]


def _pair(file: Path, folder: Path) -> CaptionedFile:
    entry = _object(file)
    extra = entry.get("extra_caption")
    short = text_of(entry, "short_caption", str(file)).strip()
    caption = f"{short}\n{extra.strip()}" if isinstance(extra, str) and extra.strip() else short
    return CaptionedFile(file.name, folder / text_of(entry, "image", str(file)), caption)


def _object(file: Path) -> Mapping[str, object]:
    try:
        value = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{file} holds a JSON {type(value).__name__}, expected an object")
    return value

"""ShareGPT4V-1k: the first 1,000 captions of ShareGPT4V (Chen et al., ECCV 2024), which Long-CLIP holds out of training.

    share-captioner_coco_lcs_sam_1246k_1107.json    [{"image", "conversations": [{"value": ...}, {"value": caption}]}, ...]
    sam/images/sa_1.jpg, ...                        images under the paths that the file names

The file has 1.2 million captions, so it is read only as far as needed.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from clipbench.data import manifest
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import CaptionedFile, dataset_of, image_folder, text_of
from clipbench.errors import DataError

FILE = "share-captioner_coco_lcs_sam_1246k_1107.json"
N_CAPTIONS = 1_000
"""Captions of the published set."""
BLOCK_CHARACTERS = 1 << 16
"""Characters that are read at once."""
MAX_ITEM_CHARACTERS = 1 << 22
"""An item that is longer is taken for damaged JSON; without a limit, the whole file would be searched for its end."""


def fits(path: Path) -> bool:
    """Return whether a path is such a file, by its first item, or the folder of the published one."""
    if path.is_dir():
        return (path / FILE).is_file()
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    return head.startswith(b"[") and b'"conversations"' in head


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the first images with their captions, by default 1,000 (option ``n``).

    Raises:
        Unavailable: images are missing.
        DataError: an item is malformed.
        UsageError: ``n`` is no number of captions.
    """
    options.refuse_unknown(("images", "n"), id)
    file = path / FILE if path.is_dir() else path
    folder = image_folder(options, [file.parent])
    n = options.whole_number("n", "a number of captions, 1 or more", least=1) or N_CAPTIONS
    with manifest.read_errors(file):
        items = list(islice(_items(file), n))
    pairs = [_pair(item, folder, f"{file}, item {number}") for number, item in enumerate(items, start=1)]
    return dataset_of(pairs, options, id)


def _pair(item: object, folder: Path, place: str) -> CaptionedFile:
    turns = item.get("conversations") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(turns, list) or len(turns) < 2 or not isinstance(turns[1], dict):
        raise DataError(f"{place}: expected an image, and the caption as the second of its conversations")
    image = text_of(item, "image", place)
    return CaptionedFile(image, folder / image, text_of(turns[1], "value", place).replace("\n", " "))


def _items(path: Path) -> Iterator[object]:
    """Yield the items of a list in a JSON file, reading only as far as the items that are consumed."""
    decoder, rest, before = json.JSONDecoder(), "", "["
    with path.open(encoding="utf-8") as file:
        while True:
            body = rest.lstrip().removeprefix(before).lstrip()
            if body.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(body)
            except json.JSONDecodeError as error:
                more = file.read(BLOCK_CHARACTERS) if len(body) < MAX_ITEM_CHARACTERS else ""
                if not more:
                    raise DataError(f"{path} is not a list in JSON, or is cut off: {error}") from error
                rest += more
                continue
            rest, before = body[end:], ","
            yield item

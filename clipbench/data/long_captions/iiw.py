"""ImageInWords (Garg et al., EMNLP 2024): descriptions of about 217 words for images of other sets.

    data.jsonl    IIW, beside it descriptions by others (IIW-P5B, DOCCI, ...), and image/key or image

The images come with DOCCI (IIW-400, DOCCI_Test), with SA-1B (DCI_Test), and so on: their folder has to be named, or be
called ``images`` and lie beside the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import Pair, dataset_of, image_folder, read_lines, text_of
from clipbench.errors import DataError, UsageError, did_you_mean

FILE = "data.jsonl"
CAPTION = "IIW"
KEYS = ("image/key", "image")
"""Fields that name the image, best first; a name without a suffix is that of a .jpg."""


def fits(path: Path) -> bool:
    """Return whether a path is a file of descriptions, told by the fields of its first line, or its folder."""
    file = path / FILE if path.is_dir() else path
    if file.suffix.lower() != ".jsonl" or not file.is_file():
        return False
    with file.open("rb") as lines:
        try:
            first = json.loads(lines.readline())
        except ValueError:
            return False
    return isinstance(first, dict) and CAPTION in first and any(key in first for key in KEYS)


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with their descriptions; the option ``caption`` names another field than IIW.

    Raises:
        Unavailable: images are missing.
        DataError: a line is malformed.
        UsageError: there is no such field.
    """
    options.refuse_unknown(("images", "caption"), id)
    file = path / FILE if path.is_dir() else path
    folder = image_folder(options, [file.parent / "images", file.parent])
    rows = read_lines(file)
    caption = options.options.get("caption", CAPTION)
    if caption not in rows[0][1]:
        raise UsageError(f"{file} has no field '{caption}': {did_you_mean(caption, rows[0][1])}")
    pairs = []
    for place, row in rows:
        name = _key(row, place)
        image = folder / (name if Path(name).suffix else f"{name}.jpg")
        pairs.append(Pair(name, image, text_of(row, caption, place)))
    return dataset_of(pairs, options, id)


def _key(row: Mapping[str, object], place: str) -> str:
    for key in KEYS:
        if key in row:
            return text_of(row, key, place)
    raise DataError(f"{place}: expected the image in {' or '.join(KEYS)}")

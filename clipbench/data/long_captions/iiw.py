"""ImageInWords (Garg et al., EMNLP 2024): descriptions of about 217 words for images of other sets.

    data.jsonl    IIW, other descriptions (IIW-P5B, DOCCI, ...), and image/key or image

The images come with DOCCI (IIW-400, DOCCI_Test), with SA-1B (DCI_Test), and so on: their folder must be named with
``images=FOLDER``, or be called ``images`` and lie beside the file.
"""

import json
from pathlib import Path

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import CaptionedFile, dataset_of, image_folder, read_lines, text_of
from clipbench.errors import DataError, UsageError, did_you_mean

FILE = "data.jsonl"
CAPTION = "IIW"
KEYS = ("image/key", "image")
"""Fields that name the image, best first; ".jpg" is added to a name without a suffix."""


def fits(path: Path) -> bool:
    """Return whether a path is a file of descriptions, by the fields of its first line, or its folder."""
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
    """Return the images with their descriptions, by default those of the field IIW (option ``caption``).

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
        key = next((key for key in KEYS if key in row), None)
        if key is None:
            raise DataError(f"{place}: expected the image in {' or '.join(KEYS)}")
        name = text_of(row, key, place)
        image = folder / (name if Path(name).suffix else f"{name}.jpg")
        pairs.append(CaptionedFile(name, image, text_of(row, caption, place)))
    return dataset_of(pairs, options, id)

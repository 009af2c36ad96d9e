"""Images with one caption each, and the data set that they make: shared by the layouts of long captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipbench.data import manifest
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import FileImage
from clipbench.errors import DataError, Unavailable, UsageError

N_SHOWN = 3
"""Missing images that an error names."""


class CaptionedFile(NamedTuple):
    """An image file and its caption."""

    id: str
    image: Path
    caption: str


def dataset_of(pairs: Sequence[CaptionedFile], options: DataOptions, id: str, *, split: str | None = None) -> Dataset:
    """Return the data set of the pairs whose images exist.

    Raises:
        Unavailable: images are missing; with ``allow_partial``, only if all are.
        DataError: there are no pairs, or two have the same id.
    """
    missing = [pair.image for pair in pairs if not pair.image.is_file()]
    if missing and (not options.allow_partial or len(missing) == len(pairs)):
        shown = ", ".join([*map(str, missing[:N_SHOWN]), *(["..."] if len(missing) > N_SHOWN else [])])
        advice = "put the images there, or name their folder with --data-option images=FOLDER"
        advice += "" if len(missing) == len(pairs) else "; --allow-partial scores the others"
        raise Unavailable(f"{len(missing)} of {len(pairs)} images of {id} are missing: {shown}; {advice}")
    absent = set(missing)
    present = [pair for pair in pairs if pair.image not in absent]
    note = f"{len(missing)} of {len(pairs)} images are missing and were left out"
    return check(
        Dataset(
            id=id,
            split=split,
            images=[FileImage(pair.image) for pair in present],
            image_ids=[pair.id for pair in present],
            captions=[pair.caption for pair in present],
            caption_image=np.arange(len(present), dtype=np.int64),
            caption_ids=[pair.id for pair in present],
            notes=(note,) if missing else (),
        )
    )


def image_folder(options: DataOptions, beside: Sequence[Path]) -> Path:
    """Return the folder of the images: the option ``images``, or the first of some folders that exists.

    Raises:
        UsageError: the option names no folder.
    """
    given = options.options.get("images")
    if given is None:
        return next((folder for folder in beside if folder.is_dir()), beside[0])
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--data-option images={given}: expected the folder of the images")
    return folder


def text_of(row: Mapping[str, object], field: str, place: str) -> str:
    """Return a field that must be a text with words; raise DataError where it is not."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: expected a text in {field}, got {value!r:.60}")
    return value


def read_text(path: Path) -> str:
    """Return the text of a file; raise DataError where it cannot be read."""
    with manifest.read_errors(path):
        return path.read_text(encoding="utf-8-sig")


def read_lines(path: Path) -> list[tuple[str, Mapping[str, object]]]:
    """Return the objects of a JSON Lines file, each with its place; raise DataError where it cannot be read."""
    with manifest.read_errors(path):
        return [(f"{path}, line {number}", row) for number, row in manifest.READERS[".jsonl"](path)]

"""From images with one caption each, as the layouts of long captions read them, to a data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipbench.data import manifest
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import FileImage
from clipbench.errors import DataError, Unavailable, UsageError

SHOWN_MISSING = 3


class Pair(NamedTuple):
    """An image file and its caption."""

    id: str
    image: Path
    caption: str


def dataset_of(pairs: Sequence[Pair], options: DataOptions, id: str, *, split: str | None = None) -> Dataset:
    """Return the data set of some pairs.

    Raises:
        Unavailable: images are not there; with ``allow_partial``, only if all are missing.
        DataError: there are no pairs, or two have one id.
    """
    missing = [pair.image for pair in pairs if not pair.image.is_file()]
    if missing and (not options.allow_partial or len(missing) == len(pairs)):
        raise Unavailable(_said(missing, len(pairs), id))
    absent = set(missing)
    kept = [pair for pair in pairs if pair.image not in absent]
    note = f"{len(missing)} of {len(pairs)} images are missing and were left out"
    return check(
        Dataset(
            id=id,
            split=split,
            images=[FileImage(pair.image) for pair in kept],
            image_ids=[pair.id for pair in kept],
            captions=[pair.caption for pair in kept],
            caption_image=np.arange(len(kept), dtype=np.int64),
            caption_ids=[pair.id for pair in kept],
            notes=(note,) if missing else (),
        )
    )


def image_folder(options: DataOptions, beside: Sequence[Path]) -> Path:
    """Return where images lie: what the option ``images`` says, or the first of some folders that is there.

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
    """Return a field that must be words; raise DataError where it is not."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: expected words in {field}, got {value!r:.60}")
    return value


def read_text(path: Path) -> str:
    """Return the text of a file; raise DataError where it cannot be read."""
    with manifest.reading(path):
        return path.read_text(encoding="utf-8-sig")


def read_lines(path: Path) -> list[tuple[str, Mapping[str, object]]]:
    """Return the objects of a JSON Lines file, each with its place; raise DataError where it cannot be read."""
    with manifest.reading(path):
        return [(f"{path}, line {number}", row) for number, row in manifest.READERS[".jsonl"](path)]


def _said(missing: Sequence[Path], n: int, id: str) -> str:
    first = ", ".join(str(path) for path in missing[:SHOWN_MISSING]) + (", ..." if len(missing) > SHOWN_MISSING else "")
    advice = "put the images there, or name their folder with --data-option images=FOLDER"
    advice += "" if len(missing) == n else "; --allow-partial scores the others"
    return f"{len(missing)} of {n} images of {id} are missing: {first}; {advice}"

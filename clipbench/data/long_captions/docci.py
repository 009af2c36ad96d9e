"""DOCCI (Onoe et al., ECCV 2024): images of one photographer, each with a human description of about 136 words.

docci_descriptions.jsonlines    example_id, split, image_file, description
images/                         content of docci_images.tar.gz
"""

from pathlib import Path

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import CaptionedFile, dataset_of, image_folder, read_lines, text_of
from clipbench.data.table_columns import rows_of_split

FILE = "docci_descriptions.jsonlines"
SPLIT = "test"
"""The published split, of 5,000 images; others are train, qual_dev and qual_test."""


def fits(path: Path) -> bool:
    """Return whether a path is the file of descriptions, or its folder."""
    return path.name == FILE or (path / FILE).is_file()


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images of a split with their descriptions.

    Raises:
        Unavailable: images are missing.
        DataError: a line is malformed.
        UsageError: there is no such split.
    """
    options.refuse_unknown(("split", "images"), id)
    file = path if path.name == FILE else path / FILE
    folder = image_folder(options, [file.parent / "images", file.parent])
    split = options.options.get("split", SPLIT)
    rows = read_lines(file)
    split_rows = rows_of_split([row.get("split") for _, row in rows], split, source=str(file))
    pairs = [
        CaptionedFile(
            text_of(row, "example_id", place),
            folder / text_of(row, "image_file", place),
            text_of(row, "description", place),
        )
        for place, row in (rows[number] for number in split_rows)
    ]
    return dataset_of(pairs, options, id, split=split)

"""Columns that a user adds to the samples of a finished run: a CSV file whose first column names the samples."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Shaped

from clipbench.comparison.explanation_groups import InputColumn
from clipbench.errors import UsageError
from clipbench.results.numbers import counted, listed
from clipbench.untrusted.reading import read_text

KEYS = ("id", "image")
"""Names that the first column may have."""
MOST_VALUES = 300
"""Different texts of a column: with more, they name samples rather than groups."""
MOST_CODES = 10
"""Different numbers of a column that are taken as names of groups, such as codes of cameras."""


def read_columns(
    path: Path, sample_ids: Sequence[str], clusters: Sequence[str] | None, item_ids: Sequence[str] | None = None
) -> list[InputColumn]:
    """Return the columns of a file, joined to the samples of a run.

    Args:
        path: of a CSV file. Its first column is ``id``, the id of a sample, or of its image or text, or ``image``, the
            path or the file name of its image.
        sample_ids: ids of the samples of the run.
        clusters: the image of each sample, if samples have one.
        item_ids: the id in the data of each sample's text or image, None if it is the sample's.

    Raises:
        UsageError: the file cannot be read, names a sample twice or none of the run's, or has no column of use.
    """
    item_ids = item_ids or sample_ids
    header, rows = _read(path)
    keys = [row[0] for row in rows]
    if repeated := [key for key, n in Counter(keys).items() if n > 1]:
        raise UsageError(f"{path} has the {header[0]} '{repeated[0]}' twice: expected one row per {header[0]}")
    row_of_key = {key: row for row, key in enumerate(keys)}
    if header[0] == "image":
        row_of_key |= _by_file_name(keys)
    row_of_sample = np.array(
        [_find_row(row_of_key, names, header[0]) for names in _names_of(sample_ids, item_ids, clusters)], np.int64
    )
    if (row_of_sample < 0).all():
        raise UsageError(
            f"{path} names none of the {counted(len(sample_ids), 'sample')}: got {header[0]} '{keys[0]}', expected such"
            f" as '{next(_names_of(sample_ids, item_ids, clusters))[-1]}'"
        )
    columns = [
        _parse_column(name, [row[index] for row in rows], row_of_sample) for index, name in enumerate(header) if index
    ]
    useful = [
        column for column in columns if _n_values(column) > 1 and (column.is_number or _n_values(column) <= MOST_VALUES)
    ]
    if not useful:
        counts = listed([f"'{column.name}' has {counted(_n_values(column), 'value')}" for column in columns])
        raise UsageError(f"{path} has no column that makes groups: {counts}, expected 2 to {MOST_VALUES}, or numbers")
    return useful


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    text = read_text(path, UsageError)
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) if row] or [[]]
    except csv.Error as error:  # a field of more than 131,072 characters
        raise UsageError(f"{path} is not CSV: {error}. Save it with one row per sample") from error
    if not header or header[0] not in KEYS:
        raise UsageError(f"{path} begins with the column '{header[0] if header else ''}': expected 'id' or 'image'")
    if len(header) < 2 or not rows:
        raise UsageError(
            f"{path} has {counted(len(header), 'column')} and {counted(len(rows), 'row')}: expected 2 or more columns,"
            " and one row per sample"
        )
    if uneven := next((row for row in rows if len(row) != len(header)), None):
        raise UsageError(
            f"{path}: the row of '{uneven[0]}' has {counted(len(uneven), 'value')}: expected {len(header)}"
        )
    return header, rows


def _by_file_name(paths: Sequence[str]) -> dict[str, int]:
    """Return the row of each file name that one path has."""
    names = [PurePosixPath(path.replace("\\", "/")).name for path in paths]
    counts = Counter(names)
    return {name: row for row, name in enumerate(names) if counts[name] == 1}


def _names_of(
    sample_ids: Sequence[str], item_ids: Sequence[str], clusters: Sequence[str] | None
) -> Iterator[tuple[str, ...]]:
    """Yield the names of each sample: its id, the id of its text or image, and the id of the image."""
    for row, (sample_id, name) in enumerate(zip(sample_ids, item_ids, strict=True)):
        yield (sample_id, name, name.rpartition("#")[0] or name, *([clusters[row]] if clusters is not None else []))


def _find_row(row_of_key: dict[str, int], names: Sequence[str], key: str) -> int:
    if key == "image":
        names = [*names, *(PurePosixPath(name.replace("\\", "/")).name for name in names)]
    return next((row_of_key[name] for name in names if name in row_of_key), -1)


def _parse_column(name: str, texts: Sequence[str], row_of_sample: Shaped[np.ndarray, " n"]) -> InputColumn:
    """Return a column as numbers if its texts are more than ten different numbers, otherwise as texts."""
    values = np.array([*(text.strip() for text in texts), ""], object)  # the last is of samples without a row
    if len({*values} - {""}) > MOST_CODES:
        with suppress(ValueError):
            numbers = np.array([float(text) if text else np.nan for text in values])
            values = numbers if np.isfinite(numbers[values != ""]).all() else values
    return InputColumn(name, "columns", values[row_of_sample])


def _n_values(column: InputColumn) -> int:
    if column.is_number:
        return len(np.unique(column.values[~np.isnan(column.values)]))
    return len(set(column.values.tolist()) - {""})

"""Columns that a user adds to the samples of a finished run: a CSV file whose first column names the samples."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

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
BLOCK = 1_000
"""Rows whose cells are in memory as texts of their own at once: a text takes 50 bytes more than its characters."""
SEPARATOR = "\0"
"""Joins the cells of a column. No cell has it."""


class _Table(NamedTuple):
    """The cells of a file, by column, several rows joined in one text."""

    header: list[str]
    keys: list[str]
    """The first cell of each row."""
    columns: list[list[str]]
    """The cells of each other column, in blocks of rows that are joined by ``SEPARATOR``."""

    def cells(self, column: int) -> list[str]:
        """Return the cells of a column, one per row."""
        return SEPARATOR.join(self.columns[column]).split(SEPARATOR)


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
    table = _read(path)
    key, keys = table.header[0], table.keys
    if repeated := [name for name, n in Counter(keys).items() if n > 1]:
        raise UsageError(f"{path} has the {key} '{repeated[0]}' twice: expected one row per {key}")
    row_of_key = {name: row for row, name in enumerate(keys)}
    if key == "image":
        row_of_key |= _by_file_name(keys)
    names_of_samples = _names_of(sample_ids, item_ids, clusters)
    row_of_sample = np.array([_find_row(row_of_key, names, key) for names in names_of_samples], np.int64)
    if (row_of_sample < 0).all():
        raise UsageError(
            f"{path} names none of the {counted(len(sample_ids), 'sample')}: got {key} '{keys[0]}', expected one"
            f" such as '{next(_names_of(sample_ids, item_ids, clusters))[-1]}'"
        )
    useful, useless = [], []
    for index, name in enumerate(table.header[1:]):
        column = _parse_column(name, table.cells(index), row_of_sample)
        n_values = _n_values(column)
        if n_values > 1 and (column.is_number or n_values <= MOST_VALUES):
            useful.append(column)
        else:
            useless.append(f"'{name}' has {counted(n_values, 'value')}")
    if not useful:
        raise UsageError(
            f"{path} has no column that makes groups: {listed(useless)}, expected 2 to {MOST_VALUES} values, or numbers"
        )
    return useful


def _read(path: Path) -> _Table:
    text = read_text(path, UsageError).removeprefix("\ufeff")
    if SEPARATOR in text:
        raise UsageError(f"{path} is not CSV: it has a NUL character. Save it with one row per sample")
    rows = (row for row in csv.reader(_lines(text)) if row)
    try:
        header = next(rows, [])
        if not header or header[0] not in KEYS:
            raise UsageError(f"{path} begins with the column '{header[0] if header else ''}': expected 'id' or 'image'")
        table = _Table(header, [], [[] for _ in header[1:]])
        while block := [*islice(rows, BLOCK)]:
            _add_rows(table, block, path)
    except csv.Error as error:  # a field of more than 131,072 characters
        raise UsageError(f"{path} is not CSV: {error}. Save it with one row per sample") from error
    if len(header) < 2 or not table.keys:
        raise UsageError(
            f"{path} has {counted(len(header), 'column')} and {counted(len(table.keys), 'row')}: expected 2 or more"
            " columns, and one row per sample"
        )
    return table


def _add_rows(table: _Table, rows: Sequence[Sequence[str]], path: Path) -> None:
    n_columns = len(table.header)
    if uneven := next((row for row in rows if len(row) != n_columns), None):
        raise UsageError(f"{path}: the row of '{uneven[0]}' has {counted(len(uneven), 'value')}: expected {n_columns}")
    keys, *columns = zip(*rows, strict=True)
    table.keys.extend(keys)
    for blocks, cells in zip(table.columns, columns, strict=True):
        blocks.append(SEPARATOR.join(cells))


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text. ``io.StringIO`` would take four bytes per character."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


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
        names = (sample_id, name, name.rpartition("#")[0] or name)
        yield names if clusters is None else (*names, clusters[row])


def _find_row(row_of_key: dict[str, int], names: Sequence[str], key: str) -> int:
    if key == "image":
        names = [*names, *(PurePosixPath(name.replace("\\", "/")).name for name in names)]
    return next((row_of_key[name] for name in names if name in row_of_key), -1)


def _parse_column(name: str, texts: Sequence[str], row_of_sample: Int64[np.ndarray, " n"]) -> InputColumn:
    """Return a column as numbers if its texts are more than ten different numbers, otherwise as texts."""
    texts = [*map(str.strip, texts), ""]  # the last is of samples without a row
    distinct = {text: text for text in texts}
    has_many = len(distinct) - 1 > MOST_CODES
    numbers = _parse_numbers(texts) if has_many else None
    if numbers is None:
        values = np.array([distinct[text] for text in texts], object)  # equal texts are one object
        return InputColumn(name, "columns", values[row_of_sample])
    return InputColumn(name, "columns", numbers[row_of_sample])


def _parse_numbers(texts: Sequence[str]) -> Float64[np.ndarray, " n"] | None:
    """Return texts as numbers, NaN where a text is empty, or None if another is not a finite number."""
    try:
        numbers = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return None
    n_written = len(texts) - texts.count("")
    return numbers if int(np.isfinite(numbers).sum()) == n_written else None


def _n_values(column: InputColumn) -> int:
    if column.is_number:
        return len(np.unique(column.values[~np.isnan(column.values)]))
    return len(set(column.values.tolist()) - {""})

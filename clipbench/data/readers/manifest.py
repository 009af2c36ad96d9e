"""Manifests: CSV, TSV, JSON Lines or JSON tables that list image files with captions, labels or both."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, existing_files
from clipbench.data.prompts import read_class_names
from clipbench.data.readers.table import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table import ColumnTable, TableImage, find_roles, rows_of_split, table_dataset
from clipbench.errors import DataError, UsageError, data_option
from clipbench.untrusted.reading import (
    decode_json_lines,
    is_file,
    is_folder,
    matching,
    open_text,
    parse_json,
    read_json,
    reading,
    shown,
)

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
HEAD_CHARACTERS = 1 << 16
"""Characters read to recognise a file: enough for the first row of any."""
DELIMITERS = (";", "\t", ",")
"""Delimiters that a table may have, in the order in which they are tried."""
BLOCK_CHARACTERS = 1 << 18
"""Characters of JSON Lines that are decoded at once."""
LINE_CHARACTERS = 1 << 24
"""The most characters of a line of JSON Lines."""
VISIBLE = "[!.]*"
"""Pattern of the names that are not hidden."""

_NumberedRows = Iterator[tuple[int, Mapping[str, object]]]
"""Rows with their line or item numbers, from 1."""


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images that a table lists, in order of first appearance.

    An image's path is relative to the manifest's folder, or absolute. Rows with the same image are one image with
    several captions. A caption column may also hold a list, or be one of ``caption_0``, ``caption_1``, ... Without an
    id column an image's id is its path, relative to the manifest if it is below the manifest.
    """
    if is_folder(path):
        path, *other_manifests = manifests_in(path)
        if other_manifests:
            raise UsageError(f"{path.parent} has {path.name} and {other_manifests[0].name}: choose one, as {path}")
    return dataset_of(read_table(path), path, options, id)


def dataset_of(table: ColumnTable, path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images that a table lists, as ``load`` does.

    Args:
        path: file of the table, to whose folder the paths of the images are relative.
    """
    options.refuse_unknown(OPTIONS, id)
    roles = find_roles(list(table.columns), options.options, source=str(path))
    split = options.options.get("split")
    if roles.split is None and split is not None:
        raise UsageError(f"{path} has no split column: remove {data_option(split=split)}")
    rows = rows_of_split(table.columns[roles.split or roles.image], split, source=str(path))
    files = {row: _file(path, table, roles.image, row) for row in rows}
    advice = "paths are relative to the manifest's folder"
    folder = path.parent
    existing, file_notes = existing_files(
        files.values(), folder, path.name, advice, allow_partial=options.allow_partial
    )
    files = {row: file for row, file in files.items() if file in existing}
    images = {row: TableImage(FileImage(file), file, id_below(folder, file)) for row, file in files.items()}
    names = options.options.get("class_names")
    roles = replace(roles, id=None) if roles.id == roles.image else roles
    dataset = table_dataset(table, roles, id, images, None if names is None else read_class_names(Path(names)))
    notes = (*dataset.notes, *file_notes)
    splits = sorted({str(value) for value in table.columns[roles.split]}) if roles.split is not None else []
    if split is None and len(splits) > 1:
        notes += (f"all splits are read together ({', '.join(splits)}). {data_option(split=splits[0])} reads one",)
    return replace(dataset, split=split, has_ids=True, notes=notes)


def read_table(path: Path) -> ColumnTable:
    """Return the columns of a manifest, with line numbers as row names.

    Raises:
        DataError: it cannot be read, has no rows, or a line is malformed.
    """
    with reading(path, DataError, is_table=True):
        numbered = list(READERS[path.suffix.lower()](path))
    if not numbered:
        raise DataError(f"{path} has no rows: expected one per image or caption")
    names = dict.fromkeys(name for _, row in numbered for name in row)
    return ColumnTable(
        columns={name: [row.get(name) for _, row in numbered] for name in names},
        source=str(path),
        unit="item" if path.suffix.lower() == ".json" else "line",
        numbers=[number for number, _ in numbered],
    )


def fits(path: Path) -> bool:
    """Return whether a path is a file of a kind that is read."""
    return is_file(path) and path.suffix.lower() in READERS


def only_table(folder: Path, *, has_captions: bool) -> Path | None:
    """Return the one table in a folder, such as ``captions.csv``, or None if there is none, or several.

    Without captions, a table next to several folders does not count, because they may be one folder per class.
    """
    tables = tables_in(folder)
    n_folders = sum(map(is_folder, matching(folder, VISIBLE)))
    return tables[0] if len(tables) == 1 and (has_captions or n_folders < 2) else None


def tables_in(folder: Path) -> list[Path]:
    """Return the tables in a folder, by name, without hidden files such as the record of ``clipbench data get``."""
    return [file for file in matching(folder, VISIBLE) if fits(file)]


def manifests_in(folder: Path) -> list[Path]:
    """Return the files of a folder that have a manifest's name."""
    return [folder / name for name in NAMES if is_file(folder / name)]


def read_head(path: Path) -> str:
    """Return the beginning of a text file, or nothing if it cannot be read, which the layout that reads it then
    reports.
    """
    try:
        with open_text(path) as file:
            return file.read(HEAD_CHARACTERS)
    except (OSError, UnicodeDecodeError):
        return ""


def header_columns(head: str, suffix: str) -> list[str]:
    """Return the columns in the first line of a .csv or .tsv file, of which this is the beginning."""
    line = head.partition("\n")[0].strip().replace("\0", "")  # the csv module may raise an error for it
    try:
        return next(csv.reader([line], delimiter=delimiter_of(line, suffix)), [])
    except csv.Error:  # a field of more than 131,072 characters
        return []


def delimiter_of(header: str, suffix: str) -> str:
    """Return the delimiter of a table: the usual one of its suffix, or if its header has none, another that it has.

    Example:
        >>> delimiter_of("image,caption", ".csv"), delimiter_of("image;caption", ".csv"), delimiter_of("image", ".tsv")
        (',', ';', '\\t')
    """
    usual = "\t" if suffix.lower() == ".tsv" else ","
    return next((delimiter for delimiter in (usual, *DELIMITERS) if delimiter in header), usual)


def _csv_rows(path: Path) -> _NumberedRows:
    with open_text(path, newline="") as file:
        delimiter = delimiter_of(file.readline(HEAD_CHARACTERS), path.suffix)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header):
                raise DataError(f"{path}: two columns have one name in the header {', '.join(header)}")
            for fields in reader:
                if fields and len(fields) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields, expected {len(header)}"
                        f" ({', '.join(header)}): put quotes around a field with '{delimiter}' in it"
                    )
                if fields:
                    yield reader.line_num, dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _jsonl_rows(path: Path) -> _NumberedRows:
    for first, block in _line_blocks(path):
        numbered = [(number, line) for number, line in enumerate(block, first) if line.strip()]
        values = decode_json_lines([line for _, line in numbered])
        if values is not None and all(type(value) is dict for value in values):
            yield from zip((number for number, _ in numbered), values, strict=True)
            continue
        for number, line in numbered:
            location = f"{path}, line {number}"
            yield number, _object(parse_json(line, location, DataError), location)


def _line_blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield blocks of lines of a text file with the number of their first line."""
    first, rest = 1, ""
    with open_text(path) as file:
        while block := file.read(BLOCK_CHARACTERS):
            *lines, rest = (rest + block).split("\n")
            if max(len(rest), *map(len, lines), 0) > LINE_CHARACTERS:
                number = next(
                    number for number, line in enumerate([*lines, rest], first) if len(line) > LINE_CHARACTERS
                )
                raise DataError(f"{path}, line {number} has more than {LINE_CHARACTERS:,} characters: expected one row")
            if lines:
                yield first, lines
            first += len(lines)
    if rest:
        yield first, [rest]


def _json_rows(path: Path) -> _NumberedRows:
    rows = read_json(path, DataError)
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {type(rows).__name__}, expected a list with one object per image")
    return ((number, _object(row, f"{path}, item {number}")) for number, row in enumerate(rows, start=1))


READERS: Mapping[str, Callable[[Path], _NumberedRows]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
}
"""Reader of each kind of manifest, by file suffix."""
NAMES = tuple(f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in READERS)
"""Files that make a folder one with a manifest."""


def _object(value: object, location: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DataError(f'{location}: expected an object such as {{"image": ..., "caption": ...}}, got {shown(value)}')
    return value


def _file(manifest: Path, table: ColumnTable, column: str, row: int) -> Path:
    value = table.columns[column][row]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{table.row_name(row)}: expected the path of an image in {column}, got {shown(value)}")
    if value.startswith(("http://", "https://")):
        raise DataError(f"{table.row_name(row)}: {value} is a web address: download the images and list their files")
    return Path(os.path.normpath(manifest.parent / value))


def id_below(folder: Path, file: Path) -> str:
    """Return the path of a file below a folder, so that a copy elsewhere has the same ids."""
    root = Path(os.path.normpath(folder))
    return PurePath(file.relative_to(root) if file.is_relative_to(root) else file).as_posix()

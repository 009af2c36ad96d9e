"""Manifests: CSV, TSV, JSON Lines or JSON tables that list image files with captions, labels or both."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from clipbench.data.class_names import read_class_names
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import FileImage, existing_files
from clipbench.data.readers.table import ColumnTable, read_samples
from clipbench.data.readers.table_columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table_columns import Roles, find_roles, rows_of_split
from clipbench.errors import DataError, UsageError
from clipbench.untrusted.reading import is_file, open_text, parse_json, read_json, reading, shown

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
HEAD_CHARACTERS = 1 << 16
"""Characters read to recognise a file: enough for the first row of any."""

_NumberedRows = Iterator[tuple[int, Mapping[str, object]]]
"""Rows with their line or item numbers, from 1."""


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images that a table lists, in order of first appearance.

    An image's path is relative to the manifest's folder, or absolute. Rows with the same image are one image with
    several captions; a caption column may also hold a list, or be one of ``caption_0``, ``caption_1``, ...
    Without an id column an image's id is its path, relative to the manifest where it lies below it.

    Raises:
        UsageError: the role of a column is unclear, or the named split does not exist.
        DataError: a malformed line, or an empty field.
        Unavailable: images are missing; with ``allow_partial``, only if all are.
    """
    options.refuse_unknown(OPTIONS, id)
    table = read_table(path)
    roles = find_roles(list(table.columns), options.options, source=str(path))
    split = options.options.get("split")
    if roles.split is None and split is not None:
        raise UsageError(f"{path} has no split column: drop --data-option split={split}")
    rows = rows_of_split(table.columns[roles.split or roles.image], split, source=str(path))
    files = {row: _file(path, table, roles.image, row) for row in rows}
    existing, file_notes = existing_files(
        files.values(),
        path.parent,
        path.name,
        allow_partial=options.allow_partial,
        advice="paths are relative to the manifest's folder",
    )
    files = {row: file for row, file in files.items() if file in existing}
    class_names_file = options.options.get("class_names")
    samples = read_samples(
        table,
        replace(roles, id=None) if roles.id == roles.image else roles,
        keys=files,
        ids={row: _id(path, file) for row, file in files.items()},
        class_names=None if class_names_file is None else read_class_names(Path(class_names_file)),
    )
    dataset = Dataset(
        id=id,
        split=split,
        images=[FileImage(files[row]) for row in samples.first_rows],
        image_ids=samples.image_ids,
        labels=samples.labels,
        class_names=samples.class_names,
        captions=samples.captions,
        caption_image=samples.caption_image,
        groups=samples.groups,
        notes=(*samples.notes, *file_notes, *_split_notes(table, roles, split)),
    )
    return check(dataset, allow_partial=options.allow_partial)


def read_table(path: Path) -> ColumnTable:
    """Return the columns of a manifest; error messages name a row by its line.

    Raises:
        DataError: it cannot be read, has no rows, or a line is malformed.
    """
    with reading(path, DataError):
        numbered = list(READERS[path.suffix.lower()](path))
    if not numbered:
        raise DataError(f"{path} has no rows: expected one per image or caption")
    names = dict.fromkeys(name for _, row in numbered for name in row)
    numbers = [number for number, _ in numbered]
    unit = "item" if path.suffix.lower() == ".json" else "line"
    return ColumnTable(
        columns={name: [row.get(name) for _, row in numbered] for name in names},
        place=lambda row: f"{path}, {unit} {numbers[row]}",
    )


def manifests_in(folder: Path) -> list[Path]:
    """Return the files of a folder that have a manifest's name."""
    return [folder / name for name in NAMES if is_file(folder / name)]


def read_head(path: Path) -> str:
    """Return the beginning of a text file; nothing where it cannot be read: the layout that reads it then reports it."""
    try:
        with open_text(path) as file:
            return file.read(HEAD_CHARACTERS)
    except (OSError, UnicodeDecodeError):
        return ""


def header_columns(head: str, suffix: str) -> list[str]:
    """Return the columns in the first line of a .csv or .tsv file, of which this is the beginning."""
    line = head.partition("\n")[0].strip().replace("\0", "")  # the csv module may raise an error for it
    try:
        return next(csv.reader([line], delimiter="\t" if suffix.lower() == ".tsv" else ","), [])
    except csv.Error:  # a field of more than 131,072 characters
        return []


def _csv_rows(path: Path, delimiter: str = ",") -> _NumberedRows:
    with open_text(path, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header):
                raise DataError(f"{path}: a column name stands twice in the header {', '.join(header)}")
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
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _object(parse_json(line, f"{path}, line {number}", DataError), f"{path}, line {number}")


def _json_rows(path: Path) -> _NumberedRows:
    items = read_json(path, DataError)
    if not isinstance(items, list):
        raise DataError(f"{path} holds a JSON {type(items).__name__}, expected a list with one object per image")
    return ((number, _object(item, f"{path}, item {number}")) for number, item in enumerate(items, start=1))


READERS: Mapping[str, Callable[[Path], _NumberedRows]] = {
    ".csv": _csv_rows,
    ".tsv": lambda path: _csv_rows(path, "\t"),
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
}
"""Reader of each kind of manifest, by file suffix."""
NAMES = tuple(f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in READERS)
"""Files that make a folder one with a manifest."""


def _object(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DataError(f'{place}: expected an object such as {{"image": ..., "caption": ...}}, got {shown(value)}')
    return value


def _split_notes(table: ColumnTable, roles: Roles, split: str | None) -> Iterator[str]:
    if roles.split is not None and split is None:
        splits = sorted({str(value) for value in table.columns[roles.split]})
        if len(splits) > 1:
            yield f"all splits together ({', '.join(splits)}); --data-option split={splits[0]} reads one"


def _file(manifest: Path, table: ColumnTable, column: str, row: int) -> Path:
    value = table.columns[column][row]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{table.place(row)}: expected the path of an image in {column}, got {shown(value)}")
    if value.startswith(("http://", "https://")):
        raise DataError(f"{table.place(row)}: {value} is a web address: download the images and list their files")
    return Path(os.path.normpath(manifest.parent / value))


def _id(manifest: Path, file: Path) -> str:
    """Return the path below the manifest, so that a copy elsewhere has the same ids."""
    folder = Path(os.path.normpath(manifest.parent))
    return PurePath(file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()

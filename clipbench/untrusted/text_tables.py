"""Text tables: the rows of CSV, TSV, JSON Lines and JSON files of others."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from clipbench.errors import DataError
from clipbench.untrusted.reading import decode_json_lines, open_text, parse_json, read_json, reading, shown

HEAD_CHARACTERS = 1 << 16
"""Characters read to recognise a file: enough for the first row of any."""
DELIMITERS = (";", "\t", ",")
"""Delimiters that a table may have, in the order in which they are tried."""
BLOCK_CHARACTERS = 1 << 18
"""Characters of JSON Lines that are decoded at once."""
LINE_CHARACTERS = 1 << 24
"""The most characters of a line of JSON Lines."""

_NumberedRows = Iterator[tuple[int, Mapping[str, object]]]
"""Rows with their line or item numbers, from 1."""
_Block = tuple[list[int], list[Mapping[str, object]]]
"""Line or item numbers, and their rows."""


@dataclass(frozen=True, kw_only=True)
class ColumnTable:
    """Columns of equal length, and a name for each row in messages."""

    columns: Mapping[str, Sequence[object]]
    source: str
    """Name of the table."""
    unit: str = "row"
    numbers: Sequence[int] | None = None
    """Number of each row, such as its line in a file, from 0 on by default."""

    def row_name(self, row: int) -> str:
        """Return the name of a row for messages, such as ``manifest.csv, line 3``."""
        return f"{self.source}, {self.unit} {row if self.numbers is None else self.numbers[row]}"

    def column(self, name: str, rows: Iterable[int]) -> dict[int, object]:
        """Return the values of a column by row, for some rows."""
        values = self.columns[name]
        return {row: values[row] for row in rows}


def read_table(path: Path) -> ColumnTable:
    """Return the columns of a table, with line numbers as row names.

    Raises:
        DataError: it cannot be read, has no rows, or a line is malformed.
    """
    columns: dict[str, list[object]] = {}
    numbers: list[int] = []
    with reading(path, DataError, is_table=True):
        for block_numbers, rows in _blocks(path):
            if not columns.keys() >= set().union(*rows):
                for name in dict.fromkeys(chain.from_iterable(rows)):
                    if name not in columns:
                        columns[name] = [None] * len(numbers)
            for name, column in columns.items():
                column += [row.get(name) for row in rows]
            numbers += block_numbers
    if not numbers:
        raise DataError(f"{path} has no rows: expected one per image or caption")
    unit = "item" if path.suffix.lower() == ".json" else "line"
    return ColumnTable(columns=columns, source=str(path), unit=unit, numbers=numbers)


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


def _blocks(path: Path) -> Iterator[_Block]:
    """Yield the rows of a table in blocks, which are small for JSON Lines."""
    if path.suffix.lower() == ".jsonl":
        yield from _jsonl_blocks(path)
    else:
        numbered = list(READERS[path.suffix.lower()](path))
        yield [number for number, _ in numbered], [row for _, row in numbered]


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
    for numbers, rows in _jsonl_blocks(path):
        yield from zip(numbers, rows, strict=True)


def _jsonl_blocks(path: Path) -> Iterator[_Block]:
    for first, block in _line_blocks(path):
        numbers, lines = list(range(first, first + len(block))), block
        if not all(map(str.strip, block)):
            numbers = [number for number, line in zip(numbers, block, strict=True) if line.strip()]
            lines = [line for line in block if line.strip()]
        values = decode_json_lines(lines)
        if values is None or {*map(type, values)} != {dict}:
            locations = [f"{path}, line {number}" for number in numbers]
            values = [
                _object(parse_json(line, location, DataError), location)
                for line, location in zip(lines, locations, strict=True)
            ]
        yield numbers, values


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
"""Reader of each kind of table, by file suffix."""


def _object(value: object, location: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DataError(f'{location}: expected an object such as {{"image": ..., "caption": ...}}, got {shown(value)}')
    return value

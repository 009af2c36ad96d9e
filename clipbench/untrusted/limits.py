"""The memory that a file of others may take: one place, each limit with an environment variable that sets another.

A file of some kilobytes may hold an image of a gigapixel, or an array that unpacks to gigabytes. Such a file is refused
before anything of its size is allocated; whoever has larger data raises the limit (SECURITY.md).
"""

import gzip
import os
import struct
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from clipbench.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

MAX_PIXELS = "CLIPBENCH_MAX_PIXELS"
MAX_UNPACKED = "CLIPBENCH_MAX_UNPACKED"

DEFAULTS = {MAX_PIXELS: 100_000_000, MAX_UNPACKED: 1 << 29}
"""Pixels of one image: 400 MB as RGB. Bytes that a compressed file may unpack to, whatever its size."""

RATIO = 20
"""A compressed file may unpack to this many times its size, too: large data may be larger than ``MAX_UNPACKED``."""

ARCHIVE_ERRORS = (
    tarfile.TarError,
    BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    ValueError,
    RuntimeError,
)
"""Errors that the standard library raises for damaged and hostile archives; a file that cannot be read is an OSError
beside.
"""

NUMBER_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a number by its type in parquet."""
TEXTS_AT_ONCE = 8192

IMAGES_AT_ONCE = 4
"""A batch of images in full size holds as many pixels as this many images of ``MAX_PIXELS``."""


def max_batch_pixels() -> int:
    """Return the most pixels that the images of one batch may have together."""
    return IMAGES_AT_ONCE * _limit(MAX_PIXELS)


def max_unpacked(size: int) -> int:
    """Return the most bytes that a file of this size may unpack to."""
    return max(_limit(MAX_UNPACKED), RATIO * size)


def too_many_pixels(width: int, height: int) -> str | None:
    """Return why an image is too large, None if it is not."""
    most = _limit(MAX_PIXELS)
    if width * height <= most:
        return None
    return (
        f"it has {width:,} x {height:,} pixels, more than {most:,}: make it smaller, or set"
        f" {MAX_PIXELS}={width * height} (4 bytes of memory a pixel)"
    )


def too_many_resized(width: int, height: int, side: int) -> str | None:
    """Return why an image is too large when its shorter side is resized to ``side`` pixels, None if it is not."""
    short, long = sorted((width, height))
    most, n_pixels = _limit(MAX_PIXELS), side * side * long // short
    if n_pixels <= most:
        return None
    return (
        f"it has {width:,} x {height:,} pixels, and {n_pixels:,} with its shorter side resized to {side}, more than"
        f" {most:,}: cut it, or set {MAX_PIXELS}={n_pixels} (4 bytes of memory a pixel)"
    )


def refuse_unpacked(unpacked: int, size: int) -> None:
    """Raise ValueError where a compressed file of ``size`` bytes would unpack to too many."""
    if unpacked > max_unpacked(size):
        raise ValueError(
            f"its {size:,} bytes unpack to {unpacked:,} or more, and {max_unpacked(size):,} are the limit: write it"
            f" without compression, or set {MAX_UNPACKED} to a larger number"
        )


def check_zip(archive: ZipFile, file: IO[bytes]) -> None:
    """Raise ValueError where a zip file, such as an ``.npz``, would unpack to too much."""
    refuse_unpacked(sum(member.file_size for member in archive.infolist()), os.fstat(file.fileno()).st_size)


def check_parquet(path: Path, names: Collection[str] | None = None) -> None:
    """Raise ValueError where a parquet file, or the columns of it that are read, would unpack to too much.

    A column of a million times the same text takes some bytes in the file. Its size is found by the lengths of its
    distinct texts, none of which is repeated; that of numbers is told by how many there are.
    """
    from pyarrow.parquet import ParquetFile

    size = path.stat().st_size
    with ParquetFile(path) as file:
        columns = {place: file.schema.column(place) for place in range(len(file.schema))}
        columns = {at: each for at, each in columns.items() if names is None or each.path.partition(".")[0] in names}
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
        parts = [(each, group.column(place)) for group in groups for place, each in columns.items()]
    unpacked = sum((each.length or NUMBER_BYTES.get(each.physical_type, 8)) * part.num_values for each, part in parts)
    refuse_unpacked(max(unpacked, sum(part.total_uncompressed_size for _, part in parts)), size)
    if texts := [each.path for each in columns.values() if each.physical_type == "BYTE_ARRAY"]:
        with ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=TEXTS_AT_ONCE, columns=texts):
                unpacked += sum(_unpacked(column) for column in batch.columns)
                refuse_unpacked(unpacked, size)


def _unpacked(column: "pyarrow.Array") -> int:
    """Return the bytes of the texts of a column, or in its lists and structures, each as often as it is there."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        lengths = compute.binary_length(column.dictionary)
        return compute.sum(lengths.take(column.indices)).as_py() or 0
    if types.is_nested(column.type):
        parts = column.flatten()
        return sum(_unpacked(part) for part in (parts if isinstance(parts, list) else [parts]))
    return column.nbytes


def _limit(variable: str) -> int:
    text = os.environ.get(variable)
    if text is None:
        return DEFAULTS[variable]
    if not text.isascii() or not text.isdecimal() or not int(text[:18]):
        raise UsageError(f"{variable} is '{text}': expected a whole number above 0, such as {DEFAULTS[variable]}")
    return int(text[:18])

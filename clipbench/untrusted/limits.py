"""The most pixels that an image may have, and the errors of damaged archives.

A file of some kilobytes may hold an image of a gigapixel. Such an image is refused before memory is allocated for it.
An environment variable raises the limit (SECURITY.md).
"""

import gzip
import os
import struct
import tarfile
import zlib
from zipfile import BadZipFile

from clipbench.errors import UsageError

MAX_PIXELS = "CLIPBENCH_MAX_PIXELS"
"""Name of the environment variable that sets the most pixels of one image."""
DEFAULT_MAX_PIXELS = 100_000_000
"""400 MB as RGB."""

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
"""Errors that the standard library raises for damaged and hostile archives. A file that cannot be read raises an
OSError.
"""

IMAGES_AT_ONCE = 4
"""The limit on a batch of images in full size, as a number of images of ``MAX_PIXELS``."""


def max_batch_pixels() -> int:
    """Return the most pixels that the images of one batch may have together."""
    return IMAGES_AT_ONCE * _max_pixels()


def too_many_pixels(width: int, height: int) -> str | None:
    """Return why an image is too large, None if it is not."""
    limit = _max_pixels()
    if width * height <= limit:
        return None
    return (
        f"it has {width:,} x {height:,} pixels, more than {limit:,}: make it smaller, or set"
        f" {MAX_PIXELS}={width * height} (4 bytes of memory per pixel)"
    )


def too_many_resized(width: int, height: int, side: int) -> str | None:
    """Return why an image is too large when its shorter side is resized to ``side`` pixels, None if it is not."""
    short, long = sorted((width, height))
    limit, n_pixels = _max_pixels(), side * side * long // short
    if n_pixels <= limit:
        return None
    return (
        f"it has {width:,} x {height:,} pixels, and {n_pixels:,} with its shorter side resized to {side}, more than"
        f" {limit:,}: cut it, or set {MAX_PIXELS}={n_pixels} (4 bytes of memory per pixel)"
    )


def _max_pixels() -> int:
    text = os.environ.get(MAX_PIXELS)
    if text is None:
        return DEFAULT_MAX_PIXELS
    if not text.isascii() or not text.isdecimal() or not int(text[:18]):
        raise UsageError(f"{MAX_PIXELS} is '{text}': expected an integer above 0, such as {DEFAULT_MAX_PIXELS}")
    return int(text[:18])

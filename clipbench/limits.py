"""The memory that a file of others may take: one place, each limit with an environment variable that sets another.

A file of some kilobytes may hold an image of a gigapixel, or an array that unpacks to gigabytes. Such a file is refused
before anything of its size is allocated; whoever has larger data raises the limit (SECURITY.md).
"""

import os

from clipbench.errors import UsageError

MAX_PIXELS = "CLIPBENCH_MAX_PIXELS"
MAX_UNPACKED = "CLIPBENCH_MAX_UNPACKED"

DEFAULTS = {MAX_PIXELS: 100_000_000, MAX_UNPACKED: 1 << 30}
"""Pixels of one image: 400 MB as RGB. Bytes that a compressed file may unpack to, whatever its size."""

RATIO = 20
"""A compressed file may unpack to this many times its size, too: large data may be larger than ``MAX_UNPACKED``."""

IMAGES_AT_ONCE = 4
"""A batch of images in full size holds as many pixels as this many images of ``MAX_PIXELS``."""


def max_pixels() -> int:
    """Return the most pixels that an image may have."""
    return _limit(MAX_PIXELS)


def max_batch_pixels() -> int:
    """Return the most pixels that the images of one batch may have together."""
    return IMAGES_AT_ONCE * max_pixels()


def max_unpacked(size: int) -> int:
    """Return the most bytes that a file of this size may unpack to.

    Example:
        >>> max_unpacked(1000) == 1 << 30, max_unpacked(1 << 30) == 20 << 30
        (True, True)
    """
    return max(_limit(MAX_UNPACKED), RATIO * size)


def too_many_pixels(width: int, height: int) -> str | None:
    """Return why an image is too large, None if it is not."""
    if width * height <= max_pixels():
        return None
    return (
        f"it has {width:,} x {height:,} pixels, more than {max_pixels():,}: make it smaller, or set"
        f" {MAX_PIXELS}={width * height} (4 bytes of memory a pixel)"
    )


def too_much_unpacked(unpacked: int, size: int) -> str | None:
    """Return why a compressed file of ``size`` bytes may not be unpacked, None if it may."""
    if unpacked <= max_unpacked(size):
        return None
    return (
        f"its {size:,} bytes unpack to {unpacked:,}, more than {max_unpacked(size):,}: write it without compression, or set"
        f" {MAX_UNPACKED}={unpacked}"
    )


def _limit(variable: str) -> int:
    text = os.environ.get(variable)
    if text is None:
        return DEFAULTS[variable]
    if not text.isascii() or not text.isdecimal() or not int(text[:18]):
        raise UsageError(f"{variable} is '{text}': expected a whole number above 0, such as {DEFAULTS[variable]}")
    return int(text[:18])

"""Hashes that are equal in every process and on every machine."""

import hashlib
from pathlib import Path

import numpy as np

from clipbench.untrusted.reading import open_file


def digest(*parts: object) -> str:
    """Return 32 hex digits that stand for the texts of some parts, in order.

    Example:
        >>> digest("ab", "c") == digest("a", "bc")
        False
    """
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = str(part).encode()
        hasher.update(f"{len(encoded)} ".encode() + encoded)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return 128 hex digits that stand for the content of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def array_digest(array: np.ndarray) -> str:
    """Return 32 hex digits that stand for an array's type, shape and content."""
    whole = np.ascontiguousarray(array)
    hasher = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=16)
    hasher.update(whole.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()

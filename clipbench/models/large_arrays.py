"""Arrays of vectors that may be too large for memory."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from clipbench.metrics.similarity import Vectors

IN_MEMORY = 1 << 28
"""Bytes up to which a large array is in memory by default."""


def large_array(shape: tuple[int, int], folder: Path, *, in_memory: int | None = None) -> Vectors:
    """Return a new array, its content undefined: in memory if it is small enough, otherwise in a temporary file.

    The file has no name in the folder, and is removed with the array. If the file cannot be made, or the disk has no
    room for it, the array is in memory.

    Args:
        in_memory: bytes up to which the array is in memory, or None for ``IN_MEMORY``.
    """
    n_bytes = 4 * shape[0] * shape[1]
    if n_bytes > (IN_MEMORY if in_memory is None else in_memory):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):  # without it, a full disk crashes the first write
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                return np.memmap(file, np.float32, "w+", shape=shape)
    return np.empty(shape, np.float32)


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that the process is in, or IN_MEMORY if unknown."""
    limits = []
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is not a number
            limits.append(int(Path(file).read_text(encoding="utf-8")))
    return min(limits, default=IN_MEMORY)

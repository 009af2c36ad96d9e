"""Arrays that may be larger than memory: in it if they are small, else in a file without a name."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32

IN_MEMORY = 1 << 28
"""Bytes up to which a large array is in memory, unless its maker says otherwise."""


def large_array(shape: tuple[int, int], folder: Path, *, in_memory: int | None = None) -> Float32[np.ndarray, "n dim"]:
    """Return a new array, its content undefined: in memory if it is not too large, else in a temporary file.

    The file has no name in the folder, and is gone with the array. Where it cannot be made, or the disk has no room for it,
    the array is in memory.

    Args:
        in_memory: bytes up to which it is in memory; None for ``IN_MEMORY``.
    """
    n_bytes = 4 * shape[0] * shape[1]
    if n_bytes > (IN_MEMORY if in_memory is None else in_memory):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):  # else a full disk is found by a crash, at the first write
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                return np.memmap(file, np.float32, "w+", shape=shape)
    return np.empty(shape, np.float32)


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that the process is in; IN_MEMORY where nothing tells it."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(limit).read_text(encoding="utf-8")))
    return min(found, default=IN_MEMORY)

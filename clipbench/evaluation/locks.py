"""One process at a time in a run folder: two watchers of one training would write over each other's tables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipbench.errors import UsageError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder that is there; a process that ends, in whatever way, lets go of it.

    Where the system has no such locks (Windows, some network file systems), nothing is held.

    Raises:
        UsageError: another holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another clipbench writes to {folder}: wait for its end, or name another --out"
            ) from error
        except OSError:  # this file system has no locks
            pass
        yield
    finally:
        with suppress(OSError):  # workers that were forked meanwhile have the handle too: closing ours is not enough
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)

"""Files written whole or not at all, folders that one process at a time writes to, and the bounds of a folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path

from clipbench.errors import UsageError


def write_atomic(files: Mapping[Path, bytes]) -> None:
    """Write files atomically; none is replaced before all have been written.

    Raises:
        UsageError: one cannot be written.
    """
    with writing_atomically(files):
        pass


@contextmanager
def writing_atomically(files: Mapping[Path, bytes]) -> Iterator[None]:
    """Write files under temporary names, and move them into place if the block raises nothing; else remove them.

    Raises:
        UsageError: one cannot be written.
    """
    temporary = {path: path.with_name(f".{path.name}.half") for path in files}
    try:
        for path, content in files.items():
            with _write_errors(path):
                if path.is_dir():  # else found only by os.replace, after the block has done its work
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
                temporary[path].unlink(missing_ok=True)  # of a write that was killed, or a link that leads elsewhere
                with temporary[path].open("xb") as file:
                    file.write(content)
        yield
        for path, half in temporary.items():
            with _write_errors(path):
                os.replace(half, path)
    finally:
        for half in temporary.values():
            half.unlink(missing_ok=True)


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path lies in a folder, links followed: one that leads out of it does not.

    Example:
        >>> is_inside(Path("run/samples/a.parquet"), Path("run")), is_inside(Path("run/../secret"), Path("run"))
        (True, False)
    """
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
        return False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder that is there: two watchers of one training would write over each other's tables.

    A process that ends, in whatever way, lets go of it. Where the system has no such locks (Windows, some network file
    systems), nothing is held.

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


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

"""Files that are written whole or not at all: nobody ever reads half of one, and a failure replaces nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path

from clipbench.errors import UsageError


def write_atomic(files: Mapping[Path, bytes]) -> None:
    """Write files, each whole; none is replaced before all have been written.

    Raises:
        UsageError: one cannot be written.
    """
    with writing_atomically(files):
        pass


@contextmanager
def writing_atomically(files: Mapping[Path, bytes]) -> Iterator[None]:
    """Write files beside their places, and put them there when the block has ended well; else nothing is left of them.

    Raises:
        UsageError: one cannot be written.
    """
    halves = {path: path.with_name(f".{path.name}.half") for path in files}
    try:
        for path, content in files.items():
            with _telling(path):
                if path.is_dir():
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
                halves[path].write_bytes(content)
        yield
        for path, half in halves.items():
            with _telling(path):
                os.replace(half, path)
    finally:
        for half in halves.values():
            half.unlink(missing_ok=True)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

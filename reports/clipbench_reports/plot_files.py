"""The files that a figure for print comes with: written whole, or not at all, and never over what is another's."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path

from clipbench.errors import UsageError
from clipbench_reports.plotted import COLUMNS


def check_beside(out: Path) -> None:
    """Raise UsageError when the table or the caption of a figure would be written over a file that is not one of ours.

    A figure that is drawn again replaces its own: the table is told by its first line, and the caption by its table.
    """
    table, caption = out.with_suffix(".csv"), out.with_suffix(".txt")
    if table.is_file() and not _is_table(table):
        raise UsageError(f"{table} is there and is not the table of a figure: name another file for the figure")
    if caption.is_file() and not table.is_file():
        raise UsageError(f"{caption} is there and is not the caption of a figure: name another file for the figure")


@contextmanager
def all_or_none(texts: Mapping[Path, str]) -> Iterator[None]:
    """Write files, whole, when the block has ended well; nothing is left of them when it has not."""
    halves = {path: path.with_name(f".{path.name}.half") for path in texts}
    try:
        for path, text in texts.items():
            with _telling(path):
                if path.is_dir():
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
                halves[path].write_text(text, encoding="utf-8")
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


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip() == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False

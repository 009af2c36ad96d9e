"""Names of classes that lie in a file of their own, and putting them in place of others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipbench.data.dataset import Dataset
from clipbench.errors import DataError

FILE_NAME = "classnames.txt"
"""What the file is called where it lies beside the data, as CLIP_benchmark has it."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, one a line; the first line names class 0.

    Raises:
        DataError: the file cannot be read, is empty, or has an empty line before its end.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read class names from {path}: {error}") from error
    if not lines:
        raise DataError(f"{path} holds no class names: expected one a line")
    if "" in lines:
        raise DataError(
            f"{path}, line {lines.index('') + 1} is empty: expected a class name, for lines number the classes"
        )
    return tuple(lines)


def spoken(identifier: str) -> str:
    """Return a class name as a prompt should say it: names made for file systems have underscores for spaces.

    Example:
        >>> spoken("golden_retriever")
        'golden retriever'
    """
    return identifier.replace("_", " ")


def spoken_names(identifiers: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names as prompts say them, and a note if that changed any."""
    names = tuple(spoken(identifier) for identifier in identifiers)
    changed = [(old, new) for old, new in zip(identifiers, names, strict=True) if old != new]
    notes = (f"class names are read with spaces for underscores ('{changed[0][1]}')",) if changed else ()
    return names, notes


def with_class_names(dataset: Dataset, names: Sequence[str], *, source: str) -> Dataset:
    """Return the data set with other names for the same classes, in the same order.

    Raises:
        DataError: there are not as many as classes, or they are the present names in another order.
    """
    present = dataset.class_names
    if present is not None:
        check_renaming(present, names, source=source)
    return replace(dataset, class_names=tuple(names))


def check_renaming(present: Sequence[str], names: Sequence[str], *, source: str) -> None:
    """Raise DataError unless ``names`` can stand, in order, for the classes that are there."""
    if len(names) != len(present):
        raise DataError(
            f"{source} has {len(names)} class names for data with {len(present)} classes: expected one each"
        )
    if list(names) != list(present) and sorted(names) == sorted(present):
        raise DataError(
            f"{source} has the names of the data in another order ('{names[0]}' first, expected '{present[0]}'):"
            " lines number the classes, so labels would be wrong"
        )

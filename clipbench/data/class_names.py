"""Class names from a file of their own, and replacing a data set's class names by others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipbench.data.dataset import Dataset
from clipbench.errors import DataError
from clipbench.untrusted.reading import read_text

FILE_NAME = "classnames.txt"
"""Name of the file with class names that lies beside the data, as in CLIP_benchmark's layout."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a text file, one a line; the first line names class 0.

    Raises:
        DataError: the file cannot be read, is empty, or has an empty line before its end.
    """
    text = read_text(path, DataError, name=f"class names from {path}")
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise DataError(f"{path} holds no class names: expected one a line")
    if "" in lines:
        raise DataError(
            f"{path}, line {lines.index('') + 1} is empty: expected a class name, as line numbers are class numbers"
        )
    return tuple(lines)


def names_for_prompts(identifiers: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return class names with spaces for underscores, which file systems made necessary, and a note if any changed.

    Example:
        >>> names_for_prompts(["golden_retriever"])
        (('golden retriever',), ("class names are read with spaces for underscores ('golden retriever')",))
    """
    names = tuple(identifier.replace("_", " ") for identifier in identifiers)
    changed = [new for old, new in zip(identifiers, names, strict=True) if old != new]
    notes = (f"class names are read with spaces for underscores ('{changed[0]}')",) if changed else ()
    return names, notes


def with_class_names(dataset: Dataset, names: Sequence[str], *, source: str) -> Dataset:
    """Return the data set with other names for the same classes, in the same order.

    Raises:
        DataError: their number is not that of the classes, or they are the present names in another order.
    """
    if dataset.class_names is not None:
        check_renaming(dataset.class_names, names, source=source)
    return replace(dataset, class_names=tuple(names))


def check_renaming(present: Sequence[str], names: Sequence[str], *, source: str) -> None:
    """Raise DataError unless ``names`` can replace the present class names, in order."""
    if len(names) != len(present):
        raise DataError(
            f"{source} has {len(names)} class names for data with {len(present)} classes: expected one each"
        )
    if list(names) != list(present) and sorted(names) == sorted(present):
        raise DataError(
            f"{source} has the names of the data in another order ('{names[0]}' first, expected '{present[0]}'):"
            " line numbers are class numbers, so labels would be wrong"
        )

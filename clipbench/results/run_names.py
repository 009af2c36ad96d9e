"""The names by which tables call runs, and the folder of the run that such a name means.

A table shows a model by its reference, by the last part of it, or by either with the folder. So ``models/base/step-18``
is ``step-18`` in a table, and its folder is ``models-base-step-18``. All of these names are accepted below the folder
that holds the runs.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import count
from pathlib import Path, PurePath
from typing import NamedTuple

from clipbench.errors import UsageError, shorten_list
from clipbench.files import is_inside
from clipbench.results.numbers import ascii_signs, counted, listed
from clipbench.results.short_names import NAME_LENGTH, last_parts, shorten_names
from clipbench.untrusted import reading

RESULT = "result.json"
MAX_NAME = 24
"""Characters of a model's name in a table of a terminal."""
CUT = "…"
"""The sign in a name that is cut."""
NEAR = 0.6
"""Least similarity of a name to one that was probably meant."""
MOST_LISTED = 40
"""Runs of a folder whose names a message lists."""


class NamedRun(NamedTuple):
    """A run in the folder of several, with the reference of its model."""

    folder: Path
    model: str


def run_folder(path: Path) -> Path:
    """Return the folder of the run that a path means: the path itself, or the run that tables call so.

    If nothing is at the path, the nearest folder above that exists is searched for runs, and the rest of the path is a
    name in it. If that folder holds no runs, the path is returned as it is.

    Raises:
        UsageError: the folder holds runs, and the name fits none of them, or several.

    Example:
        >>> run_folder(Path("no-such-folder/run"))
        PosixPath('no-such-folder/run')
    """
    if reading.is_there(path) or os.path.lexists(path):  # a link that leads nowhere is no name
        return path
    parent = next((folder for folder in path.parents if reading.is_folder(folder)), None)
    runs = [] if parent is None else named_runs(parent)
    if parent is None or not runs:
        return path
    name = str(path.relative_to(parent))
    distinct, ambiguous = _displayed_names(runs)
    meant = [run for run, names in zip(runs, distinct, strict=True) if name in names]
    meant = meant or [run for run, names in zip(runs, ambiguous, strict=True) if name in names]
    if not meant and CUT in name:
        pattern = name_pattern(name)
        meant = [run for run in runs if pattern.fullmatch(_as_path(run.model))]
    if len(meant) == 1:
        return meant[0].folder
    if meant:
        folders = listed([str(run.folder) for run in meant])
        raise UsageError(f"{path} fits {counted(len(meant), 'run')}: {folders}. Name one of these folders")
    raise UsageError(f"{parent} has no run '{name}': {_names_there(name, runs)}")


def named_runs(folder: Path, note: Callable[[str], None] = lambda _: None) -> list[NamedRun]:
    """Return the runs in a folder that can be read so far that their models are known.

    Args:
        note: called with a sentence for each run that a link leads out of the folder to, which is left out.
    """
    runs = []
    for file in _matching(folder, f"*/{RESULT}"):
        if not is_inside(file, folder):
            note(f"{file.parent} is left out: it is a link that leads out of {folder}. Name the run itself")
            continue
        model = _model_of(file)
        if model is not None:
            runs.append(NamedRun(file.parent, model))
    return runs


def runs_nearby(path: Path) -> str:
    """Return the end of a message that says where runs are, next to a path that holds none, empty if nowhere.

    Example:
        >>> runs_nearby(Path("no-such-folder/run"))
        ''
    """
    parent = path.parent
    runs = [run for run in named_runs(parent) if run.folder != path]
    if runs:
        return f". The runs next to it: {_listed_names(runs)}"
    folders = dict.fromkeys(str(file.parent.parent) for file in _matching(parent, f"*/*/{RESULT}"))
    return f". Folders with runs: {shorten_list([*folders])}" if folders else ""


def distinct_labels(models: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Return a distinct name for each run: the model, with the folder where that is not enough.

    Example:
        >>> distinct_labels(["tiny", "mine", "mine"], ["a", "b", "c"])
        ['tiny', 'mine (b)', 'mine (c)']
    """
    names = []
    for model, folder in zip(models, folders, strict=True):
        needs_folder = models.count(model) > 1
        names.append(f"{model} ({folder})" if needs_folder else model)
    return distinct_names(names, " #")


def distinct_names(names: Sequence[str], mark: str = "-", *, ignores_case: bool = False) -> list[str]:
    """Return the names, each name that occurs several times with a number that makes it distinct, after a mark.

    Args:
        ignores_case: names that differ only in the case of letters count as one, as some file systems take them.

    Example:
        >>> distinct_names(["b", "a-b", "a-b", "a-b-2"])
        ['b', 'a-b-3', 'a-b-4', 'a-b-2']
        >>> distinct_names(["b", "a", "A"], ignores_case=True)
        ['b', 'a-2', 'A-3']
    """
    keys = [name.casefold() if ignores_case else name for name in names]
    taken = {key for key in keys if keys.count(key) == 1}
    distinct: list[str] = []
    for position, (name, key) in enumerate(zip(names, keys, strict=True), 1):
        chosen = name
        if keys.count(key) > 1:
            numbers = (number for number in count(position) if f"{key}{mark}{number}" not in taken)
            number = next(numbers)
            chosen = f"{name}{mark}{number}"
            taken.add(f"{key}{mark}{number}")
        distinct.append(chosen)
    return distinct


def short_labels(labels: Sequence[str], length: int = MAX_NAME) -> list[str]:
    """Return distinct names for the rows or columns of a table: the last parts of labels, cut if they are long."""
    return shorten_names(last_parts(labels), length)


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return what a pattern matches in a folder, nothing if a link or a folder in it cannot be searched."""
    try:
        return reading.matching(folder, pattern)
    except OSError:
        return []


def _model_of(file: Path) -> str | None:
    """Return the reference of the model of a result, or None if the result cannot be read."""
    try:
        data = reading.decode_json(reading.read_text(file, UsageError), is_text=False)
    except (UsageError, ValueError, RecursionError):
        return None
    model = data.get("model") if isinstance(data, dict) else None
    return str(model.get("ref") or "unnamed model") if isinstance(model, dict) else None


def _displayed_names(runs: Sequence[NamedRun]) -> tuple[list[set[str]], list[set[str]]]:
    """Return for each run the names that only this run has in its folder, and those that others may have as well."""
    labels = distinct_labels([run.model for run in runs], [run.folder.name for run in runs])
    columns = [labels, last_parts(labels), *(short_labels(labels, length) for length in (MAX_NAME, NAME_LENGTH))]
    distinct = []
    for names in zip(*columns, strict=True):
        distinct.append({_as_path(name) for name in names} | {ascii_signs(name) for name in names})
    ambiguous = [{_as_path(run.model), *_endings(run.model)} for run in runs]
    return distinct, ambiguous


def name_pattern(name: str) -> re.Pattern[str]:
    """Return a pattern of the whole names that a table may have cut to this one.

    Example:
        >>> bool(name_pattern("run…final").fullmatch("runs/step-18-final"))
        True
    """
    return re.compile(".*".join(map(re.escape, name.split(CUT))))


def _as_path(name: str) -> str:
    """Return a name as it is in a path, which has no double slashes."""
    return str(PurePath(name))


def _endings(model: str) -> Iterator[str]:
    """Yield the ends of a reference that begin after a slash, such as step-18 and base/step-18."""
    parts = PurePath(model).parts
    for start in range(1, len(parts)):
        yield str(PurePath(*parts[start:]))


def _names_there(name: str, runs: Sequence[NamedRun]) -> str:
    """Return which name was probably meant, if one is near, and which are there."""
    labels = _labels(runs)
    nearness = [SequenceMatcher(None, name.casefold(), label.casefold()).ratio() for label in labels]
    nearest = max(zip(nearness, labels, strict=True))
    if nearest[0] >= NEAR:
        return f"did you mean '{nearest[1]}'? The runs there: {_listed_names(runs)}"
    return f"the runs there are {_listed_names(runs)}"


def _listed_names(runs: Sequence[NamedRun]) -> str:
    labels = _labels(runs)
    more = f", ... ({len(labels)} in all)" if len(labels) > MOST_LISTED else ""
    return f"{', '.join(labels[:MOST_LISTED])}{more}"


def _labels(runs: Sequence[NamedRun]) -> list[str]:
    return short_labels(distinct_labels([run.model for run in runs], [run.folder.name for run in runs]), NAME_LENGTH)

"""The models that a session measures, and the run folder of each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from clipbench.errors import UsageError
from clipbench.files import HALF, remove_abandoned
from clipbench.models import brings_samples
from clipbench.models.checkpoints import is_pattern, matching_checkpoints
from clipbench.models.protocol import Embedder
from clipbench.untrusted.reading import entries, is_file, is_folder, is_there

RESULT, REPORT = "result.json", "report.html"
OUR_FOLDERS = {"samples", "arrays", "thumbs"}
"""Folders that an interrupted run may have left in its own, beside a result or report that is not whole."""


@dataclass(frozen=True)
class Target:
    """A model to be measured."""

    reference: str
    name: str
    """The name that tells it from the others."""
    folder: Path
    may_be_finished: bool = False
    """Take the run that the folder holds already, if it is just this one."""
    embedder: Embedder | None = None
    """The model itself, where it is in memory; the reference is then only its name."""

    @property
    def brings_samples(self) -> bool:
        """True where vectors come with their own samples, so that no other data can be asked for."""
        if self.embedder is not None:
            return self.embedder.dataset is not None
        return brings_samples(self.reference)


@dataclass(frozen=True)
class Targets:
    """The models of a session."""

    out: Path
    """Parent of their run folders; the only one's own folder."""
    each: Sequence[Target]
    are_series: bool = False
    """True where a pattern named them: then a line for each says enough."""
    are_several: bool = False
    """True where ``out`` is a parent."""


def find_targets(references: Sequence[str], out: Path | None, *, writes_reports: bool = True) -> Targets:
    """Return the models that references and patterns stand for, each once, with folders that are free to be written.

    Each of several models has a folder of its own name, so that the same command finds again what it has finished. A
    single model's run is finished once its report is there as well.

    Raises:
        UsageError: a pattern matches nothing, or a folder holds something else.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    distinct = list(dict.fromkeys(references))
    if len(distinct) == 1 and not is_pattern(distinct[0]):
        folder = out or Path("runs") / f"{stamp}-{slug(distinct[0])}"
        is_finished = may_be_finished(folder, writes_reports=writes_reports)
        return Targets(folder, [Target(distinct[0], distinct[0], folder, may_be_finished=is_finished)])
    parent = out or Path("runs") / stamp
    targets = _with_folders(_expanded(distinct), parent)
    for target in targets:
        if not is_file(target.folder / RESULT):
            check_folder(target.folder)
    return Targets(parent, targets, any(map(is_pattern, distinct)), are_several=True)


def may_be_finished(folder: Path, *, writes_reports: bool) -> bool:
    """Return whether the folder of a single run holds one that lacks nothing but its report, so that it can be ended.

    Raises:
        UsageError: it holds something else, or a run with its report.
    """
    if writes_reports and is_file(folder / RESULT) and not is_there(folder / REPORT):
        return True
    check_folder(folder)
    return False


def check_folder(folder: Path) -> None:
    """Raise UsageError when a run cannot be written there without touching what is not its own."""
    if is_file(folder):
        raise UsageError(f"--out {folder} is a file: expected a new folder")
    if is_there(folder / RESULT):
        raise UsageError(f"--out {folder} already holds a run: results are never overwritten, name another folder")
    names = {entry.name for entry in entries(folder, UsageError)} if is_folder(folder) else set()
    foreign = sorted(name for name in names - OUR_FOLDERS if not (name.startswith(".") and name.endswith(HALF)))
    if foreign:
        raise UsageError(f"--out {folder} holds other files ({foreign[0]}): expected a new or empty folder")


def clear_leftovers(folder: Path) -> None:
    """Remove what an interrupted run has left in its folder and what would be believed to be whole: small images."""
    remove_abandoned(folder)
    for inside in OUR_FOLDERS:
        for each in (folder / inside, *(folder / inside).glob("*/")):
            remove_abandoned(each)
    for image in (folder / "thumbs").rglob("*.webp"):
        if re.fullmatch(r"[0-9a-f]{32}", image.stem):
            image.unlink(missing_ok=True)


def slug(text: str) -> str:
    """Return a text as a safe file name.

    Example:
        >>> slug("open_clip:ViT-B-32/openai")
        'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-80:] or "unnamed"


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return names of which those that stand there several times have a number behind them, each one of its own.

    Example:
        >>> distinct_names(["b", "a-b", "a-b", "a-b-2"])
        ['b', 'a-b-3', 'a-b-4', 'a-b-2']
    """
    single = {name for name in names if names.count(name) == 1}
    distinct: list[str] = []
    for place, name in enumerate(names, 1):
        candidates = [name] if name in single else (f"{name}-{number}" for number in count(place))
        distinct.append(next(each for each in candidates if each == name or each not in {*single, *distinct}))
    return distinct


def _expanded(references: list[str]) -> list[tuple[str, str]]:
    """Return reference and name; of several patterns, names have the whole path."""
    n_patterns = sum(map(is_pattern, references))
    expanded: dict[str, tuple[str, str]] = {}
    for reference in references:
        if not is_pattern(reference):
            expanded.setdefault(reference, (reference, reference))
            continue
        for member in matching_checkpoints(reference):
            name = member.name if n_patterns == 1 else member.reference
            expanded.setdefault(member.reference, (member.reference, name))
    return list(expanded.values())


def _with_folders(models: list[tuple[str, str]], parent: Path) -> list[Target]:
    folders = distinct_names([slug(name) for _, name in models])
    return [
        Target(reference, name, parent / folder, may_be_finished=True)
        for (reference, name), folder in zip(models, folders, strict=True)
    ]

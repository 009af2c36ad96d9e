"""Which models a session measures, and the run folder of each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clipbench.errors import UsageError
from clipbench.models import brings_samples
from clipbench.models.checkpoints import is_pattern, matching_checkpoints
from clipbench.models.protocol import Embedder

OUR_FILES = {"samples", "arrays", "thumbs", ".result.json.half"}
"""Files and folders that an interrupted run may have left in its folder."""


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


def find_targets(references: Sequence[str], out: Path | None) -> Targets:
    """Return the models that references and patterns stand for, each once, with folders that are free to be written.

    A checkpoint of a series has a folder of its own name, so that the same command finds again what it has finished.

    Raises:
        UsageError: a pattern matches nothing, or a folder holds something else.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    distinct = list(dict.fromkeys(references))
    if len(distinct) == 1 and not is_pattern(distinct[0]):
        folder = out or Path("runs") / f"{stamp}-{slug(distinct[0])}"
        check_folder(folder)
        return Targets(folder, [Target(distinct[0], distinct[0], folder)])
    parent = out or Path("runs") / stamp
    targets = _with_folders(_expanded(distinct), parent)
    for target in targets:
        if not (target.may_be_finished and (target.folder / "result.json").is_file()):
            check_folder(target.folder)
    return Targets(parent, targets, any(map(is_pattern, distinct)), are_several=True)


def check_folder(folder: Path) -> None:
    """Raise UsageError when a run cannot be written there without touching what is not its own."""
    if folder.is_file():
        raise UsageError(f"--out {folder} is a file: expected a new folder")
    if (folder / "result.json").exists():
        raise UsageError(f"--out {folder} already holds a run: results are never overwritten, name another folder")
    foreign = sorted({entry.name for entry in folder.iterdir()} - OUR_FILES) if folder.is_dir() else []
    if foreign:
        raise UsageError(f"--out {folder} holds other files ({foreign[0]}): expected a new or empty folder")


def slug(text: str) -> str:
    """Return a text as a safe file name.

    Example:
        >>> slug("open_clip:ViT-B-32/openai")
        'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-80:] or "unnamed"


def _expanded(references: list[str]) -> list[tuple[str, str, bool]]:
    """Return reference, name and whether a pattern matched it; of several patterns, names have the whole path."""
    n_patterns = sum(map(is_pattern, references))
    expanded: dict[str, tuple[str, str, bool]] = {}
    for reference in references:
        if not is_pattern(reference):
            expanded.setdefault(reference, (reference, reference, False))
            continue
        for member in matching_checkpoints(reference):
            name = member.name if n_patterns == 1 else member.reference
            expanded.setdefault(member.reference, (member.reference, name, True))
    return list(expanded.values())


def _with_folders(models: list[tuple[str, str, bool]], parent: Path) -> list[Target]:
    names = [slug(name) for _, name, _ in models]
    return [
        Target(reference, name, parent / (own if names.count(own) == 1 else f"{own}-{number + 1}"), is_member)
        for number, ((reference, name, is_member), own) in enumerate(zip(models, names, strict=True))
    ]

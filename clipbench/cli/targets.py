"""Which models a command line names, and the run folder of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clipbench.evaluation.runner import check_folder, slug
from clipbench.models.series import is_pattern, members


@dataclass(frozen=True)
class Target:
    """A model to be measured."""

    reference: str
    name: str
    """What it is called among the others."""
    folder: Path
    may_be_finished: bool = False
    """Whether a run that the folder holds already is taken, if it is this very one."""


@dataclass(frozen=True)
class Targets:
    """The models of a command."""

    out: Path
    """Parent of their run folders; the only one's own folder."""
    each: Sequence[Target]
    are_series: bool = False
    """Whether a pattern named them: then a line for each says enough."""
    are_several: bool = False
    """Whether ``out`` is a parent."""


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


def _expanded(references: list[str]) -> list[tuple[str, str, bool]]:
    """Return reference, name and whether a pattern matched it; of several patterns, names have the whole path."""
    n_patterns = sum(map(is_pattern, references))
    found: dict[str, tuple[str, str, bool]] = {}
    for reference in references:
        if not is_pattern(reference):
            found.setdefault(reference, (reference, reference, False))
            continue
        for member in members(reference):
            name = member.name if n_patterns == 1 else member.reference
            found.setdefault(member.reference, (member.reference, name, True))
    return list(found.values())


def _with_folders(found: list[tuple[str, str, bool]], parent: Path) -> list[Target]:
    names = [slug(name) for _, name, _ in found]
    return [
        Target(reference, name, parent / (own if names.count(own) == 1 else f"{own}-{number + 1}"), is_member)
        for number, ((reference, name, is_member), own) in enumerate(zip(found, names, strict=True))
    ]

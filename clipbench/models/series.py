"""A series of checkpoints by pattern: all that ``runs/train/step-*`` matches, in the order of their numbers."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import UsageError

PREFIXES = ("bundled", "local-dir", "hf", "embeddings")
"""Adapters that read paths; the references of others may hold a * that is no pattern."""


@dataclass(frozen=True)
class SeriesMember:
    """A checkpoint that a pattern matches."""

    reference: str
    """The model reference that ``load_model`` takes."""
    name: str
    """Path from where the pattern begins to vary: distinct, and the same however many others there are."""


def is_pattern(reference: str) -> bool:
    """Return whether a model reference is a pattern of paths, and not the name of something that is there.

    Example:
        >>> [is_pattern(each) for each in ("runs/train/step-*", "hf:out/checkpoint-?00", "ViT-B-32,openai", "python:a:b*")]
        [True, True, False, False]
    """
    _, path = _split(reference)
    return path != "" and glob.has_magic(path) and not Path(path).exists()


def members(pattern: str) -> list[SeriesMember]:
    """Return the checkpoints that a pattern matches, ``step-2`` before ``step-10``.

    Raises:
        UsageError: it matches none.
    """
    prefix, path = _split(pattern)
    matches = sorted((match.rstrip("/") for match in glob.glob(path, recursive=True)), key=natural)
    if not matches:
        raise UsageError(f"no checkpoint matches '{pattern}': expected a pattern of paths, such as 'runs/train/step-*'")
    parts = Path(path).parts
    head = Path(*parts[: next(place for place, part in enumerate(parts) if glob.has_magic(part))])
    return [SeriesMember(prefix + match, Path(match).relative_to(head).as_posix()) for match in matches]


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers within texts by value.

    Example:
        >>> sorted(["step-10", "step-2", "step-2b"], key=natural)
        ['step-2', 'step-2b', 'step-10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _split(reference: str) -> tuple[str, str]:
    """Return the prefix with its colon, and the path; an empty path for an adapter that reads none."""
    prefix, colon, body = reference.partition(":")
    if not colon:
        return "", reference
    return (f"{prefix}:", body) if prefix.casefold() in PREFIXES else (reference, "")

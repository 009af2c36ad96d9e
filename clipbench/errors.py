"""What a user can get wrong, as exceptions that are one clear line each.

A message says what failed, what was got, what was expected and what to do. The command line prints it and
exits with the status of its class; a traceback is shown only on request.

    ClipbenchError            bad usage or bad input                     exit 2
    ├── UsageError            an argument, option or reference is wrong
    │   └── NotComparable     two results must not be compared                exit 3
    ├── ModelError            a model cannot be built or does not fit
    │   └── NoTokenCounts     it cannot say how many tokens a text takes
    ├── DataError             a data set is malformed, empty or unreadable
    │   ├── BadImage          one image cannot be decoded
    │   └── MissingPart       a task needs labels, captions, ... that the data set has not
    ├── VectorError           a NaN, infinite or zero vector
    └── Unavailable           something that has to be fetched is not there
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ClipbenchError(Exception):
    """Something that the user can mend; its text is one line."""


class UsageError(ClipbenchError):
    """An argument, option, name or reference is wrong."""


class NotComparable(UsageError):
    """Two results whose numbers must not be held against each other."""


class ModelError(ClipbenchError):
    """A model cannot be built from what was given, or does not fit it."""


class NoTokenCounts(ModelError):
    """A model cannot say how many tokens a text takes; what depends on it is undefined, with this as the reason."""


class DataError(ClipbenchError):
    """A data set is malformed, empty or unreadable."""


class BadImage(DataError):
    """One image that cannot be decoded."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(
            f"cannot read image {name}: {cause}; replace it, or run with --on-bad-image skip to leave it out and say so"
        )
        self.name = name
        self.cause = cause

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return BadImage, (self.name, self.cause)  # it travels from worker processes


class MissingPart(DataError):
    """A task needs a part that the data set has not."""

    def __init__(self, dataset: str, part: str) -> None:
        super().__init__(f"the task needs {part.replace('_', ' ')}, and data set {dataset} has none")
        self.part = part


class VectorError(ClipbenchError):
    """A model gave a vector that no number may be made from."""


class Unavailable(ClipbenchError):
    """Weights or data that are not on this machine and could not be fetched."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is not known: the nearest known name, or the names themselves.

    Example:
        >>> did_you_mean("zero_shot", ["zero-shot", "retrieval"])
        "did you mean 'zero-shot'?"
        >>> did_you_mean("xyz", ["b", "a"])
        'known: a, b'
    """
    names = sorted(known)
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    more = f", ... ({len(names)} in all)" if len(names) > 30 else ""
    return f"known: {', '.join(names[:30]) or 'none'}{more}"

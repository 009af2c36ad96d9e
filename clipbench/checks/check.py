"""A check: a function from what is examined to an outcome, and a sentence on why it matters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from clipbench.results.record import FindingStatus

if TYPE_CHECKING:
    from clipbench.checks.subject import Subject


class CheckOutcome(NamedTuple):
    """The answer of a check."""

    status: FindingStatus
    seen: str
    """An observation, or the reason why none could be made."""
    mend: str = ""
    """Advice."""


def healthy(seen: str) -> CheckOutcome:
    """Return that all is well, and what shows it."""
    return CheckOutcome("ok", seen)


def warning(seen: str, mend: str) -> CheckOutcome:
    """Return that something may be wrong."""
    return CheckOutcome("warning", seen, mend)


def fault(seen: str, mend: str) -> CheckOutcome:
    """Return that something is wrong."""
    return CheckOutcome("fault", seen, mend)


class NotExamined(Exception):
    """There is nothing to look at, such as the tokenizer of an adapter that shows none; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of ``clipbench doctor``.

    A package brings its own by the entry point ``clipbench.checks``, which names an object of this type.

    Example:
        >>> def examine(subject):
        ...     return healthy(f"{subject.info.embed_dim} dimensions")
        >>> Check(name="dimensions", why="Vectors of one dimension have no angle.", examine=examine).about
        'model'
    """

    name: str
    """Name in the output, such as ``padding``."""
    why: str
    """Why it matters, in a sentence."""
    examine: "Callable[[Subject], CheckOutcome]"
    """Gives the outcome, or raises NotExamined."""
    about: Literal["model", "data"] = "model"
    """Checks of data are made where there are some."""
    needs_model: bool = True
    """False for a check that vectors suffice for, whatever made them."""
    is_quick: bool = False
    """Made before every run too: costs less than encoding a few images and texts."""

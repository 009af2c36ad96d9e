"""Words on a page: names and phrases that cannot turn the direction of the text around them."""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from clipbench.results.short_names import NAME_LENGTH

Member = TypeVar("Member")

_KEEPS_NAMES = ContextVar("keeps names", default=False)

NO_REASON = "no reason was recorded"


def sentence_case(words: str) -> str:
    """Return words with a capital at the start, and the rest as it is.

    Example:
        >>> sentence_case("kind of object"), sentence_case("")
        ('Kind of object', '')
    """
    return words[:1].upper() + words[1:]


def slug(words: str) -> str:
    """Return words as an address has them, like the addresses of headings on a Markdown site.

    Example:
        >>> slug("An overlay decides")
        'an-overlay-decides'
    """
    return re.sub(r"[^a-z0-9]+", "-", words.casefold())


def shorten(words: str, length: int) -> str:
    """Return words cut to a length, with an ellipsis where some are lost.

    Example:
        >>> shorten("a very long name", 7)
        'a very…'
    """
    return words if _fits(words, length) else words[: length - 1].rstrip() + "…"


@contextmanager
def whole_names() -> Iterator[None]:
    """Have ``shorten``, ``two_lines`` and the names of models stay whole: a figure of a paper gets higher instead.

    Example:
        >>> with whole_names():
        ...     shorten("a very long name", 7)
        'a very long name'
    """
    token = _KEEPS_NAMES.set(True)
    try:
        yield
    finally:
        _KEEPS_NAMES.reset(token)


def keeps_names() -> bool:
    """Return whether names stay whole, as in a figure of a paper."""
    return _KEEPS_NAMES.get()


def _fits(words: str, length: int) -> bool:
    return len(words) <= length or keeps_names()


def two_lines(name: str, length: int) -> str:
    """Return a name in at most two lines of ``length`` characters."""
    lines = textwrap.wrap(name, length) or [""]
    return "\n".join([lines[0], shorten(" ".join(lines[1:]), length)][: len(lines)])


def quoted(name: str) -> str:
    """Return a name in quotes for a sentence, shortened if it is long.

    Example:
        >>> quoted("a photo of a {c}")
        '“a photo of a {c}”'
    """
    return f"“{isolated(shorten(name, NAME_LENGTH))}”"


def isolated(name: str) -> str:
    r"""Return a name that cannot turn the direction of the sentence around it.

    Example:
        >>> isolated("cube"), isolated("\u202eebuc") == "\N{FIRST STRONG ISOLATE}\u202eebuc\N{POP DIRECTIONAL ISOLATE}"
        ('cube', True)
    """
    return name if name.isascii() else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def interleave(members: Sequence[Member], owner: Callable[[Member], object]) -> list[Member]:
    """Return members so that the first of each owner comes before the second of any, otherwise in their order.

    Example:
        >>> interleave(["a1", "a2", "b1"], lambda member: member[0])
        ['a1', 'b1', 'a2']
    """
    counts = Counter[object]()
    rounds = []
    for member in members:
        counts[owner(member)] += 1
        rounds.append(counts[owner(member)])
    return [members[at] for at in sorted(range(len(members)), key=rounds.__getitem__)]

"""The interface of an export format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clipbench.results.run import Run


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Runs written in a format."""

    content: bytes
    """The content of one file."""
    parts: Mapping[str, bytes] = field(default_factory=dict)
    """The same content as files of a folder, by name, where the format has that form."""
    notes: Sequence[str] = ()
    """Values and evaluations that the format has no place for, with the reasons."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way to write runs down."""

    summary: str
    """One line for the help."""
    suffixes: tuple[str, ...]
    """Suffixes of its files, the usual one first."""
    render: Callable[[Sequence[Run]], Rendered]
    is_text: bool = True
    has_slices: bool = False
    """True where metrics by the groups of the data have a place."""
    takes_folder: bool = False
    """True when ``Rendered.parts`` may be written to a folder."""

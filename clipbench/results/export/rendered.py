"""What a format makes of runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clipbench.results.run import Run


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Runs in a format."""

    content: bytes
    """One file."""
    parts: Mapping[str, bytes] = field(default_factory=dict)
    """The same as files of a folder, by name, where the format has that form."""
    notes: Sequence[str] = ()
    """What the format has no place for."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way to write runs down."""

    summary: str
    """One line for the help."""
    suffixes: tuple[str, ...]
    """Of its files, the usual one first."""
    render: Callable[[Sequence[Run]], Rendered]
    is_text: bool = True
    takes_folder: bool = False
    """Whether ``Rendered.parts`` may be asked for."""

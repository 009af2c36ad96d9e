"""Work that is split into shards: done by this process alone, or by all processes of a command together.

Whoever has such work asks for ``processes()`` and shares it. What the processes are, and how they find each other, is in
``clipbench.distributed``; this module imports nothing heavy, so that metrics may share their work too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

Work = Callable[[Iterator[range]], Iterator[Result]]
"""Takes ranges of rows when it is ready for them, and yields one result for each, in order. What it has yielded is safe:
it is stored, or in the result itself."""


class Processes:
    """This process alone; ``distributed.leader.Leader`` has others beside it."""

    n = 1
    """Processes that share work, this one among them."""
    n_here = 1
    """Those of them that share the cores of this machine."""

    def share(
        self, work: Work[Result] | None, shards: Sequence[range], here: Work[Result] | None = None
    ) -> Iterator[tuple[range, Result]]:
        """Have work done, and yield each shard with its result as they come, in any order.

        An error is raised when all shards before the one that it is of are done: the same one as in a single process.

        Args:
            work: what the other processes do; it and its results can be pickled. None where it has to stay in this process.
            shards: rows that belong together. A process takes the next one when it is ready for it.
            here: what this process does, where it has at hand what others have to load; None for the same.
        """
        return alone(work, shards, here)

    def check(self) -> None:
        """Raise MachineError where a process was lost: it may be why this one was told to end."""


def alone(
    work: Work[Result] | None, shards: Sequence[range], here: Work[Result] | None = None
) -> Iterator[tuple[range, Result]]:
    """Do all of the work in this process."""
    do = here or work
    assert do is not None, "there is no work"
    return zip(shards, do(iter(shards)), strict=True)  # strict: asks once more, so that the work ends


_current = Processes()


def processes() -> Processes:
    """Return the processes that share the work of this command."""
    return _current


@contextmanager
def sharing(group: Processes) -> Iterator[None]:
    """Share work among some processes inside the block."""
    global _current  # noqa: PLW0603  one command has one group, as torch.distributed has its default group
    before, _current = _current, group
    try:
        yield
    finally:
        _current = before


def ranges(n: int, step: int) -> list[range]:
    """Return the rows 0 to n - 1 in ranges of ``step``.

    Example:
        >>> ranges(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(start, min(start + step, n)) for start in range(0, n, step)]

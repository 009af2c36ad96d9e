"""Exchange between processes: files in a folder that all of them see, and counters that say which files are there.

Only numbers and names go over the network. Pickles are read only from a folder that this user alone can write to.
"""

import mmap
import os
import pickle
import re
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.distributed.place import Store
from clipbench.errors import MachineError, UsageError
from clipbench.parallel import Work

FOLDER = "processes"
"""Folder in the cache with one folder for each group of processes that runs."""
ADVICE = "CLIPBENCH_CACHE has to name a folder that all processes share"
_ALIGNED = 64
"""Arrays begin at multiples of so many bytes of a file."""


class Job(NamedTuple):
    """Work that is announced to the other processes."""

    work: Work[Any]
    shards: Sequence[range]


class Failure(NamedTuple):
    """An error that ended the work of one process."""

    shard: int
    """Number of the shard that it is of; -1 where the process could not begin."""
    error: BaseException
    unfinished: Sequence[int]
    """Shards that the process had taken and has not done."""
    n_taken: int
    """Shards that all processes had taken when no more were given out."""


class Report(NamedTuple):
    """Work that a process has done since its last report."""

    results: Sequence[tuple[int, Any]]
    """Numbers of shards with their results."""
    failure: Failure | None = None


class Claims:
    """The shards of one job, which all processes take from a common counter."""

    def __init__(self, store: Store, job: int, shards: Sequence[range]) -> None:
        self.shards = shards
        self.taken: list[int] = []
        """Numbers of the shards that this process has taken."""
        self._add: Callable[[int], int] = lambda amount: store.add(f"{job}/taken", amount)

    def __iter__(self) -> Iterator[range]:
        while (number := self._add(1) - 1) < len(self.shards):
            self.taken.append(number)
            yield self.shards[number]

    def stop(self) -> int:
        """Give no more shards to any process, and return how many have been taken."""
        n = len(self.shards)
        return min(self._add(n) - n, n)

    def failure(self, error: BaseException, n_done: int) -> Failure:
        """Return an error of this process as others are told it, and stop the job."""
        here = self.taken[n_done : n_done + 1] or [-1 if not self.taken else len(self.shards)]
        return Failure(here[0], error, self.taken[n_done + 1 :], self.stop())


def new_name() -> str:
    """Return the name of a new folder of a group of processes."""
    return uuid.uuid4().hex


def make_private(folder: Path) -> None:
    """Make a folder that is for this user alone.

    Raises:
        MachineError: it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise MachineError(f"cannot write to {folder}: {error.strerror or error}") from error


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of a group of processes in the cache.

    Raises:
        UsageError: it is not there, somebody else could write to it, or the name is none of ``new_name``.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", name):
        raise UsageError(f"process 0 named a folder '{name[:40]}': expected 32 hex digits")
    folder = root / FOLDER / name
    if not folder.is_dir():
        raise UsageError(f"the folder {folder}, which process 0 has made, is not seen here: {ADVICE}")
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        raise UsageError(f"the folder {folder} is not for this user alone: expected the one that process 0 has made")
    return folder


def write(path: Path, value: object) -> None:
    """Write an object to a file, its arrays as they are.

    Raises:
        UsageError: it holds what cannot be pickled.
        MachineError: the file cannot be written.
    """
    buffers: list[memoryview] = []
    try:
        head = pickle.dumps(value, protocol=5, buffer_callback=lambda each: buffers.append(each.raw()))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"the data cannot be handed to other processes ({error}): run in one process") from error
    try:
        with path.open("xb") as file:
            file.write(
                struct.pack(f"<{2 + len(buffers)}q", len(buffers), len(head), *(each.nbytes for each in buffers))
            )
            file.write(head)
            for each in buffers:
                file.write(bytes(-file.tell() % _ALIGNED))
                file.write(each)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error


def read(path: Path) -> Any:
    """Return the object in a file; its arrays are memory-mapped, so that the processes of a machine hold them once."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    n_buffers, n_head = struct.unpack_from("<2q", content)
    sizes = struct.unpack_from(f"<{n_buffers}q", content, 16)
    at = 16 + 8 * n_buffers
    head, at = content[at : at + n_head], at + n_head
    buffers = []
    for size in sizes:
        at += -at % _ALIGNED
        buffers.append(content[at : at + size])
        at += size
    return pickle.loads(head, buffers=buffers)

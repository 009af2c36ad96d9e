"""Rounds: process 0 says what is to be done, every process does its part of it, and process 0 waits for all.

The messages are in a folder of the cache that is private to this user. Only numbers and names go over the network,
through the store of torch.distributed. Nothing of it waits inside torch, so that Ctrl-C is heard at once.
"""

import os
import pickle
import re
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipbench.distributed.process_rank import ProcessRank, Store, connect
from clipbench.errors import RESUME, MachineError, UsageError

Share = Callable[[int, int], Any]
"""Does the part of one process, by its number and the number of all, and returns its outcome. It can be pickled."""

FOLDER = "processes"
"""Folder in the cache with one folder for each group of processes that runs."""
POLL_SECONDS = 0.02
LATE_SECONDS = 60.0
"""A network file system may show a new file so much later."""
BARRIER_SECONDS = 1800.0
"""Time that the others have for their shares when process 0 is done with its own."""
END_SECONDS = 15.0
"""Time that process 0 keeps the store for the others when all is done."""
DAY_SECONDS = 86_400.0


class SingleProcess:
    """This process, without others."""

    n = 1
    """Processes that share work, this one among them."""
    n_here = 1
    """Processes among these that share the cores of this machine."""


class Rounds(SingleProcess):
    """Process 0 and the processes that share its work."""

    def __init__(self, process: ProcessRank, store: Store, folder: Path) -> None:
        self.n, self.n_here = process.n, process.n_local
        self._store, self._folder = store, folder
        self._number = 0

    def run_shares(self, share: Share, own_share: Share) -> list[Any]:
        """Run a share in every process, and return their results in the order of ranks.

        Args:
            share: of the other processes.
            own_share: of this one, which may have at hand what the others have to load.

        Raises:
            MachineError: a process did not answer in time.
        """
        self._number += 1
        file = self._folder / f"{self._number}.share"
        _write(file, share)
        self._store.add("rounds", 1)
        answers = [own_share(0, self.n), *map(self._answer, range(1, self.n))]
        file.unlink(missing_ok=True)
        return answers

    def _answer(self, rank: int) -> Any:
        until = time.monotonic() + BARRIER_SECONDS
        while not self._store.check([f"{self._number}/{rank}"]):
            if time.monotonic() > until:
                raise MachineError(f"process {rank} of {self.n} has not answered for {BARRIER_SECONDS:.0f} s: {RESUME}")
            time.sleep(POLL_SECONDS)
        return _read(self._folder / f"{self._number}-{rank}.done")


_current = SingleProcess()


def current_rounds() -> SingleProcess:
    """Return the group of processes that share the work of this command."""
    return _current


@contextmanager
def lead_rounds(process: ProcessRank, root: Path) -> Iterator[None]:
    """Share the work of this process, rank 0, with the other processes inside the block."""
    global _current  # noqa: PLW0603  one command has one group, as torch.distributed has its default group
    folder = _new_folder(root / FOLDER)
    try:
        store = connect(process)
        rounds = Rounds(process, store, folder)
        store.set("folder", folder.name)
        previous, _current = _current, rounds
        try:
            yield
        finally:
            _current = previous
            store.set("end", "1")
            until = time.monotonic() + (0 if process.has_agent else END_SECONDS)
            while time.monotonic() < until and store.add("gone", 0) < process.n - 1:
                time.sleep(POLL_SECONDS)  # the store goes with this process: the others have to see the end of it
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve_rounds(process: ProcessRank, root: Path) -> None:
    """Run the shares of this process until process 0 ends.

    Raises:
        UsageError: the cache differs from the cache of process 0.
    """
    import torch.distributed as dist

    global _current  # noqa: PLW0603
    _current = SingleProcess()
    _current.n_here = process.n_local
    store = connect(process)
    with suppress(dist.DistError):  # the store is gone, and with it process 0, or torchrun, which says so
        while not store.check(["folder"]):
            time.sleep(POLL_SECONDS)
        folder, number = _folder(root, store.get("folder").decode()), 0
        while not store.check(["end"]):
            if store.add("rounds", 0) == number:
                time.sleep(POLL_SECONDS)
                continue
            number += 1
            _write(folder / f"{number}-{process.rank}.done", _read(folder / f"{number}.share")(process.rank, process.n))
            store.set(f"{number}/{process.rank}", "1")
        store.add("gone", 1)


def picklable_error(error: BaseException) -> BaseException:
    """Return an error that can be pickled, unchanged if possible."""
    text = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    error.add_note(f"In another process:\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error of a library may hold anything  # noqa: BLE001
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _new_folder(parent: Path) -> Path:
    folder = parent / uuid.uuid4().hex
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        for old in parent.iterdir():
            if time.time() - old.stat().st_mtime > DAY_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise MachineError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def _folder(root: Path, name: str) -> Path:
    folder = root / FOLDER / name
    until = time.monotonic() + LATE_SECONDS
    while not (re.fullmatch(r"[0-9a-f]{32}", name) and folder.is_dir()):
        if time.monotonic() > until:
            raise UsageError(
                f"the folder {folder}, which process 0 has made, is not visible here: set CLIPBENCH_CACHE to"
                " a folder that all processes share"
            )
        time.sleep(POLL_SECONDS)
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
        raise UsageError(
            f"the folder {folder} is not private to this user: expected the folder that process 0 has made"
        )
    return folder


def _write(path: Path, value: object) -> None:
    half = path.with_suffix(".half")
    try:
        half.write_bytes(pickle.dumps(value))
        half.rename(path)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"the data cannot be passed to other processes ({error}): run in one process") from error
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error


def _read(path: Path) -> Any:
    until = time.monotonic() + LATE_SECONDS
    while True:
        with suppress(FileNotFoundError):
            return pickle.loads(path.read_bytes())
        if time.monotonic() > until:
            raise MachineError(
                f"{path}, which another process has written, is not visible here: choose a folder that"
                f" all processes share"
            )
        time.sleep(POLL_SECONDS)

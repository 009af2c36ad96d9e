"""Process 0: it runs the command, and has the others do their part of what is much."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from clipbench.distributed.exchange import FOLDER, Claims, Failure, Job, Report, make_private, new_name, read, write
from clipbench.distributed.launch import END_SECONDS, Launched
from clipbench.distributed.place import Place, Store, connect
from clipbench.distributed.watch import Watch
from clipbench.errors import FOREIGN, MachineError, UsageError
from clipbench.files import alone_in
from clipbench.parallel import Processes, Work, alone, sharing

Result = TypeVar("Result")

POLL_SECONDS = 0.02
LATE_SECONDS = 60.0
"""A network file system may show a new file so much later."""


class Leader(Processes):
    """Process 0 with the others beside it.

    A job goes to a file, and the processes take its shards one by one, each as fast as it is. They join when they are
    ready: one that comes late finds less to do, and one that never comes is not waited for.
    """

    def __init__(self, place: Place, store: Store, folder: Path, watch: Watch) -> None:
        self.n, self.n_here = place.n, place.n_local
        self._place, self._store, self._folder, self._watch = place, store, folder, watch
        self.n_jobs = 0
        """Pieces of work that were shared so far; each has the next number."""

    def share(
        self, work: Work[Result] | None, shards: Sequence[range], here: Work[Result] | None = None
    ) -> Iterator[tuple[range, Result]]:
        """Share work with the other processes, as ``Processes.share`` says.

        Raises:
            MachineError: a process was lost.
        """
        if work is None or len(shards) < 2:
            yield from alone(work, shards, here)
            return
        self._announce(Job(work, shards))
        claims, reports = Claims(self._store, self.n_jobs, shards), _Reports(self._store, self._folder, self.n_jobs)
        done, n_own, failures = set[int](), 0, list[Failure]()
        try:
            own = iter((here or work)(iter(claims)))
            while True:
                try:  # around this process's own work alone: a report that cannot be read is no failure of a shard
                    result = next(own)
                except StopIteration:
                    break
                except FOREIGN as error:
                    failures.append(claims.failure(error, n_own))
                    break
                number, n_own = claims.taken[n_own], n_own + 1
                done.add(number)
                yield shards[number], result
                for number, other in reports.arrived(failures):
                    done.add(number)
                    yield shards[number], other
            while not _is_settled(len(shards), done, failures):
                self.check()
                for number, other in reports.arrived(failures):
                    done.add(number)
                    yield shards[number], other
                time.sleep(POLL_SECONDS)
            if failures:
                raise min(failures, key=lambda each: each.shard).error
        finally:
            claims.stop()

    def _announce(self, job: Job) -> None:
        """Put a job where the others find it, and remove the jobs that they are done with."""
        write(self._folder / f"{self.n_jobs + 1}.job", job)
        self.n_jobs += 1
        self._store.add("jobs", 1)
        at = [self._store.add(f"at/{rank}", 0) for rank in range(1, self.n)]
        for path in self._folder.glob("*.job"):
            if int(path.stem) < min((job for job in at if job), default=self.n_jobs):
                path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise what keeps another process from joining, and MachineError where one is gone."""
        for rank in range(1, self.n):  # first: a process that has refused is gone too
            if self._store.check([f"refused/{rank}"]):
                raise UsageError(self._store.get(f"refused/{rank}").decode())
        if (lost := self._watch.killed()) is not None:
            raise MachineError(f"{lost}: what was encoded is stored, and the same command goes on from there")

    def end(self) -> None:
        """Let the other processes go; wait for them where this one keeps the store that they would miss."""
        self._watch.stop()
        self._store.set("end", "1")
        until = time.monotonic() + END_SECONDS
        while self._watch.launched is None and not self._place.has_agent and time.monotonic() < until:
            joined = [rank for rank in range(1, self.n) if self._store.add(f"at/{rank}", 0)]
            if all(self._store.add(f"gone/{rank}", 0) for rank in joined):
                break
            time.sleep(POLL_SECONDS)


class _Reports:
    """Reports of the other processes on one job."""

    def __init__(self, store: Store, folder: Path, job: int) -> None:
        self._store, self._folder, self._job = store, folder, job
        self._n_read = 0

    def arrived(self, failures: list[Failure]) -> Iterator[tuple[int, Any]]:
        """Yield results that are new, and add failures to those known."""
        while self._store.check([f"{self._job}/report/{self._n_read + 1}"]):
            self._n_read += 1
            path = self._folder / f"{self._job}-{self._n_read}.report"
            report: Report = read_late(path)
            path.unlink(missing_ok=True)
            if report.failure is not None:
                failures.append(report.failure)
            yield from report.results


@contextmanager
def leading(place: Place, root: Path, launched: Launched | None = None) -> Iterator[None]:
    """Share the work of this process, number 0, with the others inside the block.

    Args:
        root: the cache, which all processes share.

    Raises:
        MachineError: a process was lost, in whatever way that was noticed.
    """
    with _own_folder(root / FOLDER) as folder:
        store = connect(place, None if launched is None else launched.listener)
        store.set("folder", folder.name)
        watch = Watch(place, store, launched)
        leader = Leader(place, store, folder, watch)
        watch.start()
        try:
            with sharing(leader):
                yield
        except KeyboardInterrupt:
            leader.check()
            raise
        finally:
            leader.end()
            shutil.rmtree(folder, ignore_errors=True)


def read_late(path: Path) -> Any:
    """Return the object in a file that another process has written, which a network file system may show late."""
    until = time.monotonic() + LATE_SECONDS
    while True:
        try:
            return read(path)
        except FileNotFoundError:
            if time.monotonic() > until:
                raise MachineError(f"{path}, which another process has written, is not seen here") from None
            time.sleep(POLL_SECONDS)


def _is_settled(n: int, done: set[int], failures: Sequence[Failure]) -> bool:
    """Return whether nothing more will come: all is done, or what was taken before a failure."""
    if not failures:
        return len(done) == n
    ended = {number for each in failures for number in (each.shard, *each.unfinished)}
    return not set(range(min(each.n_taken for each in failures))) - done - ended


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """Hold a new folder that is for this user alone; those that nobody holds any more are removed before.

    Commands that begin at once do so one after the other: a folder that is made and not yet held looks abandoned.
    """
    folder = parent / new_name()
    with ExitStack() as held:
        with alone_in(parent, wait=lambda: None):
            _remove_abandoned(parent)
            make_private(folder)
            held.enter_context(alone_in(folder))
        yield folder


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of groups whose process 0 was killed: nobody holds them."""
    for folder in parent.glob("*") if parent.is_dir() else ():
        with suppress(UsageError, OSError), alone_in(folder):
            shutil.rmtree(folder, ignore_errors=True)

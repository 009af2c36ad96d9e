"""The other processes: each does its part of the jobs that process 0 announces, until that lets it go."""

import pickle
import time
import traceback
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from clipbench.distributed.exchange import Claims, Job, Report, folder_of, write
from clipbench.distributed.leader import read_late
from clipbench.distributed.place import Place, Store, connect
from clipbench.distributed.watch import Watch
from clipbench.errors import FOREIGN, UsageError
from clipbench.parallel import Processes, sharing

POLL_SECONDS = 0.02
REPORT_SECONDS = 0.5
"""Results are told at most so often."""
FOLDER_SECONDS = 60.0
"""A network file system may show the folder of process 0 so much later."""


def work_for_leader(place: Place, root: Path) -> bool:
    """Do what process 0 announces, and return True when it lets this one go, False when it is gone or this one has to end.

    Args:
        root: the cache, which all processes share.
    """
    store = connect(place)
    watch = Watch(place, store)
    watch.start()
    beside = Processes()
    beside.n_here = place.n_local
    try:
        try:
            with sharing(beside):
                _serve(place, store, root)
        except KeyboardInterrupt:
            store.add(f"gone/{place.rank}", 1)
            return False
    except RuntimeError as error:
        if not _is_of_store(error):
            raise
        return False
    finally:
        watch.stop()
    return True


def _serve(place: Place, store: Store, root: Path) -> None:
    while not store.check(["folder"]):
        time.sleep(POLL_SECONDS)
    folder = _folder(place, store, root)
    store.add(f"at/{place.rank}", 1)  # first: from here on no job is removed that this process may read
    number = max(1, store.add("jobs", 0))
    store.add(f"at/{place.rank}", number - 1)
    while folder is not None and not store.check(["end"]):
        if store.add("jobs", 0) < number:
            time.sleep(POLL_SECONDS)
            continue
        _do(store, folder, number)
        number += 1
        store.add(f"at/{place.rank}", 1)
    store.add(f"gone/{place.rank}", 1)


def _folder(place: Place, store: Store, root: Path) -> Path | None:
    """Return the folder of the processes, None where this one does not see it: process 0 is told."""
    until = time.monotonic() + FOLDER_SECONDS
    while True:
        try:
            return folder_of(root, store.get("folder").decode())
        except UsageError as error:
            if store.check(["end"]):
                return None
            if time.monotonic() > until:
                store.set(f"refused/{place.rank}", f"process {place.rank} of {place.n}: {error}")
                return None
            time.sleep(POLL_SECONDS)


def _do(store: Store, folder: Path, number: int) -> None:
    """Take shards of a job as long as there are some, and tell process 0 the results, or the error that ended it."""
    job: Job = read_late(folder / f"{number}.job")
    claims = Claims(store, number, job.shards)
    results: list[tuple[int, Any]] = []
    n_done, told = 0, time.monotonic()

    def tell(failure: Any = None) -> None:
        if results or failure is not None:
            place = store.add(f"{number}/reports", 1)
            write(folder / f"{number}-{place}.report", Report(list(results), failure))
            store.set(f"{number}/report/{place}", "1")
            results.clear()

    try:
        with closing(_generator(job, claims)) as work:
            for result in work:
                results.append((claims.taken[n_done], result))
                n_done += 1
                if time.monotonic() - told > REPORT_SECONDS:
                    tell()
                    told = time.monotonic()
        tell()
    except FOREIGN as error:
        if _is_of_store(error):
            raise
        tell(claims.failure(_portable(error), n_done))


def _generator(job: Job, claims: Claims) -> Generator[Any]:
    yield from job.work(iter(claims))


def _portable(error: BaseException) -> BaseException:
    """Return an error that can go to another process, as it is if that is possible."""
    text = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    error.add_note(f"In another process:\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error of a library may hold anything  # noqa: BLE001
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _is_of_store(error: BaseException) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError)

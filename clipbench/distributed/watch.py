"""Watching over the other processes: one that is killed ends the command within seconds, and nothing is left behind."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterable

from clipbench.distributed.launch import END_SECONDS, Launched
from clipbench.distributed.place import Place, Store

EVERY_SECONDS = 0.5
SILENT_SECONDS = 30.0
"""A process of another machine that shows no sign of life for so long is gone: a library may hold Python's lock that long."""


class Watch(threading.Thread):
    """Shows the others that this process lives, and ends it as SIGTERM does where it cannot go on without one of them.

    Process 0 needs all that have joined; each of the others needs process 0 and whatever has started it.
    """

    def __init__(self, place: Place, store: Store, launched: Launched | None = None) -> None:
        super().__init__(daemon=True)
        self.place, self.store, self.launched = place, store, launched
        self.lost: str | None = None
        """The process that is gone, and how it ended as far as that is known."""
        self._over = threading.Event()
        self._parent = os.getppid()
        self._beats: dict[int, tuple[int, float]] = {}
        store.set(f"who/{place.rank}", f"{socket.gethostname()} {os.getpid()} {self._parent}")

    def run(self) -> None:
        from torch.distributed import DistError

        while not self._over.wait(EVERY_SECONDS):
            try:
                self.store.add(f"beat/{self.place.rank}", 1)
                lost = self.look()
            except DistError:
                lost = "process 0 is gone"  # it, or torchrun, keeps the store
            if lost is not None and not self._over.is_set():
                self.lost = lost
                break
        if self.lost is not None:
            os.kill(os.getpid(), signal.SIGTERM)
            if self.place.rank and not self._over.wait(END_SECONDS):
                os._exit(1)  # what it does cannot be interrupted

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def look(self) -> str | None:
        """Return which process is gone, None while all are there that this one needs."""
        if self.place.rank:
            return "its parent is gone" if os.getppid() != self._parent else self._silent([0])
        if self.launched is not None:
            return self.launched.lost()
        return self._gone(range(1, self.place.n)) or self._silent(range(1, self.place.n))

    def killed(self) -> str | None:
        """Return which process is gone and did not end in order, for one that was told to end itself: was it for that?"""
        if self.lost is not None:
            return self.lost
        ranks = [rank for rank in range(1, self.place.n) if not self.store.add(f"gone/{rank}", 0)]
        return self.launched.lost(ranks) if self.launched is not None else self._gone(ranks)

    def _gone(self, ranks: Iterable[int]) -> str | None:
        """Return which process is gone of those that the same torchrun has started."""
        for rank in ranks:
            if self.store.check([f"who/{rank}"]):
                host, pid, parent = self.store.get(f"who/{rank}").decode().split()
                if (host, int(parent)) == (socket.gethostname(), self._parent) and not _is_there(int(pid)):
                    return f"process {rank} of {self.place.n} was killed"
        return None

    def _silent(self, ranks: Iterable[int]) -> str | None:
        now = time.monotonic()
        for rank in ranks:
            beat = self.store.add(f"beat/{rank}", 0)
            known, since = self._beats.get(rank, (-1, now))
            if beat != known:
                self._beats[rank] = (beat, now)
            elif beat > 0 and now - since > SILENT_SECONDS:
                return f"process {rank} of {self.place.n} has been silent for {SILENT_SECONDS:.0f} s"
        return None


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True

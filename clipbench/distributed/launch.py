"""Start the other processes of a command on this machine, which is process 0 itself, and end them with it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import IO

from clipbench.distributed.place import DEVICE, END_SECONDS, PARENT, QUIET, Place
from clipbench.errors import UsageError
from clipbench.metrics.threads import limited_threads

NUMPY_THREADS = "OPENBLAS_NUM_THREADS"
"""The variable by which numpy's products take a number of threads of their own."""


def chosen_devices(device: str) -> list[str]:
    """Return the device of each process that ``--device`` asks for, one process each.

    Args:
        device: one device, several with commas between them, or ``all``.

    Raises:
        UsageError: there are no such devices, or one GPU is named twice.

    Example:
        >>> chosen_devices("cpu"), chosen_devices("cpu,cpu")
        (['cpu'], ['cpu', 'cpu'])
    """
    names = [name.strip() for name in device.split(",")]
    if names == ["all"]:
        return _all_devices()
    if len(names) == 1:
        return names
    import torch

    n_gpus = torch.cuda.device_count()  # touches none: they can still be hidden from this process
    for name in names:
        kind, _, index = name.partition(":")
        if name != "cpu" and not (kind == "cuda" and index.isdecimal() and int(index) < n_gpus):
            there = "is 1 CUDA device" if n_gpus == 1 else f"are {n_gpus} CUDA devices"
            raise UsageError(
                f"--device {device} names '{name}', and there {there} here: expected names such as cuda:0,cuda:1, or"
                " cpu,cpu for two processes"
            )
    if len(set(names)) not in (len(names), 1) or (len(set(names)) == 1 and names[0] != "cpu"):
        raise UsageError(f"--device {device} names a device twice: expected one process for each")
    return names


def _all_devices() -> list[str]:
    import torch

    n_gpus = torch.cuda.device_count()
    return [f"cuda:{index}" for index in range(n_gpus)] or ["auto"]


@dataclass
class Launched:
    """The other processes of this machine, and the place of this one among them."""

    place: Place
    listener: int
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    errors: list[IO[bytes]] = field(default_factory=list)
    """The standard error of each."""

    def lost(self, ranks: Collection[int] | None = None) -> str | None:
        """Return which of the processes, or of some of them, has ended, and how; None while all are there."""
        for rank, other in enumerate(self.others, 1):
            status = other.poll()
            if status is not None and (ranks is None or rank in ranks):
                return f"process {rank} of {self.place.n} {self._how(rank, status)}"
        return None

    def _how(self, rank: int, status: int) -> str:
        if status < 0:
            return f"was killed ({signal.Signals(-status).name}), as systems do that run out of memory"
        file = self.errors[rank - 1]
        file.seek(0)
        lines = file.read().decode(errors="replace").strip().splitlines()
        return f"has ended with status {status}" + (f" ({lines[-1].removeprefix('clipbench: ')})" if lines else "")


@contextmanager
def launched(command: Sequence[str], devices: Sequence[str]) -> Iterator[Launched]:
    """Start a command once more for each device but the first, which is for this process; end them with the block.

    Args:
        command: arguments of ``clipbench``.
        devices: of all processes, that of this one first.
    """
    # A socket for this machine alone: torch's own store would listen to the whole network.
    listener = socket.create_server(("127.0.0.1", 0))
    place = Place(
        rank=0,
        n=len(devices),
        local_rank=0,
        n_local=len(devices),
        address="127.0.0.1",
        port=listener.getsockname()[1],
        device=devices[0],
    )
    group = Launched(place, listener.detach())
    try:
        for rank in range(1, place.n):
            errors = tempfile.TemporaryFile()  # noqa: SIM115  read as long as the process lives
            group.errors.append(errors)
            group.others.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "clipbench", *command],
                    env={**os.environ, **_variables(place, rank, devices[rank])},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C is for process 0, which then ends the others
                )
            )
        with _own_share_of_threads(place.n_local):
            yield group
    finally:
        _end(group.others)
        for file in group.errors:
            file.close()


def threads(n_local: int) -> int:
    """Return the threads of each of several processes of this machine: together they have a thread for each core."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores // n_local)


@contextmanager
def _own_share_of_threads(n_local: int) -> Iterator[None]:
    """Let torch and numpy take as many threads in this process as in the others, where no variable says how many."""
    import torch

    before = torch.get_num_threads()
    is_free = "OMP_NUM_THREADS" not in os.environ
    if is_free:
        torch.set_num_threads(threads(n_local))
    try:
        with limited_threads(threads(n_local)) if is_free and NUMPY_THREADS not in os.environ else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def _variables(place: Place, rank: int, device: str) -> Mapping[str, str]:
    """Return what torchrun tells a process in its environment, and its device."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(place.n),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(place.n_local),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads(place.n_local))),
        DEVICE: device,
        PARENT: str(os.getpid()),
        **QUIET,
    }


def _end(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes: those that are asked put away their work first, and what does not is killed with its children."""
    for other in others:
        if other.poll() is None:
            other.terminate()
    for other in others:
        with suppress(subprocess.TimeoutExpired):
            other.wait(END_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(other.pid, signal.SIGKILL)
        other.wait()

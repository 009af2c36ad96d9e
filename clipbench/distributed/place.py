"""The place of a process among those that run one command, its device, and the start of the others on this machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import IO, Any, Self

from clipbench.errors import UsageError

DEVICE = "CLIPBENCH_PROCESS_DEVICE"
"""The variable in which ``launched`` tells a process its device."""
PARENT = "CLIPBENCH_PROCESS_PARENT"
"""The variable in which it tells it the process that has started it."""
WATCH_SECONDS = 0.5
CONNECT_SECONDS = 10.0
END_SECONDS = 15.0
"""Time that a process has to put away its work when it is asked to end."""
ADVICE = "start it with torchrun or several devices, or unset RANK to run alone"
VISIBLE = "CUDA_VISIBLE_DEVICES"
QUIET = {"TORCH_CPP_LOG_LEVEL": "FATAL"}
"""Variables that keep torch from printing a stack where a process finds the others gone."""


Store = Any
"""A store of torch.distributed: only what does not wait is asked of it, so that threads can share it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place of this process among all, and the address at which process 0 can be reached."""

    rank: int
    """Number among all processes, from 0."""
    n: int
    """Processes on all machines."""
    local_rank: int
    """Number among those of this machine."""
    n_local: int
    """Processes on this machine."""
    address: str
    port: int
    attempt: int = 0
    """Times that torchrun has started the processes anew."""
    has_agent: bool = False
    """True where torchrun keeps the store of counters, else process 0 does."""
    device: str | None = None
    """The device that this process was told to take."""

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the place that torchrun or ``launched`` gave to this process, None where it runs alone; raise
        UsageError where a variable is missing or no number."""
        if "RANK" not in variables:
            return None
        rank, n = _number(variables, "RANK"), _number(variables, "WORLD_SIZE")
        if not 0 <= rank < n:
            raise UsageError(f"RANK is {rank} of WORLD_SIZE {n}: expected 0 to {n - 1}; {ADVICE}")
        if "MASTER_ADDR" not in variables:
            raise UsageError(f"RANK is set, and MASTER_ADDR is not: {ADVICE}")
        return cls(
            rank=rank,
            n=n,
            local_rank=_number(variables, "LOCAL_RANK", rank),
            n_local=_number(variables, "LOCAL_WORLD_SIZE", n),
            address=variables["MASTER_ADDR"],
            port=_number(variables, "MASTER_PORT"),
            attempt=_number(variables, "TORCHELASTIC_RESTART_COUNT", 0),
            has_agent=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            device=variables.get(DEVICE),
        )

    def take_device(self, given: str) -> None:
        """Let this process see its own GPU alone, where it will use one; call it before anything uses CUDA.

        Threads and the user's own code may take "cuda", or make tensors on it: so it has to mean one device.

        Raises:
            UsageError: there is no GPU for this process, or all processes would take the same one.
        """
        kind, _, number = given.partition(":")
        if self.device is None and (number or "," in given):
            raise UsageError(
                f"--device {given} is told to {self.n} processes, which torchrun has started: give --device"
                f" {kind.partition(',')[0]}"
            )
        kind = "cuda" if given == "all" or "," in given else kind
        own = self.device or f"cuda:{self.local_rank}"
        if kind not in ("auto", "cuda") or not own.startswith("cuda:"):
            return
        index, seen = int(own.removeprefix("cuda:")), os.environ.get(VISIBLE)
        names = seen.split(",") if seen else [str(number) for number in range(_n_gpus(self.n_local))]
        if index < len(names):
            os.environ[VISIBLE] = names[index]
        elif len(names) > 1:  # of one, whatever started the processes has given each its own
            raise UsageError(f"{self.n_local} processes for {len(names)} GPUs: expected one process for each")


def end_with_parent() -> None:
    """End this process when what has started it is gone, from now on; call it first, before anything heavy is
    imported.
    """
    parent = int(os.environ.get(PARENT, os.getppid()))
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)  # what it has in hand is stored
    time.sleep(END_SECONDS)
    os._exit(1)  # what it does cannot be interrupted


def connect(place: Place, listener: int | None = None) -> Store:
    """Return the store of counters through which the processes find each other.

    Args:
        listener: handle of a socket that listens at the place's port, for process 0 where it has made one.

    Raises:
        UsageError: process 0 cannot be reached.
    """
    import torch.distributed as dist

    is_host = place.rank == 0 and not place.has_agent
    try:
        if place.has_agent:  # it was there first: where it is gone, torch would try to reach it for a minute
            socket.create_connection((place.address, place.port), timeout=CONNECT_SECONDS).close()
        store = dist.TCPStore(  # type: ignore[attr-defined]
            place.address,
            place.port,
            None,
            is_host,
            wait_for_workers=False,
            multi_tenant=listener is None,
            master_listen_fd=listener,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"process {place.rank} of {place.n} finds no process 0 at {place.address}:{place.port}: {ADVICE}"
        ) from error
    return dist.PrefixStore(f"clipbench/{place.attempt}", store)  # type: ignore[attr-defined]


def _n_gpus(n_processes: int) -> int:
    """Return how many GPUs are here without touching any; without one, as many as there are processes: nothing is
    seen.
    """
    import torch

    n = torch.cuda.device_count()
    if 0 < n < n_processes:
        raise UsageError(
            f"{n_processes} processes for {n} {'GPU' if n == 1 else 'GPUs'}: expected one process for each"
        )
    return n or n_processes


def _number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UsageError(f"RANK is set, and {name} is {text or 'not'}: expected a number; {ADVICE}")
    return int(text)


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
    if len(names) == 1 and names != ["all"]:
        return names
    import torch

    n_gpus = torch.cuda.device_count()  # touches none: they can still be hidden from this process
    if names == ["all"]:
        return [f"cuda:{index}" for index in range(n_gpus)] or ["auto"]
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


@dataclass
class Launched:
    """The other processes of this machine, and the place of this one among them."""

    place: Place
    listener: int
    others: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = field(default_factory=list)
    """Each with its standard error."""

    def lost(self) -> str | None:
        """Return which of the processes has ended, and how; None while all are there."""
        for rank, (other, file) in enumerate(self.others, 1):
            status, name = other.poll(), f"process {rank} of {self.place.n}"
            if status is None:
                continue
            if status < 0:
                return f"{name} was killed ({signal.Signals(-status).name}), as systems do that run out of memory"
            file.seek(0)
            lines = file.read().decode(errors="replace").strip().splitlines()
            said = f" ({lines[-1].removeprefix('clipbench: ')})" if lines else ""
            return f"{name} has ended with status {status}{said}"
        return None


@contextmanager
def launched(command: Sequence[str], devices: Sequence[str]) -> Iterator[Launched]:
    """Start a command once more for each device but the first, which is for this process; end them with the block.

    Args:
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
            other = subprocess.Popen(
                [sys.executable, "-P", "-m", "clipbench", *command],
                env={
                    **os.environ,
                    "RANK": str(rank),
                    "WORLD_SIZE": str(place.n),
                    "LOCAL_RANK": str(rank),
                    "LOCAL_WORLD_SIZE": str(place.n),
                    "MASTER_ADDR": place.address,
                    "MASTER_PORT": str(place.port),
                    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads(place.n))),
                    DEVICE: devices[rank],
                    PARENT: str(os.getpid()),
                    **QUIET,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for process 0, which then ends the others
            )
            group.others.append((other, errors))
        with _own_share_of_threads(place.n_local):
            yield group
    finally:
        _end([other for other, _ in group.others])
        for _, file in group.others:
            file.close()


def threads(n_local: int) -> int:
    """Return the threads of each of several processes of this machine: together they have a thread for each core."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores // n_local)


@contextmanager
def _own_share_of_threads(n_local: int) -> Iterator[None]:
    """Let torch and numpy take as many threads in this process as in the others, where no variable says how many."""
    import torch

    from clipbench.metrics.threads import limited_threads

    before = torch.get_num_threads()
    is_free = "OMP_NUM_THREADS" not in os.environ
    if is_free:
        torch.set_num_threads(threads(n_local))
    try:
        with limited_threads(threads(n_local)) if is_free and NUMPY_THREADS not in os.environ else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def _end(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes: those that are asked put away their work first, and what does not is killed with its children."""
    for other in others:
        if other.poll() is None:
            other.terminate()
    for other in others:
        with suppress(subprocess.TimeoutExpired):
            other.wait(END_SECONDS)
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(other.pid, signal.SIGKILL)
        else:
            other.kill()
        other.wait()

"""The place of a process among those that run one command, as torchrun tells it, and the device that it takes."""

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from clipbench.errors import UsageError

DEVICE = "CLIPBENCH_PROCESS_DEVICE"
"""The variable in which ``launch`` tells a process its device."""
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


class Store(Protocol):
    """The store of torch.distributed, as far as it is used: nothing of it waits, so that threads can share it."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to a counter, 0 where there is none yet, and return its value."""

    def set(self, key: str, value: str, /) -> None: ...

    def get(self, key: str, /) -> bytes:
        """Return a value; it has to be there."""

    def check(self, keys: list[str], /) -> bool:
        """Return whether all keys have values."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of the processes this is, and where process 0 can be reached."""

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
    """How often torchrun has started the processes anew."""
    has_agent: bool = False
    """True where torchrun keeps the store of counters, else process 0 does."""
    device: str | None = None
    """The device that this process was told to take."""

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the place that torchrun or ``launch`` gave to this process, None where it runs alone.

        Raises:
            UsageError: a variable is missing or no number.
        """
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

        Args:
            given: device that the command line asks for.

        Raises:
            UsageError: there is no GPU for this process, or all processes would take the same one.
        """
        kind, _, number = given.partition(":")
        if self.device is None and (number or "," in given):
            raise UsageError(
                f"--device {given} is told to {self.n} processes, which torchrun has started: give --device {kind.partition(',')[0]}"
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
    """End this process when what has started it is gone, from now on; call it first, before anything heavy is imported."""
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
    """Return how many GPUs are here without touching any; without one, as many as there are processes: nothing is seen."""
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

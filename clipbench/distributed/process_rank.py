"""The rank of a process among those that run one command, and its device."""

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clipbench.errors import UsageError

WATCH_SECONDS = 0.5
CONNECT_SECONDS = 10.0
END_SECONDS = 15.0
"""Time that a process has to put away its work when it is asked to end."""
ADVICE = "start it with torchrun or several devices, or unset RANK to run in one process"
VISIBLE = "CUDA_VISIBLE_DEVICES"
LAUNCHED = "_CLIPBENCH_LAUNCHED"
"""Variable of the processes of a command with several devices: the file that says that process 0 has said its end."""
LOST = 75
"""Exit status of such a process that finds another gone. The launcher says which, and why."""
QUIET = {"TORCH_CPP_LOG_LEVEL": "FATAL"}
"""Variables that keep torch from printing a stack where a process finds the others gone."""


Store = Any
"""A store of torch.distributed: only what does not wait is asked of it, so that threads can share it."""


@dataclass(frozen=True, kw_only=True)
class ProcessRank:
    """Rank of this process among all, and the address at which process 0 can be reached."""

    rank: int
    """Number among all processes, from 0."""
    n: int
    """Processes on all machines."""
    local_rank: int
    """Number among the processes of this machine."""
    n_local: int
    """Processes on this machine."""
    address: str
    port: int
    attempt: int = 0
    """Times that torchrun has restarted the processes."""
    has_agent: bool = False
    """True if torchrun keeps the store of counters, False if process 0 keeps it."""

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the rank set by torch's launcher, None for a single process, or raise UsageError if invalid."""
        if "RANK" not in variables:
            return None
        rank, n = _number(variables, "RANK"), _number(variables, "WORLD_SIZE")
        if not 0 <= rank < n:
            raise UsageError(f"RANK is {rank} of WORLD_SIZE {n}: expected 0 to {n - 1}. Fix: {ADVICE}")
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
        )

    def take_device(self, device: str) -> str:
        """Return the device of this process, and hide all other GPUs from it. Call it before anything uses CUDA.

        Threads and the user's code may take "cuda", or make tensors on it, so it has to mean one device.

        Args:
            device: the option of the command, one device or several.

        Raises:
            UsageError: there is no GPU for this process, or all processes would take the same one.
        """
        kind, _, number = device.partition(":")
        if "," in device:
            devices = parse_devices(device)
            if len(devices) != self.n_local:
                raise UsageError(
                    f"--device {device} names {len(devices)} devices for {self.n_local} processes of this"
                    " machine: expected one process per device"
                )
            kind, _, number = devices[self.local_rank].partition(":")
        elif number and self.n == 1:
            return device
        elif number:
            raise UsageError(
                f"--device {device} was given to {self.n} processes that torchrun has started: give --device {kind}"
            )
        if kind not in ("all", "auto", "cuda"):
            return kind
        self._hide_other_gpus(int(number or self.local_rank))
        return "auto" if kind == "all" else kind

    def _hide_other_gpus(self, index: int) -> None:
        visible = os.environ.get(VISIBLE)
        names = visible.split(",") if visible else [str(number) for number in range(_n_gpus(self.n_local))]
        if index < len(names):
            os.environ[VISIBLE] = names[index]
        elif len(names) > 1:  # if there is one, the launcher has already given each process its GPU
            raise UsageError(f"{self.n_local} processes for {len(names)} GPUs: expected one process per GPU")


def end_with_parent() -> None:
    """End this process when the one that has started it is gone. Call it before anything heavy is imported."""
    threading.Thread(target=_end_without, args=(os.getppid(),), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)  # what it has in hand is stored
    time.sleep(END_SECONDS)
    os._exit(1)  # what it does cannot be interrupted


def tell_launcher() -> None:
    """Let the launcher know, if there is one, that process 0 has said that it was interrupted."""
    if os.environ.get("RANK") == "0" and (file := os.environ.get(LAUNCHED)):
        Path(file).touch()


def connect(process: ProcessRank) -> Store:
    """Return the store of counters that connects the processes, or raise UsageError without process 0."""
    import torch.distributed as dist

    is_host = process.rank == 0 and not process.has_agent
    try:
        if process.has_agent:  # it was there first: where it is gone, torch would try to reach it for a minute
            socket.create_connection((process.address, process.port), timeout=CONNECT_SECONDS).close()
        store = dist.TCPStore(  # type: ignore[attr-defined]
            process.address,
            process.port,
            None,
            is_host,
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"process {process.rank} of {process.n} finds no process 0 at {process.address}:{process.port}: {ADVICE}"
        ) from error
    return dist.PrefixStore(f"clipbench/{process.attempt}", store)  # type: ignore[attr-defined]


def _n_gpus(n_processes: int) -> int:
    """Return the number of GPUs without touching any, or the number of processes if there is no GPU."""
    import torch

    n = torch.cuda.device_count()
    if 0 < n < n_processes:
        raise UsageError(f"{n_processes} processes for {n} {'GPU' if n == 1 else 'GPUs'}: expected one process per GPU")
    return n or n_processes


def _number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UsageError(f"RANK is set, and {name} is {text or 'not'}: expected a number. Fix: {ADVICE}")
    return int(text)


def parse_devices(device: str) -> list[str]:
    """Return the device of each process that ``--device`` names, one process per device.

    Args:
        device: one device, several with commas between them, or ``all``.

    Raises:
        UsageError: the devices do not exist, or one GPU is named twice.

    Example:
        >>> parse_devices("cpu"), parse_devices("cpu,cpu")
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
            devices = "is 1 CUDA device" if n_gpus == 1 else f"are {n_gpus} CUDA devices"
            raise UsageError(
                f"--device {device} names '{name}', but there {devices} here: expected only devices of this"
                " machine, or cpu,cpu for two processes"
            )
    if len(set(names)) not in (len(names), 1) or (len(set(names)) == 1 and names[0] != "cpu"):
        raise UsageError(f"--device {device} names a device twice: expected one process for each")
    return names


def threads_per_process(n_local: int) -> int:
    """Return the number of threads per process of this machine: together one per core."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores // n_local)

"""The process group of torch, in which processes share a batch. Imports torch."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from clipbench.distributed.place import Launched, Place, connect
from clipbench.errors import MachineError

EVERY_SECONDS = 0.5
STUCK_SECONDS = 30.0
"""NCCL may wait for a process that is gone; it is left so much time to find out itself."""
ADVICE = "the same command with --resume goes on from the last checkpoint"


@contextmanager
def process_group(device: torch.device, launched: Launched | None = None) -> Iterator[torch.device]:
    """Join the processes that torchrun or ``launch`` has started, if one did, and yield this one's own device.

    Args:
        launched: the others, where this process is number 0 and has started them.

    Raises:
        MachineError: one of those was lost.
    """
    place = Place.of_environment() if launched is None else launched.place
    if place is None or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device(place.device or f"cuda:{place.local_rank}")
        torch.cuda.set_device(device)
    store = connect(place, None if launched is None else launched.listener)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.n)
    over = threading.Event()
    threading.Thread(target=_watch, args=(launched, over), daemon=True).start()
    try:
        yield device
    except RuntimeError as error:
        for _ in range(10 if launched is not None else 0):  # the group may notice a loss sooner than the system says so
            if launched is not None and (lost := launched.lost()) is not None:
                raise MachineError(f"{lost}: {ADVICE}") from error
            time.sleep(0.1)
        raise
    finally:
        over.set()
        dist.destroy_process_group()


def _watch(launched: Launched | None, over: threading.Event) -> None:
    """End this process when one that it has started and waits for without end is gone."""
    while not over.wait(EVERY_SECONDS):
        lost = None if launched is None else launched.lost()
        if lost is not None and not over.wait(STUCK_SECONDS):
            os.write(2, f"clipbench: {lost}: {ADVICE}\n".encode())  # nothing is flushed
            os._exit(2)


def n_processes() -> int:
    """Return how many processes share a batch; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return dist.get_rank() if n_processes() > 1 else 0


def sum_over_processes(*values: float, device: torch.device) -> list[float]:
    """Return the sums of some numbers over all processes."""
    sums = torch.tensor(values, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    if n_processes() > 1:
        dist.all_reduce(sums)
    return sums.tolist()


def wait_for_all() -> None:
    """Return when every process has called this."""
    if n_processes() > 1:
        dist.barrier()

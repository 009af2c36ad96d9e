"""Several processes that share a batch, as torchrun starts them. Imports torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did, and yield this one's own device."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


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

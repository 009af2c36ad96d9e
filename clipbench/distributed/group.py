"""The process group of torch, in which processes share a batch. Imports torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from clipbench.distributed.process_rank import ProcessRank, connect
from clipbench.errors import MachineError

ADVICE = "the same command with --resume continues from the last checkpoint"


class ProcessLost(MachineError):
    """Another process of the group is gone."""


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torch's launcher has started, if any, and yield the device of this one.

    Raises:
        ProcessLost: another process was lost.
    """
    process = ProcessRank.of_environment()
    if process is None or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device(f"cuda:{process.local_rank % torch.cuda.device_count()}")
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=connect(process), rank=process.rank, world_size=process.n)
    try:
        yield device
    except RuntimeError as error:
        if "gloo" not in str(error) and "NCCL" not in str(error):
            raise
        raise ProcessLost(f"another process was lost: {ADVICE}") from error
    finally:
        dist.destroy_process_group()


def n_processes() -> int:
    """Return how many processes share a batch, or 1 without torch.distributed."""
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

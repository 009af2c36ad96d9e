"""Commands that run in several processes: several devices in ``--device``, and the part of each process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clipbench.errors import UsageError

NO_PROCESSES = {"embeddings": "holds vectors, so that nothing is encoded", "api": "is computed by a server"}
"""Models that several processes have no work for, and why."""


def launch_processes(device: str, models: Sequence[str], command: list[str], *, advice: str) -> tuple[int | None, str]:
    """Run the command in one process per device, and return its exit status, and the device of this process.

    The status is None if the command has to run in this process.

    Args:
        advice: how to continue after a process was lost.

    Raises:
        UsageError: the devices do not exist, or the work cannot be shared by several processes.
        MachineError: a process was lost.
    """
    from clipbench.distributed.process_rank import QUIET, ProcessRank, parse_devices

    process = ProcessRank.of_environment()
    if process is not None:
        os.environ.update(QUIET)
        return None, process.take_device(device)
    devices = parse_devices(device)
    if len(devices) == 1:
        return None, devices[0]
    _require_work(models, "several devices have")
    from clipbench.distributed.launch import launch

    return launch(command, len(devices), advice), device


def serve_as_worker() -> bool:
    """Do the fraction of this process in the work of process 0, and return True, or False if this is process 0."""
    from clipbench.distributed.process_rank import ProcessRank

    process = ProcessRank.of_environment()
    if process is None or process.rank == 0:
        return False
    from clipbench.distributed.rounds import serve_rounds
    from clipbench.files import default_root

    serve_rounds(process, default_root())
    return True


@contextmanager
def share_work(models: Sequence[str]) -> Iterator[None]:
    """Have the processes of torch's launcher share the work of the block, or raise UsageError if they cannot."""
    from clipbench.distributed.process_rank import ProcessRank

    process = ProcessRank.of_environment()
    if process is None or process.n == 1:
        yield
        return
    from clipbench.distributed.rounds import lead_rounds
    from clipbench.files import default_root

    _require_work(models, f"{process.n} processes have")
    with lead_rounds(process, default_root()):
        yield


def _require_work(references: Sequence[str], who: str) -> None:
    """Raise UsageError if no model is encoded on this machine."""
    prefixes = [reference.strip().partition(":")[0].casefold() for reference in references]
    if references and all(prefix in NO_PROCESSES for prefix in prefixes):
        raise UsageError(
            f"{who} no effect on {references[0]}, which {NO_PROCESSES[prefixes[0]]}: give one --device, and"
            " start it without torchrun"
        )

"""Commands that run in several processes: several devices in ``--device``, and the part of each process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clipbench.errors import UsageError

NO_PROCESSES = {"embeddings": "holds vectors, so that nothing is encoded", "api": "is computed by a server"}
"""Models that several processes have no work for, and why."""


def launched_status(given: dict[str, Any], command: list[str], *, advice: str) -> int | None:
    """Run the command in one process per device, and return its exit status; None if it has to run in this one.

    ``given["device"]`` becomes the device of this process.

    Args:
        advice: how to continue after a process was lost.

    Raises:
        UsageError: there are no such devices, or no work that several processes could share.
        MachineError: a process was lost.
    """
    from clipbench.distributed.process_rank import QUIET, ProcessRank, chosen_devices

    process = ProcessRank.of_environment()
    if process is not None:
        os.environ.update(QUIET)
        given["device"] = process.take_device(given["device"])
        return None
    devices = chosen_devices(given["device"])
    if len(devices) == 1:
        given["device"] = devices[0]
        return None
    _require_work(given.get("models", ()), "several devices do")
    from clipbench.distributed.launch import launch

    return launch(command, len(devices), advice)


def serves_another(given: dict[str, Any]) -> bool:
    """Do the share of this process in the work of process 0, and return True; return False if this is process 0."""
    from clipbench.distributed.process_rank import ProcessRank

    process = ProcessRank.of_environment()
    if process is None or process.rank == 0:
        return False
    from clipbench.distributed.rounds import serve
    from clipbench.files import default_root

    serve(process, default_root())
    return True


@contextmanager
def sharing_work(given: dict[str, Any]) -> Iterator[None]:
    """Have the processes that torch's launcher has started share the work of the block; raise UsageError if there is
    no work that they could share."""
    from clipbench.distributed.process_rank import ProcessRank

    process = ProcessRank.of_environment()
    if process is None or process.n == 1:
        yield
        return
    from clipbench.distributed.rounds import leading
    from clipbench.files import default_root

    _require_work(given["models"], f"{process.n} processes do")
    with leading(process, default_root()):
        yield


def _require_work(references: list[str], who: str) -> None:
    """Raise UsageError if no model is encoded on this machine."""
    prefixes = [reference.strip().partition(":")[0].casefold() for reference in references]
    if references and all(prefix in NO_PROCESSES for prefix in prefixes):
        raise UsageError(
            f"{who} not reach {references[0]}, which {NO_PROCESSES[prefixes[0]]}: give one --device, and start it"
            " without torchrun"
        )

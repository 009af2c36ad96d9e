"""Commands that run in several processes: several devices in ``--device``, and the part of each process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipbench.errors import UsageError

if TYPE_CHECKING:
    from clipbench.distributed.place import Launched

ELSEWHERE = {"embeddings": "holds vectors, so that nothing is encoded", "api": "is computed by a server"}
"""Models that several processes are of no use for, and why."""


def serves_another(device: str) -> bool:
    """Do the share of this process in what process 0 does, and return True; return False if this one is process 0."""
    from clipbench.distributed.place import QUIET, Place

    place = Place.of_environment()
    if place is None or place.rank == 0:
        return False
    os.environ.update(QUIET)
    place.take_device(device)
    from clipbench.distributed.rounds import serve
    from clipbench.files import default_root

    serve(place, default_root())
    return True


@contextmanager
def sharing_work(device: str, models: Sequence[str], command: list[str]) -> Iterator[str]:
    """Have other processes share the work of the block: those that torchrun has started, or one for each device.

    Yields:
        The device of this process.

    Raises:
        UsageError: there are no such devices, or nothing that several processes could do.
        MachineError: a process was lost.
    """
    from clipbench.distributed.place import QUIET, Place
    from clipbench.files import default_root

    place = Place.of_environment()
    if place is not None and place.n > 1:
        from clipbench.distributed.rounds import leading

        os.environ.update(QUIET)
        _refuse_elsewhere(models, f"{place.n} processes do")
        place.take_device(device)
        with leading(place, default_root()):
            yield device
        return
    with launching(device, command) as (first_device, others):
        if others is None:
            yield first_device
            return
        from clipbench.distributed.rounds import leading

        _refuse_elsewhere(models, "several devices do")
        with leading(others.place, default_root(), others):
            yield first_device


@contextmanager
def launching(device: str, command: list[str]) -> "Iterator[tuple[str, Launched | None]]":
    """Start a process for each device but the first.

    Yields:
        The device of this process, and the processes; None if there is one device, or torchrun has started this one.

    Raises:
        UsageError: there are no such devices.
    """
    from clipbench.distributed.place import Place

    place = Place.of_environment()
    if place is not None and place.device is not None:
        device = place.device.partition(":")[0]
    if place is not None or not ("," in device or device == "all"):
        yield device, None
        return
    from clipbench.distributed.place import chosen_devices, launched

    devices = chosen_devices(device)
    if len(devices) < 2:
        yield devices[0], None
        return
    with launched(command, devices) as others:
        others.place.take_device(device)
        yield devices[0].partition(":")[0], others


def _refuse_elsewhere(references: Sequence[str], who: str) -> None:
    """Raise UsageError where no model is encoded on this machine."""
    prefixes = [reference.strip().partition(":")[0].casefold() for reference in references]
    if all(prefix in ELSEWHERE for prefix in prefixes):
        raise UsageError(
            f"{who} not reach {references[0]}, which {ELSEWHERE[prefixes[0]]}: give one --device, and start it without"
            " torchrun"
        )

"""Commands that run in several processes: the option ``--devices``, and the part of each process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clipbench.errors import UsageError

if TYPE_CHECKING:
    from clipbench.distributed.launch import Launched

DEVICES = click.option(
    "--devices",
    metavar="all|N|NAMES",
    help="Devices of this machine that share the work: all, a number, or names such as cuda:0,cuda:1.",
)
ELSEWHERE = {"embeddings": "holds vectors, so that nothing is encoded", "api": "is computed by a server"}
"""Models that several processes are of no use for, and why."""


def works_for_another(given: dict[str, Any]) -> bool | None:
    """Do what process 0 announces, if this process is another one; return None if it is not.

    Returns:
        Whether process 0 has let this one go in the end.
    """
    from clipbench.distributed.place import QUIET, Place

    place = Place.of_environment()
    if place is None or place.rank == 0:
        return None
    os.environ.update(QUIET)
    place.take_device(given["device"])
    from clipbench.distributed.worker import work_for_leader
    from clipbench.models.store import default_root

    return work_for_leader(place, default_root())


@contextmanager
def sharing_work(given: dict[str, Any], command: list[str]) -> Iterator[None]:
    """Have other processes share the work of the block: those that torchrun has started, or new ones for ``--devices``.

    Raises:
        UsageError: there are no such devices, or nothing that several processes could do.
        MachineError: a process was lost.
    """
    from clipbench.distributed.launch import chosen_devices, launched
    from clipbench.distributed.leader import leading
    from clipbench.distributed.place import QUIET, Place
    from clipbench.models.store import default_root

    place = Place.of_environment()
    if place is not None and place.n > 1:
        os.environ.update(QUIET)
        _refuse_elsewhere(given["models"], f"{place.n} processes do")
        place.take_device(given["device"])
        with leading(place, default_root()):
            yield
        return
    devices = chosen_devices(given["devices"], given["device"]) if given["devices"] and place is None else []
    if given["devices"]:
        _refuse_elsewhere(given["models"], f"--devices {given['devices']} does")
    if len(devices) < 2:
        yield
        return
    with launched(command, devices) as others:
        others.place.take_device(given["device"])
        with leading(others.place, default_root(), others):
            yield


@contextmanager
def sharing_batches(devices: str | None, device: str, command: list[str]) -> "Iterator[Launched | None]":
    """Start the processes that ``--devices`` asks a training for, and yield them; None where there are no more.

    Raises:
        UsageError: there are no such devices.
    """
    from clipbench.distributed.launch import chosen_devices, launched
    from clipbench.distributed.place import Place

    chosen = [] if devices is None or Place.of_environment() is not None else chosen_devices(devices, device)
    if len(chosen) < 2:
        yield None
        return
    with launched(command, chosen) as others:
        yield others


def _refuse_elsewhere(references: list[str], who: str) -> None:
    """Raise UsageError where no model is encoded on this machine."""
    prefixes = [reference.strip().partition(":")[0].casefold() for reference in references]
    if all(prefix in ELSEWHERE for prefix in prefixes):
        raise UsageError(f"{who} not reach {references[0]}, which {ELSEWHERE[prefixes[0]]}: run it in one process")

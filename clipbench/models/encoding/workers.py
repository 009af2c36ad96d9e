"""Worker processes that decode images: they end with their parent, and the loss of one is said as what it is. Imports
torch.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from clipbench.errors import STOP_SIGNALS, MachineError, option
from clipbench.files import temporary_folder

CHECK_SECONDS = 0.5
"""A worker looks this often for its parent."""
MOST_PARENT_BYTES = 103 - len("/clipbench-temporary-12345678/sockets/listener-12345678")
"""Longest path of the folder in which sockets get a folder: macOS takes 103 bytes, Linux 107."""


def load_in_workers(dataset: Any, *, workers: int, **options: Any) -> Iterator[Any]:
    """Yield the batches of a data set in order, from worker processes or from this process.

    Raises:
        MachineError: a worker was killed.
    """
    if workers:
        _own_temporary_files()
    loader = DataLoader(dataset, num_workers=workers, worker_init_fn=_depend_on_parent if workers else None, **options)
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD) if is_main and hasattr(signal, "SIGCHLD") else None
    try:
        with _deferred_signals():
            batches = iter(loader)
    finally:
        # torch's handler raises in whatever runs, such as the user's model; without it batches are waited for.
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
    try:
        yield from batches
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise MachineError(
            "a worker process that decodes images was killed, as happens when memory runs out: run the same"
            f" command again, with fewer {option('workers')} if it happens again"
        ) from error


@cache
def _own_temporary_files() -> None:
    """Let multiprocessing make its sockets in a folder that the next process removes if this one is killed.

    It has no public setting for that, and one folder per process, up to its end.
    """
    settings = getattr(multiprocessing.current_process(), "_config", {})
    if "tempdir" not in settings:
        stack = ExitStack()
        settings["tempdir"] = str(stack.enter_context(temporary_folder("sockets", _socket_parent())))
        atexit.register(stack.close)


def _socket_parent() -> Path:
    """Return the folder of temporary files, or ``/tmp`` if its path leaves no room for the name of a socket.

    Worker processes would otherwise fail to hand over their first batch, and the command would wait for it for ever.
    """
    parent = Path(tempfile.gettempdir())
    is_short = os.name == "nt" or len(os.fsencode(parent)) <= MOST_PARENT_BYTES
    return parent if is_short else Path("/tmp")


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer the signals to stop to the end of the block: torch cannot stop workers that have only half started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handled = [number for number in STOP_SIGNALS if callable(signal.getsignal(number))]
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signal_number in received:
            signal.raise_signal(signal_number)


def _depend_on_parent(worker: int) -> None:
    """End this worker silently when its parent has ended, and leave Ctrl-C to the parent.

    torch's workers look for their parent too, but then wait for ever to hand over their last batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sys.excepthook = _print_later
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _print_later(*error: Any) -> None:
    """Print an exception if the parent of this worker is still running after two checks.

    A parent that dies while it takes a batch breaks the connection of the thread that hands it over.
    """
    time.sleep(2 * CHECK_SECONDS)
    sys.__excepthook__(*error)


def _exit_with_parent(parent: BaseProcess) -> None:
    if os.getppid() == parent.pid:
        while os.getppid() == parent.pid:
            time.sleep(CHECK_SECONDS)
    else:  # a server of forks has started it; a pipe tells nothing to forked workers, as their siblings hold its end
        parent.join()
    os._exit(1)

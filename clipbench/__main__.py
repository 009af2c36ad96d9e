"""The command: ``clipbench``, and ``python -m clipbench``, which is what torchrun starts."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress


def _open_closed_streams() -> None:
    """Open standard streams that the caller closed (``>&-``) on the null device.

    Without it a result's file would get the number of the closed stream, and what anything prints would be in it.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


_open_closed_streams()

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback of imports, until the command takes it

from clipbench.cli import main as run_command

SECONDS_OF_THREADS = 5.0
"""Time after the end of a command in which other threads may end too."""


def main() -> None:
    """Run the command line and exit, even if a thread that a model has started goes on.

    A program that calls this and catches ``SystemExit`` goes on as long as its main thread does.
    """
    try:
        run_command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
        threads_ended = threading.Event()
        atexit.register(threads_ended.set)  # called when Python has waited for all threads, and before other functions
        threading.Thread(target=_end_late, args=(status, threads_ended), daemon=True).start()
        raise


def _end_late(status: int, threads_ended: threading.Event) -> None:
    """End the process if its threads go on: what is called at exit is called, and what is printed is written."""
    threading.main_thread().join()
    if threads_ended.wait(SECONDS_OF_THREADS):
        return
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # closed, or nobody reads it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()

"""Start of several processes of one command on this machine, by torch's launcher. Imports torch."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from clipbench.distributed.process_rank import LAUNCHED, LOST, QUIET, threads_per_process
from clipbench.errors import MachineError
from clipbench.files import temporary_folder

INTERRUPTED = 130


def launch(command: Sequence[str], n: int, advice: str) -> int:
    """Run a command in several processes, and return the exit status of process 0.

    Process 0 has this terminal. It prints what all of them meet, so the output of the others goes to files.

    Args:
        advice: how to continue after a process was lost.

    Raises:
        MachineError: another process was lost.
        KeyboardInterrupt: a signal asked all processes to end, and process 0 has not said so.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_per_process(n)))
    os.environ.update(QUIET)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with temporary_folder("processes") as folder:
        logs, told = folder / "logs", folder / "told"
        os.environ[LAUNCHED] = str(told)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=n,
            run_id="clipbench",
            rdzv_backend="static",
            rdzv_endpoint=f"127.0.0.1:{_free_port()}",
            rdzv_configs={"rank": 0},
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(str(logs), redirects=dict.fromkeys(range(1, n), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-P", "-m", "clipbench", *command)
        except SignalException:  # all processes got the signal
            if told.exists():  # process 0 has said so
                return INTERRUPTED
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            statuses = {rank: failure.exitcode for rank, failure in error.failures.items()}
            if (lost := _lost_rank(statuses)) is None:
                return statuses[0]
            reason = _end_of_process(statuses[lost], logs, lost)
            raise MachineError(f"process {lost} of {n} {reason}: {advice}") from None
    return 0


def _lost_rank(statuses: Mapping[int, int]) -> int | None:
    """Return the process whose end made the others end, or None if process 0 has said why it ended.

    Args:
        statuses: of the processes that failed, negative for a signal. The launcher ends the others by SIGTERM.
    """
    if statuses.get(0, 0) > 0 and statuses[0] not in (INTERRUPTED, LOST):
        return None
    ended = (INTERRUPTED, LOST, -signal.SIGTERM)
    lost = [rank for rank, status in statuses.items() if status not in ended]
    if lost:
        return lost[0]
    return None if statuses.get(0) == INTERRUPTED else min(statuses)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _end_of_process(status: int, logs: Path, rank: int) -> str:
    if status < 0:
        return f"was killed ({signal.Signals(-status).name}), as happens when memory runs out"
    texts = [file.read_text(errors="replace") for file in logs.rglob(f"{rank}/stderr.log")]
    lines = "\n".join(texts).splitlines()
    reason = f" ({lines[-1].removeprefix('clipbench: ')})" if lines else ""
    return f"has ended with status {status}{reason}"

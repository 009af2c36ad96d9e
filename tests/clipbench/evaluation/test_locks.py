"""A run folder is held by one process at a time, and let go of whatever happens."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.errors import UsageError
from clipbench.evaluation.locks import alone_in

pytest.importorskip("fcntl", reason="the system has no such locks")

HOLD = "import sys, time; from pathlib import Path; from clipbench.evaluation.locks import alone_in\n"
HOLD += "with alone_in(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    message = f"another clipbench writes to {tmp_path}: wait for its end, or name another --out"
    with pytest.raises(UsageError, match=message), alone_in(tmp_path):
        pass
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    with alone_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_let_go_of_after_an_error_and_whoever_was_forked_meanwhile(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with pytest.raises(RuntimeError), alone_in(tmp_path):
        worker = context.Process(target=signal.pause)
        worker.start()
        raise RuntimeError
    try:
        with alone_in(tmp_path):
            pass
    finally:
        worker.kill()
        worker.join()

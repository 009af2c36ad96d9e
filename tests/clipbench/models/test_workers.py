"""Worker processes: what their death and Ctrl-C do to the process that they work for. `make torture` kills the
parents.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from multiprocessing import resource_sharer
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from clipbench.errors import MachineError
from clipbench.models.encoding.workers import _deferred_signals, load_in_workers


class Numbers(Dataset[int]):
    """The numbers from 0 on; who reads a deadly one is killed."""

    def __init__(self, deadly: int = -1) -> None:
        self.deadly = deadly

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> int:
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return number


def as_list(items: list[Any]) -> list[Any]:
    return items


def as_tensor(items: list[int]) -> torch.Tensor:
    return torch.tensor(items)


def die_asking(moment: str, memory: tuple[str, int]) -> NoReturn:
    """End as by SIGKILL while a worker is asked for the memory of a batch."""
    address, _ = memory
    if moment == "before the handshake":
        socket.socket(socket.AF_UNIX).connect(address)
    else:
        Client(address, authkey=multiprocessing.current_process().authkey)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such sockets")
def test_a_long_folder_of_temporary_files_leaves_room_for_sockets(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    code = (
        "import torch\nfrom clipbench.models.encoding.workers import load_in_workers\n"
        "data = torch.utils.data.TensorDataset(torch.arange(8))\n"
        "print(len(list(load_in_workers(data, workers=2, batch_size=4))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("2\n", "") and list(folder.iterdir()) == []


def test_what_is_called_when_a_child_dies_stays_as_it_was() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    batches = list(load_in_workers(Numbers(), workers=2, batch_size=4, collate_fn=as_list))
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]] and signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.slow  # starts an interpreter
def test_workers_of_a_server_of_forks_find_their_parent() -> None:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)  # the default of Python 3.14 on Linux
    try:
        batches = load_in_workers(TensorDataset(torch.arange(4)), workers=1, batch_size=2, collate_fn=list)
        assert [len(batch) for batch in batches] == [2, 2]
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow  # torch looks every five seconds
def test_a_killed_worker_is_one_line_and_no_bug_of_the_model() -> None:
    with pytest.raises(MachineError, match=r"^a worker process that decodes images was killed, .* fewer workers if"):
        list(load_in_workers(Numbers(deadly=5), workers=2, batch_size=2, collate_fn=as_list))


def test_an_interruption_waits_until_the_workers_are_there() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), _deferred_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done == ["whole"]


@pytest.mark.parametrize("moment", ["before the handshake", "before the request"])
def test_a_worker_ends_in_silence_when_its_parent_is_killed(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_sharer._resource_sharer, "get_connection", partial(die_asking, moment))  # type: ignore[attr-defined]
    pipe, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(pipe)
            sys.stderr = os.fdopen(telling, "w", buffering=1)
            next(load_in_workers(Numbers(), workers=1, batch_size=1, collate_fn=as_tensor))
        finally:
            os._exit(0)
    os.close(telling)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open(pipe, "rb") as words:
        assert words.read() == b"", "what is read ends with the last worker, which holds the other end too"

"""Worker processes: what their death and Ctrl-C do to the process that they work for. `make torture` kills the parents."""

import os
import signal
from typing import Any

import pytest
from torch.utils.data import Dataset

from clipbench.errors import MachineError
from clipbench.models.workers import _uninterrupted, load_in_workers


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


def test_what_is_called_when_a_child_dies_stays_as_it_was() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    batches = list(load_in_workers(Numbers(), workers=2, batch_size=4, collate_fn=as_list))
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]] and signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.slow  # torch looks every five seconds
def test_a_killed_worker_is_one_line_and_no_bug_of_the_model() -> None:
    with pytest.raises(MachineError, match=r"^a worker process that decodes images was killed, .* fewer --workers if"):
        list(load_in_workers(Numbers(deadly=5), workers=2, batch_size=2, collate_fn=as_list))


def test_an_interruption_waits_until_the_workers_are_there() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), _uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done == ["whole"]

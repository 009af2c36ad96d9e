"""Devices that processes take, and what their environment tells them."""

import os
import sys
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

from clipbench.distributed import place as places
from clipbench.distributed.place import DEVICE, Place, chosen_devices
from clipbench.errors import UsageError
from clipbench.metrics.threads import n_threads

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "7",
}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # so that it is as it was in the end
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return lambda n: monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


def test_devices_are_one_or_all_or_those_named(gpus: Any) -> None:
    gpus(0)
    assert chosen_devices("all") == chosen_devices("auto") == ["auto"]
    assert chosen_devices("cpu, cpu,cpu") == ["cpu"] * 3
    gpus(3)
    assert chosen_devices("all") == ["cuda:0", "cuda:1", "cuda:2"]
    assert [chosen_devices(each) for each in ("auto", "cuda", "cuda:7", "mps")] == [
        ["auto"],
        ["cuda"],
        ["cuda:7"],
        ["mps"],
    ]
    assert chosen_devices("cuda:2, cuda:0") == ["cuda:2", "cuda:0"]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:0,cuda:0", "--device cuda:0,cuda:0 names a device twice: expected one process for each"),
        ("cpu,cuda:0,cpu", "names a device twice"),
        (
            "cuda:0,cuda:3",
            "names 'cuda:3', and there are 3 CUDA devices here: expected names such as cuda:0,cuda:1, or",
        ),
        ("cuda,cuda", "names 'cuda', and there are 3 CUDA devices here"),
        ("all,cpu", "names 'all', and"),
        ("cuda:0,", "names '', and"),
        ("tpu,tpu", "names 'tpu', and"),
    ],
)
def test_devices_that_are_not_there_are_refused(gpus: Any, device: str, message: str) -> None:
    gpus(3)
    with pytest.raises(UsageError, match=message):
        chosen_devices(device)
    gpus(1)
    with pytest.raises(UsageError, match="names 'cuda:1', and there is 1 CUDA device here"):
        chosen_devices("cuda:0,cuda:1")


def test_a_process_knows_its_place_from_torchrun_and_says_what_is_missing() -> None:
    assert Place.of_environment({}) is None
    place = Place.of_environment({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert place == Place(rank=3, n=4, local_rank=1, n_local=2, address="a", port=7, has_agent=True)
    for wrong, message in (
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is x: expected a number"),
        ({"RANK": "4"}, "RANK is 4 of WORLD_SIZE 4: expected 0 to 3"),
    ):
        with pytest.raises(UsageError, match=message):
            Place.of_environment({**TORCHRUN, **wrong})
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        with pytest.raises(UsageError, match=f"RANK is set, and {name} is not"):
            Place.of_environment({key: value for key, value in TORCHRUN.items() if key != name})


def test_a_process_sees_its_own_gpu_alone(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(device: str = "auto", visible: str | None = None, **more: str) -> str | None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        place = Place.of_environment({**TORCHRUN, **more})
        assert place is not None
        place.take_device(device)
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    gpus(2)
    assert seen() == seen("cuda") == "1"
    assert seen(visible="5,GPU-7") == "GPU-7"
    assert seen(visible="6") == "6"  # SLURM has bound it
    assert seen("cpu") is None
    assert seen(**{DEVICE: "cuda:0"}) == "0"
    assert seen(**{DEVICE: "cpu"}) is None
    assert seen("all", **{DEVICE: "cuda:1"}) == seen("cuda:1,cuda:0", **{DEVICE: "cuda:1"}) == "1"
    assert seen("cpu,cpu", **{DEVICE: "cpu"}) is None
    for device in ("cuda:1", "cuda:0,cuda:1"):
        with pytest.raises(UsageError, match=f"--device {device} is told to 4 processes, which torchrun has started:"):
            seen(device)
    with pytest.raises(UsageError, match="3 processes for 2 GPUs"):
        seen(LOCAL_WORLD_SIZE="3", LOCAL_RANK="2")


def test_the_same_command_is_started_once_more_for_each_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, Any]]] = []

    class Started:
        pid = 2**22 + 1
        returncode = 0

        def __init__(self, command: list[str], **more: Any) -> None:
            started.append((command, more))

        def poll(self) -> int:
            return 0

        def wait(self, seconds: float | None = None) -> int:
            return 0

    monkeypatch.setattr("subprocess.Popen", Started)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with places.launched(["run", "--model", "tiny"], ["cuda:1", "cuda:4"]) as group:
        assert group.lost() == "process 1 of 2 has ended with status 0"
    (command, more), env = started[0], started[0][1]["env"]
    assert command == [sys.executable, "-P", "-m", "clipbench", "run", "--model", "tiny"]
    assert more["start_new_session"]
    place = Place.of_environment(env)
    assert place is not None
    assert (place.rank, place.n, place.device, place.port) == (1, 2, "cuda:4", group.place.port)
    assert (group.place.rank, group.place.device, place.address) == (0, "cuda:1", "127.0.0.1")
    assert int(env["OMP_NUM_THREADS"]) == places.threads(2)


def test_process_0_keeps_numpy_to_its_share_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "threads", lambda n_local: 1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with threadpool_limits(2, user_api="blas"):
        with places._own_share_of_threads(2):
            assert n_threads() == 1
        assert n_threads() == 2
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")  # the others take as many
        with places._own_share_of_threads(2):
            assert n_threads() == 2

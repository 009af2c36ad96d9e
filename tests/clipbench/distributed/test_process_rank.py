"""Devices that processes take, and what their environment tells them."""

import os
from typing import Any

import pytest
import torch

from clipbench.distributed.launch import _lost_rank
from clipbench.distributed.process_rank import ProcessRank, parse_devices
from clipbench.errors import UsageError

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
    assert parse_devices("all") == parse_devices("auto") == ["auto"]
    assert parse_devices("cpu, cpu,cpu") == ["cpu"] * 3
    gpus(3)
    assert parse_devices("all") == ["cuda:0", "cuda:1", "cuda:2"]
    assert [parse_devices(name) for name in ("auto", "cuda", "cuda:7", "mps")] == [
        ["auto"],
        ["cuda"],
        ["cuda:7"],
        ["mps"],
    ]
    assert parse_devices("cuda:2, cuda:0") == ["cuda:2", "cuda:0"]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:0,cuda:0", "--device cuda:0,cuda:0 names a device twice: expected one process for each"),
        ("cpu,cuda:0,cpu", "names a device twice"),
        (
            "cuda:0,cuda:3",
            "names 'cuda:3', but there are 3 CUDA devices here: expected only devices of this machine, or",
        ),
        ("cuda,cuda", "names 'cuda', but there are 3 CUDA devices here"),
        ("all,cpu", "names 'all', but"),
        ("cuda:0,", "names '', but"),
        ("tpu,tpu", "names 'tpu', but"),
    ],
)
def test_devices_that_are_not_there_are_refused(gpus: Any, device: str, message: str) -> None:
    gpus(3)
    with pytest.raises(UsageError, match=message):
        parse_devices(device)
    gpus(1)
    with pytest.raises(UsageError, match="names 'cuda:1', but there is 1 CUDA device here"):
        parse_devices("cuda:0,cuda:1")


def test_a_process_takes_its_rank_from_torchrun_and_says_what_is_missing() -> None:
    assert ProcessRank.of_environment({}) is None
    rank = ProcessRank.of_environment({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert rank == ProcessRank(rank=3, n=4, local_rank=1, n_local=2, address="a", port=7, has_agent=True)
    for wrong, message in (
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is x: expected a number"),
        ({"RANK": "4"}, "RANK is 4 of WORLD_SIZE 4: expected 0 to 3"),
    ):
        with pytest.raises(UsageError, match=message):
            ProcessRank.of_environment({**TORCHRUN, **wrong})
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        with pytest.raises(UsageError, match=f"RANK is set, and {name} is not"):
            ProcessRank.of_environment({key: value for key, value in TORCHRUN.items() if key != name})


def test_a_process_sees_its_own_gpu_alone(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(device: str = "auto", visible: str | None = None, **more: str) -> str | None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        process = ProcessRank.of_environment({**TORCHRUN, **more})
        assert process is not None
        devices.append(process.take_device(device))
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    devices: list[str] = []
    gpus(2)
    assert seen() == seen("cuda") == seen("all") == "1"
    assert devices == ["auto", "cuda", "auto"]
    assert seen(visible="5,GPU-7") == "GPU-7"
    assert seen(visible="6") == "6"  # SLURM has bound it
    assert seen("cpu") is None
    assert seen("cuda:1,cuda:0") == "0" and devices[-1] == "cuda"
    assert seen("cpu,cpu") is None and devices[-1] == "cpu"
    with pytest.raises(UsageError, match="--device cuda:1 was given to 4 processes that torchrun has started:"):
        seen("cuda:1")
    with pytest.raises(UsageError, match="--device cpu,cpu,cpu names 3 devices for 2 processes of this machine"):
        seen("cpu,cpu,cpu")
    assert seen("cuda:1", WORLD_SIZE="1", RANK="0") is None and devices[-1] == "cuda:1"
    with pytest.raises(UsageError, match="3 processes for 2 GPUs"):
        seen(LOCAL_WORLD_SIZE="3", LOCAL_RANK="2")


def test_the_process_that_was_lost_is_the_one_whose_end_ended_the_others() -> None:
    assert _lost_rank({1: -9, 0: 130}) == _lost_rank({1: -9}) == _lost_rank({1: -15}) == 1
    assert _lost_rank({2: 2, 0: 130, 1: -15}) == 2
    assert _lost_rank({0: -9, 1: -15}) == _lost_rank({0: -9, 1: 75}) == 0
    assert _lost_rank({0: 75, 1: -9, 2: 75}) == _lost_rank({0: 75, 1: 2}) == 1, "process 0 has found it gone"
    assert _lost_rank({0: 75, 1: 75}) == 0, "somebody has to say it"
    assert _lost_rank({0: 3}) is _lost_rank({0: 2, 1: 2}) is _lost_rank({0: 130, 1: -15}) is None

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from clipbench.training import step
from clipbench.training.step import LOSSES

THEIRS: dict[str, Any] = {"clip": ClipLoss(), "siglip": SigLipLoss()}


def inputs(n: int = 24, dim: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, n, dim, generator=generator)
    return [images, texts, torch.tensor(14.0), torch.tensor(-3.0)]


def loss_and_gradients(name: str, loss: Any) -> list[Tensor]:
    images, texts, scale, bias = (one_input.requires_grad_() for one_input in inputs())
    unit = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    value = loss(*unit, scale, bias) if name == "siglip" else loss(*unit, scale)
    value.backward()
    learned = (images, texts, scale, bias) if name == "siglip" else (images, texts, scale)
    return [value.detach(), *(one_input.grad for one_input in learned if one_input.grad is not None)]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_open_clips(name: str) -> None:
    ours, theirs = loss_and_gradients(name, LOSSES[name]), loss_and_gradients(name, THEIRS[name])
    assert len(ours) == len(theirs) == (5 if name == "siglip" else 4)
    for result, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [1, 7, 23])
def test_blocks_of_rows_change_nothing(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = loss_and_gradients(name, LOSSES[name])
    monkeypatch.setattr(step, "BLOCK_ELEMENTS", rows * 24)
    for result, expected in zip(loss_and_gradients(name, LOSSES[name]), loss, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-7)


def test_the_sigmoid_loss_is_divided_by_the_batch_and_not_by_the_pairs() -> None:
    images, texts, scale, bias = inputs(n=3)
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    naive = 0.0
    for i in range(3):
        for j in range(3):
            logit = scale * images[i] @ texts[j] + bias
            naive -= float(F.logsigmoid(logit if i == j else -logit))
    assert float(LOSSES["siglip"](images, texts, scale, bias)) == pytest.approx(naive / 3, rel=1e-6)


@pytest.mark.slow
def test_two_processes_with_half_a_batch_give_the_gradients_of_one_with_the_whole(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    two = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    settings = {"alone": {}, "0": {**two, "RANK": "0"}, "1": {**two, "RANK": "1"}}
    script = Path(__file__).with_name("share_a_batch.py")
    started = [
        subprocess.Popen(
            [sys.executable, script, tmp_path / name], env={**os.environ, **setting}, stderr=subprocess.PIPE, text=True
        )
        for name, setting in settings.items()
    ]
    for popen in started:
        _, errors = popen.communicate(timeout=120)
        assert popen.returncode == 0, errors
    expected = torch.load(tmp_path / "alone")
    for name in ("0", "1"):
        content = torch.load(tmp_path / name)
        assert content.keys() == expected.keys()
        for key, value in expected.items():
            assert float((content[key] - value).norm() / value.norm()) < 1e-5, f"{key} of process {name}"

"""Checkpoint files: one clear line for each way in which one is no good, and no code that is run."""

import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clipbench.errors import ModelError
from clipbench.models.towers.checkpoint_file import fit, read_weights

WEIGHTS = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}


class Program:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint .*gone.pt: expected a file that ends in .safetensors, .pt"):
        read_weights(tmp_path / "gone.pt")


def test_a_truncated_safetensors_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(ModelError, match=r"half.safetensors is no whole safetensors file .*: copy or save it again"):
        read_weights(path)


def test_capitals_in_the_suffix_do_not_matter(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "W.SAFETENSORS")
    assert set(read_weights(tmp_path / "W.SAFETENSORS")) == set(WEIGHTS)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": Program(tmp_path / "ran")}, tmp_path / "evil.pt")

    with pytest.raises(
        ModelError, match=r"evil.pt holds Python objects \(posix.mkdir\).*save the state dict alone"
    ) as caught:
        read_weights(tmp_path / "evil.pt")

    assert not (tmp_path / "ran").exists()
    assert "weights_only" not in str(caught.value)


def test_arguments_saved_beside_the_weights_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "run.pt")

    with pytest.raises(ModelError, match=r"holds Python objects \(argparse.Namespace\)"):
        read_weights(tmp_path / "run.pt")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 not a zip", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)

    with pytest.raises(
        ModelError, match=r"x.pt is no checkpoint, or a damaged one .*: expected a file that torch.save wrote"
    ):
        read_weights(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "jit.pt")

    with pytest.raises(ModelError, match=r"is a TorchScript archive, which is a program and is not run: .*vit-b-32"):
        read_weights(tmp_path / "jit.pt")


def test_what_holds_no_tensors_by_name_is_refused(tmp_path: Path) -> None:
    for content, message in [
        ([1, 2], "holds an object of type list: expected names"),
        ({}, "holds an object of type dict: expected names"),
        ({"model": WEIGHTS}, "holds 'model' of type dict: expected names with their tensors, or a training checkpoint"),
    ]:
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(ModelError, match=message):
            read_weights(tmp_path / "x.pt")


def test_weights_that_do_not_fit_are_told_apart_and_counted() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 4), torch.nn.Linear(4, 1))
    state = module.state_dict()
    state["0.weight"] = torch.ones(2, 5)
    for name in ("1.weight", "1.bias", "2.weight", "2.bias"):
        del state[name]
    state["head.weight"] = torch.ones(1)

    with pytest.raises(
        ModelError,
        match=r"checkpoint x.pt does not fit ViT: 4 of 6 weights missing \(1.weight, 1.bias, 2.weight, ...\),"
        r" 1 left over \(head.weight\), 1 of another shape \(0.weight \(2, 5\) where \(2, 3\) is expected\); is it another",
    ):
        fit(module, state, source="x.pt", arch="ViT")


def test_names_of_other_families_are_recognised() -> None:
    module = torch.nn.Linear(1, 1)
    for name, advice in [
        ("text_model.final_layer_norm.bias", "give its folder as --model hf:FOLDER"),
        ("positional_embedding_res", "it is a Long-CLIP checkpoint: add --model-option context=248"),
    ]:
        with pytest.raises(ModelError, match=advice):
            fit(module, {name: torch.ones(1)}, source="x.pt", arch="ViT")

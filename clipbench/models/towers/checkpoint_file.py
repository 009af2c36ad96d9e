"""Checkpoint files: read without running code, and fitted to an architecture or refused. Imported only with torch."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from clipbench.errors import ModelError
from clipbench.models.checkpoints import CHECKPOINT_SUFFIXES, step_in_name, step_inside
from clipbench.models.towers.torch_model import first_line, quiet
from clipbench.untrusted.reading import is_file, why_not_there

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before each name."""

StateDict = dict[str, torch.Tensor]


def read_weights(path: Path) -> StateDict:
    """Return the tensors of a checkpoint by name, without the prefixes of wrappers.

    Raises:
        ModelError: no such file, not a checkpoint, damaged, or one that would run code.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[StateDict, int | None]:
    """Return the tensors of a checkpoint by name, and its training step or epoch by its name, else by its content.

    Takes a state dict, or a training checkpoint that has one under ``state_dict``.

    Raises:
        ModelError: no such file, not a checkpoint, damaged, or one that would run code.
    """
    if not is_file(path):
        raise ModelError(
            f"no checkpoint {path}{why_not_there(path)}: expected a file that ends in {', '.join(CHECKPOINT_SUFFIXES)}"
        )
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    step = step_in_name(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        step = step_inside(content) if step is None else step
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"checkpoint {path} holds an object of type {type(content).__name__}: expected names with their tensors"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"checkpoint {path} holds '{name}' of type {type(value).__name__}: expected names with their tensors, or"
                " a training checkpoint with them under 'state_dict'"
            )
    return _unwrapped(dict(content)), step


def fit(module: torch.nn.Module, state: StateDict, *, source: object, arch: str) -> None:
    """Load weights into a module, all of them and nothing else.

    Raises:
        ModelError: names are missing or left over, or shapes differ; the message shows the first few of each.
    """
    if faults := misfits(module.state_dict(), state):
        raise ModelError(f"checkpoint {source} does not fit {arch}: {faults}; {_advice(state)}")
    module.load_state_dict(state)


def misfits(expected: Mapping[str, torch.Tensor], state: StateDict) -> str:
    """Return which names are missing, left over or of another shape, the first few of each; empty where all fit."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshaped = [
        f"{name} {tuple(state[name].shape)} where {tuple(value.shape)} is expected"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    faults = {
        f"of {len(expected)} weights missing": missing,
        "left over": unexpected,
        "of another shape": misshaped,
    }
    return ", ".join(
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    )


def _advice(state: Iterable[str]) -> str:
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        return "these are a transformers model's names: give its folder as --model hf:FOLDER"
    if any(name.endswith("positional_embedding_res") for name in state):
        return "it is a Long-CLIP checkpoint: add --model-option context=248"
    return "is it another --arch?"


def _unwrapped(state: StateDict) -> StateDict:
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            return _unwrapped({name.removeprefix(wrapper): value for name, value in state.items()})
    return state


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} is no whole safetensors file ({first_line(error)}): copy or save it again"
        ) from error


def _read_pickle(path: Path) -> object:
    if _is_torchscript(path):
        raise ModelError(
            f"checkpoint {path} is a TorchScript archive, which is a program and is not run: name OpenAI's weights"
            " (vit-b-32, ...), and save your own as a state dict"
        )
    try:
        with quiet():  # torch warns about the pickle, and the errors below say more
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of error for a file that is no checkpoint
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if blocked:
            raise ModelError(
                f"checkpoint {path} holds Python objects ({blocked[1]}), not only tensors, and is not read because that"
                " can run code: save the state dict alone, best as .safetensors"
            ) from error
        raise ModelError(
            f"{path} is no checkpoint, or a damaged one ({type(error).__name__}): expected a file that torch.save wrote"
        ) from error


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False

"""Checkpoint files: read without running code, stretched to more tokens as Long-CLIP does it, and fitted to an architecture
or refused. Imported only with torch."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float

from clipbench.errors import ModelError, UsageError, model_option, option
from clipbench.models.checkpoints import CHECKPOINT_SUFFIXES, step_in_name, step_inside
from clipbench.models.towers.torch_model import first_line, quiet
from clipbench.untrusted.reading import is_file, why_not_there

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before each name."""

N_KEPT = 20
"""First positions, which Long-CLIP leaves unchanged: short captions have trained them well."""
FACTOR = 4
MIN_POSITIONS = N_KEPT + 2
"""Positions that a table must have to be stretched: its end is extrapolated from the last two."""

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
    """Load weights into a module, all of them and nothing else; raise ModelError where names are missing or left over,
    or shapes differ."""
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
    faults = {f"of {len(expected)} weights missing": missing, "left over": unexpected, "of another shape": misshaped}
    return ", ".join(
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    )


def _advice(state: Iterable[str]) -> str:
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        return f"these are a transformers model's names: give its folder as {option('model', 'hf:FOLDER')}"
    if any(name.endswith("positional_embedding_res") for name in state):
        return f"it is a Long-CLIP checkpoint: add {model_option(context='248')}"
    return f"is it another {option('arch')}?"


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
        place = path.resolve()  # a link, where it was downloaded from the Hub
        advice = "copy or save it again" if place == path.absolute() else "remove that file, and it is downloaded again"
        raise ModelError(f"checkpoint {place} is no whole safetensors file ({first_line(error)}): {advice}") from error


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


# -- more tokens


def with_context(state: StateDict, context: int) -> tuple[StateDict, tuple[str, ...]]:
    """Return weights with that many text positions, and notes for the result.

    The two tables of a Long-CLIP checkpoint, the frozen and the trained one, are joined. The table of an ordinary one is
    stretched by the rule from which Long-CLIP starts its training (Zhang et al., ECCV 2024, arXiv 2403.15378).

    Raises:
        UsageError: the checkpoint has neither that many positions nor a number that stretches to it.
    """
    name = next((name for name in ("positional_embedding", "text.positional_embedding") if name in state), None)
    if name is None:
        return state, ()
    trained = state.get(f"{name}_res")
    rest = {key: value for key, value in state.items() if key not in (name, f"{name}_res")}
    table = state[name] if trained is None else torch.cat([state[name][:N_KEPT], trained[N_KEPT:]])
    table, notes = stretched_to(table, context)
    return {**rest, name: table}, notes


def stretched_to(
    table: Float[torch.Tensor, "n_positions width"], context: int
) -> tuple[Float[torch.Tensor, "context width"], tuple[str, ...]]:
    """Return a table of that many positions, and a note if it had to be stretched; raise UsageError where it has
    neither that many positions nor a number that stretches to it: for other lengths no rule has been published and
    tested."""
    n_positions = len(table)
    if n_positions == context:
        return table, ()
    if n_positions < MIN_POSITIONS or context != stretched_length(n_positions):
        longer = f", or {stretched_length(n_positions)} to stretch it" if n_positions >= MIN_POSITIONS else ""
        raise UsageError(
            f"option context={context} does not fit a checkpoint with {n_positions} text positions:"
            f" expected {n_positions}{longer}"
        )
    note = f"text positions stretched from {n_positions} to {context} by Long-CLIP's rule, without its training"
    return stretched(table), (note,)


def needs_causal_tower(context: int, model: str) -> UsageError:
    """Return the error for a text tower whose vector depends on padding behind the text."""
    return UsageError(
        f"option context={context} needs a causal text tower pooled at the end of the text, and that of"
        f" {model} is none: drop the option"
    )


def stretched_length(n_positions: int) -> int:
    """Return the number of positions of a stretched table.

    Example:
        >>> stretched_length(77)
        248
    """
    return N_KEPT + FACTOR * (n_positions - N_KEPT)


def stretched(table: Float[torch.Tensor, "n_positions width"]) -> Float[torch.Tensor, "n_stretched width"]:
    """Return a table with the first positions kept and each later one interpolated to the next in four steps.

    The last position has no next one: it is extrapolated from the last two.
    """
    tail = table[N_KEPT:]
    after = torch.cat([tail[1:], 2 * tail[-1:] - tail[-2:-1]])
    steps = [((FACTOR - k) * tail + k * after) / FACTOR for k in range(FACTOR)]
    return torch.cat([table[:N_KEPT], torch.stack(steps, dim=1).flatten(0, 1)])

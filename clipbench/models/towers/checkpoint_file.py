"""Checkpoint files: read without running code, stretched to more tokens as Long-CLIP does it, and fitted to an
architecture or refused. Imported only with torch.
"""

import io
import math
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

import torch
from jaxtyping import Float
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.utils import _create_file_view
from torch.serialization import _get_layout

from clipbench.errors import ModelError, UsageError, did_you_mean, model_option, option
from clipbench.models.checkpoints import SHARDS, is_sharded, step_in_name, step_inside
from clipbench.models.protocol import Notes
from clipbench.models.towers.torch_model import error_line, first_line, quiet
from clipbench.untrusted.reading import is_file, name_of_open_file, open_file, read_bytes, reading, why_not_there

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before each name."""

N_KEPT = 20
"""First positions, which Long-CLIP leaves unchanged: short captions have trained them well."""
FACTOR = 4
MIN_POSITIONS = N_KEPT + 2
"""Positions that a table must have to be stretched: its end is extrapolated from the last two."""

StateDict = dict[str, torch.Tensor]

EMA, RAW = "ema", "raw"
"""The weights of a training that a checkpoint may hold: their moving average, and those that the optimizer moves."""
KEYS = {EMA: "state_dict_ema", RAW: "state_dict"}
"""The place of each in a checkpoint of open_clip."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint that a model is made of."""

    state: StateDict
    """Tensors by name, without the prefixes of wrappers."""
    step: int | None = None
    """Training step or epoch, by the checkpoint's name, or by its content if the name has none."""
    source: str
    """The place of the tensors, for messages."""
    notes: Notes = ()
    """The choice between EMA and raw weights, where there is one."""


def read_weights(path: Path) -> StateDict:
    """Return the raw weights of a checkpoint, as ``read_checkpoint`` does."""
    return read_checkpoint(path, RAW).state


def read_checkpoint(path: Path, weights: str | None = None) -> Checkpoint:
    """Return the content of a checkpoint: a state dict, a training checkpoint of open_clip, or a folder of its shards.

    Args:
        weights: ``ema`` or ``raw``. None takes the EMA weights, which open_clip evaluates, if the checkpoint has them.

    Raises:
        ModelError: no such file, not a checkpoint, damaged, or one that would run code.
        UsageError: unknown ``weights``, or a checkpoint without EMA weights where these are asked for.
    """
    if weights is not None and weights not in KEYS:
        raise UsageError(f"model option weights={weights}: {did_you_mean(weights, KEYS)}")
    checkpoint = _read_sharded(path) if is_sharded(path) else _read_file(path, weights)
    if weights == EMA and not checkpoint.source.endswith(f"({KEYS[EMA]})"):
        raise UsageError(f"checkpoint {path} has no EMA weights ({KEYS[EMA]}): remove {model_option(weights=EMA)}")
    return checkpoint


def _read_file(path: Path, weights: str | None) -> Checkpoint:
    if not is_file(path):
        raise ModelError(f"no checkpoint {path}{why_not_there(path)}: expected a file. Check the path")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    step, source, notes = step_in_name(path), str(path), Notes()
    if isinstance(content, Mapping) and isinstance(content.get(KEYS[RAW]), Mapping):
        step = step_inside(content) if step is None else step
        has_ema = isinstance(content.get(KEYS[EMA]), Mapping)
        chosen, alternative = (EMA, RAW) if has_ema and weights != RAW else (RAW, EMA)
        if has_ema:
            source = f"{path} ({KEYS[chosen]})"
            notes = (
                f"{chosen} weights ({KEYS[chosen]}). {model_option(weights=alternative)} takes the {alternative} ones",
            )
        content = content[KEYS[chosen]]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"checkpoint {path} holds an object of type {type(content).__name__}: expected names with their tensors"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"checkpoint {path} holds '{name}' of type {type(value).__name__}: expected names with their tensors,"
                " or a training checkpoint with them under 'state_dict'"
            )
    return Checkpoint(state=_strip_wrappers(dict(content)), step=step, source=source, notes=notes)


def load_strictly(module: torch.nn.Module, state: StateDict, *, source: object, arch: str, advice: str = "") -> None:
    """Load weights into a module, or raise ModelError for missing, unexpected or misshaped weights."""
    if faults := state_dict_mismatches(module.state_dict(), state):
        raise ModelError(f"checkpoint {source} does not fit {arch}: {faults}: {advice or _advice(state)}")
    module.load_state_dict(state)


def state_dict_mismatches(expected: Mapping[str, torch.Tensor], state: StateDict) -> str:
    """Return which names are missing, left over or of another shape, the first few of each, or empty if all fit."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshaped = []
    for name, value in expected.items():
        if name in state and state[name].shape != value.shape:
            misshaped.append(f"{name} {tuple(state[name].shape)} where {tuple(value.shape)} is expected")
    names_by_fault = {
        f"of {len(expected)} weights missing": missing,
        "left over": unexpected,
        "of another shape": misshaped,
    }
    faults = []
    for fault, names in names_by_fault.items():
        if names:
            first_names = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            faults.append(f"{len(names)} {fault} ({first_names})")
    return ", ".join(faults)


def _advice(state: Iterable[str]) -> str:
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        return f"these are a transformers model's names: give its folder as {option('model', 'hf:FOLDER')}"
    if any(name.endswith("positional_embedding_res") for name in state):
        return f"it is a Long-CLIP checkpoint: add {model_option(context='248')}"
    return f"check {option('arch')}"


def _strip_wrappers(state: StateDict) -> StateDict:
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            return _strip_wrappers({name.removeprefix(wrapper): value for name, value in state.items()})
    return state


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open_file(path) as file:
            return load_file(name_of_open_file(file, path))
    except (SafetensorError, OSError, ValueError) as error:
        real_path = path.resolve()
        is_link = real_path != path.absolute()  # as files that were downloaded from the Hub are
        cause = getattr(error, "strerror", None) or first_line(error)
        advice = "remove that file, and it is downloaded again" if is_link else "copy or save it again"
        raise ModelError(f"checkpoint {real_path} is not a complete safetensors file ({cause}): {advice}") from error


def _read_pickle(path: Path) -> object:
    try:
        with open_file(path) as file:
            is_program = _is_torchscript(file)
            file.seek(0)
            with quiet():  # torch warns about the pickle, and the errors below say more
                content = None if is_program else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of error for a file that is no checkpoint
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if blocked:
            raise ModelError(
                f"checkpoint {path} holds Python objects ({blocked[1]}), not only tensors, and is not read"
                " because that can run code: save only the state dict, best as .safetensors"
            ) from error
        raise ModelError(
            f"{path} is not a checkpoint, or is damaged ({type(error).__name__}): expected a file that torch.save wrote"
        ) from error
    if is_program:
        raise ModelError(
            f"checkpoint {path} is a TorchScript archive, which is a program and is not run: for OpenAI's"
            " weights give their name (vit-b-32, ...), and save your own as a state dict"
        )
    return content


def _is_torchscript(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


# -- shards

SHARD_CLASSES = {
    **{("torch.distributed.checkpoint.metadata", name): getattr(dcp, name) for name in dcp.__all__},
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"): dcp._MEM_FORMAT_ENCODING,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _StorageInfo,
    ("torch.serialization", "_get_layout"): _get_layout,
    ("torch", "Size"): torch.Size,
    **dict.fromkeys(product(("pathlib", "pathlib._local"), ("PosixPath", "WindowsPath")), PurePosixPath),
}
"""Classes and functions that the list of tensors of torch.distributed.checkpoint is made of. None of them opens or runs
anything.
"""


class _ShardsUnpickler(pickle._Unpickler):  # the one in C cannot be asked about attributes
    """Unpickles the list of tensors, which torch itself would unpickle with whatever code it names."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def load_build(self) -> None:
        changed = self.stack[-2]  # type: ignore[attr-defined]
        if not is_dataclass(changed) or isinstance(changed, type):  # it would hold for the whole process
            raise pickle.UnpicklingError("attributes of an object that is not in the list")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        allowed = SHARD_CLASSES.get((module, name))
        if allowed is None and module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            allowed = getattr(torch, name)
        if allowed is None:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return allowed


def _read_sharded(folder: Path) -> Checkpoint:
    """Return the weights in a folder of torch.distributed.checkpoint, without the optimizer's state.

    Chunks are read one by one, so that the memory holds no more than the weights and one chunk.
    """
    listed, prefix = _read_shard_list(folder), "model."
    state = {}
    for name, metadata in listed.state_dict_metadata.items():
        if name.startswith(prefix) and isinstance(metadata, dcp.TensorStorageMetadata):
            state[name.removeprefix(prefix)] = _assemble_tensor(folder, name, metadata, listed.storage_data)
    if not state:
        raise ModelError(
            f"{folder} lists no tensor under '{prefix}': expected a sharded checkpoint as open_clip writes it"
        )
    step, extra = step_in_name(folder), folder / "_metadata_extra.pt"
    if step is None and is_file(extra):
        content = _read_pickle(extra)
        step = step_inside(content) if isinstance(content, Mapping) else None
    note = "raw weights: a sharded checkpoint of open_clip holds no EMA weights"
    return Checkpoint(state=_strip_wrappers(state), step=step, source=str(folder), notes=(note,))


def _read_shard_list(folder: Path) -> dcp.Metadata:
    path = folder / SHARDS
    try:
        with reading(path, ModelError):
            listed = _ShardsUnpickler(io.BytesIO(read_bytes(path))).load()
        is_whole = isinstance(listed.state_dict_metadata, dict) and isinstance(listed.storage_data, dict)
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle raises many kinds of error
        if foreign := re.match(r"GLOBAL (.+)", str(error)):
            raise ModelError(
                f"{path} names {foreign[1]}, which no list of tensors needs, and is not read because that can run code"
            ) from error
        raise ModelError(f"{path} is damaged ({type(error).__name__}): copy the folder again") from error
    if not isinstance(listed, dcp.Metadata) or not is_whole:
        raise ModelError(f"{path} is not a list of tensors: expected a file that torch.distributed.checkpoint wrote")
    return listed


def _assemble_tensor(
    folder: Path, name: str, metadata: dcp.TensorStorageMetadata, locations: Mapping[Any, Any]
) -> torch.Tensor:
    """Return a tensor from its chunks, or raise ModelError for a missing chunk, or one that contradicts the list."""
    try:
        dtype, chunks = metadata.properties.dtype, metadata.chunks
        if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(metadata.size):
            raise ValueError("parts of it are missing in the files")
        parts = [(chunk, locations[dcp.MetadataIndex(name, chunk.offsets)]) for chunk in chunks]
        # All is looked at before memory is taken for the whole, which a damaged list may say to be of any size.
        for chunk, location in parts:
            file = folder / PurePosixPath(location.relative_path).name
            if location.length < math.prod(chunk.sizes) * dtype.itemsize:
                raise ValueError("a chunk is larger than its bytes in the file")
            if not is_file(file) or file.stat().st_size < location.offset + location.length:
                raise FileNotFoundError(file.name)
        tensor = torch.empty(metadata.size, dtype=dtype)
        for chunk, location in parts:
            with open_file(folder / PurePosixPath(location.relative_path).name) as opened:
                content: Any = _create_file_view(opened, location.offset, location.length)
                part = torch.load(content, map_location="cpu", weights_only=True)
            if part.dtype != dtype or part.shape != chunk.sizes:
                raise ValueError("a chunk has another type or shape than the list says")
            if len(parts) == 1:
                return part
            ends = zip(chunk.offsets, chunk.sizes, strict=True)
            tensor[tuple(slice(start, start + size) for start, size in ends)] = part
    except FileNotFoundError as error:
        raise ModelError(
            f"sharded checkpoint {folder} lacks file {error}, or its end, with a part of '{name}': "
            "copy the files of all processes into it"
        ) from error
    except Exception as error:  # a list may say anything
        raise ModelError(
            f"sharded checkpoint {folder}: '{name}' cannot be read ({error_line(error)}): copy the folder again"
        ) from error
    return tensor


# -- more tokens


def stretch_context(state: StateDict, context: int) -> tuple[StateDict, Notes]:
    """Return weights with that many text positions, and notes for the result.

    The two tables of a Long-CLIP checkpoint, the frozen and the trained one, are joined. The table of an ordinary one
    is stretched by the rule from which Long-CLIP starts its training (Zhang et al., ECCV 2024, arXiv 2403.15378).

    Raises:
        UsageError: the checkpoint has neither that many positions nor a number that stretches to it.
    """
    name = next((name for name in ("positional_embedding", "text.positional_embedding") if name in state), None)
    if name is None:
        return state, ()
    trained = state.get(f"{name}_res")
    rest = {key: value for key, value in state.items() if key not in (name, f"{name}_res")}
    table = state[name] if trained is None else torch.cat([state[name][:N_KEPT], trained[N_KEPT:]])
    table, notes = stretch_table(table, context)
    return {**rest, name: table}, notes


def stretch_table(
    table: Float[torch.Tensor, "n_positions width"], context: int
) -> tuple[Float[torch.Tensor, "context width"], Notes]:
    """Return a table with a number of positions, and a note if it was stretched.

    Raises:
        UsageError: the table has another number of positions, and does not stretch to this one by the published rule.
    """
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


def causal_tower_error(context: int, model: str) -> UsageError:
    """Return the error for a text tower whose vector depends on padding after the text."""
    return UsageError(
        f"option context={context} needs a causal text tower pooled at the end of the text, and the text"
        f" tower of {model} is different: remove the option"
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

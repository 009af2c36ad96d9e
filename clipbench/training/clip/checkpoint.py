"""Checkpoints: a folder each, written atomically. Imports torch.

config.json         the model, as open_clip describes it, and mean and standard deviation of the colours
model.safetensors   weights under open_clip's names
tokenizer.json      as the tokenizers library reads it
train.json          arguments, data, step, seed, and losses so far
optimiser.safetensors   the optimizer's state, for resuming; only in the newest checkpoint of a training
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from clipbench import __version__
from clipbench.errors import MachineError, ModelError, error_summary
from clipbench.models.checkpoints import CONFIG, OPTIMIZER, TRAIN, WEIGHTS, bundled_checkpoints, read_json
from clipbench.models.towers.checkpoint_file import load_strictly, read_weights, state_dict_mismatches
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.inputs import ClipTokenizer, load_tokenizer
from clipbench.training.clip.model import CLIP
from clipbench.training.log import RESUME_ADVICE
from clipbench.untrusted.reading import is_file
from clipbench.untrusted.schema import SchemaError, parse_record

FORMAT = 1
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of each weight."""


@dataclass(kw_only=True)
class TrainingProgress:
    """Progress of a training, which the loop updates."""

    arguments: Mapping[str, Any]
    """Options that the training was started with."""
    data: Mapping[str, Any]
    """Name and size of the data."""
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)
    """Step and loss of about a thousand steps at most."""
    seconds: float = 0.0


class CheckpointContent(NamedTuple):
    """The content of a checkpoint, without the optimizer's state."""

    model: CLIP
    tokenizer: ClipTokenizer
    progress: TrainingProgress


def save_checkpoint(out: Path, checkpoint: CheckpointContent, optimizer: torch.optim.Optimizer) -> Path:
    """Write ``step-N`` into a training's folder and return it, and remove the optimizer's state from older checkpoints.

    Raises:
        MachineError: it cannot be written.
    """
    step = checkpoint.progress.step
    folder, half = out / f"step-{step}", out / f".step-{step}-{os.getpid()}"
    if folder.exists():
        return folder
    for stale in out.glob(".step-*"):
        shutil.rmtree(stale)  # of a process that was killed
    try:
        half.mkdir(parents=True)
        save_model(half, checkpoint.model, checkpoint.tokenizer)
        write_progress(half, checkpoint.progress)
        moments = {
            f"{moment}/{name}": value.detach().cpu().contiguous()
            for name, parameter in checkpoint.model.named_parameters()
            for moment, value in optimizer.state.get(parameter, {}).items()
        }
        _save_tensors(moments, half / OPTIMIZER)
        for path in half.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a power cut must not leave a folder with its final name and half its content
        half.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = error_summary(error) if isinstance(error, OSError) else str(error)
        raise MachineError(f"cannot write {folder} ({reason}): {RESUME_ADVICE}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    for older in bundled_checkpoints(out)[:-1]:
        (older / OPTIMIZER).unlink(missing_ok=True)
    return folder


def save_model(folder: Path, model: CLIP, tokenizer: ClipTokenizer, *, dtype: torch.dtype = torch.float32) -> None:
    """Write configuration, weights and tokenizer to an existing folder."""
    _write_json(folder / CONFIG, {"format": FORMAT, "clipbench_version": __version__, **model.config.to_json()})
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    _save_tensors(weights, folder / WEIGHTS)
    tokenizer.save(folder)


def write_progress(folder: Path, progress: TrainingProgress) -> None:
    """Write train.json to an existing folder."""
    content = {
        "format": FORMAT,
        "clipbench_version": __version__,
        "arguments": dict(progress.arguments),
        "data": dict(progress.data),
        "seed": progress.arguments.get("seed"),
        "step": progress.step,
        "seconds": round(progress.seconds, 3),
        "losses": progress.losses,
    }
    _write_json(folder / TRAIN, content)


def load_checkpoint(folder: Path) -> CheckpointContent:
    """Return model, tokenizer and progress of a checkpoint.

    Raises:
        ModelError: a file is missing, damaged, or of another model.
    """
    path = folder / TRAIN
    content = read_json(path)
    try:
        if missing := [member.name for member in fields(TrainingProgress) if member.name not in content]:
            raise SchemaError(f"{missing[0]} is not there")
        progress = parse_record(TrainingProgress, content)
        progress.losses = [[int(step), loss] for step, loss in progress.losses]
    except (SchemaError, ValueError) as error:
        raise ModelError(f"{path} is not what clipbench train wrote ({error})") from error
    model, tokenizer = load_model(folder)
    return CheckpointContent(model, tokenizer, progress)


def load_model(folder: Path) -> tuple[CLIP, ClipTokenizer]:
    """Return model and tokenizer of a checkpoint, with weights in float32 whatever type is stored.

    Raises:
        ModelError: a file is missing, damaged, or of another model.
    """
    content = read_json(folder / CONFIG)
    if content.get("format") != FORMAT:
        raise ModelError(
            f"{folder / CONFIG} has format {content.get('format')!r}, and clipbench {__version__} reads format {FORMAT}"
        )
    config = ClipConfig.from_json(content, folder / CONFIG)
    tokenizer = load_tokenizer(folder, config.context_length)
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, expected {config.vocab_size} as in {CONFIG}"
        )
    state = read_weights(folder / WEIGHTS)
    model = CLIP(config)
    load_strictly(model, state, source=folder / WEIGHTS, arch="the configuration", advice="copy the folder again")
    return model, tokenizer


def load_optimizer(folder: Path, model: CLIP, optimizer: torch.optim.Optimizer) -> None:
    """Restore the optimizer's state from a checkpoint, or raise ModelError if it has none, or a damaged one."""
    path = folder / OPTIMIZER
    if not is_file(path):
        raise ModelError(f"{folder} has no {OPTIMIZER}: only the newest checkpoint of a run can be resumed from")
    state = read_weights(path)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = {
        f"{moment}/{name}": torch.tensor(0.0) if moment == "step" else parameter
        for name, parameter in trained.items()
        for moment in MOMENTS
    }
    if faults := state_dict_mismatches(expected, state):
        raise ModelError(f"{path} does not belong to {folder / WEIGHTS}: {faults}")
    for name, parameter in trained.items():
        optimizer.state[parameter] = {moment: state[f"{moment}/{name}"].to(parameter.device) for moment in MOMENTS}


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path)
    path.chmod((path.parent / CONFIG).stat().st_mode)  # safetensors makes files that only their owner may read


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")

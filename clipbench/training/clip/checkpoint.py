"""Checkpoints: a folder each, written whole or not at all. Imported only with torch at hand.

config.json         the model, as open_clip describes it, and its colours' mean and standard deviation
model.safetensors   weights under open_clip's names
tokenizer.json      as the tokenizers library reads it
train.json          arguments, data, step, seed, and losses so far
optimiser.safetensors   what resuming needs besides; only in the newest checkpoint of a run
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from clipbench import __version__
from clipbench.errors import ModelError
from clipbench.models._checkpoint import fit, read_weights
from clipbench.models.checkpoint_folders import CONFIG, OPTIMISER, TRAIN, WEIGHTS, bundled_checkpoints, read_json
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.model import CLIP
from clipbench.training.clip.tokeniser import Tokeniser, load_tokeniser

FORMAT = 1
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each weight."""
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files keep among the weights."""


@dataclass(kw_only=True)
class Progress:
    """How far a run has come; it counts on while the run goes on."""

    arguments: Mapping[str, object]
    """What the run was started with."""
    data: Mapping[str, object]
    """What the arguments' data turned out to be."""
    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss, of at most about a thousand steps."""
    seconds: float = 0.0


class Trained(NamedTuple):
    """What a checkpoint holds."""

    model: CLIP
    tokeniser: Tokeniser
    progress: Progress


def save_checkpoint(out: Path, trained: Trained, optimiser: torch.optim.Optimizer) -> Path:
    """Write ``step-N`` below a run's folder and return it; older checkpoints lose the optimiser's state."""
    step = trained.progress.step
    folder, half = out / f"step-{step}", out / f".step-{step}-{os.getpid()}"
    if folder.exists():
        return folder
    for stale in out.glob(".step-*"):
        shutil.rmtree(stale)  # of a process that was killed
    half.mkdir(parents=True)
    save_model(half, trained.model, trained.tokeniser)
    write_progress(half, trained.progress)
    _save_tensors(_optimiser_state(trained.model, optimiser), half / OPTIMISER)
    _flush(half)
    half.rename(folder)
    for older in bundled_checkpoints(out)[:-1]:
        (older / OPTIMISER).unlink(missing_ok=True)
    return folder


def save_model(folder: Path, model: CLIP, tokeniser: Tokeniser, *, dtype: torch.dtype = torch.float32) -> None:
    """Write what encoding needs, and no more, to an existing folder."""
    _write_json(folder / CONFIG, {"format": FORMAT, "clipbench_version": __version__, **model.config.to_json()})
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    _save_tensors(weights, folder / WEIGHTS)
    tokeniser.save(folder)


def write_progress(folder: Path, progress: Progress) -> None:
    """Write how a checkpoint came about to an existing folder."""
    _write_json(folder / TRAIN, _progress_json(progress))


def load_checkpoint(folder: Path) -> Trained:
    """Return model, tokeniser and progress of a checkpoint.

    Raises:
        ModelError: a file is missing, damaged, or of another model.
    """
    progress = _progress(read_json(folder / TRAIN), folder / TRAIN)
    model, tokeniser = load_model(folder)
    return Trained(model, tokeniser, progress)


def load_model(folder: Path) -> tuple[CLIP, Tokeniser]:
    """Return what encoding needs of a checkpoint, with weights in float32 whatever they are stored in.

    Raises:
        ModelError: a file is missing, damaged, or of another model.
    """
    content = read_json(folder / CONFIG)
    if content.get("format") != FORMAT:
        raise ModelError(
            f"{folder / CONFIG} has format {content.get('format')!r}, and clipbench {__version__} reads format {FORMAT}"
        )
    config = ClipConfig.from_json(content, folder / CONFIG)
    tokeniser = load_tokeniser(folder, config.context_length)
    if tokeniser.vocab_size != config.vocab_size:
        raise ModelError(f"{folder} has {tokeniser.vocab_size} tokens, and weights for {config.vocab_size}")
    model = CLIP(config)
    load_weights(model, folder / WEIGHTS)
    return model, tokeniser


def load_weights(model: CLIP, path: Path) -> None:
    """Load a file of weights, ours or of a ViT model of OpenAI's or open_clip's, all of them and nothing else.

    Raises:
        ModelError: it cannot be read, or does not fit.
    """
    state = {name: value for name, value in read_weights(path).items() if name not in OPENAI_EXTRAS}
    fit(model, state, source=path, arch="the configuration")


def load_optimiser(folder: Path, model: CLIP, optimiser: torch.optim.Optimizer) -> None:
    """Give an optimiser the state that it had when a checkpoint was written.

    Raises:
        ModelError: the checkpoint has no such state, or another model's.
    """
    path = folder / OPTIMISER
    if not path.is_file():
        raise ModelError(f"{folder} has no {OPTIMISER}: only the newest checkpoint of a run can be resumed from")
    state = load_file(path)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or f"step/{name}" not in state:
            continue
        moments = {moment: state[f"{moment}/{name}"] for moment in MOMENTS}
        optimiser.state[parameter] = {moment: value.to(parameter.device) for moment, value in moments.items()}


def _optimiser_state(model: CLIP, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = {}
    for name, parameter in model.named_parameters():
        for moment, value in optimiser.state.get(parameter, {}).items():
            state[f"{moment}/{name}"] = value.detach().cpu().contiguous()
    return state


def _progress(content: Any, path: Path) -> Progress:
    """Return what ``_progress_json`` described, from untyped JSON."""
    try:
        return Progress(
            arguments=content["arguments"],
            data=content["data"],
            step=int(content["step"]),
            losses=[(int(step), float(loss)) for step, loss in content["losses"]],
            seconds=float(content["seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not what clipbench train wrote ({type(error).__name__}: {error})") from error


def _progress_json(progress: Progress) -> dict[str, object]:
    return {
        "format": FORMAT,
        "clipbench_version": __version__,
        "arguments": dict(progress.arguments),
        "data": dict(progress.data),
        "seed": progress.arguments.get("seed"),
        "step": progress.step,
        "seconds": round(progress.seconds, 3),
        "losses": [list(entry) for entry in progress.losses],
    }


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path)
    path.chmod((path.parent / CONFIG).stat().st_mode)  # the library writes for its user alone


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    """Make the files outlive a power cut before their folder gets its name."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())

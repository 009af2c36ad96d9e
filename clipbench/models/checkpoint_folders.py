"""Where a run keeps its checkpoints, for whoever only asks: importing this imports no torch."""

import json
import re
from pathlib import Path

from clipbench.errors import ModelError, UsageError

CONFIG, WEIGHTS, TRAIN, OPTIMISER = "config.json", "model.safetensors", "train.json", "optimiser.safetensors"


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints below a run's folder, oldest first."""
    found = [(int(match[1]), path) for path in run.glob("step-*") if (match := re.fullmatch(r"step-(\d+)", path.name))]
    return [path for _, path in sorted(found)]


def newest_checkpoint(run: Path) -> Path:
    """Return the checkpoint that a run is resumed from.

    Raises:
        UsageError: there is none.
    """
    found = checkpoints(run)
    if not found:
        raise UsageError(f"{run} holds no checkpoint to resume from: start the run without --resume")
    return found[-1]


def arguments_of(run: Path) -> dict[str, object]:
    """Return the arguments that a run was started with.

    Raises:
        UsageError: there is no checkpoint that says.
        ModelError: the checkpoint is damaged.
    """
    path = newest_checkpoint(run) / TRAIN
    arguments = read_json(path).get("arguments")
    if not isinstance(arguments, dict):
        raise ModelError(f"{path} does not hold the arguments of a run: the checkpoint is damaged")
    return arguments


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a checkpoint's file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"no checkpoint in {path.parent}: {path.name} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelError(f"{path} is no JSON ({error}): the checkpoint is damaged") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}: expected what clipbench train wrote")
    return content


def holds_model(folder: Path) -> bool:
    """Return whether a folder is a checkpoint: its config.json is ours, and not transformers'."""
    try:
        return '"model_cfg"' in (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a checkpoint of the bundled CLIP, or a run with one."""
    return holds_model(path) or bool(checkpoints(path))

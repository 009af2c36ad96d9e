"""Checkpoints in folders: those of ``clipbench train``, and those that other training loops leave. Imports no torch."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import ModelError, UsageError
from clipbench.models._checkpoint_names import CHECKPOINT_SUFFIXES, step_in_name
from clipbench.models.series import natural

CONFIG, WEIGHTS, TRAIN, OPTIMIZER = "config.json", "model.safetensors", "train.json", "optimiser.safetensors"

CHECKPOINT_FORMS = (
    "step-*/ (clipbench train), checkpoint-*/ (transformers), or *.pt and *.safetensors there or in checkpoints/"
)

LATEST = "epoch_latest.pt"
"""The file that open_clip's --save-most-recent rewrites each epoch: it belongs to no one step, so it is left out."""

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint that a training loop has left in its folder; its files may still be being written."""

    path: Path
    reference: str
    """The model reference that ``load_model`` takes."""

    @property
    def name(self) -> str:
        return self.path.name

    def signature(self) -> Signature:
        """Return name, size and time of change of its files: equal twice in a row when the writer has finished."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def bundled_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of ``clipbench train`` below a run's folder, oldest first."""
    found = [(int(match[1]), path) for path in run.glob("step-*") if (match := re.fullmatch(r"step-(\d+)", path.name))]
    return [path for _, path in sorted(found)]


def newest_checkpoint(run: Path) -> Path:
    """Return the checkpoint from which a run is resumed.

    Raises:
        UsageError: there is none.
    """
    checkpoints = bundled_checkpoints(run)
    if not checkpoints:
        raise UsageError(f"{run} holds no checkpoint to resume from: start the run without --resume")
    return checkpoints[-1]


def arguments_of(run: Path) -> dict[str, object]:
    """Return the command-line arguments of a training run.

    Raises:
        UsageError: the run has no checkpoint.
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
        raise ModelError(
            f"{path} holds a JSON {type(content).__name__}: expected an object, as clipbench train writes it"
        )
    return content


def is_bundled_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint of the bundled CLIP: transformers' config.json has no "model_cfg"."""
    try:
        return '"model_cfg"' in (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def holds_bundled_checkpoint(path: Path) -> bool:
    """Return whether a path is a checkpoint of the bundled CLIP, or a run with one."""
    return is_bundled_checkpoint(path) or bool(bundled_checkpoints(path))


def training_checkpoints(folder: Path) -> list[TrainingCheckpoint]:
    """Return the checkpoints of a training's folder, oldest step first; a model in the folder itself is none."""
    try:
        checkpoints = [
            *_folder_checkpoints(folder),
            *_file_checkpoints(folder),
            *_file_checkpoints(folder / "checkpoints"),
        ]
    except FileNotFoundError:  # one was deleted while they were listed
        return training_checkpoints(folder)
    return sorted(checkpoints, key=_by_step)


def _folder_checkpoints(folder: Path) -> Iterator[TrainingCheckpoint]:
    for path in folder.glob("step-*"):
        if is_bundled_checkpoint(path) and (path / WEIGHTS).is_file():
            yield TrainingCheckpoint(path, f"bundled:{path}")
    for path in folder.glob("checkpoint-*"):
        weights = [file for pattern in ("*.safetensors", "*.bin") for file in path.glob(pattern)]
        if (path / CONFIG).is_file() and weights:
            yield TrainingCheckpoint(path, f"hf:{path}")


def _file_checkpoints(folder: Path) -> Iterator[TrainingCheckpoint]:
    if (folder / CONFIG).is_file():  # the weights belong to it: a Trainer's last model, beside its checkpoints
        return
    for path in folder.glob("*"):
        if (
            path.is_file()
            and path.suffix in CHECKPOINT_SUFFIXES
            and not path.name.startswith(".")
            and path.name != LATEST
        ):
            yield TrainingCheckpoint(path, str(path))


def _by_step(checkpoint: TrainingCheckpoint) -> tuple[float, list[tuple[int, str]]]:
    step = step_in_name(checkpoint.path)
    return float("inf" if step is None else step), natural(str(checkpoint.path))

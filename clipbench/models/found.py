"""Checkpoints that a training loop leaves in a folder: which there are, and whether they are whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbench.models._steps import step_in_name
from clipbench.models._suffixes import CHECKPOINTS
from clipbench.models.checkpoint_folders import CONFIG, WEIGHTS, holds_model
from clipbench.models.series import natural

FORMS = "step-*/ (clipbench train), checkpoint-*/ (transformers), or *.pt and *.safetensors there or in checkpoints/"

LATEST = "epoch_latest.pt"
"""What open_clip's --save-most-recent writes anew each epoch: of no one step, and a run is never overwritten."""

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Found:
    """A checkpoint, as far as its files go."""

    path: Path
    reference: str
    """What ``load_model`` takes."""

    @property
    def name(self) -> str:
        return self.path.name

    def signature(self) -> Signature:
        """Return name, size and time of change of its files: what stands still when nobody writes any more."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def checkpoints_in(folder: Path) -> list[Found]:
    """Return the checkpoints of a training's folder, oldest step first; a model in the folder itself is none."""
    try:
        found = [*_folders(folder), *_files(folder), *_files(folder / "checkpoints")]
    except FileNotFoundError:  # one was taken away while they were listed
        return checkpoints_in(folder)
    return sorted(found, key=_order)


def _folders(folder: Path) -> Iterator[Found]:
    for path in folder.glob("step-*"):
        if holds_model(path) and (path / WEIGHTS).is_file():
            yield Found(path, f"bundled:{path}")
    for path in folder.glob("checkpoint-*"):
        weights = [file for pattern in ("*.safetensors", "*.bin") for file in path.glob(pattern)]
        if (path / CONFIG).is_file() and weights:
            yield Found(path, f"hf:{path}")


def _files(folder: Path) -> Iterator[Found]:
    if (folder / CONFIG).is_file():  # the weights belong to it: a Trainer's last model, beside its checkpoints
        return
    for path in folder.glob("*"):
        if path.is_file() and path.suffix in CHECKPOINTS and not path.name.startswith(".") and path.name != LATEST:
            yield Found(path, str(path))


def _order(found: Found) -> tuple[float, list[tuple[int, str]]]:
    step = step_in_name(found.path)
    return float("inf" if step is None else step), natural(str(found.path))

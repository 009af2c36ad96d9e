"""Checkpoints by file name, by pattern (``runs/train/step-*``) and in the folders of training loops. Imports no
torch.
"""

import ast
import glob
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import ModelError, UsageError
from clipbench.untrusted.reading import (
    is_file,
    is_folder,
    is_there,
    matching,
    read_bytes,
    read_text,
    why_not_there,
)
from clipbench.untrusted.reading import read_json as read_any_json

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

STEP_KEYS = ("step", "global_step", "epoch")
"""Names that training loops give to their progress inside a checkpoint. A step is more precise than an epoch."""

_ARCH_AND_REST = re.compile(r"([\w.-]+(?:/\d[\w@]*)?),(.+)")
"""An architecture before a comma: ViT-B-32, or as OpenAI writes it ViT-B/32 and ViT-L/14@336px."""

_STEP_IN_NAME = re.compile(r"(step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?(\d{1,18})(?!\d)", re.IGNORECASE)

PATH_PREFIXES = ("bundled", "local-dir", "hf", "embeddings")
"""Adapters that read paths. The references of others may hold a * that is not a pattern."""

CONFIG, WEIGHTS, TRAIN, OPTIMIZER = "config.json", "model.safetensors", "train.json", "optimiser.safetensors"

CHECKPOINT_FORMS = (
    "step-*/ (clipbench train), checkpoint-*/ (transformers), "
    "or *.pt, *.safetensors and sharded folders there or in checkpoints/"
)

SHARDS, PARAMS = ".metadata", "params.txt"
"""The list of tensors in a folder of torch.distributed.checkpoint, and the settings that open_clip writes for a
training.
"""

MOST_WILD_PARTS = 3
"""Parts of a pattern that may hold a ``*`` or ``?``: each lists every folder that the parts before it match."""

LATEST = "epoch_latest"
"""The checkpoint that open_clip's --save-most-recent rewrites each epoch: it belongs to no one step, so it is left
out.
"""

Signature = tuple[tuple[str, int, int], ...]


def step_in_name(path: Path) -> int | None:
    """Return the step or epoch in the name of a checkpoint, or None if it has none.

    Example:
        >>> [step_in_name(Path(name)) for name in ("run/step-250", "epoch_12.pt", "checkpoint-500", "ViT-B-32.pt")]
        [250, 12, 500, None]
        >>> step_in_name(Path("epoch=3-step=5000.pt"))
        5000
    """
    numbers = {word.lower(): int(number) for word, number in _STEP_IN_NAME.findall(path.name)}
    epoch = numbers.pop("epoch", None)
    return next(iter(numbers.values()), epoch)


def split_arch(reference: str) -> tuple[str | None, str]:
    """Return the architecture and the rest of ``ARCH,REST``, or None and the whole for a path, which may hold a comma.

    Example:
        >>> split_arch("ViT-B-32,mine.pt"), split_arch("ViT-B/32,mine.pt"), split_arch("runs/a,b.pt")
        (('ViT-B-32', 'mine.pt'), ('ViT-B/32', 'mine.pt'), (None, 'runs/a,b.pt'))
    """
    match = None if is_there(Path(reference)) else _ARCH_AND_REST.fullmatch(reference)
    return (match[1], match[2]) if match else (None, reference)


def is_sharded(path: Path) -> bool:
    """Return whether a path is a folder of torch.distributed.checkpoint, as open_clip writes it."""
    return is_file(path / SHARDS)


def is_open_clip_checkpoint(path: Path) -> bool:
    """Return whether a path is named as a checkpoint file, or is a sharded one."""
    return path.suffix.lower() in CHECKPOINT_SUFFIXES or is_sharded(path)


def training_settings(checkpoint: Path) -> dict[str, object] | None:
    """Return open_clip's settings for the training of a checkpoint, None without its ``params.txt``.

    Raises:
        ModelError: the file cannot be read, or names no model.
    """
    path = params_of(checkpoint)
    if path is None:
        return None
    settings = {}
    for line in read_text(path, ModelError).splitlines():
        name, _, value = line.partition(": ")
        settings[name] = _literal(value)
    if not isinstance(settings.get("model"), str):
        raise ModelError(
            f"{path} has no line 'model: ARCH': expected the settings that open_clip writes for a training"
        )
    return settings


def params_of(checkpoint: Path) -> Path | None:
    """Return the ``params.txt`` of the training of a checkpoint in ``NAME/checkpoints``, None if there is none."""
    folder = checkpoint.absolute().parent
    return folder.parent / PARAMS if folder.name == "checkpoints" and is_file(folder.parent / PARAMS) else None


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def step_inside(content: Mapping[str, object]) -> int | None:
    """Return the step or epoch that a checkpoint records of itself, or None if it records none."""
    for key in STEP_KEYS:
        number = content.get(key)
        if type(number) is int and 0 <= number < 2**63:
            return number
    return None


@dataclass(frozen=True)
class SeriesMember:
    """A checkpoint that a pattern matches."""

    reference: str
    """The model reference that ``load_model`` takes."""
    name: str
    """Path from where the pattern begins to vary: distinct, and the same however many others there are."""


def is_pattern(reference: str) -> bool:
    """Return whether a model reference is a pattern of paths, and not the name of something that is there.

    Example:
        >>> [
        ...     is_pattern(reference)
        ...     for reference in ("runs/train/step-*", "hf:out/checkpoint-?00", "ViT-B-32,openai", "python:a:b*")
        ... ]
        [True, True, False, False]
    """
    _, path = _split_prefix(reference)
    return path != "" and glob.has_magic(path) and not is_there(path)


def matching_checkpoints(pattern: str) -> list[SeriesMember]:
    """Return the checkpoints that match a pattern, ``step-2`` before ``step-10``.

    Raises:
        UsageError: none matches, or the pattern would search whole trees of folders.
    """
    prefix, path = _split_prefix(pattern)
    parts = Path(path).parts
    wild_parts = [part for part in parts if glob.has_magic(part)]
    if "**" in path or len(wild_parts) > MOST_WILD_PARTS:
        raise UsageError(
            f"'{pattern}' would search too many folders: expected at most {MOST_WILD_PARTS} folders or names"
            " with * or ?, and no **"
        )
    try:
        matches = sorted((match.rstrip("/") for match in glob.glob(path)), key=natural_order)
    except ValueError:  # a NUL: no name holds one
        matches = []
    if not matches:
        raise UsageError(f"no checkpoint matches '{pattern}': expected a pattern of paths, such as 'runs/train/step-*'")
    head = Path(*parts[: parts.index(wild_parts[0])])
    return [SeriesMember(prefix + match, Path(match).relative_to(head).as_posix()) for match in matches]


def natural_order(text: str) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers within texts by value.

    Example:
        >>> sorted(["step-10", "step-2", "step-2b"], key=natural_order)
        ['step-2', 'step-2b', 'step-10']
    """
    key = []
    for part in re.split(r"(\d+)", text):
        key.append((int(part), "") if part.isdecimal() else (-1, part))
    return key


def _split_prefix(reference: str) -> tuple[str, str]:
    """Return the prefix of a pattern with its colon or comma, and the path, empty for adapters without files."""
    prefix, colon, body = reference.partition(":")
    if not colon:
        arch, path = split_arch(reference)
        return ("", path) if arch is None else (f"{arch},", path)
    return (f"{prefix}:", body) if prefix.casefold() in PATH_PREFIXES else (reference, "")


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint that a training loop has left in its folder, possibly with files that are still being written."""

    path: Path
    reference: str
    """The model reference that ``load_model`` takes."""

    @property
    def name(self) -> str:
        return self.path.name

    def signature(self) -> Signature:
        """Return name, size and time of change of its files: equal twice in a row when the writer has finished."""
        files = sorted(self.path.rglob("*")) if is_folder(self.path) else [self.path]
        stats = [(str(file), file.stat()) for file in files if is_file(file)]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def bundled_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of ``clipbench train`` below a run's folder, oldest first."""
    checkpoints = []
    for path in matching(run, "step-*"):
        match = re.fullmatch(r"step-(\d{1,18})", path.name)
        if match:
            checkpoints.append((int(match[1]), path))
    return [path for _, path in sorted(checkpoints)]


def newest_checkpoint(run: Path) -> Path:
    """Return the checkpoint from which a run is resumed, or raise UsageError if there is none."""
    checkpoints = bundled_checkpoints(run)
    if not checkpoints:
        raise UsageError(f"{run} holds no checkpoint to resume from: start the run without --resume")
    return checkpoints[-1]


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a checkpoint's file, or raise ModelError if it cannot be read."""
    if not is_file(path):
        raise ModelError(f"no checkpoint in {path.parent}: it has no file {path.name}{why_not_there(path)}")
    content = read_any_json(path, ModelError, advice="the checkpoint is damaged")
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} holds a JSON {type(content).__name__}: expected an object, as clipbench train writes it"
        )
    return content


def is_bundled_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint of the bundled CLIP: transformers' config.json has no "model_cfg"."""
    try:
        return b'"model_cfg"' in read_bytes(folder / CONFIG)
    except OSError:
        return False


def holds_bundled_checkpoint(path: Path) -> bool:
    """Return whether a path is a checkpoint of the bundled CLIP, or a run with one."""
    return is_bundled_checkpoint(path) or bool(bundled_checkpoints(path))


def training_checkpoints(folder: Path) -> list[TrainingCheckpoint]:
    """Return the checkpoints in a training's folder, oldest step first, without a model in the folder itself."""
    try:
        checkpoints = [
            *_folder_checkpoints(folder),
            *_file_checkpoints(folder),
            *_file_checkpoints(folder / "checkpoints"),
        ]
    except FileNotFoundError:  # one was deleted while they were listed
        return training_checkpoints(folder)
    return sorted(checkpoints, key=_training_order)


def _training_order(checkpoint: TrainingCheckpoint) -> tuple[float, object]:
    """Return a sort key: by step, checkpoints without one last."""
    step = step_in_name(checkpoint.path)
    return math.inf if step is None else step, natural_order(str(checkpoint.path))


def _folder_checkpoints(folder: Path) -> Iterator[TrainingCheckpoint]:
    for path in matching(folder, "step-*"):
        if is_bundled_checkpoint(path) and is_file(path / WEIGHTS):
            yield TrainingCheckpoint(path, f"bundled:{path}")
    for path in matching(folder, "checkpoint-*"):
        if is_file(path / CONFIG) and (matching(path, "*.safetensors") or matching(path, "*.bin")):
            yield TrainingCheckpoint(path, f"hf:{path}")


def _file_checkpoints(folder: Path) -> Iterator[TrainingCheckpoint]:
    if is_file(folder / CONFIG):  # the weights belong to it: a Trainer's last model, beside its checkpoints
        return
    for path in matching(folder, "*"):
        is_checkpoint = is_sharded(path) or (path.suffix.lower() in CHECKPOINT_SUFFIXES and is_file(path))
        if is_checkpoint and path.stem != LATEST and not path.name.startswith((".", "_")):
            yield TrainingCheckpoint(path, str(path))

"""File names of checkpoints and vectors, and the training step that a checkpoint's name or content gives. Imports no torch."""

import re
from collections.abc import Mapping
from pathlib import Path

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
VECTOR_SUFFIXES = (".npz", ".npy", ".parquet")

STEP_KEYS = ("step", "global_step", "epoch")
"""Names that training loops give to their progress inside a checkpoint; a step is more precise than an epoch."""

_STEP_IN_NAME = re.compile(r"(step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?(\d+)", re.IGNORECASE)


def step_in_name(path: Path) -> int | None:
    """Return the step or epoch in the name of a checkpoint; None where it has none.

    Example:
        >>> [step_in_name(Path(name)) for name in ("run/step-250", "epoch_12.pt", "checkpoint-500", "ViT-B-32.pt")]
        [250, 12, 500, None]
        >>> step_in_name(Path("epoch=3-step=5000.pt"))
        5000
    """
    numbers = {word.lower(): int(number) for word, number in _STEP_IN_NAME.findall(path.name)}
    epoch = numbers.pop("epoch", None)
    return next(iter(numbers.values()), epoch)


def step_inside(content: Mapping[str, object]) -> int | None:
    """Return the step or epoch that a checkpoint records of itself; None where it records none."""
    numbers = [content.get(key) for key in STEP_KEYS]
    return next((number for number in numbers if type(number) is int and number >= 0), None)

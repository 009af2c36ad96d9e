"""How far a checkpoint had been trained, by what it is called or says. Imports nothing heavy."""

import re
from collections.abc import Mapping
from pathlib import Path

KEYS = ("step", "global_step", "epoch")
"""What training loops call it inside a checkpoint; a step says more than an epoch."""

_IN_NAME = re.compile(r"(step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?(\d+)", re.IGNORECASE)


def step_in_name(path: Path) -> int | None:
    """Return the step or epoch in the name of a checkpoint; None where it has none.

    Example:
        >>> [step_in_name(Path(name)) for name in ("run/step-250", "epoch_12.pt", "checkpoint-500", "ViT-B-32.pt")]
        [250, 12, 500, None]
        >>> step_in_name(Path("epoch=3-step=5000.pt"))
        5000
    """
    found = {word.lower(): int(number) for word, number in _IN_NAME.findall(path.name)}
    epoch = found.pop("epoch", None)
    return next(iter(found.values()), epoch)


def step_inside(content: Mapping[str, object]) -> int | None:
    """Return the step or epoch that a checkpoint says of itself; None where it says none."""
    numbers = [content.get(key) for key in KEYS]
    return next((number for number in numbers if type(number) is int and number >= 0), None)

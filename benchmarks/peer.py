"""CLIP_benchmark 1.6.2's way: its package where `make test-peer` has installed it, and its published routines, written here.

Source: https://github.com/LAION-AI/CLIP_benchmark, `metrics/zeroshot_classification.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

COMMAND = Path(__file__).parents[1] / ".venv-peer/bin/clip_benchmark"
"""There where `make test-peer` has been run."""
NAME = "CLIP_benchmark 1.6.2"


def classifier(encode: Callable[[Any], torch.Tensor], tokenizer: Any, prompts: Sequence[Sequence[str]]) -> torch.Tensor:
    """Return the mean unit vector of each class, class after class at the full context."""
    found = []
    with torch.no_grad():
        for texts in prompts:
            mean = F.normalize(encode(tokenizer(list(texts))), dim=-1).mean(dim=0)
            found.append(mean / mean.norm())
    return torch.stack(found)

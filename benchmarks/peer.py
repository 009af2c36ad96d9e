"""CLIP_benchmark 1.6.2's way: its package where `make test-peer` has installed it, and its published routines, written
here.

Source: https://github.com/LAION-AI/CLIP_benchmark, `metrics/zeroshot_classification.py`.
"""

import subprocess
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


def zero_shot(weights: Path, arch: str, data: Path, out: Path) -> None:
    """Run the package's command on a webdataset of classes."""
    command = [str(COMMAND), "eval", "--model", arch, "--pretrained", str(weights), "--dataset", f"wds/{data.name}"]
    command += ["--dataset_root", str(data), "--task", "zeroshot_classification", "--no_amp", "--num_workers", "0"]
    done = subprocess.run([*command, "--output", str(out)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{NAME} ended with {done.returncode}: {done.stderr[-500:]}")

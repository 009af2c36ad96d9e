"""Small checkpoints of the bundled architecture, with seeded weights."""

from dataclasses import replace
from pathlib import Path

import torch

from clipbench.training.clip.checkpoint import save_model
from clipbench.training.clip.config import ClipConfig, Tower
from clipbench.training.clip.inputs import train_tokenizer
from clipbench.training.clip.model import CLIP

MICRO = ClipConfig(
    embed_dim=16,
    image_size=16,
    patch_size=8,
    vision=Tower(width=32, layers=2, heads=2),
    text=Tower(width=16, layers=2, heads=2),
    vocab_size=560,
    context_length=12,
)


def save_bundled(
    folder: Path, config: ClipConfig = MICRO, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a checkpoint whose tokenizer knows a few captions."""
    captions, n = ["a red disc", "a blue square", "a dog"], config.context_length
    tokenizer = train_tokenizer(captions, vocab_size=config.vocab_size, context_length=n)
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_model(folder, CLIP(replace(config, vocab_size=tokenizer.vocab_size)), tokenizer, dtype=dtype)
    return folder

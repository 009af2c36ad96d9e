"""The optimizer of CLIP's recipe: AdamW, weight decay on matrices only, warm-up and cosine. Imports torch.

Source: Radford et al., 2021, section 2.5 and table 18; reference values as in open_clip.
"""

import math

import torch
from torch import nn

from clipbench.training.clip.model import CLIP

BETAS = (0.9, 0.98)
EPSILON = 1e-6
LARGEST_LOGIT_SCALE = 100.0


def make_optimizer(model: CLIP, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW that decays all weights except gains, biases, the class embedding, temperature and bias.

    Those are the parameters with fewer than two dimensions; embeddings of tokens and positions are decayed.
    """
    decayed = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, eps=EPSILON, fused=True)


def learning_rate(step: int, *, lr: float, warmup: int, steps: int) -> float:
    """Return the learning rate of a step, from 0: linear up to ``lr``, then half a cosine down to 0.

    Example:
        >>> [round(learning_rate(step, lr=1.0, warmup=2, steps=6), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@torch.no_grad()
def clamp_logit_scale(model: CLIP) -> None:
    """Keep the logit scale between 1 and 100, which the paper found necessary for stability."""
    model.logit_scale.clamp_(0, math.log(LARGEST_LOGIT_SCALE))


def fix_temperature(model: CLIP, temperature: float) -> None:
    """Set the temperature, and exclude it from training."""
    nn.init.constant_(model.logit_scale, -math.log(temperature))
    model.logit_scale.requires_grad_(False)

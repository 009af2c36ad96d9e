"""The model that is being trained: how its towers are run, and what is measured of them on the way. Imports torch."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.metrics.similarity import unit
from clipbench.training.batches import Batch
from clipbench.training.clip.model import CLIP
from clipbench.training.encoding import equal_inputs, logit_constants
from clipbench.training.scalars import Scalars, pair_scalars

MEASURED_AT_ONCE = 64
"""Pairs that are encoded at a time when a model is measured."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The two towers of a model, run on one device in one precision."""

    model: CLIP
    device: torch.device
    dtype: torch.dtype = torch.float32
    """Type of matrix products; weights, residual streams and losses are float32 in any case."""

    def images(self, pixels: Tensor) -> Float32[Tensor, "n E"]:
        """Return raw vectors of pixels as they come in a batch."""
        config = self.model.config
        mean, std = (torch.tensor(each, device=self.device)[:, None, None] for each in (config.mean, config.std))
        normalized = (pixels.to(self.device).float() / 255 - mean) / std
        with self._precision():
            return self.model.encode_image(normalized).float()

    def texts(self, tokens: Int64[Tensor, "n L"]) -> Float32[Tensor, "n E"]:
        """Return raw vectors of tokens, whose padding is not computed."""
        longest = int(tokens.argmax(dim=-1).max()) + 1
        with self._precision():
            return self.model.encode_text(tokens[:, :longest].to(self.device)).float()

    @contextmanager
    def _precision(self) -> Iterator[None]:
        is_mixed = self.dtype != torch.float32
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, self.dtype, enabled=is_mixed))
            if is_mixed and self.device.type == "cpu":
                # torch 2.13's fused attention in bfloat16 takes half of a step's time to go backward on a CPU.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield


def measure(towers: Towers, pairs: Batch) -> Scalars:
    """Return the scalars of a ``Monitor``: gap, cones, recall@1, effective ranks, ..., temperature and bias.

    Args:
        pairs: held out from training, each image with one caption.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    images, texts = unit_vectors(towers, pairs)
    same_images, same_texts = equal_inputs(pairs.pixels), equal_inputs(pairs.tokens)
    return pair_scalars(images, texts, same_images=same_images, same_texts=same_texts) | logit_constants(towers.model)


@torch.no_grad()
def unit_vectors(towers: Towers, pairs: Batch) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n dim"]]:
    """Return unit vectors of images and captions, in order."""
    images = [towers.images(pixels) for pixels in pairs.pixels.split(MEASURED_AT_ONCE)]
    texts = [towers.texts(tokens) for tokens in pairs.tokens.split(MEASURED_AT_ONCE)]
    return unit(torch.cat(images).cpu().numpy()), unit(torch.cat(texts).cpu().numpy())

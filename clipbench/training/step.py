"""The gradients of one batch: with all of its activations held, or with a few pairs' at a time. Imported only with torch.

A contrastive loss couples all pairs of a batch, so it cannot be summed over small batches as other losses can. But it
reaches the towers only through the vectors. So: encode everything, take the gradient of the loss with respect to the
vectors, and hand each vector's gradient down its tower. With micro-batches the first encoding keeps nothing, and each
micro-batch is encoded once more on its way down: the same gradients, for one more forward pass. Source: Gao et al.,
Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021 (GradCache).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.training.batches import Batch
from clipbench.training.clip.model import CLIP
from clipbench.training.losses import Loss, n_processes

CACHED = 64
"""Pairs that a processor core encodes at once: their activations stay in its cache, which a whole batch's do not."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """A model, and how it is to be run."""

    model: CLIP
    device: torch.device
    dtype: torch.dtype = torch.float32
    """What matrices are multiplied in; weights, residual streams and losses are float32 in any case."""

    def images(self, pixels: Tensor) -> Float32[Tensor, "n E"]:
        """Return raw vectors of pixels as they come in a batch."""
        with self._precision():
            return self.model.encode_image(self._normalised(pixels)).float()

    def texts(self, tokens: Int64[Tensor, "n L"]) -> Float32[Tensor, "n E"]:
        """Return raw vectors of tokens, whose padding is not computed."""
        longest = int(tokens.argmax(dim=-1).max()) + 1
        with self._precision():
            return self.model.encode_text(tokens[:, :longest].to(self.device)).float()

    def _normalised(self, pixels: Tensor) -> Float32[Tensor, "n 3 S S"]:
        config = self.model.config
        mean, std = (torch.tensor(each, device=self.device)[:, None, None] for each in (config.mean, config.std))
        return (pixels.to(self.device).float() / 255 - mean) / std

    @contextmanager
    def _precision(self) -> Iterator[None]:
        is_mixed = self.dtype != torch.float32
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, self.dtype, enabled=is_mixed))
            if is_mixed and self.device.type == "cpu":
                # torch 2.13's fused attention in bfloat16 takes half of a step's time to go backward on a CPU.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield


def add_gradients(
    towers: Towers, batch: Batch, loss: Loss, *, micro_batch_size: int | None = None
) -> Float[Tensor, ""]:
    """Add the gradients of a batch's loss to the model's, and return this process's share of the loss.

    Args:
        micro_batch_size: pairs whose activations are held at a time; None for all.
    """
    parts = [*_image_parts(towers, batch, micro_batch_size), *_text_parts(towers, batch, micro_batch_size)]
    keep = micro_batch_size is None
    with torch.set_grad_enabled(keep):
        outputs = [part.encode() for part in parts]
    vectors = torch.zeros(2, len(batch.pixels), outputs[0].shape[1], device=towers.device)
    for part, output in zip(parts, outputs, strict=True):
        vectors[part.side, part.rows] = output.detach()
    share, gradients = _loss_and_gradients(towers.model, vectors, loss)
    for part, output in zip(parts, outputs, strict=True):
        again = output if keep else part.encode()
        again.backward(gradients[part.side, part.rows])
    return share


def sum_over_processes(model: CLIP) -> None:
    """Replace each process's gradients by their sum, which is the whole batch's gradient."""
    if n_processes() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


class _Part(NamedTuple):
    """Some rows of one side of a batch, and how to encode them."""

    side: int
    rows: Int64[Tensor, " n"]
    encode: Callable[[], Float32[Tensor, "n E"]]


def _image_parts(towers: Towers, batch: Batch, size: int | None) -> list[_Part]:
    size = size or (CACHED if towers.device.type == "cpu" else len(batch.pixels))
    rows = torch.arange(len(batch.pixels)).split(size)
    parts = zip(rows, batch.pixels.split(size), strict=True)
    return [_Part(0, places, partial(towers.images, pixels)) for places, pixels in parts]


def _text_parts(towers: Towers, batch: Batch, size: int | None) -> list[_Part]:
    """Return texts of like length together, as each part is as long as its longest."""
    rows = torch.argsort(batch.tokens.argmax(dim=-1), stable=True).split(size or CACHED)
    return [_Part(1, places, partial(towers.texts, batch.tokens[places])) for places in rows]


def _loss_and_gradients(
    model: CLIP, vectors: Float32[Tensor, "2 n E"], loss: Loss
) -> tuple[Float[Tensor, ""], Float32[Tensor, "2 n E"]]:
    """Return the loss and its gradient by the raw vectors; those by temperature and bias are added to the model's."""
    vectors.requires_grad_()
    images, texts = F.normalize(vectors, dim=-1)
    share = loss(images, texts, model.logit_scale.exp(), model.logit_bias)
    share.backward()
    assert vectors.grad is not None
    return share.detach(), vectors.grad

"""The gradients of one batch, with all of its activations held or with a few pairs' at a time. Imports torch.

A contrastive loss couples all pairs of a batch, so it cannot be summed over small batches as other losses can. But it
reaches the towers only through the vectors. So: encode everything, take the gradient of the loss with respect to the
vectors, and hand each vector's gradient down its tower. With micro-batches the first encoding keeps nothing, and each
micro-batch is encoded once more on its way down: the same gradients, for one more forward pass. Source: Gao et al.,
Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021 (GradCache).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from clipbench.distributed.group import n_processes
from clipbench.training.batches import Batch
from clipbench.training.clip.model import CLIP
from clipbench.training.losses import Loss
from clipbench.training.towers import Towers

CACHE_SIZED = 64
"""Pairs that a processor core encodes at once: their activations fit its cache, those of a whole batch do not."""


def add_gradients(
    towers: Towers, batch: Batch, loss: Loss, *, micro_batch_size: int | None = None
) -> Float[Tensor, ""]:
    """Add the gradients of a batch's loss to the model's, and return this process's share of the loss.

    Args:
        micro_batch_size: pairs whose activations are held at a time; None for all.
    """
    parts = _parts(towers, batch, micro_batch_size)
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


def sum_gradients(model: CLIP) -> None:
    """Replace each process's gradients by their sum, which is the whole batch's gradient."""
    if n_processes() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


class _Part(NamedTuple):
    """Some rows of one side of a batch, and the function that encodes them."""

    side: int
    """0 for images, 1 for texts."""
    rows: Int64[Tensor, " n"]
    encode: Callable[[], Float32[Tensor, "n E"]]


def _parts(towers: Towers, batch: Batch, size: int | None) -> list[_Part]:
    """Return the batch in parts to encode; texts of like length together, as a part is as long as its longest text."""
    n_images = size or (CACHE_SIZED if towers.device.type == "cpu" else len(batch.pixels))
    image_rows = torch.arange(len(batch.pixels)).split(n_images)
    text_rows = torch.argsort(batch.tokens.argmax(dim=-1), stable=True).split(size or CACHE_SIZED)
    images = zip(image_rows, batch.pixels.split(n_images), strict=True)
    return [
        *(_Part(0, rows, partial(towers.images, pixels)) for rows, pixels in images),
        *(_Part(1, rows, partial(towers.texts, batch.tokens[rows])) for rows in text_rows),
    ]


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

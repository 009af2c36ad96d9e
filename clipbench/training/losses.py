"""Contrastive losses of a batch of pairs: CLIP's symmetric cross-entropy, and SigLIP's sigmoid loss.

Both are written for a batch that may be spread over processes: each holds its own pairs, sees all others' vectors as
negatives, and returns its share of the loss. Shares add up to the loss of the whole batch, and the gradients that the
processes get, added up, are the gradients of that. Logits are made a block of rows at a time, and made again for the
backward pass, so that a batch of N never needs N x N numbers. Imports torch.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clipbench.distributed.group import n_processes, rank

BLOCK_ELEMENTS = 1 << 24
"""Logits that are held at once: 64 MiB in float32, a few times over."""

Loss = Callable[
    [Float[Tensor, "n E"], Float[Tensor, "n E"], Float[Tensor, ""], Float[Tensor, ""] | None], Float[Tensor, ""]
]
"""A function of unit image vectors, unit text vectors (row i of both is a pair), scale and bias; returns this process's
share of the loss."""


def clip_loss(
    images: Float[Tensor, "n E"],
    texts: Float[Tensor, "n E"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of finding each image's text and each text's image among the batch.

    Source: Radford et al., 2021, figure 3. A bias is not used: it would not change a softmax.

    Args:
        images: of this process, of unit length.
        texts: of this process, of unit length.
        logit_scale: already exponentiated.

    Example:
        >>> same = torch.eye(2)[[0, 0]]  # two equal pairs, so that each choice has probability 1/2
        >>> round(float(clip_loss(same, same, torch.tensor(1.0))), 4)  # ln 2
        0.6931
    """
    all_images, all_texts = gather(images), gather(texts)
    n_all, first = len(all_images), rank() * len(images)

    def block(rows: slice) -> Tensor:
        labels = torch.arange(first + rows.start, first + rows.stop, device=images.device)
        by_image = logit_scale * images[rows] @ all_texts.T  # (rows, N)
        by_text = logit_scale * texts[rows] @ all_images.T
        return F.cross_entropy(by_image, labels, reduction="sum") + F.cross_entropy(by_text, labels, reduction="sum")

    return _sum_of_blocks(block, len(images), n_all) / (2 * n_all)


def siglip_loss(
    images: Float[Tensor, "n E"],
    texts: Float[Tensor, "n E"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None,
) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of telling pairs from non-pairs, summed over N x N, divided by N.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1.

    Args:
        images: of this process, of unit length.
        texts: of this process, of unit length.
        logit_scale: already exponentiated.
        logit_bias: added to each logit; without it the many non-pairs would swamp the first steps.

    Example:
        >>> eye = torch.eye(2)
        >>> loss = siglip_loss(eye, eye, torch.tensor(1.0), torch.tensor(0.0))  # -(ln sigmoid(1) + ln sigmoid(-0))
        >>> round(float(loss), 4)
        1.0064
    """
    all_texts = gather(texts)
    n_all, first = len(all_texts), rank() * len(images)
    assert logit_bias is not None, "the sigmoid loss needs a model with a bias"

    def block(rows: slice) -> Tensor:
        logits = logit_scale * images[rows] @ all_texts.T + logit_bias  # (rows, N)
        own = torch.arange(rows.start, rows.stop, device=images.device)
        signs = -torch.ones_like(logits)
        signs[own - rows.start, first + own] = 1
        return -F.logsigmoid(signs * logits).sum()

    return _sum_of_blocks(block, len(images), n_all) / n_all


LOSSES: dict[str, Loss] = {"clip": clip_loss, "siglip": siglip_loss}


def gather(vectors: Float[Tensor, "n E"]) -> Float[Tensor, "N E"]:
    """Return the vectors of all processes, in the order of their ranks; gradients flow back to the process they came from."""
    if n_processes() == 1:
        return vectors
    gathered: Tensor = _Gather.apply(vectors)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """Concatenates the vectors of all processes; its backward pass sums the gradients that they have of this one's."""

    @staticmethod
    def forward(vectors: Tensor) -> Tensor:
        parts = [torch.empty_like(vectors) for _ in range(n_processes())]
        dist.all_gather(parts, vectors.contiguous())
        return torch.cat(parts)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total.chunk(n_processes())[rank()]


def _sum_of_blocks(block: Callable[[slice], Tensor], n_rows: int, n_columns: int) -> Tensor:
    """Return the sum of a loss over blocks of rows, each block's logits made again for its backward pass."""
    step = max(1, BLOCK_ELEMENTS // n_columns)
    blocks = [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    if len(blocks) == 1:
        return block(blocks[0])
    sums: list[Tensor] = [checkpoint(block, rows, use_reentrant=False) for rows in blocks]
    return torch.stack(sums).sum()

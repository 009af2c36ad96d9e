"""One step of a training: losses, towers, gradients, and the optimizer of CLIP's recipe. Imports torch.

The losses are written for a batch that may be spread over processes: each holds its own pairs, sees all others' vectors
as negatives, and returns its fraction of the loss. Shares add up to the loss of the whole batch, and the gradients that
the processes get, added up, are the gradients of that. Logits are made a block of rows at a time, and made again for
the backward pass, so that a batch of N never needs N x N numbers.

A contrastive loss couples all pairs of a batch, so it cannot be summed over small batches as other losses can. But it
reaches the towers only through the vectors. So: encode everything, take the gradient of the loss with respect to the
vectors, and hand each vector's gradient down its tower. With micro-batches the first encoding keeps nothing, and each
micro-batch is encoded once more on its way down: the same gradients, for one more forward pass. Source: Gao et al.,
Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021 (GradCache).

The optimizer is AdamW with weight decay on matrices only, warm-up and cosine. Source: Radford et al., 2021, section 2.5
and table 18, with reference values as in open_clip.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from clipbench.distributed.group import n_processes, rank
from clipbench.metrics.similarity import Vectors, unit
from clipbench.training.batches import Batch
from clipbench.training.clip.model import CLIP
from clipbench.training.scalars import Scalars, equal_inputs, logit_constants, pair_scalars

BLOCK_ELEMENTS = 1 << 24
"""Logits that are held at once: 64 MiB in float32, a few times over."""

UnitVectors = Float[Tensor, "n E"]
ScalarTensor = Float[Tensor, ""]

Loss = Callable[[UnitVectors, UnitVectors, ScalarTensor, ScalarTensor | None], ScalarTensor]
"""A function from unit image and text embeddings (paired by row), scale and bias to this process's fraction of the
loss.
"""


def clip_loss(
    images: UnitVectors,
    texts: UnitVectors,
    logit_scale: ScalarTensor,
    logit_bias: ScalarTensor | None = None,
) -> ScalarTensor:
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
    images: UnitVectors,
    texts: UnitVectors,
    logit_scale: ScalarTensor,
    logit_bias: ScalarTensor | None,
) -> ScalarTensor:
    """Return the binary cross-entropy of classifying N x N combinations as pairs or non-pairs, divided by N.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1.

    Args:
        images: of this process, of unit length.
        texts: of this process, of unit length.
        logit_scale: already exponentiated.
        logit_bias: added to each logit. Without it the many non-pairs would swamp the first steps.

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
        pair_rows = torch.arange(rows.start, rows.stop, device=images.device)
        signs = -torch.ones_like(logits)
        signs[pair_rows - rows.start, first + pair_rows] = 1
        return -F.logsigmoid(signs * logits).sum()

    return _sum_of_blocks(block, len(images), n_all) / n_all


LOSSES: dict[str, Loss] = {"clip": clip_loss, "siglip": siglip_loss}


def gather(vectors: Float[Tensor, "n E"]) -> Float[Tensor, "N E"]:
    """Return the vectors of all processes, by rank. Gradients flow back to the process of each vector."""
    if n_processes() == 1:
        return vectors
    return _Gather.apply(vectors)  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """Concatenates the vectors of all processes. The backward pass sums their gradients for the vectors of this
    process.
    """

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


BETAS, EPSILON = (0.9, 0.98), 1e-6
MEASURED_AT_ONCE = 64
"""Pairs that are encoded at a time when a model is measured."""
CACHE_SIZED = 64
"""Pairs that a processor core encodes at once: their activations fit its cache, a whole batch's do not."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The two towers of a model, run on one device in one precision."""

    model: CLIP
    device: torch.device
    dtype: torch.dtype = torch.float32
    """Type of matrix products. Weights, residual streams and losses are float32 in any case."""

    def images(self, pixels: Tensor) -> Float32[Tensor, "n E"]:
        """Return raw vectors of pixels as they come in a batch."""
        config = self.model.config
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (config.mean, config.std))
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
def unit_vectors(towers: Towers, pairs: Batch) -> tuple[Vectors, Vectors]:
    """Return unit vectors of images and captions, in order."""
    images = [towers.images(pixels) for pixels in pairs.pixels.split(MEASURED_AT_ONCE)]
    texts = [towers.texts(tokens) for tokens in pairs.tokens.split(MEASURED_AT_ONCE)]
    return unit(torch.cat(images).cpu().numpy()), unit(torch.cat(texts).cpu().numpy())


def add_gradients(towers: Towers, batch: Batch, loss: Loss, *, micro_batch_size: int | None = None) -> ScalarTensor:
    """Add the gradients of a batch's loss to the model's, and return this process's fraction of the loss.

    Args:
        micro_batch_size: pairs whose activations are held at a time, or None for all.
    """
    parts = _parts(towers, batch, micro_batch_size)
    keep = micro_batch_size is None
    with torch.set_grad_enabled(keep):
        outputs = [encode() for _, _, encode in parts]
    vectors = torch.zeros(2, len(batch.pixels), outputs[0].shape[1], device=towers.device)
    for (side, rows, _), output in zip(parts, outputs, strict=True):
        vectors[side, rows] = output.detach()
    # The gradient of the loss by the raw vectors; those by temperature and bias are added to the model's.
    vectors.requires_grad_()
    images, texts = F.normalize(vectors, dim=-1)
    share = loss(images, texts, towers.model.logit_scale.exp(), towers.model.logit_bias)
    share.backward()
    assert vectors.grad is not None
    for (side, rows, encode), output in zip(parts, outputs, strict=True):
        attached = output if keep else encode()
        attached.backward(vectors.grad[side, rows])
    return share.detach()


def sum_gradients(model: CLIP) -> None:
    """Replace each process's gradients by their sum, which is the whole batch's gradient."""
    if n_processes() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


_Part = tuple[int, Int64[Tensor, " n"], Callable[[], Float32[Tensor, "n E"]]]
"""Rows of one side of a batch, 0 for images, 1 for texts, and the function that encodes them."""


def _parts(towers: Towers, batch: Batch, size: int | None) -> list[_Part]:
    """Return the batch in parts to encode, with texts of similar length together, because a part is as long as its
    longest text.
    """
    n_images = size or (CACHE_SIZED if towers.device.type == "cpu" else len(batch.pixels))
    image_rows = torch.arange(len(batch.pixels)).split(n_images)
    text_rows = torch.argsort(batch.tokens.argmax(dim=-1), stable=True).split(size or CACHE_SIZED)
    images = zip(image_rows, batch.pixels.split(n_images), strict=True)
    return [
        *((0, rows, partial(towers.images, pixels)) for rows, pixels in images),
        *((1, rows, partial(towers.texts, batch.tokens[rows])) for rows in text_rows),
    ]


def make_optimizer(model: CLIP, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW that decays all weights except gains, biases, the class embedding, temperature and bias.

    Those are the parameters with fewer than two dimensions. Embeddings of tokens and positions are decayed.
    """
    decayed = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim >= 2]
    undecayed = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
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


def fix_temperature(model: CLIP, temperature: float) -> None:
    """Set the temperature, and exclude it from training."""
    nn.init.constant_(model.logit_scale, -math.log(temperature))
    model.logit_scale.requires_grad_(False)

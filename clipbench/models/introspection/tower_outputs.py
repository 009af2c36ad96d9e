"""Other vectors that a torch module could give for the same inputs: pooled otherwise, not projected, or rounded.

The parts are found by the shapes that flow through the module, not by its class, so that any transformer will do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

if TYPE_CHECKING:
    import torch
    from torch import nn

Rows = Float32[np.ndarray, "_ _"]
"""A vector per row."""
Rounding = Literal["fp16", "bf16", "int8"]
LEVELS = 127
"""Largest number of an int8 code, whose smallest is its negative."""
N_LAST = 3
"""Sequences of vectors that are tried: the last that flow through the module."""


class OtherOutput(NamedTuple):
    """Vectors that another last step of the tower gives."""

    pooling: str
    """How one vector is made of a sequence, such as ``the mean of all tokens``."""
    is_projected: bool
    vectors: Rows

    @property
    def description(self) -> str:
        """The last step in words."""
        return self.pooling if self.is_projected else f"{self.pooling}, without the projection,"


def other_outputs(
    module: "nn.Module",
    encode: Callable[[], Rows],
    lengths: Int64[np.ndarray, " n"] | None = None,
) -> list[OtherOutput]:
    """Return what all last steps give for the inputs of one call, the module's own step among them.

    Args:
        encode: runs the tower once, on n inputs.
        lengths: tokens of each text before its padding, None for images.
    """
    flow = _watched_flow(module, encode)
    if not flow.sequences:
        return []
    norm = _last_norm(module, flow.norms)
    projections = projection_matrices(module, flow.width)
    outputs: list[OtherOutput] = []
    for sequence in flow.sequences:
        for pooling, pooled in _pooled(sequence, lengths):
            for rows in [pooled] if norm is None else [norm(pooled), pooled]:
                outputs += [OtherOutput(pooling, True, _as_rows(rows @ matrix)) for matrix in projections.values()]
                outputs.append(OtherOutput(pooling, False, _as_rows(rows)))
    return outputs


def projection_matrices(module: "nn.Module", width: int, dim: int | None = None) -> "Mapping[str, torch.Tensor]":
    """Return the matrices of a module that could map vectors of a width to its embeddings, by name, as (width, dim).

    A matrix counts if its name says so, as ``text_projection`` and ``visual.proj`` do.
    """
    matrices = {}
    for name, weight in module.named_parameters():
        if weight.ndim != 2 or "proj" not in name or any(part in name for part in ("attn", "mlp", "resblocks")):
            continue
        is_linear = name.endswith(".weight")  # nn.Linear has (out, in)
        matrix = weight.detach().float().T if is_linear else weight.detach().float()
        if matrix.shape[0] == width and dim in (None, matrix.shape[1]):
            matrices[name.removesuffix(".weight")] = matrix
    return matrices


class _Flow(NamedTuple):
    """What flows through a module in one call."""

    sequences: "Sequence[torch.Tensor]"
    """The last tensors of shape (n, length, width), the last first."""
    norms: Sequence[str]
    """Names of the normalizations, in the order of their calls."""

    @property
    def width(self) -> int:
        """Numbers of a vector in a sequence."""
        return int(self.sequences[0].shape[-1])


def _watched_flow(module: "nn.Module", encode: Callable[[], Rows]) -> _Flow:
    """Return the last sequences that flow through the module while it encodes, the last first."""
    sequences: list[torch.Tensor] = []
    norms: list[str] = []

    def watch(name: str, watched: "nn.Module") -> Any:
        def note(part: "nn.Module", _: object, output: Any) -> None:
            tensor = _first_tensor(output)
            if type(part).__name__.endswith(("LayerNorm", "RMSNorm", "LayerNormFp32")):
                norms.append(name)
            if tensor is not None and tensor.ndim == 3 and tensor.is_floating_point():
                sequences.append(tensor.detach().float())

        return watched.register_forward_hook(note)

    handles = [watch(name, part) for name, part in module.named_modules() if name]
    try:
        n_rows = len(encode())
    finally:
        for handle in handles:
            handle.remove()
    return _Flow(_last_distinct(sequences, n_rows), norms)


def _last_distinct(sequences: "Sequence[torch.Tensor]", n_rows: int) -> "list[torch.Tensor]":
    """Return the last different sequences of one shape with the rows first, the last first, ``N_LAST`` at most."""
    last: list[torch.Tensor] = []
    for tensor in reversed(sequences):
        rows_first = tensor if tensor.shape[0] == n_rows else tensor.transpose(0, 1)
        if rows_first.shape[0] != n_rows or (last and rows_first.shape != last[0].shape):
            continue
        is_new = not any(bool((rows_first == other).all()) for other in last)
        if is_new and len(last) < N_LAST:
            last.append(rows_first)
    return last


def _first_tensor(output: Any) -> "torch.Tensor | None":
    import torch

    if isinstance(output, torch.Tensor):
        return output
    first = getattr(output, "last_hidden_state", None)
    if first is None and isinstance(output, tuple) and output:
        first = output[0]
    return first if isinstance(first, torch.Tensor) else None


def _last_norm(module: "nn.Module", names: Sequence[str]) -> "Callable[[torch.Tensor], torch.Tensor] | None":
    """Return the normalization that was called last, or None without one."""
    return module.get_submodule(names[-1]).float() if names else None


def _pooled(sequence: "torch.Tensor", lengths: Int64[np.ndarray, " n"] | None) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield ways to make one vector of a sequence."""
    import torch

    n, length, _ = sequence.shape
    noun = "patches" if lengths is None else "tokens"
    yield f"the mean of all {noun}", sequence.mean(dim=1)
    if lengths is not None:
        kept = torch.as_tensor(np.minimum(lengths, length))
        mask = (torch.arange(length)[None] < kept[:, None])[..., None].to(sequence)
        yield "the mean of all tokens except padding", (sequence * mask).sum(dim=1) / mask.sum(dim=1)
        yield "the last token before the padding", sequence[torch.arange(n), kept - 1]
    if length > 1:
        yield f"the mean of all {noun} except the first", sequence[:, 1:].mean(dim=1)
    yield "the first token", sequence[:, 0]
    yield "the last token", sequence[:, -1]
    yield f"the largest of all {noun}", sequence.max(dim=1).values


def _as_rows(tensor: "torch.Tensor") -> Rows:
    return np.asarray(tensor.detach().float().cpu().numpy(), np.float32)


@contextmanager
def rounded_computation(module: "nn.Module", rounding: Rounding) -> Iterator[None]:
    """Run the block with weights, and what flows between the parts, rounded to fewer bits.

    It shows how far rounding moves the vectors of these weights. Libraries round at other places, so that it does not
    show which vectors they give. Weights are restored afterwards.
    """
    import torch

    kept = {name: weight.data for name, weight in module.named_parameters()}
    round_to = _through_int8 if rounding == "int8" else _through_floats(rounding)
    leaves = [part for part in module.modules() if not any(True for _ in part.children())]

    def rounded(part: "nn.Module", _: object, output: Any) -> Any:
        is_float = isinstance(output, torch.Tensor) and output.is_floating_point()
        return round_to(output) if is_float else output

    handles = [part.register_forward_hook(rounded) for part in leaves]
    try:
        with torch.no_grad():
            for name, weight in module.named_parameters():
                is_embedding = rounding == "int8" and (weight.ndim != 2 or "embedding" in name)
                weight.data = kept[name] if is_embedding else round_to(kept[name])
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, weight in module.named_parameters():
            weight.data = kept[name]


def _through_floats(rounding: Rounding) -> "Callable[[torch.Tensor], torch.Tensor]":
    import torch

    dtype = torch.bfloat16 if rounding == "bf16" else torch.float16
    return lambda tensor: tensor.to(dtype).to(tensor.dtype)


def _through_int8(tensor: "torch.Tensor") -> "torch.Tensor":
    """Return a tensor as it is read from int8 codes, with one scale."""
    largest = tensor.abs().max()
    if not largest > 0:
        return tensor
    scale = largest / LEVELS
    return (tensor / scale).round() * scale

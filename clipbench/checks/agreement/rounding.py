"""Is a difference as small and as even as rounding makes it, and to which number format?"""

from typing import TYPE_CHECKING

import numpy as np

from clipbench.checks.agreement.sides import ComparedSide, Rows
from clipbench.checks.agreement.vector_agreement import VectorAgreement
from clipbench.models.introspection.tower_outputs import LEVELS, Rounding

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST: dict[Rounding, float] = {"fp16": 3e-3, "bf16": 0.02, "int8": 0.3}
"""Largest median distance of unit vectors that each format makes.

Measured on the bundled CLIP and on ViT-B/32: fp16 4e-4 to 1.3e-3, bf16 4e-3 to 1.3e-2, int8 1.5e-2 to 3e-2. Deeper
towers need the rest, int8 most of all.
"""
ON_GRID = 1e-3
"""Distance from an integer up to which a number is one, after division by the step."""


def rounding_of(side: ComparedSide, vectors: Rows) -> Rounding | None:
    """Return the number format that a side shows to compute in, if it is not float32, or None.

    It is known from the model's options, its weights or its vectors: numbers of bf16 and fp16 have few bits, and int8
    vectors are multiples of one step.
    """
    precision = side.embedder.info.precision
    if precision == "bf16":
        return "bf16"
    if precision == "fp16":
        return "fp16"
    if side.parts.module is not None:
        of_weights = _rounding_of_weights(side.parts.module)
        if of_weights is not None:
            return of_weights
    if _has_steps(vectors):
        return "int8"
    if not (np.ascontiguousarray(vectors, np.float32).view(np.uint32) & 0xFFFF).any():
        return "bf16"
    return "fp16" if bool((vectors == vectors.astype(np.float16)).all()) else None


def rounding_between(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> Rounding | None:
    """Return the format that explains a difference, or None if it is too large, uneven, or has no sign of one.

    A difference as small as bf16 makes needs no other sign.
    """
    median = float(np.median(agreement.distances))
    if not agreement.is_uniform:
        return None
    formats = {rounding_of(first, agreement.first), rounding_of(second, agreement.second)}
    for rounding in ("int8", "bf16", "fp16"):
        if rounding in formats and len(formats) > 1 and median <= LARGEST[rounding]:
            return rounding
    return next((rounding for rounding in ("fp16", "bf16") if median <= LARGEST[rounding] / 2), None)


def rounding_evidence(rounding: Rounding, agreement: VectorAgreement) -> str:
    """Return the size of a difference in a sentence."""
    distances = agreement.distances
    return (
        f"vectors are {np.median(distances):.2g} apart, at most {distances.max():.2g}, evenly over all"
        f" {len(distances)} inputs: rounding to {rounding} makes such differences"
    )


def _has_steps(vectors: Rows) -> bool:
    """Return whether the numbers of each vector are multiples of one step, at most ``LEVELS`` + 1 of them."""
    steps = np.array([np.min(np.abs(row[row != 0]), initial=np.inf) for row in vectors.astype(np.float64)])
    multiples = vectors / steps[:, None]
    is_small = bool(np.abs(multiples).max() <= LEVELS + 1)
    distances_to_grid = np.abs(multiples - np.rint(multiples))
    return is_small and bool(distances_to_grid.max() < ON_GRID)


def _rounding_of_weights(module: "nn.Module") -> Rounding | None:
    import torch

    is_of_library = any("quantized" in type(part).__module__ for part in module.modules())
    has_codes = any(getattr(value, "dtype", None) == torch.int8 for value in module.state_dict().values())
    if is_of_library or has_codes:
        return "int8"
    matrices = [weight.detach() for weight in module.parameters() if weight.ndim == 2]
    dtypes = {weight.dtype for weight in matrices}
    if torch.bfloat16 in dtypes or torch.float16 in dtypes:
        return "bf16" if torch.bfloat16 in dtypes else "fp16"
    return "int8" if any(map(_is_quantized, matrices)) else None


def _is_quantized(weight: "Tensor") -> bool:
    """Return whether all rows of a matrix are multiples of a 127th of their largest number."""
    largest = weight.float().abs().amax(dim=1, keepdim=True)
    if weight.numel() < 1024 or not bool((largest > 0).all()):
        return False
    codes = weight.float() / largest * LEVELS
    return bool((codes - codes.round()).abs().max() < ON_GRID * 10)

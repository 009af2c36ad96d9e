"""Vectors and logit constants of a model that is being trained, for ``Monitor``. Imports torch only when given a model."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.errors import ModelError
from clipbench.models.facts.modules import evaluating
from clipbench.models.internals import TOWERS
from clipbench.training.scalars import Scalars, finite_or_none

if TYPE_CHECKING:
    import torch

KEYWORDS = {"get_image_features": "pixel_values", "get_text_features": "input_ids"}
"""Argument that takes a bare tensor, for methods in which it is not the first."""


def encode_pairs(
    model: "torch.nn.Module", images: object, texts: object, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw vectors of images and texts, and leave the model as it was.

    Raises:
        ModelError: the model has none of the known methods.
    """
    module = unwrap(model)
    names = next((names for names in TOWERS if all(hasattr(module, name) for name in names)), None)
    if names is None:
        raise ModelError(
            f"a model of type {type(model).__name__} has neither {' nor '.join(' and '.join(each) for each in TOWERS)}"
        )
    with evaluating(module):
        return _vectors(module, names[0], images, batch_size), _vectors(module, names[1], texts, batch_size)


def logit_constants(model: object) -> Scalars:
    """Return what turns cosines into logits: ``temperature``, and ``logit_bias`` if the model has one."""
    module = unwrap(model)
    scale, bias = getattr(module, "logit_scale", None), getattr(module, "logit_bias", None)
    constants: Scalars = {}
    if scale is not None:
        try:
            constants["temperature"] = math.exp(-scale.item())
        except OverflowError:
            constants["temperature"] = None
    if bias is not None:
        constants["logit_bias"] = finite_or_none(float(bias.item()))
    return constants


def unwrap(model: object) -> Any:
    """Return the module inside DistributedDataParallel; torch.compile's wrapper passes all attributes on."""
    inside = getattr(model, "module", None)
    return model if inside is None or any(hasattr(model, name) for names in TOWERS for name in names) else inside


def n_inputs(inputs: Any) -> int:
    """Return the number of samples in a batch: a tensor, or a mapping of tensors."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def equal_inputs(inputs: Any) -> list[int] | None:
    """Return a number for each sample of a batch, equal for equal samples; None without a batch."""
    if inputs is None:
        return None
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    arrays = [np.ascontiguousarray(as_array(part)) for part in parts]
    seen: dict[bytes, int] = {}
    return [seen.setdefault(b"".join(array[row].tobytes() for array in arrays), row) for row in range(n_inputs(inputs))]


def as_array(values: Any) -> np.ndarray:
    """Return an array, or a tensor on any device, as float32."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, np.float32)


def _vectors(module: Any, name: str, inputs: Any, batch_size: int) -> np.ndarray:
    method, place = getattr(module, name), _placement(module)
    arrays = []
    for start in range(0, n_inputs(inputs), batch_size):
        rows = slice(start, start + batch_size)
        if isinstance(inputs, Mapping):
            output = method(**{key: place(value[rows]) for key, value in inputs.items()})
        elif name in KEYWORDS:
            output = method(**{KEYWORDS[name]: place(inputs[rows])})
        else:
            output = method(place(inputs[rows]))
        arrays.append(as_array(output if hasattr(output, "detach") else output.pooler_output))
    return np.concatenate(arrays)


def _placement(module: Any) -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return a function that moves inputs to the model's device, and images to the type of most of its weights."""
    sizes: Counter[Any] = Counter()
    for parameter in module.parameters():
        sizes[parameter.dtype] += parameter.numel()
    device, dtype = next(module.parameters()).device, sizes.most_common(1)[0][0]
    return lambda inputs: inputs.to(device, dtype) if inputs.is_floating_point() else inputs.to(device)

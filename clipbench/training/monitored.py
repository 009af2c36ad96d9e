"""How a ``Monitor`` gets vectors out of a model that is being trained. Imports torch only when it is given a model."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.errors import ModelError
from clipbench.training.scalars import Scalars, defined

if TYPE_CHECKING:
    import torch

METHODS = (("encode_image", "encode_text"), ("get_image_features", "get_text_features"))
"""What the towers are called: in open_clip and the bundled model, and in transformers."""
KEYWORDS = {"get_image_features": "pixel_values", "get_text_features": "input_ids"}
"""What a bare tensor is, for a method that has other arguments before it."""


def encoded(
    model: "torch.nn.Module", images: object, texts: object, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw vectors of both sides; the model is afterwards as it was.

    Raises:
        ModelError: it has no towers that are known.
    """
    module = unwrapped(model)
    names = next((names for names in METHODS if all(hasattr(module, name) for name in names)), None)
    if names is None:
        raise ModelError(f"a {type(model).__name__} has neither {' nor '.join(' and '.join(each) for each in METHODS)}")
    with _as_for_evaluation(module):
        image_vectors, text_vectors = (
            _vectors(module, name, inputs, batch_size) for name, inputs in zip(names, (images, texts), strict=True)
        )
    return image_vectors, text_vectors


def constants(model: object) -> Scalars:
    """Return what turns cosines into logits: the temperature, and the bias of a model that has one."""
    module = unwrapped(model)
    scale, bias = getattr(module, "logit_scale", None), getattr(module, "logit_bias", None)
    found: Scalars = {}
    if scale is not None:
        found["temperature"] = defined(_exp(-scale.item()))
    if bias is not None:
        found["logit_bias"] = defined(float(bias.item()))
    return found


def unwrapped(model: object) -> Any:
    """Return what DistributedDataParallel has inside; torch.compile's wrapper passes everything on by itself."""
    inside = getattr(model, "module", None)
    return model if inside is None or any(hasattr(model, name) for names in METHODS for name in names) else inside


def n_inputs(inputs: Any) -> int:
    """Return how many samples a batch holds: a tensor, or a mapping of some."""
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


@contextmanager
def _as_for_evaluation(module: Any) -> Iterator[None]:
    """Switch off gradients, dropout and autocast, and put every module back into the mode that it had.

    Autocast keeps the copies of weights that it makes, without their gradients if there are none: those would then be
    used by the step that follows. Outside of it, weights are used in the type that they have.
    """
    import torch

    modes = {part: part.training for part in module.modules()}
    device = next(module.parameters()).device.type
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device, enabled=False))
        try:
            module.eval()
            yield
        finally:
            for part, was_training in modes.items():
                part.training = was_training


def _vectors(module: Any, name: str, inputs: Any, batch_size: int) -> np.ndarray:
    method, place = getattr(module, name), _placing(module)
    starts = range(0, n_inputs(inputs), batch_size)
    return np.concatenate([_batch(method, name, inputs, slice(at, at + batch_size), place) for at in starts])


def _batch(
    method: Any, name: str, inputs: Any, rows: slice, place: "Callable[[torch.Tensor], torch.Tensor]"
) -> np.ndarray:
    if isinstance(inputs, Mapping):
        output = method(**{key: place(value[rows]) for key, value in inputs.items()})
    elif name in KEYWORDS:
        output = method(**{KEYWORDS[name]: place(inputs[rows])})
    else:
        output = method(place(inputs[rows]))
    return as_array(output if hasattr(output, "detach") else output.pooler_output)


def _placing(module: Any) -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return what moves inputs to where the model is, and images into the type of most of its weights."""
    sizes: Counter[Any] = Counter()
    for parameter in module.parameters():
        sizes[parameter.dtype] += parameter.numel()
    device, dtype = next(module.parameters()).device, sizes.most_common(1)[0][0]
    return lambda inputs: inputs.to(device, dtype) if inputs.is_floating_point() else inputs.to(device)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf

"""The numbers that are tracked while a model trains: gap, cones, recall, effective ranks, duplicates, logit constants.

Imports torch only when given a model.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.errors import ModelError
from clipbench.metrics.geometry import pair_geometry
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import Vectors, dot_blocks, unit
from clipbench.metrics.spread import effective_rank
from clipbench.models.fingerprint import unusable_rows
from clipbench.models.introspection.modules import evaluation_mode, run_tower, tower_methods
from clipbench.models.protocol import TOWERS

if TYPE_CHECKING:
    import torch

KEYWORDS = {"get_image_features": "pixel_values", "get_text_features": "input_ids"}
"""Argument that takes a bare tensor, for methods in which it is not the first."""
SAME = 1 - 1e-6
"""Cosine from which two vectors count as equal: closer ones differ by no more than the rounding of float32."""

Number = int | float
"""A number in JSON: counts stay whole."""

Scalars = dict[str, Number | None]
"""Numbers by name, where an undefined number is None."""


def pair_scalars(
    images: Vectors,
    texts: Vectors,
    *,
    same_images: Sequence[int] | None = None,
    same_texts: Sequence[int] | None = None,
) -> Scalars:
    """Return gap, cones, mean cosine of pairs, recall@1 both ways, effective ranks, and fractions of duplicate vectors.

    Names and definitions are the same as in the tasks ``modality-gap`` and ``retrieval``. Equal captions have equal
    vectors, and a tie scores like a random choice. ``image_duplicates`` and ``text_duplicates`` are the fractions of
    different inputs whose vector has a cosine of ``SAME`` or more with another one. ``n_distinct_images`` and
    ``n_distinct_texts`` count different inputs, and ranks are below these. ``non_finite`` is the fraction of vectors
    that are not finite or zero. If there is one, all other scalars except ``n_pairs`` are None.

    Args:
        images: raw vectors, of any length.
        texts: raw vectors of the same pairs, row by row.
        same_images: a number for each input, equal for equal inputs, whose vectors cannot differ. None if the inputs
            are unknown: then all count as different, and ``n_distinct_images`` counts different vectors.
        same_texts: the same for texts.

    Example:
        >>> x, y = np.eye(2, dtype=np.float32)
        >>> found = pair_scalars(np.stack([x, y]), np.stack([x, x]))
        >>> found["pair_cosine"], found["text_cone"], found["image_duplicates"], found["text_duplicates"]
        (0.5, 1.0, 0.0, 1.0)
    """
    n_bad = sum(int(unusable_rows(vectors).sum()) for vectors in (images, texts))
    if n_bad:
        return {**dict.fromkeys(_NAMES), "n_pairs": len(images), "non_finite": n_bad / (2 * len(images))}
    images, texts = unit(images), unit(texts)
    geometry = pair_geometry(images, texts)
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    image_duplicates, n_images = _duplicates(images, same_images)
    text_duplicates, n_texts = _duplicates(texts, same_texts)
    values = (
        geometry.modality_gap.value,
        geometry.image_cone.value,
        geometry.text_cone.value,
        float(geometry.pair_cosine.mean()),
        float(recall_at_k(by_text, 1).mean()),
        float(recall_at_k(by_image, 1).mean()),
        effective_rank(images),
        effective_rank(texts),
        image_duplicates,
        text_duplicates,
        n_images,
        n_texts,
    )
    scalars = {name: finite_or_none(value) for name, value in zip(_NAMES, values, strict=True)}
    return {**scalars, "n_pairs": len(images), "non_finite": 0.0}


def finite_or_none(value: Number) -> Number | None:
    """Return a number, or None for one that is not finite, which JSON does not have."""
    return value if math.isfinite(value) else None


_NAMES = (
    "gap",
    "image_cone",
    "text_cone",
    "pair_cosine",
    "image_retrieval_recall@1",
    "text_retrieval_recall@1",
    "image_effective_rank",
    "text_effective_rank",
    "image_duplicates",
    "text_duplicates",
    "n_distinct_images",
    "n_distinct_texts",
)


def _duplicates(vectors: Vectors, same: Sequence[int] | None) -> tuple[float, int]:
    """Return the fraction of different inputs whose unit vector another one has, and the number of different inputs."""
    if same is not None:
        vectors = vectors[np.unique(same, return_index=True)[1]]
    counts = np.empty(len(vectors))
    for rows, dots in dot_blocks(vectors, vectors):
        dots[np.arange(len(dots)), np.arange(rows.start, rows.stop)] = 1
        counts[rows] = (dots >= SAME).sum(axis=1)
    # Each of k equal vectors counts 1/k.
    n_distinct = len(vectors) if same is not None else round(float((1 / counts).sum()))
    return float((counts > 1).sum()) / max(1, len(vectors)), n_distinct


def encode_pairs(
    model: "torch.nn.Module", images: object, texts: object, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw vectors of images and texts, and leave the model as it was.

    Raises:
        ModelError: the model has none of the known methods, or gives another number of vectors than of inputs.
    """
    module = unwrap(model)
    names = tower_methods(module)
    if names is None:
        raise ModelError(
            f"a model of type {type(model).__name__} has neither {' nor '.join(' and '.join(pair) for pair in TOWERS)}"
        )
    with evaluation_mode(module):
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
    """Return the module inside DistributedDataParallel. torch.compile's wrapper passes all attributes on."""
    inside = getattr(model, "module", None)
    has_towers = any(hasattr(model, name) for names in TOWERS for name in names)
    return model if inside is None or has_towers else inside


def n_inputs(inputs: Any) -> int:
    """Return the number of samples in a batch: a tensor, or a mapping of tensors."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def equal_inputs(inputs: Any) -> list[int] | None:
    """Return a number for each sample of a batch, equal for equal samples, or None without a batch."""
    if inputs is None:
        return None
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    arrays = [np.ascontiguousarray(as_array(part)) for part in parts]
    firsts: dict[bytes, int] = {}
    numbers = []
    for row in range(n_inputs(inputs)):
        content = b"".join(array[row].tobytes() for array in arrays)
        numbers.append(firsts.setdefault(content, row))
    return numbers


def as_array(values: Any) -> np.ndarray:
    """Return an array, or a tensor on any device, as float32."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, np.float32)


def _vectors(module: Any, name: str, inputs: Any, batch_size: int) -> np.ndarray:
    sizes: Counter[Any] = Counter()
    for parameter in module.parameters():
        sizes[parameter.dtype] += parameter.numel()
    device, dtype = next(module.parameters()).device, sizes.most_common(1)[0][0]  # the type of most of the weights
    if name in KEYWORDS and not isinstance(inputs, Mapping):
        inputs = {KEYWORDS[name]: inputs}
    arrays = []
    for start in range(0, n_inputs(inputs), batch_size):
        rows = slice(start, start + batch_size)
        batch = {key: part[rows] for key, part in inputs.items()} if isinstance(inputs, Mapping) else inputs[rows]
        vectors = as_array(run_tower(getattr(module, name), batch, device, dtype))
        n_expected = min(batch_size, n_inputs(inputs) - start)
        if len(vectors) != n_expected:
            raise ModelError(f"{name} gave {len(vectors)} vectors for {n_expected} inputs: expected one per input")
        arrays.append(vectors)
    return np.concatenate(arrays)

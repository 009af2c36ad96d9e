"""Facts about the torch module of a model, whichever library built it: found in its parts, not by its class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from clipbench.errors import ModelError
from clipbench.hub import cache_only
from clipbench.models.hub_files import file_of
from clipbench.models.protocol import TOWERS as TOWER_METHODS
from clipbench.models.protocol import Preprocessing, Resize, Tokens
from clipbench.untrusted.reading import read_json

if TYPE_CHECKING:
    import torch
    from torch import nn

GELU, QUICK_GELU = "GELU", "QuickGELU"

TOWERS = ("image tower", "text tower")
IMAGE_WORDS = ("visual", "vision", "image")
"""Words in the names of the parts of an image tower."""

RATES = ("p", "drop_prob", "prob")
"""Names of the share that a part drops in training: of 0, it does nothing."""

MIN_NORMS = 2
"""Normalisations that a tower must have for their weights to say whether it was trained."""

PROCESSOR, IMAGE_PROCESSOR = "processor_config.json", "preprocessor_config.json"
"""Files in which transformers keeps an image processor: the first, of a whole processor, counts if it has one."""
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as transformers writes them."""


@contextmanager
def evaluation_mode(module: "nn.Module") -> Iterator[None]:
    """Run the block without gradients, dropout and autocast, then restore the mode of each part.

    Autocast keeps the copies of weights that it makes. Made here, without gradients, they would be used by the step of
    training that follows. So vectors are computed in the type of the weights.
    """
    import torch

    modes = [(part, part.training) for part in module.modules()]
    device = next((parameter.device.type for parameter in module.parameters()), "cpu")
    with torch.no_grad(), torch.autocast(device, enabled=False):
        try:
            module.eval()
            yield
        finally:
            for part, was_training in modes:
                part.training = was_training


def tower_methods(module: object) -> tuple[str, str] | None:
    """Return the names of the methods of a module's image and text tower, or None if it has none."""
    for names in TOWER_METHODS:
        if all(callable(getattr(module, name, None)) for name in names):
            return names
    return None


def run_tower(tower: Callable[..., Any], inputs: Any, device: "torch.device", dtype: "torch.dtype") -> "torch.Tensor":
    """Return the output of a tower for a tensor, or for a mapping of tensors that is passed by name.

    Args:
        dtype: type that floating-point tensors are cast to.
    """

    def placed(tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

    if isinstance(inputs, Mapping):
        output = tower(**{key: placed(tensor) for key, tensor in inputs.items()})
    else:
        output = tower(placed(inputs))
    # transformers may put the vectors into a record
    return output if hasattr(output, "detach") else output.pooler_output


@contextmanager
def training_parts(module: "nn.Module") -> Iterator[list[str]]:
    """Yield a list that gets the name of each part that works in training mode while a model encodes.

    Only parts that work otherwise in training count: dropout and batch normalisation.
    """
    names: list[str] = []
    handles = []
    for name, part in module.named_modules():
        is_random = type(part).__name__.startswith(
            ("Dropout", "DropPath", "BatchNorm", "SyncBatchNorm", "PatchDropout")
        )
        if is_random and all(getattr(part, rate, 1) != 0 for rate in RATES):

            def note(part: "nn.Module", _: object, name: str = name) -> None:
                if part.training and name not in names:
                    names.append(name)

            handles.append(part.register_forward_pre_hook(note))
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def activations(module: "nn.Module") -> dict[str, list[str]]:
    """Return the distinct activations in the perceptrons of each tower that are modules."""
    by_tower: dict[str, list[str]] = {tower: [] for tower in TOWERS}
    for name, part in module.named_modules():
        activation = _activation(part)
        if activation is not None and activation not in by_tower[tower_of(name)]:
            by_tower[tower_of(name)].append(activation)
    return by_tower


def _activation(part: "nn.Module") -> str | None:
    """Return the activation of a part by its class name. Approximations of GELU count as GELU."""
    name = type(part).__name__
    if name.startswith("QuickGELU"):
        return QUICK_GELU
    return GELU if "GELU" in name else None


@contextmanager
def other_activation(module: "nn.Module") -> Iterator[None]:
    """Replace GELU by QuickGELU, and the reverse, inside the block."""
    import torch
    from torch import nn

    class QuickGELUSubstitute(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(1.702 * x)

    replaced = []
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            activation = _activation(part)
            if activation is not None:
                replaced.append((parent, name, part))
                setattr(parent, name, QuickGELUSubstitute() if activation == GELU else nn.GELU())
    try:
        yield
    finally:
        for parent, name, part in replaced:
            setattr(parent, name, part)


def untrained_towers(module: "nn.Module") -> list[str]:
    """Return the towers whose normalisations all have the weights 1 and biases 0 of their initialisation.

    A step of training moves them, so that no trained tower has them.
    """
    norms: dict[str, list[bool]] = {tower: [] for tower in TOWERS}
    for name, part in module.named_modules():
        weight = getattr(part, "weight", None)
        if weight is not None and type(part).__name__.endswith(("LayerNorm", "RMSNorm", "LayerNormFp32")):
            bias = getattr(part, "bias", None)
            is_initial = bool((weight == 1).all()) and (bias is None or bool((bias == 0).all()))
            norms[tower_of(name)].append(is_initial)
    return [tower for tower, are_initial in norms.items() if len(are_initial) >= MIN_NORMS and all(are_initial)]


def tower_of(name: str) -> str:
    """Return the tower that a part belongs to, by its name.

    Example:
        >>> tower_of("model.visual.transformer.resblocks.0.ln_1"), tower_of("ln_final")
        ('image tower', 'text tower')
    """
    return TOWERS[0] if any(word in name.lower() for word in IMAGE_WORDS) else TOWERS[1]


def vocabulary_size(module: "nn.Module") -> int | None:
    """Return the number of rows of the table of token embeddings, or None if none is found."""
    for name, part in module.named_modules():
        if name.endswith(("token_embedding", "word_embeddings", "embed_tokens")) and hasattr(part, "weight"):
            return int(part.weight.shape[0])
    return None


def library_logits(
    module: Any, pixels: Float32[np.ndarray, "n_images channels height width"], tokens: Tokens
) -> Float32[np.ndarray, "n_images n_texts"] | None:
    """Return the logits of the library's own forward pass, or None unless it is open_clip or transformers."""
    import torch

    weight = next(module.parameters())
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(weight.device, weight.dtype)
    texts = {name: torch.from_numpy(np.ascontiguousarray(ids)).to(weight.device) for name, ids in tokens.items()}
    with evaluation_mode(module):
        if hasattr(module, "get_logits"):
            logits = module.get_logits(images, next(iter(texts.values())))[0]
        elif hasattr(module, "get_image_features"):
            logits = module(pixel_values=images, **texts).logits_per_image
        else:
            return None
    return logits.float().cpu().numpy()


def declared_preprocessing(module: Any) -> tuple[Preprocessing, str] | None:
    """Return the preprocessing stated by the files next to the weights or by the module, and which states it.

    open_clip leaves it on the image tower, the bundled CLIP in its configuration, and of a transformers model the file
    of its processor is read, in its folder or in the Hub's cache.
    """
    visual: Any = getattr(module, "visual", None)
    if hasattr(visual, "preprocess_cfg"):
        settings: Mapping[str, Any] = visual.preprocess_cfg
        modes: Mapping[str, Any] = {"shortest": "crop", "squash": "squash", "longest": "pad"}
        stated = Preprocessing(
            size=_pair(settings.get("size")),
            mean=_tuple(settings.get("mean")),
            std=_tuple(settings.get("std")),
            resize=modes.get(str(settings.get("resize_mode"))),
            interpolation=settings.get("interpolation"),
        )
        return stated, "open_clip's settings of the model"
    config: Any = getattr(module, "config", None)
    name = getattr(config, "_name_or_path", None)
    if isinstance(name, str) and name:
        for part in (PROCESSOR, IMAGE_PROCESSOR):
            with cache_only():
                file = file_of(name, part)
            content = None if file is None else read_json(file, ModelError)
            if part == PROCESSOR and isinstance(content, Mapping):
                content = content.get("image_processor")
            if isinstance(content, Mapping):
                return _of_transformers(content), "the checkpoint's own files"
        return None
    if hasattr(config, "mean") and hasattr(config, "std"):
        side = config.image_size
        stated = Preprocessing(
            size=(side, side), mean=_tuple(config.mean), std=_tuple(config.std), resize="crop", interpolation="bicubic"
        )
        return stated, "the model's configuration"
    return None


def _of_transformers(settings: Mapping[str, Any]) -> Preprocessing:
    size, crop = settings.get("size"), settings.get("crop_size")
    is_cropped = bool(settings.get("do_center_crop", crop is not None))
    sides = {"shortest_edge": size} if is_cropped else {"height": size, "width": size}
    if isinstance(size, Mapping):
        sides = {**size}
    resize: Resize | None = None
    if sides.get("height") and sides.get("width"):
        resize = "squash"
    elif is_cropped and "shortest_edge" in sides:
        resize = "crop"
    final = crop if is_cropped and crop is not None else sides
    if isinstance(final, Mapping):
        final = (final.get("height"), final.get("width"))
    if settings.get("do_normalize", True):
        mean, std = _tuple(settings.get("image_mean")), _tuple(settings.get("image_std"))
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Preprocessing(
        size=_pair(final),
        mean=mean,
        std=std,
        resize=resize,
        interpolation=RESAMPLING.get(settings.get("resample", -1)),
    )


def _tuple(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def _pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return int(size[0]), int(size[1])
    return None

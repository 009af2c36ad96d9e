"""Shared by the adapters of torch models: device, precision, batches, fingerprints. Imported only with torch at hand."""

import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.modalities import TEXT
from clipbench.errors import FOREIGN, ModelError, UsageError, did_you_mean
from clipbench.models.fingerprint import digest
from clipbench.models.internals import Internals, Tokens
from clipbench.models.options import DEFAULT_BATCH_SIZE, PRECISIONS
from clipbench.models.protocol import Model, ModelInfo, Preprocess, Role, Vectors
from clipbench.models.towers.devices import Placement, batch_sizes, encode, encode_batches
from clipbench.models.towers.text_tower import WINDOW_BATCHES, TextTower

PIXELS = "pixels"
"""Name of the one array of an image tower."""
ImageTower = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


@dataclass(frozen=True, kw_only=True)
class TorchModel(Model):
    """A model made of the two towers of a library's own module."""

    info: ModelInfo
    preprocess: Preprocess
    image_tower: ImageTower
    """Turns the inputs of images into raw vectors, both in the placement's dtype."""
    text_tower: TextTower
    placement: Placement
    module: torch.nn.Module
    """Both towers, as the library built them."""
    files: Sequence[Path] = ()
    has_pixels: bool = True
    """False where an image becomes several arrays, which nothing outside of the library could look at."""

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one raw vector an item, in order, as many at a time as go through the tower at once."""
        if modality == TEXT:
            return encode_texts(self.text_tower, inputs, self.info.embed_dim, self.placement)
        step = self.placement.batch_size
        starts = range(0, n_rows(inputs), step)
        vectors = [*self.encode_batches(modality, (rows_of(inputs, start, start + step) for start in starts), role)]
        return np.concatenate(vectors) if vectors else np.empty((0, self.info.embed_dim), np.float32)

    def encode_batches(self, modality: str, batches: Iterable[Any], role: Role = None) -> Iterator[Vectors]:
        """Yield the vectors of each batch, in order; some batches of images late on an accelerator."""
        if modality == TEXT:
            return super().encode_batches(modality, batches, role)
        return encode_batches(self.image_tower, map(as_tensors, batches), self.placement)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes before any is cut off, start and end among them."""
        return self.text_tower.count(texts)

    def costs(self) -> tuple[str, ...]:
        """Return notes of batch sizes that were found, or had to be made smaller."""
        return (
            *self.placement.images.notes("images", self.placement.device),
            *self.placement.texts.notes("texts", self.placement.device),
        )

    def internals(self) -> Internals:
        """Return the parts behind ``encode``."""
        return replace(
            super().internals() if self.has_pixels else Internals(),
            module=self.module,
            tokenize=partial(tokenize, self.text_tower),
            encode_tokens=partial(encode_tokens, self.text_tower, self.placement),
        )


def of_pixels(tower: Callable[[torch.Tensor], torch.Tensor]) -> ImageTower:
    """Return a tower of one tensor, pixels of shape (n, channels, height, width), as one of inputs by name."""
    return lambda inputs: tower(inputs[PIXELS])


def as_tensors(inputs: Any) -> Mapping[str, torch.Tensor]:
    """Return the inputs of images, one array or several by name, as tensors."""
    named = inputs if isinstance(inputs, Mapping) else {PIXELS: inputs}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in named.items()}


def n_rows(inputs: Any) -> int:
    """Return how many items inputs are of."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def rows_of(inputs: Any, start: int, stop: int) -> Any:
    """Return some rows of inputs."""
    if isinstance(inputs, Mapping):
        return {name: array[start:stop] for name, array in inputs.items()}
    return inputs[start:stop]


def tokenize(tower: TextTower, texts: Sequence[str]) -> Tokens:
    """Return the tokens of texts, padded to the context length."""
    return {name: values.numpy() for name, values in tower.tokenize(list(texts)).items()}


def encode_tokens(tower: TextTower, place: Placement, tokens: Tokens) -> Float32[np.ndarray, "n_texts dim"]:
    """Return the raw vectors of texts by their tokens, as many of each text as there are, a batch at a time."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tokens.items()}
    n_texts = len(next(iter(tensors.values())))
    vectors = []
    for start in range(0, n_texts, place.batch_size):
        batch = place.send({name: each[start : start + place.batch_size] for name, each in tensors.items()})
        vectors.append(encode(tower.encode, batch, place, place.texts).cpu().numpy())
    return np.concatenate(vectors)


def encode_texts(
    tower: TextTower, texts: Sequence[str], dim: int, place: Placement
) -> Float32[np.ndarray, "n_texts dim"]:
    """Return the raw vectors of texts, in order, as float32."""
    out = np.empty((len(texts), dim), np.float32)
    batches = tower.batches(texts, batch_size=place.texts.n)
    while several := list(islice(batches, WINDOW_BATCHES)):
        encoded = [encode(tower.encode, place.send(tokens), place, place.texts) for _, tokens in several]
        for (rows, _), vectors in zip(several, encoded, strict=True):  # fetched when all of them have been sent
            out[rows.numpy()] = vectors.cpu().numpy()
    return out


def placement(device: str, precision: str, batch_size: int | None) -> Placement:
    """Return device, precision and batch sizes, None for those of the device; fp32 on CUDA turns TF32 off.

    Raises:
        UsageError: an unknown device, precision or batch size, or a device that this machine lacks.
    """
    if precision not in DTYPES:
        raise UsageError(f"unknown precision '{precision}': {did_you_mean(precision, PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size is {batch_size}: expected 1 or more")
    chosen = _device(device)
    if chosen.type == "cuda" and precision == "fp32":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    images, texts = batch_sizes(batch_size, chosen)
    return Placement(
        device=chosen,
        dtype=DTYPES[precision],
        batch_size=batch_size or DEFAULT_BATCH_SIZE,
        images=images,
        texts=texts,
        is_ahead=chosen.type == "cuda",
    )


def freeze(module: torch.nn.Module, place: Placement) -> None:
    """Put a module in evaluation mode, without gradients, on its device; weights are cast to the precision."""
    module.eval().requires_grad_(False).to(place.device, place.dtype)


def weights_digest(module: torch.nn.Module) -> str:
    """Return a hash of the names, types, shapes and bytes of all weights, equal in every process."""
    state = module.state_dict()
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        digests = pool.map(_tensor_digest, state.values())
        return digest(*zip(state, digests, strict=True))


def n_parameters(module: torch.nn.Module) -> int:
    """Return the number of the module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def scale_and_bias(module: Any, model: str) -> tuple[float, float]:
    """Return the factor and the summand from cosine to logit that a module has learned.

    The factor is the exponential of its ``logit_scale``, or 1 over its ``temperature`` (ALIGN, TIPSv2).

    Raises:
        ModelError: one is not finite, or the factor is 0.
    """
    name = "logit_scale" if hasattr(module, "logit_scale") else "temperature"
    value = getattr(module, name).item()
    bias = 0.0 if getattr(module, "logit_bias", None) is None else module.logit_bias.item()
    try:
        scale = math.exp(value) if name == "logit_scale" else 1 / value
    except (OverflowError, ZeroDivisionError):
        scale = math.nan
    if not (0 < scale < math.inf and math.isfinite(bias)):
        raise ModelError(
            f"{model} has {name} {value:g} and logit_bias {bias:g}: its training has diverged, or the weights are damaged"
        )
    return scale, bias


def probe(model: Model, place: Placement) -> None:
    """Run one grey image and one text through a model, so that a fault shows before an hour of decoding.

    Raises:
        ModelError: a tower does not run on the device in the precision, or gives no vector of the stated dimension.
    """
    towers: dict[str, Callable[[], np.ndarray]] = {
        "image": lambda: model.encode_images([Image.new("RGB", (64, 64), (128, 128, 128))]),
        "text": lambda: model.encode_texts(["a photo"]),
    }
    for name, run in towers.items():
        try:
            run()
        except FOREIGN as error:
            precision = next(name for name, dtype in DTYPES.items() if dtype == place.dtype)
            raise ModelError(
                f"the {name} tower of {model.info.id} gives no vector of dimension {model.info.embed_dim} on"
                f" {place.device} in {precision} ({type(error).__name__}: {first_line(error)}): try --precision fp32 or"
                " another --device; if it fails there too, the model is at fault"
            ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the error's name when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a library's warnings and log lines off the terminal while it builds a model.

    Those that matter to the numbers are checked by the adapter, and become an error or a note of the model.
    """
    level_before, null_handler = logging.root.manager.disable, logging.NullHandler()
    logging.disable(logging.CRITICAL)
    logging.root.addHandler(null_handler)  # without one, open_clip's logging.warning(...) installs a handler for good
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.removeHandler(null_handler)
        logging.disable(level_before)


def _device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator if accelerator is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's errors for absent devices vary
        raise UsageError(
            f"device '{name}' cannot be used here ({first_line(error)}): expected auto, cpu, cuda, cuda:0, mps, ..."
        ) from error
    return device


def _tensor_digest(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    hasher = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)} ".encode(), digest_size=16)
    hasher.update(flat.view(torch.uint8).numpy().data)
    return hasher.hexdigest()

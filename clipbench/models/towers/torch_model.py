"""Shared by the adapters of torch models: device, precision, batches, fingerprints. Imported only with torch at hand.

On the CPU each batch goes through a tower by itself, as it was loaded: the last bits of a vector may depend on how many
images or texts go together, and a stored vector must be the one that another run would compute. A CUDA device is sent
batches while it computes, its vectors are fetched together, and batches are made smaller where its memory runs out.
"""

import hashlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from safetensors import SafetensorError

from clipbench.data.images import rgb
from clipbench.data.modalities import TEXT
from clipbench.errors import FOREIGN, ClipbenchError, ModelError, UsageError, did_you_mean, option
from clipbench.models.fingerprint import digest
from clipbench.models.foreign_code import is_code_request, needs_code_error
from clipbench.models.options import DEFAULT_BATCH_SIZE, PRECISIONS
from clipbench.models.protocol import Internals, Model, ModelInfo, Notes, Preprocess, Role, TokenCounts, Tokens, Vectors
from clipbench.models.towers.text_tower import WINDOW_BATCHES, TextTower
from clipbench.untrusted.reading import damaged_weights

PIXELS = "pixels"
"""Name of the one array of an image tower."""
Tensors = Mapping[str, torch.Tensor]
"""Inputs of a tower by name, each with a row for an image or text."""
Tower = Callable[[Tensors], torch.Tensor]
"""Turns inputs on the device into raw vectors."""

AT_ONCE = 256
"""Images or texts at a time on an accelerator: more are hardly faster, and only cost memory."""
FETCH_SECONDS = 1.0
"""Vectors are fetched from an accelerator this often, since each fetch waits until it has caught up."""
OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")
"""Words of torch's errors where their kind does not say it: of Apple's devices, of CUDA's libraries, and of the CPU."""

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


@dataclass
class BatchSize:
    """Images or texts that go through a tower at once."""

    n: int
    first_failed: int | None = None
    """Items for which the memory ran out first, or None if it was always enough."""

    def halve(self, n_items: int, device: torch.device) -> None:
        """Take half of the items for which the memory ran out, or raise ModelError if it ran out for one."""
        if n_items == 1:
            raise ModelError(
                f"the memory of {device} is not enough for one image or text at a time: free some of it, or try"
                f" {option('precision', 'bf16')} or another {option('device')}"
            )
        self.first_failed = self.first_failed or n_items
        self.n = n_items // 2

    def note(self, items: str, device: torch.device) -> Notes:
        """Return a note if the batch size was reduced."""
        if self.first_failed is None:
            return ()
        shortage = f"the memory of {device} was not enough for {self.first_failed:,} {items} at a time"
        return (f"{shortage}: they were encoded {self.n:,} at a time ({option('batch_size', self.n)})",)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Device, precision and batch sizes of a model."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    """Images that are loaded at a time. The same number goes through the model, or more if ``images`` is larger."""
    images: BatchSize
    texts: BatchSize
    is_ahead: bool
    """True where the device computes while this process goes on: then inputs are sent without waiting for it."""

    def send(self, inputs: Tensors) -> Tensors:
        """Return inputs on the device, with floating-point numbers in its precision."""
        sent = {}
        for name, tensor in inputs.items():
            # Only from pinned memory a copy goes on while this process does something else.
            moved = tensor.pin_memory() if self.is_ahead else tensor
            moved = moved.to(self.device, non_blocking=self.is_ahead)
            sent[name] = moved.to(self.dtype) if moved.is_floating_point() else moved
        return sent


@dataclass(frozen=True, kw_only=True)
class TorchModel(Model):
    """A model made of the two towers of a library's own module."""

    info: ModelInfo
    preprocess: Preprocess
    image_tower: Tower
    """Turns the inputs of images into raw vectors, both in the placement's dtype."""
    text_tower: TextTower
    placement: Placement
    module: torch.nn.Module
    """Both towers, as the library built them."""
    files: Sequence[Path] = ()
    has_pixels: bool = True
    """False where an image becomes several arrays, which nothing outside of the library could look at."""

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one raw vector per item, in order, in batches of the placement's size."""
        if modality == TEXT:
            return self._encode_texts(inputs)
        tensors, step = as_tensors(inputs), self.placement.batch_size
        starts = range(0, n_rows(tensors), step)
        batches = ({name: tensor[start : start + step] for name, tensor in tensors.items()} for start in starts)
        vectors = [*encode_batches(self.image_tower, batches, self.placement)]
        return np.concatenate(vectors) if vectors else np.empty((0, self.info.embed_dim), np.float32)

    def _encode_texts(self, texts: Sequence[str]) -> Vectors:
        placement = self.placement
        out = np.empty((len(texts), self.info.embed_dim), np.float32)
        batches = self.text_tower.batches(texts, batch_size=placement.texts.n)
        while window := list(islice(batches, WINDOW_BATCHES)):
            encoded = [
                encode(self.text_tower.encode, placement.send(tokens), placement, placement.texts)
                for _, tokens in window
            ]
            for (rows, _), vectors in zip(window, encoded, strict=True):  # fetched when all of them have been sent
                out[rows.numpy()] = vectors.cpu().numpy()
        return out

    def encode_batches(self, modality: str, batches: Iterable[Any], role: Role = None) -> Iterator[Vectors]:
        """Yield the vectors of each batch, in order, some batches of images late on an accelerator."""
        if modality == TEXT:
            return super().encode_batches(modality, batches, role)
        return encode_batches(self.image_tower, map(as_tensors, batches), self.placement)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return self.text_tower.count(texts)

    def costs(self) -> Notes:
        placement = self.placement
        return (*placement.images.note("images", placement.device), *placement.texts.note("texts", placement.device))

    def internals(self) -> Internals:
        return replace(
            super().internals() if self.has_pixels else Internals(),
            module=self.module,
            tokenize=lambda texts: {name: ids.numpy() for name, ids in self.text_tower.tokenize(list(texts)).items()},
            encode_tokens=self._encode_tokens,
        )

    def _encode_tokens(self, tokens: Tokens) -> Vectors:
        """Return the raw vectors of texts from their tokens."""
        placement = self.placement
        inputs = placement.send(as_tensors(tokens))
        return encode(self.text_tower.encode, inputs, placement, placement.texts).cpu().numpy()


@dataclass(frozen=True)
class OpenClipPreprocess:
    """A torchvision transform of open_clip, from an image in its own mode to an array. It is picklable."""

    transform: Callable[[Image.Image], torch.Tensor]

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        return self.transform(image).numpy()


@dataclass(frozen=True)
class TransformersPreprocess:
    """An image processor of transformers for one image in any mode. It is picklable, without weights."""

    processor: Any

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        # As a tensor, since before transformers 5.4 most processors return nothing else.
        return np.asarray(self.processor(images=rgb(image), return_tensors="pt")["pixel_values"][0], np.float32)


def pixel_tower(tower: Callable[[torch.Tensor], torch.Tensor]) -> Tower:
    """Return a tower of pixels (n, channels, height, width) as a tower of inputs by name."""
    return lambda inputs: tower(inputs[PIXELS])


def as_tensors(inputs: Any) -> Mapping[str, torch.Tensor]:
    """Return the inputs of images, one array or several by name, as tensors."""
    arrays = inputs if isinstance(inputs, Mapping) else {PIXELS: inputs}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def n_rows(inputs: Tensors) -> int:
    """Return how many items inputs are of."""
    return len(next(iter(inputs.values())))


def encode_batches(
    tower: Tower, batches: Iterable[Tensors], placement: Placement
) -> Iterator[Float32[np.ndarray, "batch dim"]]:
    """Yield the vectors of each batch of images, in order, some batches late if the device computes asynchronously."""
    waiting: list[Tensors] = []
    vectors: list[torch.Tensor] = []
    lengths: list[int] = []
    fetched = time.monotonic()
    for batch in batches:
        waiting.append(placement.send(batch))
        lengths.append(n_rows(batch))
        if sum(map(n_rows, waiting)) + placement.batch_size <= placement.images.n:
            continue  # one more goes with them
        vectors.append(encode(tower, _concatenate_batches(waiting), placement, placement.images))
        waiting = []
        if not placement.is_ahead or time.monotonic() - fetched >= FETCH_SECONDS:
            yield from _fetch(vectors, lengths)
            vectors, lengths, fetched = [], [], time.monotonic()
    if waiting:
        vectors.append(encode(tower, _concatenate_batches(waiting), placement, placement.images))
    yield from _fetch(vectors, lengths)


def encode(tower: Tower, inputs: Tensors, placement: Placement, size: BatchSize) -> torch.Tensor:
    """Return the raw float32 vectors of inputs on the device, in smaller batches if its memory runs out.

    Raises:
        ModelError: the memory does not suffice for one input.
    """
    parts: list[torch.Tensor] = []
    start, n = 0, n_rows(inputs)
    while start < n:
        rows = {name: tensor[start : start + size.n] for name, tensor in inputs.items()}
        vectors = _try_encode(tower, rows)
        if vectors is None:
            size.halve(n_rows(rows), placement.device)
            if placement.device.type != "cpu":
                torch.accelerator.empty_cache()
        else:
            parts.append(vectors)
            start += n_rows(rows)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _try_encode(tower: Tower, rows: Tensors) -> torch.Tensor | None:
    """Return the vectors of rows, or None if the memory does not suffice, with the memory of the attempt free again."""
    try:
        with torch.inference_mode():
            return tower(rows).float()
    except torch.OutOfMemoryError:
        return None
    except RuntimeError as error:
        if any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return None
        raise


def _fetch(vectors: list[torch.Tensor], lengths: list[int]) -> Iterator[Float32[np.ndarray, "batch dim"]]:
    """Yield vectors from the device, split by the lengths of the loaded batches."""
    if vectors:
        joined = vectors[0] if len(vectors) == 1 else torch.cat(vectors)
        yield from np.split(joined.cpu().numpy(), np.cumsum(lengths)[:-1])


def _concatenate_batches(batches: list[Tensors]) -> Tensors:
    if len(batches) == 1:
        return batches[0]
    joined = {}
    for name in batches[0]:
        joined[name] = torch.cat([batch[name] for batch in batches])
    return joined


def resolve_placement(device: str, precision: str, batch_size: int | None) -> Placement:
    """Return the placement of options, with batch sizes of the device for None. fp32 on CUDA turns TF32 off.

    Raises:
        UsageError: unknown device or precision, a batch size below 1, or a device that this machine lacks.
    """
    if precision not in DTYPES:
        raise UsageError(f"unknown precision '{precision}': {did_you_mean(precision, PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size is {batch_size}: expected 1 or more")
    chosen = _parse_device(device)
    if chosen.type == "cuda" and precision == "fp32":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    # The same on all CPUs and all CUDA devices, so that vectors do not depend on how busy the machine was.
    at_once = batch_size or (AT_ONCE if chosen.type == "cuda" else DEFAULT_BATCH_SIZE)
    return Placement(
        device=chosen,
        dtype=DTYPES[precision],
        batch_size=batch_size or DEFAULT_BATCH_SIZE,
        images=BatchSize(at_once),
        texts=BatchSize(at_once),
        is_ahead=chosen.type == "cuda",
    )


def freeze(module: torch.nn.Module, placement: Placement) -> None:
    """Put a module in evaluation mode, without gradients, on its device, and cast weights to the precision."""
    module.eval().requires_grad_(False).to(placement.device, placement.dtype)


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
            f"{model} has {name} {value:g} and logit_bias {bias:g}: its training has diverged, "
            "or the weights are damaged"
        )
    return scale, bias


def probe(model: Model) -> None:
    """Encode one grey image and one text, so that a fault shows before an hour of decoding.

    Raises:
        ModelError: a tower fails on the device in the precision, or returns no vector of the stated dimension.
    """
    towers: dict[str, Callable[[], np.ndarray]] = {
        "image": lambda: model.encode_images([Image.new("RGB", (64, 64), (128, 128, 128))]),
        "text": lambda: model.encode_texts(["a photo"]),
    }
    for name, run in towers.items():
        try:
            run()
        except FOREIGN as error:
            info = model.info
            raise ModelError(
                f"the {name} tower of {info.id} gives no vector of dimension {info.embed_dim} on {info.device} in"
                f" {info.precision} ({error_line(error)}): try"
                f" {option('precision', 'fp32')} or another {option('device')}. If it fails there too, "
                "the model is at fault"
            ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the error's name when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def error_line(error: BaseException) -> str:
    """Return the name of an error and the first line of its text."""
    return f"{type(error).__name__}: {first_line(error)}"


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


@contextmanager
def library_errors(library: str, reference: str, expected: str, files: Path | None = None) -> Iterator[None]:
    """Let a library load files of a model, quietly, and turn all that it raises into an error in one line.

    Args:
        files: folder of the files, of which a damaged one is named.
    """
    try:
        with quiet():
            yield
    except ClipbenchError:
        raise
    except Exception as error:  # libraries raise many kinds of error for missing, damaged and foreign files
        if is_code_request(error):
            raise needs_code_error(reference) from error
        damaged = damaged_weights(files) if files is not None and isinstance(error, SafetensorError) else None
        advice = expected if damaged is None else f"{damaged} is damaged: delete it, and get it again"
        raise ModelError(f"{library} cannot load {reference} ({error_line(error)}): {advice}") from error


def _parse_device(name: str) -> torch.device:
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

"""Batches on a device: sent while it computes, fetched together, and made smaller where its memory runs out. Imports torch.

On the CPU each batch goes through the tower by itself, as it was loaded: the last bits of a vector may depend on how many
images or texts go together, and a stored vector must be the one that another run would compute.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from clipbench.errors import ModelError
from clipbench.models.options import DEFAULT_BATCH_SIZE

Tensors = Mapping[str, torch.Tensor]
"""Inputs of a tower by name, each with a row for an image or text."""
Tower = Callable[[Tensors], torch.Tensor]
"""Turns inputs on the device into raw vectors."""

MOST_IMAGES = 1024
"""The most images that are tried at a time where the fastest number is to be found."""
TEXTS = 256
"""Texts at a time on an accelerator: a text of ten tokens is a fifth of the work of an image of 50 patches."""
GAIN = 1.05
"""Twice as many at a time have to be faster by this factor, or they only cost memory."""
FETCH_SECONDS = 1.0
"""Vectors are fetched from an accelerator this often, since each fetch waits until it has caught up."""
OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")
"""Words of torch's errors where their kind does not say it: of Apple's devices, of CUDA's libraries, and of the CPU."""


class BatchSize:
    """How many images or texts go through a tower at once.

    Args:
        n: how many at first.
        most: with ``observe`` twice as many are taken until that is not faster, or this many are reached; None for no more
            than ``n``.

    Example:
        >>> size = BatchSize(64, most=1024)
        >>> for n_items, seconds in [(64, 9.0), (64, 1.0), (128, 1.5), (128, 1.5), (256, 3.2), (256, 3.2)]:
        ...     size.observe(n_items, seconds)
        >>> size.n, size.is_open
        (128, False)
    """

    def __init__(self, n: int, most: int | None = None) -> None:
        self.n = n
        self.is_open = most is not None
        """True as long as the fastest number is being looked for."""
        self.first_failed: int | None = None
        """Items for which the memory ran out first; None where it was always enough."""
        self._most = n if most is None else most
        self._is_chosen = self.is_open
        self._n_seen = 0
        self._rate = 0.0

    def observe(self, n_items: int, seconds: float) -> None:
        """Take in how long a batch took; the first of each size also prepares the device, and does not count."""
        if n_items != self.n or not self.is_open:
            return
        self._n_seen += 1
        if self._n_seen == 1:
            return
        rate = n_items / seconds
        if rate < GAIN * self._rate:
            self.n //= 2
            self.is_open = False
        elif 2 * self.n > self._most:
            self.is_open = False
        else:
            self.n, self._rate, self._n_seen = 2 * self.n, rate, 0

    def halve(self, n_items: int, device: torch.device) -> None:
        """Take half of the items for which the memory ran out.

        Raises:
            ModelError: it ran out for one.
        """
        if n_items == 1:
            raise ModelError(
                f"the memory of {device} is not enough for one image or text at a time: free some of it, or try"
                " --precision bf16 or another --device"
            )
        self.first_failed = self.first_failed or n_items
        self.n, self.is_open = n_items // 2, False

    def notes(self, items: str, device: torch.device) -> tuple[str, ...]:
        """Return what a reader of the numbers should know: a number that was found here, or had to be made smaller."""
        note = None
        if self.first_failed is not None:
            note = (
                f"the memory of {device} was not enough for {self.first_failed:,} {items} at a time: they were encoded"
                f" {self.n:,} at a time (--batch-size {self.n})"
            )
        elif self._is_chosen and not self.is_open:
            note = (
                f"{items} were encoded {self.n:,} at a time, the fastest on {device}; with another --batch-size the last bits"
                " of their vectors may differ"
            )
        return () if note is None else (note,)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Device, precision and batch sizes of a model."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    """Images that are loaded at a time; as many go through the model, or more where ``images`` says so."""
    images: BatchSize
    texts: BatchSize
    is_ahead: bool
    """True where the device computes while this process goes on: then inputs are sent without waiting for it."""

    def send(self, inputs: Tensors) -> Tensors:
        """Return inputs on the device, numbers with a fraction in its precision."""
        return {name: self._sent(each) for name, each in inputs.items()}

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.is_ahead:
            tensor = tensor.pin_memory()  # only from there a copy goes on while this process does something else
        tensor = tensor.to(self.device, non_blocking=self.is_ahead)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def wait(self) -> None:
        """Return when the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def free(self) -> None:
        """Give memory back that is held for later use."""
        if self.device.type != "cpu":
            torch.accelerator.empty_cache()


def batch_sizes(given: int | None, device: torch.device) -> tuple[BatchSize, BatchSize]:
    """Return how many images, and how many texts, go through a model at once where a number is given or not.

    Without one it is ``DEFAULT_BATCH_SIZE`` on the CPU, so that vectors do not depend on how busy the machine was.
    """
    if given is not None or device.type != "cuda":
        n = given or DEFAULT_BATCH_SIZE
        return BatchSize(n), BatchSize(n)
    return BatchSize(DEFAULT_BATCH_SIZE, most=MOST_IMAGES), BatchSize(TEXTS)


def encode_batches(
    tower: Tower, batches: Iterable[Tensors], place: Placement
) -> Iterator[Float32[np.ndarray, "batch dim"]]:
    """Yield the vectors of each batch of images, in order; where the device computes by itself, some batches late."""
    waiting: list[Tensors] = []
    vectors: list[torch.Tensor] = []
    lengths: list[int] = []
    fetched = time.monotonic()
    for batch in batches:
        waiting.append(place.send(batch))
        lengths.append(_n_rows(batch))
        if sum(map(_n_rows, waiting)) + place.batch_size <= place.images.n:
            continue  # one more goes with them
        vectors.append(encode(tower, _joined(waiting), place, place.images))
        waiting = []
        if not place.is_ahead or time.monotonic() - fetched >= FETCH_SECONDS:
            yield from _fetch(vectors, lengths)
            vectors, lengths, fetched = [], [], time.monotonic()
    if waiting:
        vectors.append(encode(tower, _joined(waiting), place, place.images))
    yield from _fetch(vectors, lengths)


def encode(tower: Tower, inputs: Tensors, place: Placement, size: BatchSize) -> torch.Tensor:
    """Return the raw float32 vectors of inputs, all on the device; fewer go at once from where its memory runs out.

    Raises:
        ModelError: it runs out for one.
    """
    parts: list[torch.Tensor] = []
    start, n = 0, _n_rows(inputs)
    while start < n:
        rows = {name: each[start : start + size.n] for name, each in inputs.items()}
        n_rows = _n_rows(rows)
        vectors = _timed(tower, rows, place, size) if size.is_open else _encoded(tower, rows)
        if vectors is None:
            size.halve(n_rows, place.device)
            place.free()
        else:
            parts.append(vectors)
            start += n_rows
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _timed(tower: Tower, rows: Tensors, place: Placement, size: BatchSize) -> torch.Tensor | None:
    place.wait()
    start = time.perf_counter()
    vectors = _encoded(tower, rows)
    place.wait()
    size.observe(_n_rows(rows), time.perf_counter() - start)
    return vectors


def _encoded(tower: Tower, rows: Tensors) -> torch.Tensor | None:
    """Return the vectors of rows; None where the memory does not suffice, with nothing of the attempt left in it."""
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
    """Yield vectors from the device by the lengths of the batches that were loaded."""
    if vectors:
        found = vectors[0] if len(vectors) == 1 else torch.cat(vectors)
        yield from np.split(found.cpu().numpy(), np.cumsum(lengths)[:-1])


def _joined(batches: list[Tensors]) -> Tensors:
    if len(batches) == 1:
        return batches[0]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _n_rows(inputs: Tensors) -> int:
    return len(next(iter(inputs.values())))

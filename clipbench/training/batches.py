"""Batches of pairs, drawn in worker processes, in an order that depends on the seed and the step alone.

That is what lets a run be broken off and resumed: nothing of the order has to be stored. Imported only with torch.
"""

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clipbench.errors import BadImage, DataError, UsageError
from clipbench.training.clip.preprocess import Preprocess
from clipbench.training.clip.tokeniser import Tokeniser
from clipbench.training.pairs import Pairs


class Batch(NamedTuple):
    """Pairs, ready for the towers but for normalisation."""

    pixels: UInt8[Tensor, "n 3 S S"]
    tokens: Int64[Tensor, "n L"]


class Draw(NamedTuple):
    """One sample of a run."""

    position: int
    """How many samples of the run come before it."""
    number: int
    """Of the pair."""
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which pairs make up each step: all of them once an epoch, shuffled anew, with what is left over dropped.

    No image comes twice in a batch, as it would be its own negative.

    Raises:
        UsageError: a batch is larger than the data, or does not divide by the number of processes.
    """

    n_pairs: int | None
    """None for data without end, which are taken one after another."""
    batch_size: int
    """Over all processes."""
    seed: int
    n_processes: int = 1

    def __post_init__(self) -> None:
        if self.n_pairs is not None and self.batch_size > self.n_pairs:
            raise UsageError(
                f"a batch of {self.batch_size} is larger than the data, {self.n_pairs} pairs to train on:"
                f" give --batch-size {self.n_pairs} or less"
            )
        if self.batch_size % self.n_processes:
            raise UsageError(
                f"a batch of {self.batch_size} cannot be shared by {self.n_processes} processes: give a multiple"
            )

    def draws(self, step: int, process: int = 0) -> list[Draw]:
        """Return one process's share of a step; the shares, one after another, are the same for any number of them."""
        share = self.batch_size // self.n_processes
        first = step * self.batch_size + process * share
        return [self._draw(position) for position in range(first, first + share)]

    def _draw(self, position: int) -> Draw:
        if self.n_pairs is None:
            return Draw(position, position, 0)
        per_epoch = self.n_pairs - self.n_pairs % self.batch_size
        epoch, place = divmod(position, per_epoch)
        return Draw(position, int(_shuffled(self.n_pairs, self.seed, epoch)[place]), epoch)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a sample of a run becomes pixels and a caption; travels to worker processes."""

    pairs: Pairs
    preprocess: Preprocess
    crops: bool
    seed: int

    def __call__(self, draw: Draw) -> tuple[UInt8[np.ndarray, "3 S S"], str]:
        image, caption = self.pairs.pair(draw.number, draw.epoch)
        if not self.crops:
            return self.preprocess.square(image), caption
        rng = np.random.default_rng((self.seed, draw.position))
        return self.preprocess.random_crop(image, rng), caption


def load_batches(
    drawing: Drawing, tokeniser: Tokeniser, steps: Iterable[list[Draw]], *, workers: int
) -> Iterator[Batch]:
    """Yield the batch of each step, in order.

    Raises:
        DataError: an image cannot be read; it is named.
    """
    loader = DataLoader(
        _Samples(drawing),
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=_Collate(tokeniser),
        worker_init_fn=_ignore_interrupts,
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, BadImage):
            raise DataError(f"cannot read image {batch.name} ({batch.cause}): replace it, or take it out of the data")
        yield batch


@lru_cache(maxsize=2)
def _shuffled(n_pairs: int, seed: int, epoch: int) -> Int64[np.ndarray, " n_pairs"]:
    return np.random.default_rng((seed, epoch)).permutation(n_pairs)


class _Samples(Dataset[object]):
    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing

    def __getitem__(self, draw: Draw) -> object:
        try:
            return self.drawing(draw)
        except BadImage as error:
            return error  # raised in a worker, it would come back as a traceback in a RuntimeError


class _Collate:
    def __init__(self, tokeniser: Tokeniser) -> None:
        self.tokeniser = tokeniser

    def __call__(self, samples: list[tuple[np.ndarray, str] | BadImage]) -> Batch | BadImage:
        pixels, captions = [], []
        for sample in samples:
            if isinstance(sample, BadImage):
                return sample
            pixels.append(sample[0])
            captions.append(sample[1])
        return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.tokeniser.encode(captions)))


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which reaches the whole process group, to the training process: it ends its step and saves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

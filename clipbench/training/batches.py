"""Batches of pairs, prepared in worker processes, in an order that depends on the seed and the step alone.

So a training can be interrupted and resumed without storing anything of the order. Imports torch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from clipbench.errors import BadImage, DataError, UsageError
from clipbench.models.encoding.workers import load_in_workers
from clipbench.training.clip.preprocess import ClipPreprocess
from clipbench.training.clip.tokenizer import ClipTokenizer
from clipbench.training.pairs import PairSource


class Batch(NamedTuple):
    """Pairs as the towers take them, except that pixels are not normalized yet."""

    pixels: UInt8[Tensor, "n 3 S S"]
    tokens: Int64[Tensor, "n L"]


class SampleIndex(NamedTuple):
    """The place of a sample in the training, and the pair that it shows."""

    position: int
    """Number of samples before it."""
    pair: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class SampleOrder:
    """The pairs of each step: all of them once an epoch, in a new random order, without those that fill no batch.

    No image comes twice in a batch, as it would be its own negative.

    Raises:
        UsageError: a batch is larger than the data, or does not divide by the number of processes.
    """

    n_pairs: int | None
    """None for endless data, whose pairs are taken one after another."""
    batch_size: int
    """Pairs per step, over all processes."""
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

    def samples(self, step: int, rank: int = 0) -> list[SampleIndex]:
        """Return one process's share of a step; all shares together do not depend on the number of processes."""
        share = self.batch_size // self.n_processes
        first = step * self.batch_size + rank * share
        return [self._sample(position) for position in range(first, first + share)]

    def _sample(self, position: int) -> SampleIndex:
        if self.n_pairs is None:
            return SampleIndex(position, position, 0)
        per_epoch = self.n_pairs - self.n_pairs % self.batch_size
        epoch, place = divmod(position, per_epoch)
        return SampleIndex(position, int(_shuffled(self.n_pairs, self.seed, epoch)[place]), epoch)


@dataclass(frozen=True, kw_only=True)
class PairReader:
    """Turns a sample into pixels and a caption; worker processes get a copy of it."""

    pairs: PairSource
    preprocess: ClipPreprocess
    crops: bool
    seed: int

    def __call__(self, sample: SampleIndex) -> tuple[UInt8[np.ndarray, "3 S S"], str]:
        image, caption = self.pairs.pair(sample.pair, sample.epoch)
        if not self.crops:
            return self.preprocess.square(image), caption
        rng = np.random.default_rng((self.seed, sample.position))
        return self.preprocess.random_crop(image, rng), caption


def load_batches(
    reader: PairReader, tokenizer: ClipTokenizer, steps: Iterable[list[SampleIndex]], *, workers: int
) -> Iterator[Batch]:
    """Yield the batch of each step, in order.

    Raises:
        DataError: an image cannot be read; it is named.
    """
    batches = load_in_workers(
        _Samples(reader),
        workers=workers,
        batch_sampler=steps,
        collate_fn=_Collate(tokenizer),
        prefetch_factor=4 if workers else None,
    )
    for batch in batches:
        if isinstance(batch, BadImage):
            raise DataError(f"cannot read image {batch.name} ({batch.cause}): replace it, or take it out of the data")
        yield batch


@lru_cache(maxsize=2)
def _shuffled(n_pairs: int, seed: int, epoch: int) -> Int64[np.ndarray, " n_pairs"]:
    return np.random.default_rng((seed, epoch)).permutation(n_pairs)


class _Samples(Dataset[object]):
    def __init__(self, reader: PairReader) -> None:
        self.reader = reader

    def __getitem__(self, sample: SampleIndex) -> object:
        try:
            return self.reader(sample)
        except BadImage as error:
            return error  # raised in a worker, it would come back as a traceback in a RuntimeError


class _Collate:
    def __init__(self, tokenizer: ClipTokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, samples: list[tuple[np.ndarray, str] | BadImage]) -> Batch | BadImage:
        pixels, captions = [], []
        for sample in samples:
            if isinstance(sample, BadImage):
                return sample
            pixels.append(sample[0])
            captions.append(sample[1])
        return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.tokenizer.encode(captions)))

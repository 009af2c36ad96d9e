"""Images with captions to train on, and batches of them, in an order that depends only on the seed and the step.

So a training can be interrupted and resumed without storing anything of the order. Imports torch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.utils.data
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.images import rgb
from clipbench.data.scenes import SCENES_VERSION, draw, primer_pair, scenes_dataset, training_pair
from clipbench.errors import BadImage, DataError, UnknownSplit, UsageError
from clipbench.models.encoding.workers import load_in_workers
from clipbench.training.clip.inputs import ClipPreprocess, ClipTokenizer

SCENES = "scenes"
"""Name of the generated data."""
HELD_OUT = 500
"""Pairs that are measured and not trained on, or a tenth of the data if that is fewer."""
TOKENIZER_CAPTIONS, SCENE_CAPTIONS = 50_000, 20_000
"""Captions of data and of scenes from which a vocabulary is learned."""
SEED_STRIDE = 1 << 40
"""Distance between the scene numbers of two seeds, so that trainings of other seeds see other scenes."""
HELD_OUT_SEED = 1
"""Differs from the seed that tasks measure, so that watching a training does not mean looking at the test data."""


class DatasetPairs:
    """The images of a data set, each with one of its captions, the next one each epoch. It is picklable."""

    def __init__(self, dataset: Dataset) -> None:
        assert dataset.captions is not None and dataset.caption_image is not None, dataset.id
        split = dataset.split
        self.name = dataset.id if split is None else f"{dataset.id} ({split})"
        self.n_pairs = len(dataset)
        self._images = dataset.images
        self._captions = dataset.captions
        self._rows = np.argsort(dataset.caption_image, kind="stable")
        self._starts = np.searchsorted(dataset.caption_image[self._rows], np.arange(len(dataset) + 1))

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        """Return an image with one of its captions, always the same for the same index and epoch."""
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        image = self._images[index]
        return rgb(image.open(), image.name), self._captions[rows[epoch % len(rows)]]

    def captions(self) -> Iterator[str]:
        """Yield captions to learn a vocabulary from, without opening images."""
        yield from islice(self._captions, TOKENIZER_CAPTIONS)


class ScenePairs:
    """Generated scenes with a true caption each, endless, after ``primer`` images of single objects."""

    def __init__(self, size: int, seed: int, primer: int = 0) -> None:
        self.name = f"scenes {SCENES_VERSION} (train)"
        self.n_pairs = None
        self.size = size
        self.first = seed * SEED_STRIDE
        self.primer = primer

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        scene, caption = (primer_pair if index < self.primer else training_pair)(self.first + index)
        return draw(scene, self.size), caption.text

    def captions(self) -> Iterator[str]:
        for index in range(SCENE_CAPTIONS):
            yield training_pair(self.first + index).caption.text


PairSource = DatasetPairs | ScenePairs


class TrainingCorpus(NamedTuple):
    """Pairs to train on, and others to measure on."""

    train: PairSource
    held_out: DatasetPairs
    may_crop: bool
    """Random crops keep the captions true."""
    notes: tuple[str, ...] = ()
    """Facts about the data that whoever trains on them should know."""


def load_corpus(data: str, options: DataOptions, *, seed: int, size: int) -> TrainingCorpus:
    """Return the pairs of a data reference, by default of the ``train`` split if there is one.

    ``scenes`` takes the option ``primer``, the number of images of single objects that come first. They are never
    cropped: a crop could cut off an object that the caption counts, or a letter of a word.

    Args:
        seed: decides which images are held out, and which scenes are drawn.
        size: side in pixels of scenes, which are drawn at the size that the model sees.

    Raises:
        UsageError: the reference or an option is wrong, or the data has splits, but no ``train``, and none is named.
        DataError: the data has no captions, or too few images.
    """
    if data.lower() == SCENES:
        options.refuse_unknown(["primer"], SCENES)
        primer = options.whole_number("primer", "a number of pairs, 0 or more") or 0
        test = scenes_dataset("pairs", split="test", n=HELD_OUT, size=size, seed=HELD_OUT_SEED)
        return TrainingCorpus(ScenePairs(size, seed, primer), DatasetPairs(test), may_crop=False)
    dataset = _load_split(data, options)
    if dataset.captions is None:
        raise DataError(
            f"data set {dataset.id} has no captions to train on: "
            "name their column with --data-option caption=COLUMN, or give other data"
        )
    n_images = len(dataset)
    n_held_out = min(HELD_OUT, n_images // 10)
    if n_held_out < 2:
        raise DataError(
            f"data set {dataset.id} has {n_images} images: expected at least 20, "
            "because a tenth is held out for measurements"
        )
    order = np.random.default_rng(seed).permutation(n_images)
    held_out, train = (DatasetPairs(dataset.take(np.sort(rows))) for rows in np.split(order, [n_held_out]))
    return TrainingCorpus(train, held_out, may_crop=True, notes=dataset.notes)


def _load_split(data: str, options: DataOptions) -> Dataset:
    """Return a data set, the split ``train`` by default: loaders take ``test``, which is right for measuring only."""
    if "split" not in options.options:
        try:
            return load_data(data, replace(options, options={**options.options, "split": "train"}))
        except UnknownSplit:
            raise
        except UsageError:
            pass  # the data has no splits, or the reference names one; any other mistake comes up again below
    return load_data(data, options)


class Batch(NamedTuple):
    """Pairs as the towers take them, except that pixels are not normalized yet."""

    pixels: UInt8[Tensor, "n 3 S S"]
    tokens: Int64[Tensor, "n L"]


class SampleIndex(NamedTuple):
    """The place of a sample in the training, the number of samples before it, and the pair that it shows."""

    position: int
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
                f" give at most --batch-size {self.n_pairs}"
            )
        if self.batch_size % self.n_processes:
            raise UsageError(
                f"a batch of {self.batch_size} cannot be shared by {self.n_processes} processes: give a multiple"
            )

    def samples(self, step: int, rank: int = 0) -> list[SampleIndex]:
        """Return one process's fraction of a step. All shares together do not depend on the number of processes."""
        share = self.batch_size // self.n_processes
        first = step * self.batch_size + rank * share
        positions = range(first, first + share)
        if self.n_pairs is None:
            return [SampleIndex(position, position, 0) for position in positions]
        samples = []
        for position in positions:
            epoch, offset = divmod(position, self.n_pairs - self.n_pairs % self.batch_size)
            samples.append(SampleIndex(position, int(_shuffled(self.n_pairs, self.seed, epoch)[offset]), epoch))
        return samples


@dataclass(frozen=True, kw_only=True)
class PairReader(torch.utils.data.Dataset[object]):
    """Turns a sample into pixels and a caption, or a BadImage. Worker processes get a copy of it."""

    pairs: PairSource
    preprocess: ClipPreprocess
    crops: bool
    seed: int

    def __getitem__(self, sample: SampleIndex) -> tuple[UInt8[np.ndarray, "3 S S"], str] | BadImage:
        try:
            image, caption = self.pairs.pair(sample.pair, sample.epoch)
        except BadImage as error:
            return error  # raised in a worker, it would come back as a traceback in a RuntimeError
        if not self.crops:
            return self.preprocess.square(image), caption
        rng = np.random.default_rng((self.seed, sample.position))
        return self.preprocess.random_crop(image, rng), caption


def load_batches(
    reader: PairReader, tokenizer: ClipTokenizer, steps: Iterable[list[SampleIndex]], *, workers: int
) -> Iterator[Batch]:
    """Yield the batch of each step, in order.

    Raises:
        DataError: an image cannot be read. The message names it.
    """
    batches = load_in_workers(
        reader,
        workers=workers,
        batch_sampler=steps,
        collate_fn=partial(_collate, tokenizer),
        prefetch_factor=4 if workers else None,
    )
    for batch in batches:
        if isinstance(batch, BadImage):
            raise DataError(f"cannot read image {batch.name} ({batch.cause}): replace it, or remove it from the data")
        yield batch


@lru_cache(maxsize=2)
def _shuffled(n_pairs: int, seed: int, epoch: int) -> Int64[np.ndarray, " n_pairs"]:
    return np.random.default_rng((seed, epoch)).permutation(n_pairs)


def _collate(tokenizer: ClipTokenizer, samples: list[tuple[np.ndarray, str] | BadImage]) -> Batch | BadImage:
    pixels, captions = [], []
    for sample in samples:
        if isinstance(sample, BadImage):
            return sample
        pixels.append(sample[0])
        captions.append(sample[1])
    return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(tokenizer.encode(captions)))

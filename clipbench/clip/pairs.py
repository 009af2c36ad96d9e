"""Pictures with captions to train on: what training asks of data, and data sets that are made to fit."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from clipbench.data import DataOptions, Dataset, ImageRef, load_data
from clipbench.errors import BadImage, DataError, UsageError

SCENES = "scenes"
"""The data that are generated, and come with clipbench."""
HELD_OUT = 500
"""Pairs that are measured and not trained on, or a tenth of the data where that is fewer."""
TOKENISER_CAPTIONS = 50_000
"""Captions of which a vocabulary is learned."""


@runtime_checkable
class Pairs(Protocol):
    """Pictures with captions, by number. Picklable: worker processes draw from it."""

    @property
    def name(self) -> str:
        """What the data are called."""
        ...

    @property
    def n_pairs(self) -> int | None:
        """How many different pictures there are; None when there is no end of them."""
        ...

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        """Return a picture with one of its captions, always the same for the same index and epoch."""
        ...

    def captions(self) -> Iterator[str]:
        """Yield captions to learn a vocabulary from, without opening pictures."""
        ...


class Corpus(NamedTuple):
    """Pairs to train on, and others to measure on."""

    train: Pairs
    held_out: Pairs
    """It has an end."""
    may_crop: bool
    """Whether a random crop leaves captions true and is of use."""


def load_corpus(data: str, options: DataOptions, *, seed: int, size: int) -> Corpus:
    """Return the pairs that a data reference stands for; where the data have splits and none is named, of ``train``.

    Args:
        seed: of the choice of what is held out; of scenes, of what is drawn.
        size: in pixels, of pictures that are yet to be drawn.

    Raises:
        UsageError: the reference or an option is wrong.
        DataError: the data have no captions, or too few pictures.
    """
    if data.lower() == SCENES:
        from clipbench.clip.scene_pairs import scene_corpus

        return scene_corpus(options, size=size, seed=seed)
    dataset = _load(data, options)
    if dataset.captions is None:
        raise DataError(
            f"data set {dataset.id} has no captions to train on: name their column with --data-option caption=COLUMN,"
            " or give other data"
        )
    n_images = len(dataset)
    n_held_out = min(HELD_OUT, n_images // 10)
    if n_held_out < 2:
        raise DataError(f"data set {dataset.id} has {n_images} pictures: expected at least 20, a tenth to measure on")
    order = np.random.default_rng(seed).permutation(n_images)
    held_out, train = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    return Corpus(DatasetPairs(dataset.take(train)), DatasetPairs(dataset.take(held_out)), may_crop=True)


class DatasetPairs:
    """The pictures of a data set, each with one of its captions at a time, another one each epoch."""

    def __init__(self, dataset: Dataset) -> None:
        assert dataset.captions is not None and dataset.caption_image is not None, dataset.id
        split = dataset.split
        self.name = dataset.id if split is None else f"{dataset.id} ({split})"
        self.n_pairs: int | None = len(dataset)
        self._images = dataset.images
        self._captions = dataset.captions
        self._rows = np.argsort(dataset.caption_image, kind="stable")
        self._starts = np.searchsorted(dataset.caption_image[self._rows], np.arange(len(dataset) + 1))

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        return _rgb(self._images[index]), self._captions[rows[epoch % len(rows)]]

    def captions(self) -> Iterator[str]:
        yield from islice(self._captions, TOKENISER_CAPTIONS)


def _rgb(image: ImageRef) -> Image.Image:
    """Return a picture in colours; raise BadImage when that fails."""
    try:
        return image.open().convert("RGB")
    except BadImage:
        raise
    except Exception as error:  # Pillow's word for a mode that has no way to RGB
        raise BadImage(image.name, f"{type(error).__name__}: {error}") from error


def _load(data: str, options: DataOptions) -> Dataset:
    """Return a data set; loaders take ``test`` where nothing is said, which is right for measuring alone."""
    if "split" not in options.options:
        try:
            return load_data(data, replace(options, options={**options.options, "split": "train"}))
        except UsageError:
            pass  # there is no such split, or no splits at all; anything else that is wrong comes up again
    return load_data(data, options)

"""Images with captions to train on: the protocol of training data, and data sets in that form."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from clipbench.data import Dataset, ImageRef
from clipbench.data.decoding import rgb
from clipbench.errors import BadImage

SCENES = "scenes"
"""Name of the generated data."""
HELD_OUT = 500
"""Pairs that are measured and not trained on; a tenth of the data if that is fewer."""
TOKENIZER_CAPTIONS = 50_000
"""Captions from which a vocabulary is learned."""


@runtime_checkable
class PairSource(Protocol):
    """Images with captions, by number; picklable, since worker processes read them."""

    @property
    def name(self) -> str:
        """Name of the data."""
        ...

    @property
    def n_pairs(self) -> int | None:
        """Number of different images; None for endless data."""
        ...

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        """Return an image with one of its captions, always the same for the same index and epoch."""
        ...

    def captions(self) -> Iterator[str]:
        """Yield captions to learn a vocabulary from, without opening images."""
        ...


class Corpus(NamedTuple):
    """Pairs to train on, and others to measure on."""

    train: PairSource
    held_out: PairSource
    """Never endless."""
    may_crop: bool
    """Random crops keep the captions true."""
    notes: tuple[str, ...] = ()
    """Facts about the data that whoever trains on them should know."""


class DatasetPairs:
    """The images of a data set, each with one of its captions, the next one each epoch."""

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
        yield from islice(self._captions, TOKENIZER_CAPTIONS)


def _rgb(image: ImageRef) -> Image.Image:
    """Return an image in RGB; raise BadImage if that fails."""
    try:
        return rgb(image.open())
    except BadImage:
        raise
    except Exception as error:  # Pillow raises several types for modes without a conversion
        raise BadImage(image.name, f"{type(error).__name__}: {error}") from error

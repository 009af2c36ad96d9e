"""Loading of items: images are decoded and preprocessed in worker processes, ahead of the model. Imports torch for images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from clipbench.data.decoding import rgb
from clipbench.data.modalities import IMAGE
from clipbench.errors import FOREIGN, BadImage, cause
from clipbench.models.encoding.items import Item, Wanted
from clipbench.models.protocol import Preprocess, stacked
from clipbench.untrusted.limits import max_batch_pixels


class LoadedBatch(NamedTuple):
    """The readable items of one batch, and the faults of the others by row."""

    rows: list[int]
    inputs: Any
    """Stacked pixels, float32 (n, channels, height, width), or the model's own arrays by name, each stacked; without a
    preprocessing a list of RGB images; a list of texts or other items."""
    bad: dict[int, BadImage]


def load(
    wanted: Wanted, preprocesses: Sequence[Preprocess | None], side: int | None, batches: Iterable[range]
) -> Iterator[Sequence[LoadedBatch]]:
    """Yield items in batches, in order: of images one batch for each preprocessing, of all else one.

    Args:
        preprocesses: turn an image into the input of a model; None for a model that takes images as they are.
        side: pixels of the model's square input, for images that are drawn to fit; None where it is not known.
        batches: rows of each batch, taken when workers are ready to load it.
    """
    if wanted.modality != IMAGE:
        for rows in batches:
            yield [LoadedBatch([*rows], [wanted.items[row].open() for row in rows], {})]
        return
    from clipbench.models.encoding.workers import load_in_workers

    images = _Images(wanted.items, preprocesses, side)
    if [*preprocesses] == [None]:
        ends = set[int]()
        rows_one_by_one = _rows(batches, ends)
        loaded = load_in_workers(
            images, workers=wanted.workers, batch_size=None, sampler=rows_one_by_one, collate_fn=_alone
        )
        yield from ([batch] for batch in _in_full_size(loaded, ends))
        return
    for several in load_in_workers(images, workers=wanted.workers, batch_sampler=batches, collate_fn=_collate):
        yield [LoadedBatch(rows, _as_arrays(inputs), bad) for rows, inputs, bad in several]


class _Images:
    """A data set of torch's kind: each image with every preprocessing, or with the reason why that failed."""

    def __init__(self, items: Sequence[Item], preprocesses: Sequence[Preprocess | None], side: int | None) -> None:
        self.items = items
        self.preprocesses = preprocesses
        self.side = side

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[int, list[Any]]:
        name = self.items[row].source.name
        try:
            image = self.items[row].open(self.side)
        except BadImage as error:
            return row, [error] * len(self.preprocesses)
        except FOREIGN as error:
            return row, [BadImage(name, cause(error))] * len(self.preprocesses)
        return row, [_preprocessed(image, name, each) for each in self.preprocesses]


def _preprocessed(image: Image.Image, name: str, preprocess: Preprocess | None) -> Any:
    try:
        return rgb(image, name) if preprocess is None else preprocess(image)
    except BadImage as error:
        return error
    except FOREIGN as error:  # a transform that fails on an odd mode or size
        return BadImage(name, cause(error))


def _rows(batches: Iterable[range], ends: set[int]) -> Iterator[int]:
    """Yield the rows of batches, and note the last of each."""
    for batch in batches:
        ends.add(batch[-1])
        yield from batch


def _in_full_size(loaded: Iterator[tuple[int, list[Any]]], ends: set[int]) -> Iterator[LoadedBatch]:
    """Yield images that the model preprocesses itself; fewer in a batch where together they would have too many pixels.

    Args:
        ends: last row of each batch, as far as its images are asked for.
    """
    most = max_batch_pixels()
    rows, images, bad, n_pixels = list[int](), list[Image.Image](), dict[int, BadImage](), 0
    for row, (image,) in loaded:
        size = 0 if isinstance(image, BadImage) else image.width * image.height
        if images and n_pixels + size > most:
            yield LoadedBatch(rows, images, bad)
            images.clear()  # whoever asks for the next batch is done with this one, and may still hold it
            rows, images, bad, n_pixels = [], [], {}, 0
        n_pixels += size
        if isinstance(image, BadImage):
            bad[row] = image
        else:
            rows.append(row)
            images.append(image)
        if row in ends:
            yield LoadedBatch(rows, images, bad)
            images.clear()
            rows, images, bad, n_pixels = [], [], {}, 0


def _alone(item: tuple[int, list[Any]]) -> tuple[int, list[Any]]:
    return item


def _collate(loaded: Sequence[tuple[int, list[Any]]]) -> list[tuple[list[int], Any, dict[int, BadImage]]]:
    """Return rows, stacked inputs and faults for each preprocessing."""
    several = []
    for place in range(len(loaded[0][1])):
        of_place = {row: inputs[place] for row, inputs in loaded}
        good = {row: each for row, each in of_place.items() if not isinstance(each, BadImage)}
        bad = {row: each for row, each in of_place.items() if isinstance(each, BadImage)}
        several.append(([*good], _as_tensors(stacked([*good.values()])) if good else None, bad))
    return several


def _as_tensors(inputs: Any) -> Any:
    """Return arrays as tensors, which travel in shared memory and not through a pipe."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: torch.from_numpy(array) for name, array in inputs.items()}
    return torch.from_numpy(inputs)


def _as_arrays(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: values.numpy() for name, values in inputs.items()}
    return None if inputs is None else inputs.numpy()

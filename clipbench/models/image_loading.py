"""Decoding and preprocessing of images in worker processes, ahead of the model."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image
from torch.utils.data import Dataset

from clipbench.data.decoding import rgb
from clipbench.data.images import ImageRef, opened
from clipbench.errors import FOREIGN, BadImage, cause
from clipbench.models.protocol import AnyPreprocess
from clipbench.models.workers import load_in_workers
from clipbench.untrusted.limits import max_batch_pixels

Preprocess = Callable[[Image.Image], Float32[np.ndarray, "channels height width"]]


class LoadedBatch(NamedTuple):
    """The readable images of one batch, and the faults of the others by row."""

    rows: list[int]
    inputs: Any
    """Stacked pixels, float32 (n, channels, height, width), or the model's own arrays by name, each stacked; without
    ``preprocess`` a list of RGB images."""
    bad: dict[int, BadImage]


def load_batches(
    refs: Sequence[ImageRef],
    preprocess: AnyPreprocess | None,
    *,
    side: int | None,
    batches: Iterable[range],
    workers: int,
) -> Iterator[LoadedBatch]:
    """Yield images in batches, in order, decoded and (where ``preprocess`` is given) preprocessed.

    Args:
        refs: the images.
        preprocess: turns an image into the model's input.
        side: pixels of the model's square input, for images that are drawn to fit; None where it is not known.
        batches: rows of each batch, taken when workers are ready to load it.
        workers: processes; 0 decodes in this one.
    """
    images = _Images(refs, preprocess, side)
    if preprocess is None:
        ends = set[int]()
        items = load_in_workers(
            images, workers=workers, batch_size=None, sampler=_rows(batches, ends), collate_fn=_alone
        )
        yield from _in_full_size(items, ends)
        return
    for rows, inputs, bad in load_in_workers(images, workers=workers, batch_sampler=batches, collate_fn=_collate):
        yield LoadedBatch(rows, _as_arrays(inputs), bad)


class _Images(Dataset[tuple[int, Any]]):
    def __init__(self, refs: Sequence[ImageRef], preprocess: AnyPreprocess | None, side: int | None) -> None:
        self.refs = refs
        self.preprocess = preprocess
        self.side = side

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, row: int) -> tuple[int, Any]:
        ref = self.refs[row]
        try:
            image = opened(ref, self.side)
            return row, rgb(image, ref.name) if self.preprocess is None else self.preprocess(image)
        except BadImage as error:
            return row, error
        except FOREIGN as error:  # a transform that fails on an odd mode or size
            return row, BadImage(ref.name, cause(error))


def _rows(batches: Iterable[range], ends: set[int]) -> Iterator[int]:
    """Yield the rows of batches, and note the last of each."""
    for batch in batches:
        ends.add(batch.stop - 1)
        yield from batch


def _in_full_size(items: Iterator[tuple[int, Any]], ends: Collection[int]) -> Iterator[LoadedBatch]:
    """Yield images that the model preprocesses itself; fewer in a batch where together they would have too many pixels.

    Args:
        ends: last row of each batch, as far as its images are asked for.
    """
    most = max_batch_pixels()
    rows, images, bad, n_pixels = list[int](), list[Image.Image](), dict[int, BadImage](), 0
    for row, item in items:
        size = 0 if isinstance(item, BadImage) else item.width * item.height
        if images and n_pixels + size > most:
            yield LoadedBatch(rows, images, bad)
            images.clear()  # whoever asks for the next batch is done with this one, and may still hold it
            rows, images, bad, n_pixels = [], [], {}, 0
        n_pixels += size
        if isinstance(item, BadImage):
            bad[row] = item
        else:
            rows.append(row)
            images.append(item)
        if row in ends:
            yield LoadedBatch(rows, images, bad)
            images.clear()
            rows, images, bad, n_pixels = [], [], {}, 0


def _alone(item: tuple[int, Any]) -> tuple[int, Any]:
    return item


def _collate(items: Sequence[tuple[int, Any]]) -> tuple[list[int], Any, dict[int, BadImage]]:
    import torch

    bad = {row: item for row, item in items if isinstance(item, BadImage)}
    good = [(row, item) for row, item in items if not isinstance(item, BadImage)]
    inputs: Any = [item for _, item in good]
    if inputs and isinstance(inputs[0], np.ndarray):
        inputs = torch.from_numpy(np.stack(inputs))  # a tensor travels in shared memory, an array through a pipe
    elif inputs and isinstance(inputs[0], Mapping):
        inputs = {name: torch.from_numpy(np.stack([each[name] for each in inputs])) for name in inputs[0]}
    return [row for row, _ in good], inputs, bad


def _as_arrays(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: values.numpy() for name, values in inputs.items()}
    return inputs if isinstance(inputs, list) else inputs.numpy()

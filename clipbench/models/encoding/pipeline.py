"""The road of a vector: items that the store lacks are loaded, encoded, checked and committed.

All modalities take this road, with one model or several. Several models of one preprocessing share the loading: each
image is decoded once for a series of checkpoints. Each model encodes the same batches in the same order as in a run of
its own, so its vectors are the same to the last bit.
"""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from clipbench.data.images import rgb
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.errors import FOREIGN, BadImage, ModelError, Unavailable, VectorError, error_summary
from clipbench.models.encoding.image_hashes import key_of, open_hashed_image
from clipbench.models.encoding.image_inputs import Measures, measure_decoded, store_measures
from clipbench.models.fingerprint import unusable_rows
from clipbench.models.introspection.preprocessing import limit_size
from clipbench.models.protocol import COUNT_NAMES, Model, Preprocess, Role, Vectors, stack_inputs
from clipbench.untrusted.limits import max_batch_pixels
from clipbench.untrusted.reading import MOST_SHOWN, shortened

COMMIT_VECTORS = 4096
COMMIT_SECONDS = 10.0
"""Vectors are committed when they reach this number, or when the first is this old: a kill loses no more."""

Commit = Callable[[Sequence[bytes], Vectors], object]
"""Called with keys and their vectors, which are safe when it returns."""


class EncodeItem(NamedTuple):
    """An item of any modality: known by its content, named for messages, and opened when it is needed."""

    modality: str
    key: bytes
    """Its 16 bytes in the store: a hash of its content, and of its role where it has one."""
    source: Any
    """A text, a reference to an image, an image and a text, or an item of the data."""
    image_key: bytes = b""
    """A hash of the image's content and of how it is read, empty for items without an image."""

    @property
    def is_stored(self) -> bool:
        """False for content that cannot be hashed: it is encoded each time."""
        return self.modality in (IMAGE, TEXT, JOINT) or self.source.content is not None

    @property
    def name(self) -> str:
        """The item as messages name it."""
        if self.modality == TEXT:
            return f"text '{shortened(self.source, MOST_SHOWN)}'"
        if self.modality == JOINT:
            image, text = self.source
            return f"image {image.name} with the text '{shortened(text, MOST_SHOWN)}'"
        return f"{self.modality} {self.source.name}"

    def open(self) -> Any:
        """Return the model's input: a text, an image and a text, or the value of an item, or raise BadImage."""
        if self.modality == JOINT:
            image, text = self.source
            return limit_size(open_hashed_image(image, None, self.image_key), None, None, image.name), text
        return self.source if self.modality == TEXT else self.source.value


def item_of(modality: str, source: Any, role: Role = None, image_key: bytes = b"") -> EncodeItem:
    """Return a text, an image, an image with a text, or an item of another modality as an ``EncodeItem``.

    Args:
        role: the side of a search that it is on: a model may encode the sides differently.
        image_key: a hash of the image's content and of how it is read.
    """
    if modality == TEXT:
        key = key_of(source.encode())
    elif modality == IMAGE:
        key = image_key
    elif modality == JOINT:
        key = key_of(b"joint " + image_key + source[1].encode())
    else:
        key = uuid.uuid4().bytes if source.content is None else bytes.fromhex(source.content)
    return EncodeItem(modality, key if role is None else key_of(f"role {role} ".encode() + key), source, image_key)


@dataclass(frozen=True)
class EncodeRequest:
    """Items of one modality to encode."""

    modality: str
    items: Sequence[EncodeItem]
    role: Role = None
    is_strict: bool = True
    """An image that cannot be read is an error."""
    workers: int = 0
    """Processes that decode images ahead of the models."""


@dataclass
class EncodeResult:
    """Items that have been encoded, and the reasons why others could not be read."""

    keys: list[bytes] = field(default_factory=list)
    causes: dict[bytes, str] = field(default_factory=dict)


def encode(
    encoders: Sequence[tuple[Model, Commit]],
    request: EncodeRequest,
    batches: Sequence[range],
    result: EncodeResult,
    tick: Callable[[int], object] = lambda n_items: None,
) -> None:
    """Encode the items of some batches, and commit the vectors, also those before an error.

    Args:
        encoders: models of one preprocessing, which share the loading, with the functions that store their vectors.
        batches: rows of ``request.items`` that go through the model together, in the order of encoding.
        result: takes the committed items of the first encoder.
        tick: called with the number of items of each batch.

    Raises:
        BadImage: an image cannot be read, and that is an error.
        Unavailable: a model has no encoder of the modality.
        VectorError: a model gave a NaN, infinite or zero vector. The message names the item.
    """
    first_model = encoders[0][0]
    loaded = load(request, first_model.preprocess, first_model.info.image_size, batches)
    streams = tee(loaded, len(encoders))  # a device may take batches ahead of the others, which tee then holds
    encoded = [_encode_batches(model, request, stream) for (model, _), stream in zip(encoders, streams, strict=True)]
    held: list[Sequence[LoadedBatch]] = []
    items, since = request.items, time.monotonic()

    def commit_held() -> None:
        for (_, commit), encoded_batches in zip(encoders, zip(*held, strict=True), strict=False):
            if keys := [items[row].key for batch in encoded_batches for row in batch.rows]:
                commit(keys, np.concatenate([batch.inputs for batch in encoded_batches]))
        measures: dict[bytes, Measures] = {}
        for batch, *_ in held:
            result.keys += [items[row].key for row in batch.rows]
            measures |= {items[row].key: numbers for row, numbers in batch.measures.items()}
        store_measures(measures)
        held.clear()

    try:
        for batch_by_model in zip(*encoded, strict=True):
            held.append(batch_by_model)
            batch = batch_by_model[0]
            for error in batch.errors.values() if request.is_strict else ():
                raise error
            tick(len(batch.rows) + len(batch.errors))
            result.causes |= {items[row].key: error.cause for row, error in batch.errors.items()}
            n_held = sum(len(batch.rows) for batch, *_ in held)
            if n_held >= COMMIT_VECTORS or time.monotonic() - since > COMMIT_SECONDS:
                commit_held()
                since = time.monotonic()
    finally:
        commit_held()


def _encode_batches(model: Model, request: EncodeRequest, loaded: Iterator["LoadedBatch"]) -> Iterator["LoadedBatch"]:
    """Yield each batch with vectors instead of inputs. The model may read several batches ahead."""
    info, modality = model.info, request.modality
    if modality not in model.modalities and not (modality == JOINT and info.is_joint):
        raise Unavailable(
            f"model {info.ref} has no encoder of {modality}: it encodes {' and '.join(model.modalities)}, and an object"
            f" needs encode_{COUNT_NAMES.get(modality, modality)}(items) for it"
        )
    pending: deque[LoadedBatch] = deque()

    def inputs() -> Iterator[Any]:
        for batch in loaded:
            pending.append(batch._replace(inputs=np.empty((0, info.embed_dim), np.float32)))
            if batch.rows:
                yield batch.inputs

    for vectors in model.encode_batches(modality, inputs(), request.role):
        while not pending[0].rows:
            yield pending.popleft()
        _check_batch(model, vectors, [request.items[row] for row in pending[0].rows])
        yield pending.popleft()._replace(inputs=vectors)
    yield from pending


def _check_batch(model: Model, vectors: Vectors, items: Sequence[EncodeItem]) -> None:
    ref, expected = model.info.ref, (len(items), model.info.embed_dim)
    if vectors.shape != expected:
        raise ModelError(f"model {ref} gave vectors of shape {vectors.shape}: expected {expected}")
    if np.iscomplexobj(vectors) or isinstance(vectors, np.ma.MaskedArray):
        raise ModelError(f"model {ref} gave complex numbers or a masked array: expected an array of real numbers")
    bad = np.flatnonzero(unusable_rows(vectors))
    if len(bad):
        row = int(bad[0])
        fault = "a zero vector" if not vectors[row].any() else "a vector that is not finite"
        raise VectorError(f"model {ref} gave {fault} for {items[row].name}: no metric can be computed from it")


# -- loading


class LoadedBatch(NamedTuple):
    """The readable items of one batch, and the errors of the others by row."""

    rows: list[int]
    inputs: Any
    """Stacked pixels, float32 (n, channels, height, width), or the model's own arrays by name, each stacked; without a
    preprocessing a list of RGB images; a list of texts or other items.
    """
    errors: dict[int, BadImage]
    measures: dict[int, Measures]
    """Measured inputs of the images, by row."""


class LoadedImage(NamedTuple):
    """One image as a worker hands it over."""

    row: int
    content: Any
    """The input of the model, or a BadImage."""
    measures: Measures | None = None


def load(
    request: EncodeRequest, preprocess: Preprocess | None, side: int | None, batches: Sequence[range]
) -> Iterator[LoadedBatch]:
    """Yield items in batches, in order. Images are decoded and preprocessed in worker processes, ahead of the model.

    Args:
        preprocess: turns an image into the input of the model, or None for a model that takes images as they are.
        side: pixels of the model's square input, for images that are drawn to fit, or None if unknown.
        batches: rows of each batch.
    """
    if request.modality != IMAGE:
        for rows in batches:
            yield LoadedBatch([*rows], [request.items[row].open() for row in rows], {}, {})
        return
    from clipbench.models.encoding.workers import load_in_workers

    images = _Images(request.items, preprocess, side)
    if preprocess is not None:
        loaded = load_in_workers(images, workers=request.workers, batch_sampler=batches, collate_fn=_collate)
        for batch in loaded:
            yield batch._replace(inputs=_as_arrays(batch.inputs))
        return
    rows_one_by_one, ends = [row for rows in batches for row in rows], {rows[-1] for rows in batches}
    options = {"batch_size": None, "sampler": rows_one_by_one, "collate_fn": _unchanged}
    yield from _load_full_size(load_in_workers(images, workers=request.workers, **options), ends)


@dataclass
class _Images:
    """A data set of torch's kind: the preprocessed image of each item, or the reason why there is none."""

    items: Sequence[EncodeItem]
    preprocess: Preprocess | None
    side: int | None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> LoadedImage:
        ref = self.items[row].source
        try:
            decoded = open_hashed_image(ref, self.side, self.items[row].image_key)
            measures = measure_decoded(ref, decoded)
            image = limit_size(decoded, self.preprocess, self.side, ref.name)
            content = rgb(image, ref.name) if self.preprocess is None else self.preprocess(image)
            return LoadedImage(row, content, measures)
        except BadImage as error:
            return LoadedImage(row, error)
        except FOREIGN as error:  # a transform that fails on an odd mode or size
            return LoadedImage(row, BadImage(ref.name, error_summary(error)))


def _load_full_size(loaded: Iterator[LoadedImage], ends: set[int]) -> Iterator[LoadedBatch]:
    """Yield images for models that preprocess them, in smaller batches where images have many pixels."""
    most = max_batch_pixels()
    batch, n_pixels = LoadedBatch([], list[Image.Image](), {}, {}), 0
    for row, image, measures in loaded:
        size = 0 if isinstance(image, BadImage) else image.width * image.height
        if batch.inputs and n_pixels + size > most:
            yield batch
            batch.inputs.clear()  # whoever asks for the next batch is done with this one, and may still hold it
            batch, n_pixels = LoadedBatch([], [], {}, {}), 0
        n_pixels += size
        if isinstance(image, BadImage):
            batch.errors[row] = image
        else:
            batch.rows.append(row)
            batch.inputs.append(image)
            if measures is not None:
                batch.measures[row] = measures
        if row in ends:
            yield batch
            batch.inputs.clear()
            batch, n_pixels = LoadedBatch([], [], {}, {}), 0


def _unchanged(loaded: LoadedImage) -> LoadedImage:
    return loaded


def _collate(loaded: Sequence[LoadedImage]) -> LoadedBatch:
    """Return the images as a batch of stacked inputs, with tensors in shared memory instead of a pipe."""
    import torch

    inputs = {image.row: image.content for image in loaded if not isinstance(image.content, BadImage)}
    errors = {image.row: image.content for image in loaded if isinstance(image.content, BadImage)}
    measures = {image.row: image.measures for image in loaded if image.measures is not None}
    arrays = stack_inputs([*inputs.values()]) if inputs else None
    if isinstance(arrays, Mapping):
        arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    elif arrays is not None:
        arrays = torch.from_numpy(arrays)
    return LoadedBatch([*inputs], arrays, errors, measures)


def _as_arrays(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: values.numpy() for name, values in inputs.items()}
    return None if inputs is None else inputs.numpy()

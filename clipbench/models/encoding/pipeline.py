"""The road of a vector: items that the store lacks are loaded, encoded, checked and committed.

One road for images, texts and all else, and for one model or several. Several models share the loading: of a series of
checkpoints each image is decoded once, and each model encodes the same batches, in the same order, as it would by
itself, so that all vectors are the same to the last bit.
"""

import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from clipbench.data.images import ImageRef, Remark, content_digest, examine, opened, rgb
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.errors import FOREIGN, BadImage, ModelError, Unavailable, VectorError, cause
from clipbench.models.encoding.image_inputs import note_image
from clipbench.models.facts.preprocessing import within_limits
from clipbench.models.protocol import COUNT_NAMES, Model, Preprocess, Role, Vectors, stacked
from clipbench.untrusted.limits import max_batch_pixels
from clipbench.untrusted.reading import MOST_SHOWN, shortened

CONVERSION = b"conversion 2 "
"""Changed whenever images of other modes than RGB and L would be read otherwise: their vectors are encoded again."""
COMMIT_VECTORS = 4096
COMMIT_SECONDS = 10.0
"""Vectors are committed when there are so many, or when the first is this old: a kill loses no more."""

Commit = Callable[[Sequence[bytes], Vectors], object]
"""Called with keys and their vectors, which are safe when it returns."""


class Item(NamedTuple):
    """An item of any modality: known by its content, named for messages, and opened when it is needed."""

    modality: str
    key: bytes
    """Its 16 bytes in the store: a hash of its content, and of its role where it has one."""
    source: Any
    """A text, a reference to an image, an image and a text, or an item of the data."""

    @property
    def is_stored(self) -> bool:
        """False for what has no content that can be hashed: it is encoded each time."""
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
        """Return what the model is given: a text, an image and a text, or the value of an item; raise BadImage."""
        if self.modality == JOINT:
            image, text = self.source
            return within_limits(opened(image, None), None, None, image.name), text
        return self.source if self.modality == TEXT else self.source.value


class KnownImage(NamedTuple):
    """An image by its content."""

    digest: str
    key: bytes
    """A hash of its content and of how it is read."""
    remarks: tuple[Remark, ...]


def known_image(ref: ImageRef) -> KnownImage | BadImage:
    """Return what is known of an image when it was read for its hash, or why it cannot be read."""
    try:
        found = examine(ref)
    except BadImage as error:
        return error
    content = bytes.fromhex(found.digest)
    key = _hashed(CONVERSION + content) if found.reading.is_converted else content
    return KnownImage(found.digest, key, found.reading.remarks)


def item_of(modality: str, source: Any, role: Role = None, image_key: bytes = b"") -> Item:
    """Return a text, an image, an image with a text, or an item of the data, as what is encoded.

    Args:
        role: the side of a search that it is on: a model may encode the sides differently.
        image_key: a hash of the image's content and of how it is read.
    """
    if modality == TEXT:
        key = _hashed(source.encode())
    elif modality == IMAGE:
        key = image_key
    elif modality == JOINT:
        key = _hashed(b"joint " + image_key + source[1].encode())
    else:
        key = uuid.uuid4().bytes if source.content is None else bytes.fromhex(source.content)
    return Item(modality, key if role is None else _hashed(f"role {role} ".encode() + key), source)


@dataclass(frozen=True)
class Wanted:
    """Items of one modality that are to be encoded."""

    modality: str
    items: Sequence[Item]
    role: Role = None
    is_strict: bool = True
    """An image that cannot be read is an error."""
    workers: int = 0
    """Processes that decode images ahead of the models."""


@dataclass
class Done:
    """Items that have been encoded, and why others could not be read."""

    keys: list[bytes] = field(default_factory=list)
    causes: dict[bytes, str] = field(default_factory=dict)


def encode(
    encoders: Sequence[tuple[Model, Commit]],
    wanted: Wanted,
    batches: Sequence[range],
    done: Done,
    tick: Callable[[int], object] = lambda n_items: None,
) -> None:
    """Encode the items of some batches, and commit the vectors; what is in hand is committed even when an error ends
    the work.

    Args:
        encoders: models that share the loading, with what puts their vectors away.
        batches: rows of ``wanted.items`` that go through the model together, in the order of encoding.
        done: takes in what has been committed, of the first encoder.
        tick: called with the number of items of each batch.

    Raises:
        BadImage: an image cannot be read, and that is an error.
        Unavailable: a model has no encoder of the modality.
        VectorError: a model gave a NaN, infinite or zero vector; the message names the item.
    """
    transforms = [model.preprocess if wanted.modality == IMAGE else None for model, _ in encoders]
    distinct = {_identity(each): each for each in transforms}
    places = [[*distinct].index(_identity(each)) for each in transforms]
    loaded = load(wanted, [*distinct.values()], encoders[0][0].info.image_size, batches)
    streams = tee(loaded, len(encoders))  # a device may be sent batches ahead: then as many are held here
    of_each = [
        _encoded(model, wanted, stream, place)
        for (model, _), stream, place in zip(encoders, streams, places, strict=True)
    ]
    held: list[Sequence[LoadedBatch]] = []
    items, since = wanted.items, time.monotonic()

    def commit_held() -> None:
        for (_, commit), several in zip(encoders, zip(*held, strict=True), strict=False):
            if keys := [items[row].key for each in several for row in each.rows]:
                commit(keys, np.concatenate([each.inputs for each in several]))
        done.keys += [items[row].key for first, *_ in held for row in first.rows]
        held.clear()

    try:
        for several in zip(*of_each, strict=True):
            held.append(several)
            first = several[0]
            for error in first.bad.values() if wanted.is_strict else ():
                raise error
            tick(len(first.rows) + len(first.bad))
            done.causes |= {items[row].key: error.cause for row, error in first.bad.items()}
            if sum(len(each.rows) for each, *_ in held) >= COMMIT_VECTORS or time.monotonic() - since > COMMIT_SECONDS:
                commit_held()
                since = time.monotonic()
    finally:
        commit_held()


def _encoded(
    model: Model, wanted: Wanted, loaded: Iterator[Sequence["LoadedBatch"]], place: int
) -> Iterator["LoadedBatch"]:
    """Yield each batch, prepared as the preprocessing at ``place`` does, with vectors in place of its inputs; the model
    may be given several batches before the first is back."""
    info, modality = model.info, wanted.modality
    if modality not in model.modalities and not (modality == JOINT and info.is_joint):
        raise Unavailable(
            f"model {info.ref} has no encoder of {modality}: it encodes {' and '.join(model.modalities)}, and an object"
            f" needs encode_{COUNT_NAMES.get(modality, modality)}(items) for it"
        )
    given: deque[LoadedBatch] = deque()

    def inputs() -> Iterator[Any]:
        for batches in loaded:
            batch = batches[place]
            given.append(batch._replace(inputs=np.empty((0, info.embed_dim), np.float32)))
            if batch.rows:
                yield batch.inputs

    for vectors in model.encode_batches(modality, inputs(), wanted.role):
        while not given[0].rows:
            yield given.popleft()
        _check(model, vectors, [wanted.items[row] for row in given[0].rows])
        yield given.popleft()._replace(inputs=vectors)
    yield from given


def _check(model: Model, vectors: Vectors, items: Sequence[Item]) -> None:
    ref, expected = model.info.ref, (len(items), model.info.embed_dim)
    if vectors.shape != expected:
        raise ModelError(f"model {ref} gave vectors of shape {vectors.shape}: expected {expected}")
    if np.iscomplexobj(vectors) or isinstance(vectors, np.ma.MaskedArray):
        raise ModelError(f"model {ref} gave complex numbers or a masked array: expected an array of real numbers")
    good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        what = "a zero vector" if not vectors[row].any() else "a vector that is not finite"
        raise VectorError(f"model {ref} gave {what} for {items[row].name}: no number can be made from it")


# -- loading


class LoadedBatch(NamedTuple):
    """The readable items of one batch, and the faults of the others by row."""

    rows: list[int]
    inputs: Any
    """Stacked pixels, float32 (n, channels, height, width), or the model's own arrays by name, each stacked; without a
    preprocessing a list of RGB images; a list of texts or other items."""
    bad: dict[int, BadImage]


def load(
    wanted: Wanted, preprocesses: Sequence[Preprocess | None], side: int | None, batches: Sequence[range]
) -> Iterator[Sequence[LoadedBatch]]:
    """Yield items in batches, in order: of images one batch for each preprocessing, of all else one.

    Images are decoded and preprocessed in worker processes, ahead of the model.

    Args:
        preprocesses: turn an image into the input of a model; None for a model that takes images as they are.
        side: pixels of the model's square input, for images that are drawn to fit; None where it is not known.
        batches: rows of each batch.
    """
    if wanted.modality != IMAGE:
        for rows in batches:
            yield [LoadedBatch([*rows], [wanted.items[row].open() for row in rows], {})]
        return
    from clipbench.models.encoding.workers import load_in_workers

    images = _Images(wanted.items, preprocesses, side)
    if [*preprocesses] != [None]:
        for several in load_in_workers(images, workers=wanted.workers, batch_sampler=batches, collate_fn=_collate):
            yield [LoadedBatch(rows, _as_arrays(inputs), bad) for rows, inputs, bad in several]
        return
    rows_one_by_one, ends = [row for rows in batches for row in rows], {rows[-1] for rows in batches}
    options = {"batch_size": None, "sampler": rows_one_by_one, "collate_fn": _alone}
    for batch in _in_full_size(load_in_workers(images, workers=wanted.workers, **options), ends):
        yield [batch]


@dataclass
class _Images:
    """A data set of torch's kind: each image with every preprocessing, or with the reason why that failed."""

    items: Sequence[Item]
    preprocesses: Sequence[Preprocess | None]
    side: int | None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[int, list[Any]]:
        item, made = self.items[row], list[Any]()
        try:
            image = opened(item.source, self.side)
            note_image(item.key, item.source, image)
        except FOREIGN as error:
            return row, [_bad(item, error)] * len(self.preprocesses)
        for preprocess in self.preprocesses:
            try:
                fitting = within_limits(image, preprocess, self.side, item.source.name)
                made.append(rgb(fitting, item.source.name) if preprocess is None else preprocess(fitting))
            except FOREIGN as error:  # a transform that fails on an odd mode or size
                made.append(_bad(item, error))
        return row, made


def _bad(item: Item, error: BaseException) -> BadImage:
    return error if isinstance(error, BadImage) else BadImage(item.source.name, cause(error))


def _in_full_size(loaded: Iterator[tuple[int, list[Any]]], ends: set[int]) -> Iterator[LoadedBatch]:
    """Yield images that the model preprocesses itself; fewer in a batch where together they would have too many
    pixels.
    """
    most = max_batch_pixels()
    batch, n_pixels = LoadedBatch([], list[Image.Image](), {}), 0
    for row, (image,) in loaded:
        size = 0 if isinstance(image, BadImage) else image.width * image.height
        if batch.inputs and n_pixels + size > most:
            yield batch
            batch.inputs.clear()  # whoever asks for the next batch is done with this one, and may still hold it
            batch, n_pixels = LoadedBatch([], [], {}), 0
        n_pixels += size
        if isinstance(image, BadImage):
            batch.bad[row] = image
        else:
            batch.rows.append(row)
            batch.inputs.append(image)
        if row in ends:
            yield batch
            batch.inputs.clear()
            batch, n_pixels = LoadedBatch([], [], {}), 0


def _alone(item: tuple[int, list[Any]]) -> tuple[int, list[Any]]:
    return item


def _collate(loaded: Sequence[tuple[int, list[Any]]]) -> list[tuple[list[int], Any, dict[int, BadImage]]]:
    """Return rows, stacked inputs and faults for each preprocessing; tensors travel in shared memory, not through a
    pipe.
    """
    import torch

    several = []
    for place in range(len(loaded[0][1])):
        good = {row: inputs[place] for row, inputs in loaded if not isinstance(inputs[place], BadImage)}
        bad = {row: inputs[place] for row, inputs in loaded if isinstance(inputs[place], BadImage)}
        arrays = stacked([*good.values()]) if good else None
        if isinstance(arrays, Mapping):
            arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
        elif arrays is not None:
            arrays = torch.from_numpy(arrays)
        several.append(([*good], arrays, bad))
    return several


def _as_arrays(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: values.numpy() for name, values in inputs.items()}
    return None if inputs is None else inputs.numpy()


def _identity(preprocess: Preprocess | None) -> object:
    """Return what is equal for preprocessings that do the same."""
    try:
        return pickle.dumps(preprocess)
    except (pickle.PicklingError, AttributeError, TypeError):
        return id(preprocess)


def _hashed(content: bytes) -> bytes:
    return bytes.fromhex(content_digest(content))

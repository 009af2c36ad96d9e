"""The road of a vector: items that the store lacks are loaded, encoded, checked and committed.

One road for images, texts and all else, and for one model or several. Several models share the loading: of a series of
checkpoints each image is decoded once, and each model encodes the same batches, in the same order, as it would by itself, so
that all vectors are the same to the last bit.
"""

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import tee
from typing import Any

import numpy as np

from clipbench.data.modalities import IMAGE
from clipbench.errors import BadImage, ModelError, Unavailable, VectorError
from clipbench.models.encoding.items import Item, Wanted
from clipbench.models.encoding.loading import LoadedBatch, load
from clipbench.models.protocol import COUNT_NAMES, Model, ModelInfo, Preprocess, Vectors

COMMIT_VECTORS = 4096
COMMIT_SECONDS = 10.0
"""Vectors are committed when there are so many, or when the first is this old: a kill loses no more."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A model, and where its vectors go."""

    model: Model
    info: ModelInfo
    commit: Callable[[Sequence[bytes], Vectors], object]
    """Called with keys and their vectors, which are safe when it returns."""


@dataclass
class Done:
    """Items that have been encoded, and why others could not be read."""

    keys: list[bytes] = field(default_factory=list)
    causes: dict[bytes, str] = field(default_factory=dict)


def encode(
    encoders: Sequence[Encoder],
    wanted: Wanted,
    batches: Iterable[range],
    done: Done,
    tick: Callable[[int], object] = lambda n_items: None,
) -> None:
    """Encode the items of some batches, and commit the vectors; what is in hand is committed even when an error ends the work.

    Args:
        encoders: they share the loading.
        batches: rows of ``wanted.items`` that go through the model together, in the order of encoding.
        done: takes in what has been committed, of the first encoder.
        tick: called with the number of items of each batch.

    Raises:
        BadImage: an image cannot be read, and that is an error.
        Unavailable: a model has no encoder of the modality.
        VectorError: a model gave a NaN, infinite or zero vector; the message names the item.
    """
    transforms = [encoder.model.preprocess if wanted.modality == IMAGE else None for encoder in encoders]
    distinct = {_identity(each): each for each in transforms}
    places = [[*distinct].index(_identity(each)) for each in transforms]
    loaded = load(wanted, [*distinct.values()], encoders[0].info.image_size, batches)
    streams = tee(loaded, len(encoders))  # a device may be sent batches ahead: then as many are held here
    of_each = [
        _vectors(encoder, wanted, stream, place)
        for encoder, stream, place in zip(encoders, streams, places, strict=True)
    ]
    held: list[Sequence[_Encoded]] = []
    since = time.monotonic()

    def commit() -> None:
        for encoder, several in zip(encoders, zip(*held, strict=True), strict=False):
            keys = [key for each in several for key in each.keys]
            if keys:
                encoder.commit(keys, np.concatenate([each.vectors for each in several]))
        done.keys += [key for first, *_ in held for key in first.keys]
        held.clear()

    try:
        for several in zip(*of_each, strict=True):
            held.append(several)
            first = several[0]
            for error in first.bad.values() if wanted.is_strict else ():
                raise error
            tick(len(first.keys) + len(first.bad))
            done.causes |= {key: error.cause for key, error in first.bad.items()}
            if sum(len(each.keys) for each, *_ in held) >= COMMIT_VECTORS or time.monotonic() - since > COMMIT_SECONDS:
                commit()
                since = time.monotonic()
    finally:
        commit()


@dataclass(frozen=True)
class _Encoded:
    """Items that went through a model together."""

    keys: Sequence[bytes]
    vectors: Vectors
    bad: dict[bytes, BadImage]


def _vectors(
    encoder: Encoder, wanted: Wanted, loaded: Iterator[Sequence[LoadedBatch]], place: int
) -> Iterator[_Encoded]:
    """Yield the vectors of each batch; the model may be given several before the first is back.

    Args:
        place: of the model's own preprocessing among those of a batch.
    """
    info, items = encoder.info, wanted.items
    if wanted.modality not in encoder.model.modalities:
        method = f"encode_{COUNT_NAMES.get(wanted.modality, wanted.modality)}"
        raise Unavailable(
            f"model {info.ref} has no encoder of {wanted.modality}: it encodes {' and '.join(encoder.model.modalities)}, and an"
            f" object needs {method}(items) for it"
        )
    given: deque[LoadedBatch] = deque()

    def inputs() -> Iterator[Any]:
        for batches in loaded:
            batch = batches[place]
            given.append(batch._replace(inputs=None))
            if batch.rows:
                yield batch.inputs

    def finished(vectors: Vectors) -> _Encoded:
        batch = given.popleft()
        _check(info, vectors, [items[row] for row in batch.rows])
        bad = {items[row].key: error for row, error in batch.bad.items()}
        return _Encoded([items[row].key for row in batch.rows], vectors, bad)

    nothing = np.empty((0, info.embed_dim), np.float32)
    for vectors in encoder.model.encode_batches(wanted.modality, inputs(), wanted.role):
        while not given[0].rows:
            yield finished(nothing)
        yield finished(vectors)
    while given:
        yield finished(nothing)


def _check(info: ModelInfo, vectors: Vectors, items: Sequence[Item]) -> None:
    expected = (len(items), info.embed_dim)
    if vectors.shape != expected:
        raise ModelError(f"model {info.ref} gave vectors of shape {vectors.shape}: expected {expected}")
    good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        what = "a zero vector" if not vectors[row].any() else "a vector that is not finite"
        raise VectorError(f"model {info.ref} gave {what} for {items[row].name}: no number can be made from it")


def _identity(preprocess: Preprocess | None) -> object:
    """Return what is equal for preprocessings that do the same."""
    try:
        return pickle.dumps(preprocess)
    except (pickle.PicklingError, AttributeError, TypeError):
        return id(preprocess)

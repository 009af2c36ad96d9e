"""Items through a model into the store, some rows of them at a time: what one process does of what a run lacks."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.errors import FOREIGN, BadImage, ModelError, Unavailable, VectorError
from clipbench.models.protocol import AnyPreprocess, ItemModel, Model, ModelInfo, PixelModel, encode_batches
from clipbench.models.store import Shelf
from clipbench.untrusted.reading import MOST_SHOWN, shortened

if TYPE_CHECKING:
    from clipbench.models.image_loading import LoadedBatch

COMMIT_VECTORS = 4096
COMMIT_SECONDS = 10.0
"""A chunk is committed when it holds this many vectors, or is this old: a kill loses no more."""

Tick = Callable[[int, int], object]
"""Called with the first row of each batch and the number of its items."""


@dataclass(frozen=True)
class Wanted:
    """Items that the store lacks, by their keys, in the order in which they are encoded."""

    modality: str
    items: Mapping[bytes, Any]
    """Texts, references to images, or items of another modality."""
    is_strict: bool = True
    """An image that cannot be read is an error."""


@dataclass(frozen=True)
class Batch:
    """Items that went through the model together."""

    row: int
    """First row of its items among all that are wanted."""
    keys: list[bytes]
    vectors: Float32[np.ndarray, "n dim"]
    bad: Mapping[bytes, BadImage]
    ends_range: bool
    """True of the last batch of a range of rows, which in general is the only one."""


class Encoded(NamedTuple):
    """What became of a range of items."""

    keys: list[bytes]
    """Items whose vectors are in the store."""
    causes: dict[bytes, str]
    """Why the others could not be read."""

    def with_batch(self, batch: Batch) -> "Encoded":
        causes = {key: error.cause for key, error in batch.bad.items()}
        return Encoded([*self.keys, *batch.keys], {**self.causes, **causes})


class Loaded(NamedTuple):
    """Images in batches, decoded and preprocessed when they are asked for."""

    batches: "Iterator[LoadedBatch]"
    ends: set[int]
    """Last rows of the ranges that were taken so far."""


def stored(
    batches: Iterator[tuple[Batch, ...]], shelves: Sequence[Shelf], wanted: Wanted, tick: Tick
) -> Iterator[Encoded]:
    """Put batches on shelves, those of each model on its own; yield what became of a range when it is stored, in order.

    They are stored in chunks; what is in hand is stored even when an error or an interruption ends the work.

    Args:
        batches: the same items, encoded by each of the models.

    Raises:
        BadImage: an image cannot be read, and that is an error.
    """
    held: list[tuple[Batch, ...]] = []
    whole: list[Encoded] = []
    current, committed = Encoded([], {}), time.monotonic()

    def commit() -> list[Encoded]:
        keys = [key for batch, *_ in held for key in batch.keys]
        vectors = [[batch.vectors for batch in of_model] for of_model in zip(*held, strict=True)]
        done = whole.copy()
        held.clear()
        whole.clear()
        if keys:
            for shelf, each in zip(shelves, vectors, strict=True):
                shelf.put(keys, np.concatenate(each))
        return done

    try:
        for several in batches:
            batch = several[0]
            held.append(several)
            tick(batch.row, len(batch.keys) + len(batch.bad))
            for error in batch.bad.values() if wanted.is_strict else ():
                raise error
            current = current.with_batch(batch)
            if batch.ends_range:
                whole.append(current)
                current = Encoded([], {})
            n_held = sum(len(batch.keys) for batch, *_ in held)
            if n_held >= COMMIT_VECTORS or time.monotonic() - committed > COMMIT_SECONDS:
                yield from commit()
                committed = time.monotonic()
        yield from commit()
    except FOREIGN:
        yield from commit()
        raise
    finally:
        commit()


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A model with the sizes of its batches."""

    model: Callable[[], Model]
    """Returns the model, which may be loaded then."""
    info: ModelInfo
    batch_size: int
    workers: int
    """Processes that decode images ahead of the model."""

    def batches(self, wanted: Wanted, claimed: Iterator[range]) -> Iterator[Batch]:
        """Yield the vectors of rows of what is wanted, a batch at a time, in order.

        Raises:
            Unavailable: the model has no encoder of the modality.
            VectorError: it gave a NaN, infinite or zero vector; the message names the item.
        """
        makers = {"texts": self._text_batches, "images": self._image_batches}
        return makers.get(wanted.modality, self._item_batches)(wanted, claimed)

    def _item_batches(self, wanted: Wanted, claimed: Iterator[range]) -> Iterator[Batch]:
        model, modality = self.model(), wanted.modality
        keys, items = list(wanted.items), list(wanted.items.values())
        if not isinstance(model, ItemModel) or modality not in model.modalities:
            raise Unavailable(
                f"model {self.info.ref} has no encoder of {modality}: give the object encode_{modality}(items)"
            )
        for rows in claimed:
            batch = items[rows.start : rows.stop]
            vectors = model.encode_items(modality, [item.value for item in batch])
            self._check(vectors, [f"{modality} {item.name}" for item in batch])
            yield Batch(rows.start, keys[rows.start : rows.stop], vectors, {}, ends_range=True)

    def _text_batches(self, wanted: Wanted, claimed: Iterator[range]) -> Iterator[Batch]:
        model = self.model()  # before a range is taken
        keys, texts = list(wanted.items), list(wanted.items.values())
        for rows in claimed:
            some = texts[rows.start : rows.stop]
            vectors = model.encode_texts(some)
            self._check(vectors, [f"text '{shortened(text, MOST_SHOWN)}'" for text in some])
            yield Batch(rows.start, keys[rows.start : rows.stop], vectors, {}, ends_range=True)

    def _image_batches(self, wanted: Wanted, claimed: Iterator[range]) -> Iterator[Batch]:
        model = self.model()
        preprocess = model.preprocess if isinstance(model, PixelModel) else None
        return self.of_loaded(model, self.load(wanted, claimed, preprocess), wanted)

    def load(self, wanted: Wanted, claimed: Iterator[range], preprocess: AnyPreprocess | None) -> "Loaded":
        """Return the images that are wanted, which are read as the model of this encoder needs them."""
        from clipbench.models.image_loading import load_batches

        refs, ends = list(wanted.items.values()), set[int]()
        workers = 0 if len(refs) < 2 * self.batch_size else self.workers

        def noted() -> Iterator[range]:
            for rows in claimed:
                ends.add(rows.stop - 1)
                yield rows

        side = self.info.image_size
        return Loaded(load_batches(refs, preprocess, side=side, batches=noted(), workers=workers), ends)

    def of_loaded(self, model: Model, loaded: "Loaded", wanted: Wanted) -> Iterator[Batch]:
        """Yield the vectors of images that are loaded."""
        keys, refs = list(wanted.items), list(wanted.items.values())
        for batch, vectors in self._encoded(model, loaded.batches):
            self._check(vectors, [f"image {refs[row].name}" for row in batch.rows])
            rows = {*batch.rows, *batch.bad}
            yield Batch(
                min(rows),
                [keys[row] for row in batch.rows],
                vectors,
                {keys[row]: error for row, error in batch.bad.items()},
                ends_range=not loaded.ends.isdisjoint(rows),
            )

    def _encoded(self, model: Model, batches: "Iterator[LoadedBatch]") -> "Iterator[tuple[LoadedBatch, np.ndarray]]":
        """Yield batches, without their pixels, with their vectors; the model may be given several before the first is back."""
        given: deque[LoadedBatch] = deque()

        def inputs() -> Iterator[Any]:
            for batch in batches:
                given.append(batch._replace(inputs=None))
                if batch.rows:
                    yield batch.inputs

        no_vectors = np.empty((0, self.info.embed_dim), np.float32)
        for vectors in (
            encode_batches(model, inputs()) if isinstance(model, PixelModel) else map(model.encode_images, inputs())
        ):
            while not given[0].rows:
                yield given.popleft(), no_vectors
            yield given.popleft(), vectors
        for batch in given:
            yield batch, no_vectors

    def _check(self, vectors: np.ndarray, names: Sequence[str]) -> None:
        expected = (len(names), self.info.embed_dim)
        if vectors.shape != expected:
            raise ModelError(f"model {self.info.ref} gave vectors of shape {vectors.shape}: expected {expected}")
        good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            what = "a zero vector" if not vectors[row].any() else "a vector that is not finite"
            raise VectorError(f"model {self.info.ref} gave {what} for {names[row]}: no number can be made from it")

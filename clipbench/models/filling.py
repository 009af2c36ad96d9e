"""Putting what is missing into the store: for one model, or for several on one decode, by all processes that share work.

Of a series of checkpoints each image is read, decoded and preprocessed once. The models encode the same batches, in the same
order, as each would by itself, so that all vectors are the same to the last bit.
"""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from clipbench.data.images import ImageRef
from clipbench.errors import FOREIGN, BadImage, MachineError, ModelError
from clipbench.models.encoding import Batch, Encoded, Encoder, Loaded, Tick, Wanted, stored
from clipbench.models.protocol import AnyPreprocess, LoadOptions, PixelModel
from clipbench.models.store import MODALITIES, Shelf
from clipbench.parallel import processes, ranges

if TYPE_CHECKING:
    from clipbench.models.embedder import StoreEmbedder
    from clipbench.models.image_loading import LoadedBatch

LATE_SECONDS = 60.0
"""A network file system may show what another machine has stored so much later."""


class Source(NamedTuple):
    """What another process needs to load the model of an embedder."""

    open: Callable[..., Any]
    """``load_embedder``, by its name when it is pickled."""
    reference: str
    load: LoadOptions
    workers: int | None


def fill(embedders: "Sequence[StoreEmbedder]", wanted: Wanted, step: int) -> Iterator[Encoded]:
    """Have the vectors of all these models put into the store, and yield what became of every ``step`` items.

    Raises:
        MachineError: the store cannot be written to, or a process was killed.
    """
    first, total = embedders[0], len(wanted.items)
    for each in embedders:
        each.shelf(wanted.modality).prepare(total)
    counted_here, keys = set[int](), list[bytes]()
    unit = wanted.modality[:-1] if wanted.modality in MODALITIES else f"{wanted.modality} item"
    with first.bar("encoding", unit, total) as bar:

        def tick(row: int, n_items: int) -> None:
            counted_here.add(row // step)
            bar.update(n_items)

        work, here = _work_of_others(embedders, wanted), partial(_encode, embedders, wanted, tick=tick)
        for rows, encoded in processes().share(work, ranges(total, step), here):
            bar.update(0 if rows.start // step in counted_here else len(rows))
            keys += encoded.keys
            yield encoded
    for each in embedders if processes().n > 1 else ():
        _wait_for(each.shelf(wanted.modality), keys)


def encode_together(embedders: "Sequence[StoreEmbedder]", images: Sequence[ImageRef]) -> None:
    """Put the vectors of images into the store that several models lack, on one decode for those that lack the same ones.

    What cannot be read or encoded is left to the evaluation that needs it, as are models that preprocess images themselves.

    Raises:
        MachineError: the store cannot be written to, or a process was killed.
    """
    groups: dict[object, list[StoreEmbedder]] = {}
    items: dict[object, Mapping[bytes, ImageRef]] = {}
    for each in embedders:
        if missing := each.lacking(images):
            group = (tuple(missing), each.info.image_size, each.batch_size)
            groups.setdefault(group, []).append(each)
            items[group] = missing
    for key, members in groups.items():
        try:
            _encode_group(members, Wanted("images", items[key], is_strict=False))
        except MachineError:
            raise
        except FOREIGN:  # of one of the models: its own evaluation meets it again, and says so
            continue


def _encode_group(embedders: "Sequence[StoreEmbedder]", wanted: Wanted) -> None:
    able = [each for each in embedders if isinstance(each.model, PixelModel)] if len(embedders) > 1 else []
    if len(able) < 2:
        return
    start, keys = time.monotonic(), list[bytes]()
    try:
        for encoded in fill(able, wanted, able[0].batch_size):
            keys += encoded.keys
    finally:
        for each in able:
            each.note_ahead(keys, (time.monotonic() - start) / len(able))


def _wait_for(shelf: Shelf, keys: Sequence[bytes]) -> None:
    """Wait until what other processes have stored is seen here, as it is at once on the same machine."""
    until = time.monotonic() + LATE_SECONDS
    while shelf.missing(keys):
        if time.monotonic() > until:
            raise MachineError(
                f"vectors that another process has stored are not seen in {shelf.folder}: CLIPBENCH_CACHE has to name a"
                " folder that all processes share"
            )
        time.sleep(0.1)


def _encode(
    embedders: "Sequence[StoreEmbedder]", wanted: Wanted, claimed: Iterator[range], *, tick: Tick = lambda *_: None
) -> Iterator[Encoded]:
    encoders = [each.encoder() for each in embedders]
    if len(encoders) == 1:
        batches: Iterator[tuple[Batch, ...]] = ((batch,) for batch in encoders[0].batches(wanted, claimed))
    else:
        batches = _on_one_decode(encoders, wanted, claimed)
    return stored(batches, [each.shelf(wanted.modality) for each in embedders], wanted, tick)


def _on_one_decode(
    encoders: Sequence[Encoder], wanted: Wanted, claimed: Iterator[range]
) -> Iterator[tuple[Batch, ...]]:
    """Yield the vectors of each batch of images, from every model."""
    models = [each.model() for each in encoders]
    transforms = [model.preprocess for model in models if isinstance(model, PixelModel)]
    assert len(transforms) == len(models), "a model preprocesses images itself"
    distinct = {_identity(each): each for each in transforms}
    places = [[*distinct].index(_identity(each)) for each in transforms]
    loaded = encoders[0].load(wanted, claimed, _Several([*distinct.values()]))
    whole = (batch if len(distinct) == 1 or not batch.bad else _left_out(batch) for batch in loaded.batches)
    streams = tee(whole, len(models))  # a device may be sent batches ahead: then as many are held here
    each_batches = (
        encoder.of_loaded(model, Loaded(map(partial(_inputs_of, place), stream), loaded.ends), wanted)
        for encoder, model, stream, place in zip(encoders, models, streams, places, strict=True)
    )
    return zip(*each_batches, strict=True)


def _identity(preprocess: AnyPreprocess) -> object:
    """Return what is equal for preprocessings that do the same."""
    try:
        return pickle.dumps(preprocess)
    except (pickle.PicklingError, AttributeError, TypeError):
        return id(preprocess)


@dataclass(frozen=True)
class _Several:
    """The preprocessings of several models, one after the other."""

    each: Sequence[AnyPreprocess]

    def __call__(self, image: Image.Image) -> Mapping[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for place, preprocess in enumerate(self.each):
            inputs = preprocess(image)
            named = inputs if isinstance(inputs, Mapping) else {"": inputs}
            found |= {f"{place} {name}": array for name, array in named.items()}
        return found


def _inputs_of(place: int, batch: "LoadedBatch") -> "LoadedBatch":
    """Return a batch with the inputs of one preprocessing."""
    if not batch.rows:
        return batch
    start = f"{place} "
    inputs: Any = {name[len(start) :]: each for name, each in batch.inputs.items() if name.startswith(start)}
    return batch._replace(inputs=inputs.get("", inputs))


def _left_out(batch: "LoadedBatch") -> "LoadedBatch":
    """Return a batch as unreadable, where one of several preprocessings may have failed: each model tries it by itself."""
    error = next(iter(batch.bad.values()))
    bad = {row: BadImage(error.name, error.cause) for row in batch.rows} | batch.bad
    return batch._replace(rows=[], inputs=None, bad=bad)


def _work_of_others(embedders: "Sequence[StoreEmbedder]", wanted: Wanted) -> "_Encoding | None":
    sources = [each.source for each in embedders if each.source is not None]
    if wanted.modality not in MODALITIES or len(sources) < len(embedders):
        return None
    return _Encoding(sources, [each.info.fingerprint for each in embedders], embedders[0].root, wanted)


@dataclass(frozen=True)
class _Encoding:
    """The work of another process: it loads the same models and puts vectors into the same store."""

    sources: Sequence[Source]
    fingerprints: Sequence[str]
    root: Path
    wanted: Wanted

    def __call__(self, claimed: Iterator[range]) -> Iterator[Encoded]:
        _held[:] = [each for each in _held if each[0] in self.sources]  # before others are loaded
        embedders = [self._embedder(source) for source in self.sources]
        for embedder, fingerprint in zip(embedders, self.fingerprints, strict=True):
            if embedder.info.fingerprint != fingerprint:
                raise ModelError(
                    f"{embedder.info.ref} is another model for one process than for the first: expected the same files and"
                    " versions of packages on all machines"
                )
        yield from _encode(embedders, self.wanted, claimed)

    def _embedder(self, source: Source) -> "StoreEmbedder":
        for known, embedder in _held:
            if known == source:
                return embedder
        embedder = source.open(source.reference, source.load, self.root, workers=source.workers)
        _held.append((source, embedder))
        return embedder


_held: "list[tuple[Source, StoreEmbedder]]" = []
"""The models that this process was last asked to encode with by another."""

"""Shared encoding: several processes share the work of a model, and a series of models shares the decoding."""

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.distributed.rounds import LATE_SECONDS, Rounds, current_rounds, picklable_error
from clipbench.errors import FOREIGN, MachineError, ModelError
from clipbench.models.encoding.bars import progress_bar
from clipbench.models.encoding.pipeline import Commit, EncodeItem, EncodeRequest, EncodeResult, encode
from clipbench.models.encoding.store import Shelf
from clipbench.models.protocol import Embedder, Model, ModelEmbedder, Preprocess

TEXT_BATCHES = 16
"""Texts go to the model this many batches at a time, so that it can sort them by length."""


class SharingEmbedder(ModelEmbedder):
    """Base class of embedders whose encoding can be shared."""

    batch_size: int
    """Images that go through the model at once."""
    workers: int
    """Processes that decode images ahead of the model."""
    shows_bar: bool
    """Progress bars are drawn, on a terminal."""
    source: Callable[[], Embedder] | None = None
    """Loads the same model in another process, or None if other processes cannot share its work."""

    def shelf(self, modality: str) -> Shelf:
        """Return the stored vectors of a modality."""
        raise NotImplementedError

    def missing_images(self, images: Sequence[ImageRef]) -> list[EncodeItem]:
        """Return the images that the store has no vectors of, in order, without those that cannot be read."""
        raise NotImplementedError

    def add_ahead(self, keys: Sequence[bytes], seconds: float) -> None:
        """Note images that were encoded before an evaluation needed them."""
        raise NotImplementedError

    def loaded_model(self) -> Model:
        """Return the model, or raise ClipbenchError if it has to be loaded, and cannot be."""
        return self.model


def default_workers() -> int:
    """Return how many processes decode ahead of the model: one core is left to it, and eight are enough.

    Processes that share the work of a command on this machine share the cores too.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 3
    return max(0, min(8, n_cores // current_rounds().n_here - 1))


# -- a series on one decode


def encode_together(embedders: Sequence[Embedder], images: Sequence[ImageRef]) -> None:
    """Store the vectors of images for several models, decoding images once per preprocessing.

    Images that cannot be read or encoded are left to the evaluation that needs them. Models that preprocess images
    themselves encode nothing here.

    Raises:
        MachineError: the store cannot be written to, or a process was lost.
    """
    groups = []
    for same_images in _with_same_missing_images(embedders, images):
        for same_preprocess in _with_same_preprocess(same_images.embedders):
            groups.append(_Group(same_preprocess, same_images.items))
    for group in groups:
        _encode_ahead(group.embedders, group.items)


def _encode_ahead(embedders: Sequence[SharingEmbedder], items: Sequence[EncodeItem]) -> None:
    start = time.monotonic()
    result = EncodeResult()
    request = EncodeRequest(IMAGE, items, is_strict=False, workers=embedders[0].workers)
    try:
        encode_shared(embedders, request, result)
    except MachineError:
        raise
    except FOREIGN:  # an error of one model: its evaluation raises it again, and records it
        return
    finally:
        seconds_each = (time.monotonic() - start) / len(embedders)
        for embedder in embedders:
            embedder.add_ahead(result.keys, seconds_each)


class _Group(NamedTuple):
    """Embedders that need the same images, at the same size."""

    embedders: list[SharingEmbedder]
    items: list[EncodeItem]


def _with_same_missing_images(embedders: Sequence[Embedder], images: Sequence[ImageRef]) -> list[_Group]:
    by_images: dict[object, _Group] = {}
    for embedder in embedders:
        if not isinstance(embedder, SharingEmbedder):
            continue
        missing = embedder.missing_images(images)
        if missing:
            key = (tuple(item.key for item in missing), embedder.info.image_size, embedder.batch_size)
            by_images.setdefault(key, _Group([], missing)).embedders.append(embedder)
    return list(by_images.values())


def _with_same_preprocess(embedders: Sequence[SharingEmbedder]) -> list[list[SharingEmbedder]]:
    """Return the embedders in groups of two or more that preprocess images the same way."""
    if len(embedders) < 2:  # one is not loaded only to ask how it preprocesses
        return []
    by_preprocess: dict[object, list[SharingEmbedder]] = {}
    for embedder in embedders:
        preprocess = embedder.loaded_model().preprocess
        if preprocess is not None:
            by_preprocess.setdefault(_identity(preprocess), []).append(embedder)
    return [group for group in by_preprocess.values() if len(group) > 1]


def _identity(preprocess: Preprocess) -> object:
    """Return a value that is equal for preprocessings that do the same."""
    try:
        return pickle.dumps(preprocess)
    except (pickle.PicklingError, AttributeError, TypeError):
        return id(preprocess)


# -- several processes


def encode_shared(embedders: Sequence[SharingEmbedder], request: EncodeRequest, result: EncodeResult) -> None:
    """Store the vectors of several models, encoded by all processes that share the work.

    Raises:
        MachineError: the store cannot be written to, or a process was lost.
    """
    first = embedders[0]
    rounds = current_rounds()
    batches = batches_of(request, first.batch_size)
    for embedder in embedders:
        embedder.shelf(request.modality).prepare(len(request.items))
    sources = [embedder.source for embedder in embedders if embedder.source is not None]
    have_sources = len(sources) == len(embedders)
    with progress_bar("encoding", request.modality, len(request.items), is_shown=first.shows_bar) as bar:
        if not isinstance(rounds, Rounds) or len(batches) == 1 or not have_sources:
            encode(_encoders(embedders, request), request, batches, result, bar.update)
            return
        fingerprints = [embedder.info.fingerprint for embedder in embedders]

        def encode_here(rank: int, n: int) -> _Outcome:
            def tick(n_items: int) -> None:
                bar.update(n * n_items)  # the other processes are about as far as this one

            return _encode_share(embedders, request, batches[rank::n], result, tick)

        outcomes = rounds.run_shares(_Share(sources, fingerprints, request, batches), encode_here)
    _raise_first_failure(outcomes)
    for outcome in outcomes:
        result.causes.update(outcome.causes)
    result.keys = [item.key for item in request.items if item.key not in result.causes]
    for embedder in embedders:
        _wait_for_vectors(embedder.shelf(request.modality), result.keys)


def batches_of(request: EncodeRequest, batch_size: int) -> list[range]:
    """Return the rows of items that go through a model together."""
    n_items = len(request.items)
    step = batch_size * TEXT_BATCHES if request.modality == TEXT else batch_size
    return [range(start, min(start + step, n_items)) for start in range(0, n_items, step)]


def _encoders(embedders: Sequence[SharingEmbedder], request: EncodeRequest) -> list[tuple[Model, Commit]]:
    return [(embedder.loaded_model(), embedder.shelf(request.modality).put) for embedder in embedders]


class _Outcome(NamedTuple):
    causes: Mapping[bytes, str]
    """The reasons why images could not be read."""
    error: BaseException | None = None
    row: int = 0
    """About the first row that the error is of."""


def _raise_first_failure(outcomes: Sequence[_Outcome]) -> None:
    """Raise the error of the lowest row, which would end the work of a single process, if there is any error."""
    for outcome in sorted(outcomes, key=attrgetter("row")):
        if outcome.error is not None:
            raise outcome.error


def _no_tick(n_items: int) -> None:
    pass


def _encode_share(
    embedders: Sequence[SharingEmbedder],
    request: EncodeRequest,
    batches: Sequence[range],
    result: EncodeResult,
    tick: Callable[[int], object] = _no_tick,
) -> _Outcome:
    n_finished = 0  # batches

    def count_and_tick(n_items: int) -> None:
        nonlocal n_finished
        tick(n_items)
        n_finished += 1

    try:
        encode(_encoders(embedders, request), request, batches, result, count_and_tick)
    except FOREIGN as error:
        if not batches:
            return _Outcome(result.causes, error)
        failed_batch = batches[min(n_finished, len(batches) - 1)]
        return _Outcome(result.causes, error, failed_batch.start)
    return _Outcome(result.causes)


@dataclass(frozen=True)
class _Share:
    """The part of another process: it loads the same models, and puts vectors into the same store."""

    sources: Sequence[Callable[[], Embedder]]
    fingerprints: Sequence[str]
    request: EncodeRequest
    batches: Sequence[range]

    def __call__(self, rank: int, n: int) -> _Outcome:
        try:
            outcome = _encode_share(self._embedders(), self.request, self.batches[rank::n], EncodeResult())
        except FOREIGN as error:
            return _Outcome({}, picklable_error(error))
        if outcome.error is None:
            return outcome
        return outcome._replace(error=picklable_error(outcome.error))

    def _embedders(self) -> list[SharingEmbedder]:
        names = [repr(source) for source in self.sources]
        for name in set(_loaded) - set(names):  # before others are loaded
            del _loaded[name]
        for name, source, fingerprint in zip(names, self.sources, self.fingerprints, strict=True):
            if name not in _loaded:
                embedder = source()
                assert isinstance(embedder, SharingEmbedder), source
                _loaded[name] = embedder
            info = _loaded[name].info
            if info.fingerprint != fingerprint:
                raise ModelError(
                    f"{info.ref} differs from the model of the first process: expected the same files and"
                    " versions of packages on all machines"
                )
        return [_loaded[name] for name in names]


_loaded: dict[str, SharingEmbedder] = {}
"""The models of the last request of another process, by their sources."""


def _wait_for_vectors(shelf: Shelf, keys: Sequence[bytes]) -> None:
    """Wait until vectors that other processes have stored can be read here, on the same machine at once."""
    until = time.monotonic() + LATE_SECONDS
    while shelf.missing(keys):
        if time.monotonic() > until:
            raise MachineError(
                f"vectors that another process has stored are not visible in {shelf.folder}: set"
                " CLIPBENCH_CACHE to a folder that all processes share"
            )
        time.sleep(0.1)

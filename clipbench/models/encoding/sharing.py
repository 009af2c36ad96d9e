"""Shared encoding: several processes share the work of a model, and a series of models shares the decoding."""

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    for members, items in _groups(embedders, images):
        start, result = time.monotonic(), EncodeResult()
        request = EncodeRequest(IMAGE, items, is_strict=False, workers=members[0].workers)
        try:
            encode_shared(members, request, result)
        except MachineError:
            raise
        except FOREIGN:  # an error of one model: its evaluation raises it again, and records it
            continue
        finally:
            for member in members:
                member.add_ahead(result.keys, (time.monotonic() - start) / len(members))


def _groups(
    embedders: Sequence[Embedder], images: Sequence[ImageRef]
) -> list[tuple[list[SharingEmbedder], list[EncodeItem]]]:
    """Return embedders that can share the decoding of images, with these images."""
    by_images: dict[object, tuple[list[SharingEmbedder], list[EncodeItem]]] = {}
    for embedder in embedders:
        if isinstance(embedder, SharingEmbedder) and (missing := embedder.missing_images(images)):
            key = (tuple(item.key for item in missing), embedder.info.image_size, embedder.batch_size)
            by_images.setdefault(key, ([], missing))[0].append(embedder)
    groups = []
    for members, items in by_images.values():
        by_preprocess: dict[object, list[SharingEmbedder]] = {}
        for member in members if len(members) > 1 else ():
            if (preprocess := member.loaded_model().preprocess) is not None:
                by_preprocess.setdefault(_identity(preprocess), []).append(member)
        groups += [(members, items) for members in by_preprocess.values() if len(members) > 1]
    return groups


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
    first, group = embedders[0], current_rounds()
    batches = batches_of(request, first.batch_size)
    for embedder in embedders:
        embedder.shelf(request.modality).prepare(len(request.items))
    sources = [embedder.source for embedder in embedders if embedder.source is not None]
    with progress_bar("encoding", request.modality, len(request.items), is_shown=first.shows_bar) as bar:
        if not isinstance(group, Rounds) or len(batches) == 1 or len(sources) < len(embedders):
            encode(_encoders(embedders, request), request, batches, result, bar.update)
            return
        share = _Share(sources, [embedder.info.fingerprint for embedder in embedders], request, batches)

        def encode_here(rank: int, n: int) -> _Outcome:
            return _encode_share(embedders, request, batches[rank::n], result, lambda n_items: bar.update(n * n_items))

        outcomes: list[_Outcome] = group.run_shares(share, encode_here)
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    if failures:
        raise min(failures, key=lambda outcome: outcome.row).error or AssertionError
    result.causes = {key: cause for outcome in outcomes for key, cause in outcome.causes.items()}
    result.keys = [item.key for item in request.items if item.key not in result.causes]
    for embedder in embedders:
        _wait_for_vectors(embedder.shelf(request.modality), result.keys)


def batches_of(request: EncodeRequest, batch_size: int) -> list[range]:
    """Return the rows of items that go through a model together."""
    n, step = len(request.items), batch_size * (TEXT_BATCHES if request.modality == TEXT else 1)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def _encoders(embedders: Sequence[SharingEmbedder], request: EncodeRequest) -> list[tuple[Model, Commit]]:
    return [(embedder.loaded_model(), embedder.shelf(request.modality).put) for embedder in embedders]


class _Outcome(NamedTuple):
    causes: Mapping[bytes, str]
    """The reasons why images could not be read."""
    error: BaseException | None = None
    row: int = 0
    """About the first row that the error is of: in a single process, the error of the lowest row would end the work."""


def _encode_share(
    embedders: Sequence[SharingEmbedder],
    request: EncodeRequest,
    batches: Sequence[range],
    result: EncodeResult,
    tick: Callable[[int], object] = lambda n_items: None,
) -> _Outcome:
    ticks: list[object] = []
    try:
        encode(_encoders(embedders, request), request, batches, result, lambda n_items: ticks.append(tick(n_items)))
    except FOREIGN as error:
        return _Outcome(result.causes, error, batches[min(len(ticks), len(batches) - 1)].start if batches else 0)
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
        return outcome if outcome.error is None else outcome._replace(error=picklable_error(outcome.error))

    def _embedders(self) -> list[SharingEmbedder]:
        for name in set(_loaded) - set(map(repr, self.sources)):  # before others are loaded
            del _loaded[name]
        for source, fingerprint in zip(self.sources, self.fingerprints, strict=True):
            if repr(source) not in _loaded:
                embedder = source()
                assert isinstance(embedder, SharingEmbedder), source
                _loaded[repr(source)] = embedder
            info = _loaded[repr(source)].info
            if info.fingerprint != fingerprint:
                raise ModelError(
                    f"{info.ref} is another model for one process than for the first: expected the same files and"
                    " versions of packages on all machines"
                )
        return [_loaded[repr(source)] for source in self.sources]


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

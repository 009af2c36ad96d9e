"""A model bound to a store: each distinct image and text goes through the model once, ever.

Images are distinguished by the hash of their content, so the same image in two data sets, or twice in one, costs one
encoding. Vectors are committed to the store as they come; an interrupted run goes on from the last commit.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.decoding import Remark, reading_notes
from clipbench.data.images import DrawnImage, ImageRef, content_digest, examine
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.subset import without_images
from clipbench.errors import BadImage, ModelError
from clipbench.models.device_memory import Peaks
from clipbench.models.encoding import Encoder, Wanted
from clipbench.models.filling import Source, fill
from clipbench.models.probes import Probes
from clipbench.models.protocol import (
    Call,
    CostlyModel,
    Counts,
    Embedder,
    LoadOptions,
    Model,
    ModelInfo,
    count_tokens,
    is_sole,
)
from clipbench.models.recall import Memory, Recalled, memory_of
from clipbench.models.reference import Loaded, load_with_probes, resolve
from clipbench.models.store import MODALITIES, TOKENS, Shelf, default_root
from clipbench.models.stored import ITEMS
from clipbench.models.tower_sizes import tower_sizes
from clipbench.parallel import processes, ranges
from clipbench.results.numbers import counted
from clipbench.results.record import CheckFinding, TowerRecord

if TYPE_CHECKING:
    from tqdm import tqdm

TEXT_BATCHES = 16
"""Texts go to the model this many batches at a time, so that it can sort them by length."""
EXAMINED_IMAGES = 256
"""Images that a process takes at a time to hash them."""

CONVERSION = b"conversion 2 "
"""Changed whenever images of other modes than RGB and L would be read otherwise: their vectors are encoded again."""


class KnownImage(NamedTuple):
    """An image by its content."""

    digest: str
    key: bytes
    """Its name in the store."""
    remarks: tuple[Remark, ...]


def load_embedder(  # noqa: PLR0913  those of StoreEmbedder, each by its name
    reference: str,
    load: LoadOptions,
    root: Path | None = None,
    *,
    workers: int | None = None,
    show_progress: bool = False,
    known: "dict[ImageRef, KnownImage] | None" = None,
    may_recall: bool = False,
) -> Embedder:
    """Return the model that a reference stands for, with its store; of precomputed vectors, those.

    Args:
        root: folder of the store; None for the user's. The other options are those of ``StoreEmbedder``.
        may_recall: take from the store what the model said of itself when it was last loaded (``models.recall``), and
            load it when something is missing; for a process that runs no code of the user's.

    Raises:
        ClipbenchError: the reference or an option is wrong, or the weights are not here.
    """
    root = root or default_root()
    memory = memory_of(reference, *resolve(reference.strip(), load), load, root) if may_recall else None
    recalled = None if memory is None else memory.recall()
    if recalled is None:
        with nullcontext() if memory is None else memory.loading():
            loaded = load_with_probes(reference, load)
        if isinstance(loaded.model, Embedder):
            return loaded.model
        model: Model | Unloaded = loaded.model
    else:
        model = Unloaded(recalled, lambda: load_with_probes(reference, load))
    embedder = StoreEmbedder(
        model,
        root,
        batch_size=load.n_at_once,
        workers=workers,
        show_progress=show_progress,
        known=known,
        memory=memory,
    )
    if recalled is None:
        embedder.probes = loaded.probes
    if recalled is not None or not is_sole(model):  # what is made of files alone, and is recalled, never is
        embedder.source = Source(load_embedder, reference, load, workers)
    return embedder


@dataclass(frozen=True)
class Unloaded:
    """A model that is known from its last loading, and loaded when it has to encode."""

    recalled: Recalled
    load: Callable[[], Loaded]

    @property
    def info(self) -> ModelInfo:
        return self.recalled.info


class StoreEmbedder:
    """Vectors from the store where it has them, else from the model, which then are stored.

    Args:
        root: folder of the store.
        batch_size: images (and texts) that go through the model at once.
        workers: processes that decode and preprocess ahead of the model; None chooses.
        show_progress: draw a bar on a terminal; never drawn elsewhere.
        known: what is known of images, looked up and kept there: several models share it, so that each image is read for
            its hash once.
        memory: where what the model says of itself is kept; with one, token counts are stored too.
    """

    def __init__(  # noqa: PLR0913  the options of load_embedder, each by its name
        self,
        model: Model | Unloaded,
        root: Path,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        show_progress: bool = False,
        known: dict[ImageRef, KnownImage] | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._model = model
        self._info = model.info
        self._memory = memory
        self._load_error: Exception | None = None
        self._seconds_loading = 0.0
        self._towers = model.recalled.towers if isinstance(model, Unloaded) else None
        self.peaks = Peaks()
        """The memory that encoding takes; not watched until a run is known to have the process for itself."""
        self.probes: Probes | None = None
        """Vectors of the probes, where loading has encoded them."""
        self.source: Source | None = None
        """What other processes can load the same model from, None where they cannot share its work."""
        self.batch_size = batch_size
        self.workers = default_workers() if workers is None else workers
        self.root = root
        """Folder of the store."""
        self._show_progress = show_progress
        self._known = {} if known is None else known
        self._causes: dict[ImageRef | bytes, str] = {}
        """Causes why images cannot be read, by their content, or by the image where nothing of it could be read."""
        self._calls: list[Call] = []
        self._ahead: list[Call] = []
        info = model.info
        self._shelves: dict[str, Shelf] = {modality: self._shelf(modality) for modality in MODALITIES}
        self._token_counts = None if memory is None else Shelf(root, info.fingerprint, TOKENS, 1)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def model(self) -> Model:
        """The model, which is loaded now if it was not yet.

        Raises:
            ClipbenchError: it cannot be loaded, or is another one than was recalled.
        """
        if isinstance(self._model, Unloaded):
            if self._load_error is not None:
                raise self._load_error
            try:
                self._model = self._loaded(self._model)
            except Exception as error:
                self._load_error = error
                raise
        return self._model

    def check_loaded(self) -> None:
        """Raise what went wrong when the model was loaded in the midst of an evaluation, which recorded it as its own."""
        if self._load_error is not None:
            raise self._load_error

    def recalled_findings(self) -> list[CheckFinding] | None:
        """Return what the quick checks found when the model was last loaded; None if it is loaded, or none were made."""
        return self._model.recalled.findings if isinstance(self._model, Unloaded) else None

    def remember(self, findings: list[CheckFinding] | None) -> None:
        """Keep what the model says of itself, if it was loaded, for the next run."""
        if self._memory is not None and not isinstance(self._model, Unloaded):
            self._memory.keep(Recalled(info=self._info, findings=findings, towers=self.towers()))

    def towers(self) -> Mapping[str, TowerRecord]:
        """Return size and work of each tower, by its modality, counted at the first call or when it was last loaded."""
        if self._towers is None:
            self._towers = tower_sizes(self.model)
        return self._towers

    def _loaded(self, unloaded: Unloaded) -> Model:
        assert self._memory is not None
        start = time.monotonic()
        with self._memory.loading():
            loaded = unloaded.load()
        if not isinstance(loaded.model, Model) or loaded.model.info.fingerprint != self._info.fingerprint:
            self._memory.forget()
            raise ModelError(
                f"model {self._info.ref} is another one than at the beginning: its files were changed meanwhile; run it again"
            )
        self.probes = loaded.probes
        self._seconds_loading += time.monotonic() - start
        self.peaks.reset()
        return loaded.model

    @property
    def dataset(self) -> None:
        """None: a model takes any samples."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for each reason why chunks of the store were not believed, and notes of what the model has cost."""
        rejected = sum((shelf.rejected for shelf in self._shelves.values()), Counter[str]())
        notes = [
            f"{counted(n_chunks, 'file')} of the store {'was' if n_chunks == 1 else 'were'} {reason}: the vectors were encoded again"
            for reason, n_chunks in rejected.items()
        ]
        return (*notes, *(self._model.costs() if isinstance(self._model, CostlyModel) else ()))

    def images(self, images: Sequence[ImageRef]) -> Float32[np.ndarray, "n_images dim"]:
        """Return the raw vector of each image, in order.

        Raises:
            BadImage: one of them cannot be decoded; raised as soon as it is met, and what was encoded before is kept.
            VectorError: the model gave a NaN, infinite or zero vector; the message names the image.
        """
        self.digests(images)
        self._fill(images, is_strict=True)
        return self._get("images", [self._known[ref].key for ref in images])

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        """Return the raw vector of each text, in order.

        Raises:
            VectorError: the model gave a NaN, infinite or zero vector; the message names the text.
        """
        keys = [bytes.fromhex(content_digest(text.encode())) for text in texts]
        missing = self._missing("texts", dict(zip(keys, texts, strict=True)))
        if missing:
            by_length = dict(sorted(missing.items(), key=lambda item: len(item[1])))
            self._encode(Wanted("texts", by_length), TEXT_BATCHES * self.batch_size)
        return self._get("texts", keys)

    def items(self, modality: str, items: Sequence[Any]) -> Float32[np.ndarray, "n_items dim"]:
        """Return the raw vector of each item of a modality of a data set, in order.

        What has a content that can be hashed is stored by it; anything else is encoded each time.

        Raises:
            Unavailable: the model has no encoder of the modality.
            VectorError: the model gave a NaN, infinite or zero vector; the message names the item.
        """
        if modality == IMAGE:
            return self.images(items)
        if modality == TEXT:
            return self.texts(items)
        if modality not in self._shelves:
            self._shelves[modality] = self._shelf(f"{ITEMS}{modality}")
        # A key of its own for what cannot be hashed: it is counted, and not stored.
        keys = [uuid.uuid4().bytes if item.content is None else bytes.fromhex(item.content) for item in items]
        wanted = {key: item for key, item in zip(keys, items, strict=True) if item.content is not None}
        missing = self._missing(modality, wanted)
        if missing:
            self._encode(Wanted(modality, missing), self.batch_size)
        found = dict(zip(wanted, self._get(modality, [*wanted]), strict=True))
        unknown = {key: item for key, item in zip(keys, items, strict=True) if item.content is None}
        if unknown:
            rows = iter(ranges(len(unknown), self.batch_size))
            with self._noted(modality) as done:
                for batch in self.encoder().batches(Wanted(modality, unknown), rows):
                    found |= dict(zip(batch.keys, batch.vectors, strict=True))
                    done.extend(batch.keys)
        return np.stack([found[key] for key in keys]) if keys else np.empty((0, self.info.embed_dim), np.float32)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes before any is cut off; raise NoTokenCounts where the model cannot say."""
        held = self._token_counts
        if held is None:
            return count_tokens(self.model, texts)
        keys = [bytes.fromhex(content_digest(text.encode())) for text in texts]
        lacking = held.missing(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key in lacking}
        if missing:
            counts = count_tokens(self.model, [*missing.values()])
            held.prepare(len(counts))
            held.put([*missing], counts[:, None].astype(np.float32))
        return held.get(keys)[:, 0].astype(np.int64)

    def readable(self, dataset: Dataset) -> Dataset:
        """Encode all images that can be decoded, and return the data set without the others, with a note for each.

        Raises:
            DataError: none can be decoded.
        """
        images = dataset.images
        self._digest([ref for ref in images if ref not in self._known])
        self._fill(images, is_strict=False)
        known = [self._known.get(ref) for ref in images]
        missing = self._shelves["images"].missing(each.key for each in known if each is not None)
        bad = {
            row: self._causes[images[row] if each is None else each.key]
            for row, each in enumerate(known)
            if each is None or each.key in missing
        }
        causes = tuple(f"skipped {images[row].name}: {cause}" for row, cause in bad.items())
        kept_rows = without_images(dataset, np.array([*bad], np.int64))
        return replace(kept_rows, notes=(*kept_rows.notes, *causes))

    def counts(self) -> Counts:
        """Return what was encoded, and what the store had, so far."""
        return Counts(tuple(self._calls))

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        """Return the content hash of each image, in order; raise BadImage for one that cannot be read."""
        self._digest([ref for ref in images if ref not in self._known])
        for ref in images:
            if ref not in self._known:
                raise BadImage(ref.name, self._causes[ref])
        return [self._known[ref].digest for ref in images]

    def image_notes(self, images: Sequence[ImageRef]) -> tuple[str, ...]:
        """Return notes of the images that are no plain RGB or grey ones, by how they are read."""
        return reading_notes(remark for ref in images if ref in self._known for remark in self._known[ref].remarks)

    def lacking(self, images: Sequence[ImageRef]) -> dict[bytes, ImageRef]:
        """Return the images that the store has no vectors of, by their keys, in order; without those that cannot be read."""
        self._digest([ref for ref in images if ref not in self._known])
        by_key = self._by_key(images)
        lacking = self._shelves["images"].missing(by_key)
        return {key: ref for key, ref in by_key.items() if key in lacking}

    def note_ahead(self, keys: Sequence[bytes], seconds: float) -> None:
        """Count images that were encoded before an evaluation asked for them to the first one that does."""
        self._ahead.append(Call("images", encoded=frozenset(keys), seconds=seconds, is_ahead=True))

    def _by_key(self, images: Sequence[ImageRef]) -> dict[bytes, ImageRef]:
        by_key: dict[bytes, ImageRef] = {}
        for ref in images:
            if ref in self._known:
                by_key.setdefault(self._known[ref].key, ref)
        return by_key

    def _fill(self, images: Sequence[ImageRef], *, is_strict: bool) -> None:
        """Encode the images that the store has not; an unreadable one is an error when strict, else remembered."""
        missing = self._missing("images", self._by_key(images))
        if missing:
            self._encode(Wanted("images", missing, is_strict=is_strict), self.batch_size)

    def _digest(self, images: Sequence[ImageRef]) -> None:
        """Hash images, each process its part of them."""
        distinct = list(dict.fromkeys(images))
        with self.bar("hashing", "image", len(distinct)) as bar:
            shards = ranges(len(distinct), EXAMINED_IMAGES)
            for rows, found in processes().share(partial(_examined, distinct), shards):
                for ref, each in zip(distinct[rows.start : rows.stop], found, strict=True):
                    if isinstance(each, BadImage):
                        self._causes[ref] = each.cause
                    else:
                        self._known[ref] = each
                bar.update(len(rows))

    def _shelf(self, name: str) -> Shelf:
        info = self._info
        return Shelf(self.root, info.fingerprint, name, info.embed_dim, (info.ref, info.id))

    def _missing(self, modality: str, wanted: dict[bytes, Any]) -> dict[bytes, Any]:
        """Return what is wanted and not in the store, and count what is."""
        lacking = self._shelves[modality].missing(wanted)
        missing = {key: item for key, item in wanted.items() if key in lacking}
        known = wanted.keys() - missing.keys()
        for call in [each for each in self._ahead if each.modality == modality and each.encoded & known]:
            self._ahead.remove(call)
            self._calls.append(call)
            known -= call.encoded
        self._calls.append(Call(modality, stored=frozenset(known)))
        return missing

    def _get(self, modality: str, keys: Sequence[bytes]) -> Float32[np.ndarray, "n dim"]:
        if not keys:
            return np.empty((0, self.info.embed_dim), np.float32)
        return self._shelves[modality].get(keys)

    def _encode(self, wanted: Wanted, step: int) -> None:
        with self._noted(wanted.modality) as keys:
            for encoded in fill([self], wanted, step):
                self._causes.update(encoded.causes.items())
                keys.extend(encoded.keys)

    @contextmanager
    def _noted(self, modality: str) -> Iterator[list[bytes]]:
        """Note time and memory of encoding the items whose keys the block adds to the list."""
        start, keys, before = time.monotonic(), list[bytes](), self._seconds_loading
        self.peaks.reset()
        try:
            yield keys
        finally:
            seconds, loading = time.monotonic() - start, self._seconds_loading - before
            self._calls.append(Call(modality, encoded=frozenset(keys), seconds=seconds, seconds_loading=loading))
            self.peaks.note(modality)

    def encoder(self) -> Encoder:
        """Return what encodes with this model."""
        return Encoder(model=lambda: self.model, info=self.info, batch_size=self.batch_size, workers=self.workers)

    def shelf(self, modality: str) -> Shelf:
        """Return the place of the vectors of a modality that has some."""
        return self._shelves[modality]

    @contextmanager
    def bar(self, verb: str, unit: str, total: int) -> "Iterator[tqdm[Any]]":
        """Show a bar on a terminal, if bars are shown."""
        from tqdm import tqdm

        disable = None if self._show_progress else True  # None: drawn only on a terminal
        with tqdm(total=total, desc=f"{verb} {unit}s", unit=f" {unit}", disable=disable, leave=False, delay=0.5) as bar:
            yield bar


def model_behind(embedder: Embedder) -> tuple[Model | None, Probes | None]:
    """Return the model that an embedder encodes with, None where vectors were given, and the vectors of its probes."""
    if not isinstance(embedder, StoreEmbedder):
        return None, None
    return embedder.model, embedder.probes


def recalled_findings(embedder: Embedder) -> list[CheckFinding] | None:
    """Return what the quick checks of a model found when it was last loaded; None where they have to be made."""
    return embedder.recalled_findings() if isinstance(embedder, StoreEmbedder) else None


def remember(embedder: Embedder, findings: list[CheckFinding] | None) -> None:
    """Keep what a model said of itself, with what its quick checks found, for the next run.

    Raises:
        ClipbenchError: it could not be loaded when something was missing in the store.
    """
    if isinstance(embedder, StoreEmbedder):
        embedder.check_loaded()
        embedder.remember(findings)


def default_workers() -> int:
    """Return how many processes decode ahead of the model: one core is left to it, and eight are enough.

    Where several processes share the work of a command, they share the cores of their machine too.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 3
    return max(0, min(8, n_cores // processes().n_here - 1))


def _examined(refs: Sequence[ImageRef], claimed: Iterator[range]) -> Iterator[list[KnownImage | BadImage]]:
    """Hash images, several at a time: reading releases the interpreter lock, and so does hashing."""
    is_drawn = bool(refs) and isinstance(refs[0], DrawnImage)  # nothing is read, and threads would only wait
    with ThreadPoolExecutor(max_workers=8) as pool:
        for rows in claimed:
            some = refs[rows.start : rows.stop]
            yield list(map(_known_or_cause, some) if is_drawn else pool.map(_known_or_cause, some))


def _known_or_cause(ref: ImageRef) -> KnownImage | BadImage:
    try:
        found = examine(ref)
    except BadImage as error:
        return error
    content = bytes.fromhex(found.digest)
    key = bytes.fromhex(content_digest(CONVERSION + content)) if found.reading.is_converted else content
    return KnownImage(found.digest, key, found.reading.remarks)

"""A model bound to a store: each distinct item goes through the model once, ever.

Images are distinguished by the hash of their content, so the same image in two data sets, or twice in one, costs one
encoding. Vectors are committed to the store as they come; an interrupted run goes on from the last commit.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef, reading_notes
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.data.subset import without_images
from clipbench.distributed.rounds import LATE_SECONDS, Rounds, current, portable
from clipbench.errors import FOREIGN, BadImage, MachineError, ModelError
from clipbench.files import default_root
from clipbench.models.encoding.pipeline import Commit, Done, Item, KnownImage, Wanted, encode, item_of, known_image
from clipbench.models.encoding.recall import LoadCache, Recalled, load_cache_of
from clipbench.models.encoding.store import TOKENS, Shelf
from clipbench.models.facts.costs import tower_sizes
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Call, Counts, Embedder, Model, Role, Vectors, as_role
from clipbench.models.reference import Loaded, load_with_probes, resolve
from clipbench.results.numbers import counted
from clipbench.results.record import CheckFinding, TowerRecord

if TYPE_CHECKING:
    from tqdm import tqdm

TEXT_BATCHES = 16
"""Texts go to the model this many batches at a time, so that it can sort them by length."""


def load_embedder(  # noqa: PLR0913  those of StoreEmbedder, each by its name
    reference: str,
    options: LoadOptions,
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
        may_recall: take from the store what the model said of itself when it was last loaded (``encoding.recall``), and
            load it when something is missing; for a process that runs no code of the user's.

    Raises:
        ClipbenchError: the reference or an option is wrong, or the weights are not here.
    """
    root = root or default_root()
    load_cache = load_cache_of(reference, *resolve(reference.strip(), options), root) if may_recall else None
    model: Model | Recalled | None = None if load_cache is None else load_cache.recall()
    probes = None
    if model is None:
        loaded = load_with_probes(reference, options)
        if isinstance(loaded.model, Embedder):
            return loaded.model
        model, probes = loaded.model, loaded.probes
    embedder = StoreEmbedder(
        model,
        root,
        batch_size=options.n_at_once,
        workers=workers,
        show_progress=show_progress,
        known=known,
        load_cache=load_cache,
        load=lambda: load_with_probes(reference, options),
    )
    embedder.probes = probes
    if isinstance(model, Recalled) or not model.is_sole:  # what is made of files alone, and is recalled, never is
        embedder.source = partial(load_embedder, reference, options, root, workers=workers)
    return embedder


class StoreEmbedder(Embedder):
    """Vectors from the store where it has them, else from the model, which then are stored.

    Args:
        model: what encodes, or what it said of itself: then it is loaded when it has to encode.
        root: folder of the store.
        batch_size: images (and texts) that go through the model at once.
        workers: processes that decode and preprocess ahead of the model; None chooses.
        show_progress: draw a bar on a terminal; never drawn elsewhere.
        known: what is known of images, looked up and kept there: several models share it, so that each image is read
            for its hash once.
        load_cache: where what the model says of itself is kept; with one, token counts are stored too.
        load: loads a model that is known from its last loading alone.
    """

    def __init__(  # noqa: PLR0913  the options of load_embedder, each by its name
        self,
        model: Model | Recalled,
        root: Path,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        show_progress: bool = False,
        known: dict[ImageRef, KnownImage] | None = None,
        load_cache: LoadCache | None = None,
        load: Callable[[], Loaded] | None = None,
    ) -> None:
        self._model = model
        self.info = model.info
        self._load_cache = load_cache
        self._load = load
        self._load_error: Exception | None = None
        self._seconds_loading = 0.0
        self._sizes = model.towers if isinstance(model, Recalled) else None
        self.source: Callable[[], Embedder] | None = None
        """Loads the same model in another process, None where others cannot share its work."""
        self.batch_size = batch_size
        self.workers = default_workers() if workers is None else workers
        self._root = root
        self._show_progress = show_progress
        self._known = {} if known is None else known
        self._causes: dict[ImageRef | bytes, str] = {}
        """Causes why images cannot be read, by their key, or by the image where nothing of it could be read."""
        self._calls: list[Call] = []
        self._ahead: list[Call] = []
        self._shelves: dict[str, Shelf] = {}
        self._token_counts = None if load_cache is None else Shelf(root, model.info.fingerprint, TOKENS, 1)

    # -- the model

    @property
    def model(self) -> Model:  # type: ignore[override]  # there always is one
        """The model, which is loaded now if it was not yet; raise ClipbenchError where it cannot be loaded, or is
        another one than was recalled."""
        if isinstance(self._model, Recalled):
            if self._load_error is not None:
                raise self._load_error
            try:
                self._model = self._loaded()
            except Exception as error:
                self._load_error = error
                raise
        return self._model

    def _loaded(self) -> Model:
        assert self._load_cache is not None and self._load is not None
        start = time.monotonic()
        loaded = self._load()
        if not isinstance(loaded.model, Model) or loaded.model.info.fingerprint != self.info.fingerprint:
            self._load_cache.forget()
            raise ModelError(
                f"model {self.info.ref} is another one than at the beginning: its files were changed meanwhile; run it"
                " again"
            )
        self.probes = loaded.probes
        self._seconds_loading += time.monotonic() - start
        if (torch := self._watched()) is not None:
            torch.cuda.reset_peak_memory_stats(self.info.device)
        return loaded.model

    def recalled_findings(self) -> list[CheckFinding] | None:
        return self._model.findings if isinstance(self._model, Recalled) else None

    def remember(self, findings: list[CheckFinding] | None) -> None:
        """Keep what the model says of itself, if it was loaded, for the next run; raise ClipbenchError where it could
        not be loaded in the midst of an evaluation, which recorded that as its own."""
        if self._load_error is not None:
            raise self._load_error
        if self._load_cache is not None and isinstance(self._model, Model) and self._model.files:
            self._load_cache.keep(Recalled(info=self.info, findings=findings, towers=self.sizes()), self._model.files)

    def sizes(self) -> Mapping[str, TowerRecord]:
        """Return size and work of each tower, by its modality, counted at the first call or when it was last loaded."""
        if self._sizes is None:
            self._sizes = tower_sizes(self.model)
        return self._sizes

    def watch_memory(self) -> None:
        self.peak_bytes = {}

    def _watched(self) -> Any:
        """Return torch where it keeps account of the device's memory, and that is watched."""
        is_watched = self.peak_bytes is not None and (self.info.device or "").startswith("cuda")
        return sys.modules.get("torch") if is_watched else None

    @property
    def root(self) -> Path:
        return self._root

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for each reason why chunks of the store were not believed, and notes of what the model has cost."""
        rejected = sum((shelf.rejected for shelf in self._shelves.values()), Counter[str]())
        notes = [
            f"{counted(n_chunks, 'file')} of the store {'was' if n_chunks == 1 else 'were'} {reason}: the vectors were"
            " encoded again"
            for reason, n_chunks in rejected.items()
        ]
        return (*notes, *(self._model.costs() if isinstance(self._model, Model) else ()))

    # -- vectors

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Return the raw vector of each item, in order; raise BadImage as soon as an image cannot be decoded,
        ``Unavailable`` without an encoder of the modality, and VectorError where the model gave a NaN, infinite or zero
        vector.
        """
        role = self._known_role(modality, role)
        if modality == IMAGE:
            self.digests(items)
        wanted = self._items(modality, items, role)
        if not wanted:
            return np.empty((0, self.info.embed_dim), np.float32)
        stored = [item for item in wanted if item.is_stored]
        self._fill(modality, stored, role)
        keys = [item.key for item in stored]
        if len(stored) == len(wanted):
            return self.shelf(modality).get(keys)
        found = dict(zip(keys, self.shelf(modality).get(keys) if keys else (), strict=True))
        passing = Wanted(modality=modality, items=[item for item in wanted if not item.is_stored], role=role)

        def take_in(keys: Sequence[bytes], vectors: Vectors) -> None:
            found.update(zip(keys, vectors, strict=True))

        with self._noted(modality) as done:
            encode([(self.model, take_in)], passing, batches_of(self, passing), done)
        return np.stack([found[item.key] for item in wanted])

    def combine(self, by_prompt: Sequence[Float32[np.ndarray, "_ dim"]]) -> Float32[np.ndarray, "n_classes dim"] | None:
        if isinstance(self._model, Recalled):  # it is of an adapter of files, and none of them has a way of its own
            return None
        found = [self._model.combine(vectors) for vectors in by_prompt]
        if any(vector is None for vector in found):
            return None
        vectors = np.array(found, np.float32)
        if vectors.shape != (len(found), self.info.embed_dim) or not np.isfinite(vectors).all():
            raise ModelError(
                f"model {self.info.ref} combined prompts to shape {vectors.shape[1:]}, or to what is not finite:"
                f" expected a vector of {self.info.embed_dim} numbers"
            )
        return vectors

    def _known_role(self, modality: str, role: Role) -> Role:
        """Return the role, None where the model gives items of the modality one vector whatever their role."""
        known = None if role is None else as_role(role)
        return known if modality in self.info.roles else None

    def shelf(self, modality: str) -> Shelf:
        """Return the place of the vectors of a modality."""
        if modality not in self._shelves:
            info = self.info
            self._shelves[modality] = Shelf(self._root, info.fingerprint, modality, info.embed_dim, (info.ref, info.id))
        return self._shelves[modality]

    def _items(self, modality: str, sources: Sequence[Any], role: Role) -> list[Item]:
        if modality == IMAGE:
            known = zip(sources, self._examine(sources), strict=True)
            return [item_of(IMAGE, ref, role, each.key) for ref, each in known if each is not None]
        if modality == JOINT:
            self.digests([ref for ref, _ in sources])
            return [item_of(JOINT, pair, role, self._known[pair[0]].key) for pair in sources]
        return [item_of(modality, source, role) for source in sources]

    def _fill(self, modality: str, items: Sequence[Item], role: Role = None, *, is_strict: bool = True) -> None:
        """Encode the items that the store has not; an image that cannot be read is an error when strict, else
        remembered.
        """
        wanted = {item.key: item for item in items}
        lacking = self.shelf(modality).missing(wanted)
        stored = wanted.keys() - lacking
        for call in [each for each in self._ahead if each.modality == modality and each.encoded & stored]:
            self._ahead.remove(call)
            self._calls.append(call)
            stored -= call.encoded
        self._calls.append(Call(modality, stored=frozenset(stored)))
        if not lacking:
            return
        missing = [item for key, item in wanted.items() if key in lacking]
        if modality == TEXT:
            missing.sort(key=lambda item: len(item.source))
        workers = 0 if len(missing) < 2 * self.batch_size else self.workers
        with self._noted(modality) as done:
            fill([self], Wanted(modality, missing, role, is_strict, workers), done)
        self._causes.update(done.causes.items())

    # -- images

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        digests = []
        for ref, known in zip(images, self._examine(images), strict=True):
            if known is None:
                raise BadImage(ref.name, self._causes[ref])
            digests.append(known.digest)
        return digests

    def readable(self, dataset: Dataset, role: Role = "query") -> Dataset:
        """Encode all images that can be decoded, and return the data set without the others, with a note for each;
        raise DataError where none can be decoded."""
        images, role = dataset.images, self._known_role(IMAGE, role)
        self._fill(IMAGE, self._items(IMAGE, images, role), role, is_strict=False)
        known = [(ref, self._known.get(ref)) for ref in images]
        keys = [None if each is None else item_of(IMAGE, ref, role, each.key).key for ref, each in known]
        missing = self.shelf(IMAGE).missing([key for key in keys if key is not None])
        bad = {
            row: self._causes[images[row] if key is None else key]
            for row, key in enumerate(keys)
            if key is None or key in missing
        }
        causes = tuple(f"skipped {images[row].name}: {cause}" for row, cause in bad.items())
        kept_rows = without_images(dataset, np.array([*bad], np.int64))
        return replace(kept_rows, notes=(*kept_rows.notes, *causes))

    def image_notes(self, images: Sequence[ImageRef]) -> tuple[str, ...]:
        known = map(self._known.get, images)
        return reading_notes(remark for each in known if each is not None for remark in each.remarks)

    def lacking(self, images: Sequence[ImageRef]) -> list[Item]:
        """Return the images that the store has no vectors of, in order; without those that cannot be read.

        None of a model whose vectors of images depend on a role, which no task has said yet.
        """
        if IMAGE in self.info.roles:
            return []
        items = {item.key: item for item in reversed(self._items(IMAGE, images, None))}
        lacking = self.shelf(IMAGE).missing(items)
        return [item for key, item in reversed(items.items()) if key in lacking]

    def note_ahead(self, keys: Sequence[bytes], seconds: float) -> None:
        """Count images that were encoded before an evaluation asked for them to the first one that does."""
        self._ahead.append(Call(IMAGE, encoded=frozenset(keys), seconds=seconds, is_ahead=True))

    def _examine(self, images: Sequence[ImageRef]) -> list[KnownImage | None]:
        """Return what is known of images, None of one that cannot be read; those that are not known yet are hashed,
        several at a time: reading releases the interpreter lock, and so does hashing.
        """
        known = [*map(self._known.get, images)]
        unknown = list(dict.fromkeys(ref for ref, each in zip(images, known, strict=True) if each is None))
        if not unknown:
            return known
        with self.bar("hashing", IMAGE, len(unknown)) as bar, ThreadPoolExecutor(max_workers=8) as pool:
            for ref, each in zip(unknown, pool.map(known_image, unknown), strict=True):
                if isinstance(each, BadImage):
                    self._causes[ref] = each.cause
                else:
                    self._known[ref] = each
                bar.update()
        return [*map(self._known.get, images)]

    # -- tokens, counts and bars

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        held = self._token_counts
        if held is None:
            return self.model.count_tokens(texts)
        keys = [item_of(TEXT, text).key for text in texts]
        lacking = held.missing(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key in lacking}
        if missing:
            counts = self.model.count_tokens([*missing.values()])
            held.prepare(len(counts))
            held.put([*missing], counts[:, None].astype(np.float32))
        return held.get(keys)[:, 0].astype(np.int64)

    def counts(self) -> Counts:
        return Counts(tuple(self._calls))

    @contextmanager
    def _noted(self, modality: str) -> Iterator[Done]:
        """Note time and memory of encoding the items that the block adds to what is done."""
        start, done, before = time.monotonic(), Done(), self._seconds_loading
        if (torch := self._watched()) is not None:
            torch.cuda.reset_peak_memory_stats(self.info.device)
        try:
            yield done
        finally:
            seconds, loading = time.monotonic() - start, self._seconds_loading - before
            self._calls.append(Call(modality, encoded=frozenset(done.keys), seconds=seconds, seconds_loading=loading))
            torch = self._watched()  # which loading may have brought
            peak = 0 if torch is None else int(torch.cuda.max_memory_allocated(self.info.device))
            if peak and self.peak_bytes is not None:
                self.peak_bytes[modality] = max(peak, self.peak_bytes.get(modality, 0))

    @contextmanager
    def bar(self, verb: str, modality: str, total: int) -> "Iterator[tqdm[Any]]":
        """Show a bar on a terminal, if bars are shown."""
        from tqdm import tqdm

        unit = modality if modality in (IMAGE, TEXT) else f"{modality} item"
        disable = None if self._show_progress else True  # None: drawn only on a terminal
        with tqdm(total=total, desc=f"{verb} {unit}s", unit=f" {unit}", disable=disable, leave=False, delay=0.5) as bar:
            yield bar


def default_workers() -> int:
    """Return how many processes decode ahead of the model: one core is left to it, and eight are enough.

    Where several processes share the work of a command, they share the cores of their machine too.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 3
    return max(0, min(8, n_cores // current().n_here - 1))


def encode_together(embedders: Sequence[Embedder], images: Sequence[ImageRef]) -> None:
    """Put the vectors of images into the store that several models lack, on one decode for those that lack the same
    ones.

    What cannot be read or encoded is left to the evaluation that needs it, as are models that preprocess images
    themselves. Vectors that are given lack none.

    Raises:
        MachineError: the store cannot be written to, or a process was lost.
    """
    groups: dict[object, tuple[list[StoreEmbedder], list[Item]]] = {}
    for each in embedders:
        if isinstance(each, StoreEmbedder) and (missing := each.lacking(images)):
            group = (tuple(item.key for item in missing), each.info.image_size, each.batch_size)
            groups.setdefault(group, ([], missing))[0].append(each)
    for members, items in groups.values():
        able = [each for each in members if each.model.preprocess is not None] if len(members) > 1 else []
        if len(able) < 2:
            continue
        start, done = time.monotonic(), Done()
        try:
            fill(able, Wanted(IMAGE, items, is_strict=False, workers=able[0].workers), done)
        except MachineError:
            raise
        except FOREIGN:  # of one of the models: its own evaluation meets it again, and says so
            continue
        finally:
            for each in able:
                each.note_ahead(done.keys, (time.monotonic() - start) / len(able))


def fill(embedders: Sequence[StoreEmbedder], wanted: Wanted, done: Done) -> None:
    """Have the vectors of all these models put into the store, by all processes that share the work; raise MachineError
    where the store cannot be written to, or a process was lost."""
    first, batches, group = embedders[0], batches_of(embedders[0], wanted), current()
    for each in embedders:
        each.shelf(wanted.modality).prepare(len(wanted.items))
    sources = [each.source for each in embedders if each.source is not None]
    with first.bar("encoding", wanted.modality, len(wanted.items)) as bar:
        if not isinstance(group, Rounds) or len(batches) == 1 or len(sources) < len(embedders):
            encode(_encoders(embedders, wanted), wanted, batches, done, bar.update)
            return
        share = _Share(sources, [each.info.fingerprint for each in embedders], wanted, batches)

        def here(rank: int, n: int) -> _Outcome:
            return _outcome(embedders, wanted, batches[rank::n], done, lambda n_items: bar.update(n * n_items))

        outcomes: list[_Outcome] = group.together(share, here)
    failures = [each for each in outcomes if each.error is not None]
    if failures:
        raise min(failures, key=lambda each: each.row).error or AssertionError
    done.causes = {key: cause for each in outcomes for key, cause in each.causes.items()}
    done.keys = [item.key for item in wanted.items if item.key not in done.causes]
    for each in embedders:
        _wait_for(each.shelf(wanted.modality), done.keys)


def batches_of(embedder: StoreEmbedder, wanted: Wanted) -> list[range]:
    """Return the rows of items that go through a model together."""
    n, step = len(wanted.items), embedder.batch_size * (TEXT_BATCHES if wanted.modality == TEXT else 1)
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def _encoders(embedders: Sequence[StoreEmbedder], wanted: Wanted) -> list[tuple[Model, Commit]]:
    return [(each.model, each.shelf(wanted.modality).put) for each in embedders]


class _Outcome(NamedTuple):
    causes: Mapping[bytes, str]
    """The reasons why images could not be read."""
    error: BaseException | None = None
    row: int = 0
    """About the first row that the error is of: in a single process, that of the lowest row would end the work."""


def _outcome(
    embedders: Sequence[StoreEmbedder],
    wanted: Wanted,
    batches: Sequence[range],
    done: Done,
    tick: Callable[[int], object] = lambda n_items: None,
) -> _Outcome:
    ticks: list[object] = []
    try:
        encode(_encoders(embedders, wanted), wanted, batches, done, lambda n_items: ticks.append(tick(n_items)))
    except FOREIGN as error:
        return _Outcome(done.causes, error, batches[min(len(ticks), len(batches) - 1)].start if batches else 0)
    return _Outcome(done.causes)


@dataclass(frozen=True)
class _Share:
    """The share of another process: it loads the same models, and puts vectors into the same store."""

    sources: Sequence[Callable[[], Embedder]]
    fingerprints: Sequence[str]
    wanted: Wanted
    batches: Sequence[range]

    def __call__(self, rank: int, n: int) -> _Outcome:
        try:
            outcome = _outcome(self._embedders(), self.wanted, self.batches[rank::n], Done())
        except FOREIGN as error:
            return _Outcome({}, portable(error))
        return outcome if outcome.error is None else outcome._replace(error=portable(outcome.error))

    def _embedders(self) -> list[StoreEmbedder]:
        for name in set(_held) - set(map(repr, self.sources)):  # before others are loaded
            del _held[name]
        for source, fingerprint in zip(self.sources, self.fingerprints, strict=True):
            if repr(source) not in _held:
                made = source()
                assert isinstance(made, StoreEmbedder), source
                _held[repr(source)] = made
            info = _held[repr(source)].info
            if info.fingerprint != fingerprint:
                raise ModelError(
                    f"{info.ref} is another model for one process than for the first: expected the same files and"
                    " versions of packages on all machines"
                )
        return [_held[repr(source)] for source in self.sources]


_held: dict[str, StoreEmbedder] = {}
"""The models that this process was last asked to encode with by another, by their sources."""


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

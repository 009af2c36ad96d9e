"""A model bound to a store: each distinct item goes through the model once, ever.

Images are identified by the hash of their content, so the same image in two data sets, or twice in one, is encoded
once. Vectors are committed to the store as they come, so an interrupted run continues from the last commit.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef, reading_notes
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.data.subset import without_images
from clipbench.errors import BadImage, ModelError
from clipbench.models.encoding.image_hashes import ImageHashes
from clipbench.models.encoding.pipeline import EncodeItem, EncodeRequest, encode, item_of
from clipbench.models.encoding.sharing import SharingEmbedder, batches_of, default_workers, encode_shared
from clipbench.models.encoding.store import Shelf
from clipbench.models.encoding.work_log import WorkLog
from clipbench.models.introspection.costs import tower_sizes
from clipbench.models.protocol import (
    ClassVectors,
    Counts,
    Model,
    Notes,
    PromptVectors,
    Role,
    TokenCounts,
    Vectors,
    parse_role,
)
from clipbench.results.numbers import counted
from clipbench.results.record import TowerRecord


class StoreEmbedder(SharingEmbedder):
    """Vectors from the store, and from the model if the store does not have them, which are then stored.

    Args:
        model: encodes what the store does not have.
        root: folder of the store.
        batch_size: images (and texts) that go through the model at once.
        workers: processes that decode and preprocess ahead of the model, or None to choose.
        show_progress: draw a bar, only on a terminal.
        hashes: hashes of images that several models share, so that each image is read once for its hash.
    """

    model: Model

    def __init__(
        self,
        model: Model,
        root: Path,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        show_progress: bool = False,
        hashes: ImageHashes | None = None,
    ) -> None:
        self.model = model
        self.info = model.info
        self.batch_size = batch_size
        self.workers = default_workers() if workers is None else workers
        self._root = root
        self.shows_bar = show_progress
        self._hashes = hashes or ImageHashes()
        self._causes: dict[bytes, str] = {}
        """The reasons why images cannot be encoded, by their key."""
        self._work = WorkLog(model.info.device)
        self._sizes: dict[str, TowerRecord] | None = None
        self._shelves: dict[str, Shelf] = {}

    @property
    def root(self) -> Path:
        return self._root

    @property
    def notes(self) -> Notes:
        """Notes about rejected chunks of the store, and about the costs of the model."""
        return (*self._store_notes(), *self.model.costs())

    def _store_notes(self) -> list[str]:
        rejected = sum((shelf.rejected for shelf in self._shelves.values()), Counter[str]())
        notes = []
        for reason, n_chunks in rejected.items():
            notes.append(
                f"{counted(n_chunks, 'file')} of the store {'was' if n_chunks == 1 else 'were'} {reason}: "
                "the vectors were encoded again"
            )
        return notes

    # -- vectors

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Return the raw vector of each item, in order.

        Raises:
            BadImage: an image cannot be decoded.
            Unavailable: the model has no encoder of the modality.
            VectorError: the model gave a NaN, infinite or zero vector.
        """
        role = self._effective_role(modality, role)
        self.digests(_images_in(modality, items))
        requested = self._items(modality, items, role)
        if not requested:
            return np.empty((0, self.info.embed_dim), np.float32)
        stored = [item for item in requested if item.is_stored]
        self._fill(modality, stored, role)
        keys = [item.key for item in stored]
        if len(stored) == len(requested):
            return self.shelf(modality).get(keys)
        by_key = dict(zip(keys, self.shelf(modality).get(keys) if keys else (), strict=True))
        request = EncodeRequest(modality, [item for item in requested if not item.is_stored], role)

        def add(keys: Sequence[bytes], vectors: Vectors) -> None:
            by_key.update(zip(keys, vectors, strict=True))

        with self._work.timed(modality, self.loaded_model) as result:
            encode([(self.model, add)], request, batches_of(request, self.batch_size), result)
        return np.stack([by_key[item.key] for item in requested])

    def combine(self, by_prompt: PromptVectors) -> ClassVectors | None:
        combined = [self.model.combine(vectors) for vectors in by_prompt]
        if any(vector is None for vector in combined):
            return None
        vectors = np.array(combined, np.float32)
        if vectors.shape != (len(combined), self.info.embed_dim) or not np.isfinite(vectors).all():
            raise ModelError(
                f"model {self.info.ref} combined the prompts of a class into a vector of shape {vectors.shape[1:]}, or"
                f" with NaN or infinity: expected a vector of {self.info.embed_dim} finite numbers"
            )
        return vectors

    def _effective_role(self, modality: str, role: Role) -> Role:
        """Return the role, None if the model gives items of the modality the same vector in all roles."""
        checked = None if role is None else parse_role(role)
        return checked if modality in self.info.roles else None

    def shelf(self, modality: str) -> Shelf:
        if modality not in self._shelves:
            info = self.info
            self._shelves[modality] = Shelf(self._root, info.fingerprint, modality, info.embed_dim, (info.ref, info.id))
        return self._shelves[modality]

    def _items(self, modality: str, sources: Sequence[Any], role: Role) -> list[EncodeItem]:
        if modality not in (IMAGE, JOINT):
            return [item_of(modality, source, role) for source in sources]
        hashes = self._hashes.read(_images_in(modality, sources), shows_bar=self.shows_bar)
        hashed = zip(sources, hashes, strict=True)
        return [item_of(modality, source, role, hash_.key) for source, hash_ in hashed if hash_ is not None]

    def _fill(self, modality: str, items: Sequence[EncodeItem], role: Role = None, *, is_strict: bool = True) -> None:
        """Encode the items that the store does not have.

        Args:
            is_strict: raise BadImage for an image that cannot be read. Otherwise its cause is kept.
        """
        by_key = {item.key: item for item in items}
        missing_keys = self.shelf(modality).missing(by_key)
        self._work.add_stored(modality, by_key.keys() - missing_keys)
        if not missing_keys:
            return
        missing = [item for key, item in by_key.items() if key in missing_keys]
        if modality == TEXT:
            missing.sort(key=lambda item: len(item.source))
        workers = 0 if len(missing) < 2 * self.batch_size else self.workers
        request = EncodeRequest(modality, missing, role, is_strict, workers)
        with self._work.timed(modality, self.loaded_model) as result:
            encode_shared([self], request, result)
        self._causes.update(result.causes.items())

    # -- images

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        digests = []
        for ref, hash_ in zip(images, self._hashes.read(images, shows_bar=self.shows_bar), strict=True):
            if hash_ is None:
                raise BadImage(ref.name, self._hashes.causes[ref])
            digests.append(hash_.digest)
        return digests

    def readable(self, dataset: Dataset, role: Role = "query") -> Dataset:
        """Encode images, and return the data set without undecodable ones, or raise DataError if none remains."""
        images, role = dataset.images, self._effective_role(IMAGE, role)
        self._fill(IMAGE, self._items(IMAGE, images, role), role, is_strict=False)
        keys = []
        for image, image_hash in zip(images, self._hashes.stored(images), strict=True):
            keys.append(None if image_hash is None else item_of(IMAGE, image, role, image_hash.key).key)
        missing = self.shelf(IMAGE).missing([key for key in keys if key is not None])
        causes = {}
        for row, key in enumerate(keys):
            if key is None:  # it could not be read, so not even hashed
                causes[row] = self._hashes.causes[images[row]]
            elif key in missing:
                causes[row] = self._causes[key]
        notes = tuple(f"skipped {images[row].name}: {cause}" for row, cause in causes.items())
        readable = without_images(dataset, np.array([*causes], np.int64))
        return replace(readable, notes=(*readable.notes, *notes))

    def image_notes(self, images: Sequence[ImageRef]) -> Notes:
        hashes = self._hashes.stored(images)
        return reading_notes(remark for hash_ in hashes if hash_ is not None for remark in hash_.remarks)

    def missing_images(self, images: Sequence[ImageRef]) -> list[EncodeItem]:
        """Return the readable images without a stored vector, in order, or none if vectors of images depend on a
        role.
        """
        if IMAGE in self.info.roles:
            return []
        by_key = {item.key: item for item in reversed(self._items(IMAGE, images, None))}
        missing_keys = self.shelf(IMAGE).missing(by_key)
        return [item for key, item in reversed(by_key.items()) if key in missing_keys]

    # -- tokens, counts and costs

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return self.model.count_tokens(texts)

    def counts(self) -> Counts:
        return self._work.counts()

    def add_ahead(self, keys: Sequence[bytes], seconds: float) -> None:
        self._work.add_ahead(keys, seconds)

    def sizes(self) -> dict[str, TowerRecord]:
        """Return size and work of each tower, by its modality, counted at the first call."""
        if self._sizes is None:
            self._sizes = tower_sizes(self.model)
        return self._sizes

    def watch_memory(self) -> None:
        self._work.peak_bytes = {}

    @property
    def peak_bytes(self) -> dict[str, int] | None:
        return self._work.peak_bytes


def _images_in(modality: str, sources: Sequence[Any]) -> Sequence[ImageRef]:
    """Return the images among items of a modality, one per item, or none for other modalities."""
    if modality == JOINT:
        return [image for image, _ in sources]
    return sources if modality == IMAGE else ()

"""A part of a data set: the few shards that hold the images of a limited evaluation, in a folder of their own.

Shards are taken in an order that is drawn once for each data set, until they hold the requested number of images. So a
larger limit takes the same shards and some more, whatever the seed of the evaluation. Within a shard, images are in
their authors' order. If that order is by class, a part has only some of the classes, and its scores differ from the
scores of the whole.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.data import huggingface_data
from clipbench.data.catalogue.entries import CatalogueEntry, Source, origin_in, source_of
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.readers import webdataset
from clipbench.errors import DataError
from clipbench.seeding import generator

FORMS = ("webdataset", "parquet")
"""Forms whose files can be used one by one."""
KINDS = ("classification", "retrieval", "contrasts")
"""Kinds of data whose samples do not belong together across files."""
SUFFIXES = (".tar", ".parquet")


class ShardSelection(NamedTuple):
    """The shards that are enough for a number of images."""

    folder: Path
    source: Source
    revision: str | None
    shards: tuple[Path, ...]
    """Those to read, in the data set's order."""
    n_shards: int
    """Shards of the whole data set."""


def shard_folder(entry: CatalogueEntry, root: Path) -> Path:
    """Return the folder for the selected shards of a data set."""
    return root / f"{entry.name}-shards"


def supports_shards(entry: CatalogueEntry, source: Source) -> bool:
    """Return whether some of the files of a source can be used without the others."""
    return source.form in FORMS and entry.kind in KINDS


def ordered_shards(entry: CatalogueEntry, paths: Sequence[str]) -> list[str]:
    """Return the shards among some files, in the order in which they are selected."""
    shards = sorted((path for path in paths if path.endswith(SUFFIXES)), key=_natural)
    return [shards[index] for index in _order(entry, len(shards))]


def n_needed_shards(entry: CatalogueEntry, n_images: int, sizes: Sequence[int], counts: Sequence[int | None]) -> int:
    """Return the number of shards that hold a number of images, estimated from their sizes.

    Where the data set's number of images is not known, one shard is taken to be enough until it has been counted.
    """
    n_of = entry.n_images or entry.n_items
    n = 0.0
    for n_taken, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if n >= n_images:
            return n_taken
        n += count or (n_images if n_of is None else size / max(1, sum(sizes)) * n_of)
    return len(sizes)


def needed_shard_sizes(entry: CatalogueEntry, n_images: int | None) -> list[int]:
    """Return the bytes of each shard that a number of images needs, empty if the catalogue does not state them."""
    if n_images is None or not entry.sources or not supports_shards(entry, entry.sources[0]):
        return []
    sizes = [entry.shards[index] for index in _order(entry, len(entry.shards))]
    return sizes[: n_needed_shards(entry, n_images, sizes, [None] * len(sizes))]


def n_samples(shard: Path) -> int:
    """Return how many samples a shard holds."""
    import pyarrow
    import pyarrow.parquet

    try:
        if shard.suffix == ".parquet":
            return int(pyarrow.parquet.read_metadata(shard).num_rows)
        return sum(1 for _ in webdataset.samples_in(shard))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{shard} cannot be read: {error}. Remove it, and it is fetched again") from error


def find_shards(entry: CatalogueEntry, root: Path, n_images: int) -> ShardSelection | None:
    """Return the downloaded shards that hold a number of images, or None if one of them is missing."""
    folder = shard_folder(entry, root)
    origin = origin_in(folder)
    source = source_of(entry, origin)
    if source is None or not isinstance(origin.get("shards"), dict):
        return None
    chosen, n_chosen = [], 0
    for path in ordered_shards(entry, list(origin["shards"])):
        if n_chosen >= n_images:
            break
        n = origin["shards"][path]
        if n is None or not (folder / path).is_file():
            return None
        chosen.append(path)
        n_chosen += n
    shards = tuple(folder / path for path in sorted(chosen, key=_natural))
    return ShardSelection(folder, source, origin.get("revision"), shards, len(origin["shards"]))


def load_shards(part: ShardSelection, entry: CatalogueEntry, options: DataOptions) -> Dataset:
    """Return the images of some shards, with a note on the selection."""
    if part.source.form == "webdataset":
        dataset = webdataset.load(part.folder, options, entry.name, shards=part.shards)
    else:
        dataset = huggingface_data.load_files(part.shards, options, entry.name, split=part.source.split)
    note = f"{len(part.shards)} of {part.n_shards} shards are on this machine ({len(dataset):,} images)"
    if dataset.labels is not None and dataset.class_names is not None:
        n_classes = len(np.unique(dataset.labels))
        note += f", with {n_classes:,} of {len(dataset.class_names):,} classes: no estimate for the others"
    return replace(dataset, revision=part.revision, notes=(*dataset.notes, note))


def _order(entry: CatalogueEntry, n_shards: int) -> Int64[np.ndarray, " n_shards"]:
    """Return the places of the shards, in their authors' order, in the order in which they are taken."""
    return generator(0, "shards", entry.name).permutation(n_shards)


def _natural(path: str) -> tuple[int, str]:
    """Return a key that puts ``2.tar`` before ``10.tar``."""
    return len(path), path

"""Data sets that are known by name: what they are, where they come from, and how they are prompted."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from clipbench.data.classes import with_class_names
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import known_prompts
from clipbench.errors import DataError, Unavailable


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One data set of the catalogue."""

    name: str
    title: str
    kind: str
    """``classification`` or ``retrieval``."""
    licence: str
    hub: tuple[str, ...]
    """Repositories with the same data and label order, the recommended one first."""
    places: tuple[str, ...]
    """Folders below the data root that may hold it, tried in order."""
    n_images: int
    n_captions: int | None = None
    prompts: str | None = None
    """Table of ``prompts.toml``."""


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return all entries by name, in the order of the file."""
    text = files("clipbench.data").joinpath("catalogue.toml").read_text(encoding="utf-8")
    entries = {}
    for name, fields in tomllib.loads(text).items():
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        entries[name] = CatalogueEntry(name=name, **{**fields, **lists})
    return MappingProxyType(entries)


def entry_of_repository(repository: str) -> CatalogueEntry | None:
    """Return the entry that a Hub repository holds the data of."""
    return next((entry for entry in catalogue().values() if repository in entry.hub), None)


def find_place(entry: CatalogueEntry, data_root: Path | None) -> Path:
    """Return the folder of a data set below the data root (or, without one, the current folder).

    Raises:
        Unavailable: there is none; the message says how to get it.
    """
    root = data_root or Path()
    for place in entry.places:
        if (root / place).exists():
            return root / place
    whose = f"below {data_root}" if data_root else "in the current folder (--data-root FOLDER looks in another)"
    raise Unavailable(
        f"data set '{entry.name}' ({entry.title}) is not on this machine: looked for {', '.join(entry.places)} {whose};"
        f" put it there as {_LAYOUTS[entry.kind]}, or read it from the Hub as hf:{entry.hub[0]}"
        f" (licence: {entry.licence})"
    )


_LAYOUTS = {
    "classification": "one folder a class, CLIP_benchmark's webdataset layout, or parquet files",
    "retrieval": "a manifest.jsonl or .csv with image and caption, CLIP_benchmark's webdataset layout, or parquet files",
}
"""What a person can put in place, by kind of data."""


def with_published_prompts(dataset: Dataset, entry: CatalogueEntry) -> Dataset:
    """Return the data set with the templates and class names that its published numbers were made with.

    Raises:
        DataError: the data have another number of classes.
    """
    if entry.prompts is None:
        return dataset
    templates, names = known_prompts(entry.prompts)
    notes = dataset.notes
    if dataset.templates not in (None, templates):
        notes += (f"the published templates of {entry.name} are used, not those that lie beside the data",)
    dataset = replace(dataset, templates=templates, notes=notes)
    return dataset if names is None else with_class_names(dataset, names, source=f"the catalogue's {entry.name}")


def check_size(dataset: Dataset, entry: CatalogueEntry, *, allow_partial: bool) -> Dataset:
    """Return the data set if it is as large as the published one, or with a note that it is not.

    Raises:
        DataError: it is not, and ``allow_partial`` does not allow that.
    """
    n_captions = None if dataset.captions is None else len(dataset.captions)
    sizes = [("pictures", len(dataset), entry.n_images), ("captions", n_captions, entry.n_captions)]
    wrong = [
        f"{found:,} {what}, expected {expected:,}"
        for what, found, expected in sizes
        if found is not None and expected is not None and found != expected
    ]
    if not wrong:
        return dataset
    said = f"{entry.name} ({entry.title}) has {' and '.join(wrong)}"
    if not allow_partial:
        raise DataError(
            f"{said}: numbers would not be comparable; complete it, name the folder as a path to score it as"
            " data of your own, or run with --allow-partial"
        )
    return replace(dataset, notes=(*dataset.notes, said))

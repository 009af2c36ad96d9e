"""The catalogue: data sets known by name, with their sources, sizes, licences and published prompts."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipbench.data.class_names import with_class_names
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.prompts import known_prompts
from clipbench.data.readers.webdataset import is_layout
from clipbench.errors import DataError, Unavailable, UsageError, did_you_mean
from clipbench.untrusted.reading import MOST_BYTES_OF_SETTINGS, decode_json, is_there, read_bytes, read_toml
from clipbench.untrusted.schema import SchemaError, fitted

ORIGIN_FILE = ".clipbench.json"
"""Record that ``clipbench data get`` leaves in a folder: repository, commit and file hashes."""
OWN_CATALOGUE = "CLIPBENCH_CATALOGUE"
"""Environment variable: a TOML file of the catalogue's form, for data or mirrors of one's own."""
KINDS = ("classification", "retrieval", "contrasts", "attacks")
FORMS = ("webdataset", "parquet", "archive", "urls", "script", "by-hand")
FETCHABLE_FORMS = ("webdataset", "parquet", "archive", "urls")
"""Forms that ``clipbench data get`` can fetch."""


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """One file outside the Hub."""

    url: str
    into: str = ""
    """Folder inside the data set's."""
    size: int | None = None
    sha256: str | None = None
    """The hash, or its first digits where only those are published."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that a data set comes from."""

    form: str
    """One of ``FORMS``."""
    hub: str | None = None
    """``ORG/NAME``."""
    urls: tuple[WebFile, ...] = ()
    split: str | None = None
    revision: str | None = None
    """Commit (or its beginning) that a published evaluation of the same data used; None where none is known."""
    files: tuple[str, ...] = ()
    """Patterns of the files that are needed; empty for what the form and the split imply."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column names by role, such as ``image`` and ``label``; several columns of one role are joined by commas.
    Of a webdataset, ``group`` and ``label`` as its options have them."""
    sha256: str | None = None
    is_gated: bool = False
    """True if the Hub gives the files only to users who have accepted the licence there."""
    note: str = ""

    @property
    def can_be_fetched(self) -> bool:
        """True if ``clipbench data get`` can fetch it."""
        return self.form in FETCHABLE_FORMS

    @property
    def name(self) -> str:
        """Name by which ``--from`` chooses it."""
        return f"hf:{self.hub}" if self.hub else self.form

    @property
    def patterns(self) -> list[str]:
        """Patterns of the files that are needed."""
        if self.files:
            return list(self.files)
        if self.form == "webdataset":
            return ["*.txt", f"{self.split}/*"]
        return ["*.parquet"] if self.split is None else [f"*{self.split}*.parquet", f"*{self.split}/*.parquet"]


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One data set of the catalogue."""

    name: str
    title: str
    kind: str
    """One of ``KINDS``."""
    licence: str
    places: tuple[str, ...]
    """Folders below the data root that may hold it, tried in order; ``data get`` creates the one with its name."""
    purpose: str = ""
    cite: str = ""
    """The paper that introduced it, and the one whose split it is."""
    tasks: tuple[str, ...] = ()
    gate: str | None = None
    """Condition that the user must meet before the data may be fetched, such as accepting a licence."""
    size: int | None = None
    """Bytes to fetch from the first source, or the most that they can be, where that is known."""
    shards: tuple[int, ...] = ()
    """Bytes of each shard of the first source, in their order, where those are known; ``size`` is their sum."""
    n_images: int | None = None
    n_captions: int | None = None
    n_items: int | None = None
    """Contrasts or attacks. All counts are those of the published protocol; None where they are not known for sure."""
    n_classes: int | None = None
    chance: Mapping[str, float] = field(default_factory=dict)
    """Score of a model that knows nothing, by metric."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Data options of the published protocol; the user's own take precedence."""
    images: str | None = None
    """The entry whose images it is about: its own files hold classes in other languages, as Babel-ImageNet's do."""
    prompts: str | None = None
    """Table of ``prompts.toml``; without one, names and templates that lie beside the data are used."""
    protocol: str = ""
    """The protocol behind the published numbers."""
    seen: tuple[str, ...] = ()
    """First-hand sources, each with what of this entry was seen there."""
    unverified: tuple[str, ...] = ()
    """Statements of this entry that were not seen in a first-hand source."""
    sources: tuple[Source, ...] = ()
    """Places to fetch from, best first."""

    @property
    def can_be_fetched(self) -> bool:
        """True if ``clipbench data get`` can fetch it from any source."""
        return any(source.can_be_fetched for source in self.sources)

    @property
    def by_hand(self) -> str | None:
        """Instructions for data that cannot be fetched by command; None where none are known."""
        return next((source.note for source in self.sources if source.form == "by-hand"), None)

    @property
    def hub(self) -> tuple[str, ...]:
        """Repositories with the same data and label order, the recommended one first."""
        return tuple(source.hub for source in self.sources if source.hub is not None and source.form != "script")


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return all entries by name, in the order of the file; a file of one's own adds entries, or replaces some.

    Raises:
        UsageError: the file that ``CLIPBENCH_CATALOGUE`` names cannot be read, or is no catalogue.
    """
    text = files("clipbench.data.catalogue").joinpath("catalogue.toml").read_text(encoding="utf-8")
    own = os.environ.get(OWN_CATALOGUE)
    tables = tomllib.loads(text) | (_read_own(Path(own)) if own else {})
    entries = {name: _entry(name, fields) for name, fields in tables.items()}
    for name, entry in entries.items():
        if entry.images is not None and (entry.images not in entries or entries[entry.images].images is not None):
            raise UsageError(f"{OWN_CATALOGUE}: [{name}] has images = '{entry.images}', expected an entry with images")
    return MappingProxyType(entries)


def entry_of_repository(repository: str) -> CatalogueEntry | None:
    """Return the entry whose data a Hub repository holds."""
    return next((entry for entry in catalogue().values() if repository in entry.hub), None)


def place_of(entry: CatalogueEntry, data_root: Path | None) -> Path | None:
    """Return the existing folder of a data set below the data root (or the current folder), or None."""
    root = data_root or Path()
    return next((root / place for place in entry.places if is_there(root / place)), None)


def find_place(entry: CatalogueEntry, data_root: Path | None) -> Path:
    """Return the folder of a data set below the data root (or, without one, the current folder).

    Raises:
        Unavailable: there is none; the message says how to get it.
    """
    place = place_of(entry, data_root)
    if place is not None:
        return place
    root = f"below {data_root}" if data_root else "in the current folder (--data-root FOLDER looks in another)"
    raise Unavailable(
        f"data set '{entry.name}' ({entry.title}) is not on this machine: looked for {', '.join(entry.places)} {root};"
        f" {_remedy(entry)} (licence: {entry.licence})"
    )


def column_options(entry: CatalogueEntry, place: Path, options: DataOptions) -> DataOptions:
    """Return the options with the columns of the source that ``data get`` fetched; the user's own take precedence.

    Shards that somebody else put there are taken for those of the entry.
    """
    origin = read_origin(place)
    if origin is None and is_layout(place):
        source = next((source for source in entry.sources if source.form == "webdataset"), None)
    else:
        hub = None if origin is None else origin.get("repository")
        source = next((source for source in entry.sources if hub is not None and source.hub == hub), None)
    return options if source is None else with_columns(source, entry, options)


def with_columns(source: Source, entry: CatalogueEntry, options: DataOptions) -> DataOptions:
    """Return the options with the columns of a source, where they tell labels, captions or groups; the user's own take
    precedence."""
    if source.form not in ("parquet", "webdataset") or entry.kind not in ("classification", "retrieval"):
        return options
    return replace(options, options={**source.columns, **options.options})


def with_origin(dataset: Dataset, place: Path) -> Dataset:
    """Return the data set with the commit that ``data get`` fetched as its revision, where there is one."""
    origin = read_origin(place)
    return dataset if origin is None or dataset.revision else replace(dataset, revision=origin.get("revision"))


def read_origin(place: Path) -> Mapping[str, Any] | None:
    """Return the record of ``data get`` in a folder or the one above it; None where there is none, or a damaged one."""
    return origin_in(place) or origin_in(place.parent)


def origin_in(folder: Path) -> Mapping[str, Any] | None:
    """Return the record of ``data get`` in this very folder, or None."""
    try:
        origin = decode_json(read_bytes(folder / ORIGIN_FILE, MOST_BYTES_OF_SETTINGS).decode())
    except (OSError, ValueError):
        return None
    is_record = isinstance(origin, dict) and isinstance(origin.get("revision"), str | None)
    return origin if is_record else None


def with_published_prompts(dataset: Dataset, entry: CatalogueEntry) -> Dataset:
    """Return the data set with the templates and class names of its published protocol.

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
    """Return the data set if it has the published size; with ``allow_partial``, add a note where it has not.

    Raises:
        DataError: it has another size, without ``allow_partial``.
    """
    differences = size_differences(dataset, entry)
    if not differences:
        return dataset
    note = f"{entry.name} ({entry.title}) has {' and '.join(differences)}"
    if not allow_partial:
        raise DataError(
            f"{note}: numbers would not be comparable; complete it, name the folder as a path to score it as"
            " data of your own, or run with --allow-partial"
        )
    return replace(dataset, notes=(*dataset.notes, note))


def size_differences(dataset: Dataset, entry: CatalogueEntry) -> list[str]:
    """Return the counts of the data set that differ from its published protocol."""
    items = dataset.contrasts if dataset.contrasts is not None else dataset.attacks
    sizes = [
        ("image", len(dataset), entry.n_images),
        ("caption", None if dataset.captions is None else len(dataset.captions), entry.n_captions),
        ("item", None if items is None else len(items), entry.n_items),
    ]
    return [
        f"{actual:,} {unit}{'' if actual == 1 else 's'}, expected {expected:,}"
        for unit, actual, expected in sizes
        if actual is not None and expected is not None and actual != expected
    ]


def _remedy(entry: CatalogueEntry) -> str:
    """Return advice on how to obtain the data."""
    if entry.can_be_fetched:
        command = f"`clipbench data get {entry.name}` fetches it"
        gate = f" (first {entry.gate})" if entry.gate else ""
        direct = f", or read it from the Hub as hf:{entry.hub[0]}" if entry.hub else ""
        return f"{command}{gate}{direct}; or put it there as {_LAYOUTS[entry.kind]}"
    return f"it cannot be fetched by command, so put it there by hand: {entry.by_hand or 'see `clipbench data show`'}"


_LAYOUTS = {
    "classification": "one folder a class, CLIP_benchmark's webdataset layout, or parquet files",
    "retrieval": "a manifest.jsonl or .csv with image and caption, CLIP_benchmark's webdataset layout, or parquet files",
    "contrasts": "its authors publish it",
    "attacks": "its authors publish it",
}
"""Layouts that a person can put in place by hand, by kind of data."""


def _read_own(path: Path) -> dict[str, Any]:
    """Return the tables of a catalogue of one's own, after each was found to make an entry."""
    try:
        tables = read_toml(path, UsageError)
    except UsageError as error:
        raise UsageError(f"{OWN_CATALOGUE}: {error}") from error
    for name, table in tables.items():
        if name != name.lower():
            raise UsageError(f"{OWN_CATALOGUE}: {path}: [{name}] is a name with capitals, expected [{name.lower()}]")
        try:
            entry = _entry(name, table)
            fitted(CatalogueEntry, asdict(entry))
            chosen = [("kind", entry.kind, KINDS), *(("form", source.form, FORMS) for source in entry.sources)]
        except (TypeError, KeyError, AttributeError, ValueError, SchemaError) as error:
            message = str(error).replace("CatalogueEntry.__init__()", "it")
            raise UsageError(f"{OWN_CATALOGUE}: {path}: [{name}] is no entry of a catalogue: {message}") from error
        for field_name, value, known in chosen:
            if value not in known:
                raise UsageError(
                    f"{OWN_CATALOGUE}: {path}: [{name}] has {field_name} '{value}': {did_you_mean(value, known)}"
                )
    return tables


def _entry(name: str, table: Mapping[str, Any]) -> CatalogueEntry:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    sources = tuple(_source(source) for source in fields.pop("source"))
    if fields.get("shards"):
        fields["size"] = sum(fields["shards"])
    return CatalogueEntry(name=name, sources=sources, **fields)


def _source(table: Mapping[str, Any]) -> Source:
    fields = {
        **table,
        "files": tuple(table.get("files", ())),
        "urls": tuple(WebFile(**file) for file in table.get("urls", ())),
    }
    return Source(**fields)

"""The catalogue: data sets known by name, with their sources, sizes, licences and published prompts."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.prompts import published_prompts, with_class_names
from clipbench.data.readers.webdataset import is_layout
from clipbench.errors import DataError, Unavailable, UsageError, did_you_mean, option
from clipbench.untrusted.reading import decode_json, is_there, read_bytes, read_toml, shown
from clipbench.untrusted.schema import SchemaError, check_keys, parse_record

ORIGIN_FILE = ".clipbench.json"
"""Record that ``clipbench data get`` leaves in a folder: repository, commit and file hashes."""
OWN_CATALOGUE = "CLIPBENCH_CATALOGUE"
"""Environment variable: a TOML file of the catalogue's form, for data or mirrors of one's own."""
KINDS = ("classification", "retrieval", "contrasts", "attacks")
FORMS = {
    "webdataset": ("hub", "split"),
    "parquet": ("hub",),
    "judged": ("hub",),
    "archive": ("hub",),
    "urls": ("urls",),
    "script": ("hub",),
    "by-hand": ("note",),
}
"""The forms of a source, and the fields that each needs."""
NEEDS = (
    f"an entry needs title, kind ({', '.join(KINDS)}) and licence, and a [[NAME.source]] needs form"
    f" ({', '.join(FORMS)}), and hub, urls or note"
)
FETCHABLE_FORMS = ("webdataset", "parquet", "judged", "archive", "urls")
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
    """Commit (or its beginning) that a published evaluation of the same data used, or None if none is known."""
    files: tuple[str, ...] = ()
    """Patterns of the files that are needed, or empty for what the form and the split imply."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column names by role, such as ``image`` and ``label``. Several columns of one role are joined by commas. For a
    webdataset, ``group`` and ``label`` as in its options.
    """
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
        if self.form == "judged":  # the card says which files are documents, queries and judgements
            return ["README.md", "*.parquet", "*.jsonl", "*.tsv"]
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
    """Folders below the data root that may hold it, tried in order, by default the one with its name, which ``data
    get`` creates.
    """
    purpose: str = ""
    cite: str = ""
    """The paper that introduced it, and the one whose split it is."""
    tasks: tuple[str, ...] = ()
    gate: str | None = None
    """Condition that the user must meet before the data may be fetched, such as accepting a licence."""
    size: int | None = None
    """Bytes to fetch from the first source, or the most that they can be, where that is known."""
    shards: tuple[int, ...] = ()
    """Bytes of each shard of the first source, in their order, if known. ``size`` is their sum."""
    n_images: int | None = None
    n_captions: int | None = None
    n_items: int | None = None
    """Contrasts or attacks. All counts are from the published protocol, or None if they are uncertain."""
    n_classes: int | None = None
    chance: Mapping[str, float] = field(default_factory=dict)
    """Score of a model that knows nothing, by metric."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Data options of the published protocol. The user's own options take precedence."""
    images: str | None = None
    """The entry whose images it is about: its own files hold classes in other languages, as Babel-ImageNet's do."""
    prompts: str | None = None
    """Table of ``prompts.toml``. Without one, names and templates in the folder of the data are used."""
    protocol: str = ""
    """The protocol behind the published numbers."""
    seen: tuple[str, ...] = ()
    """First-hand sources, each with the facts of this entry that were seen there."""
    unverified: tuple[str, ...] = ()
    """Statements of this entry that were not seen in a first-hand source."""
    sources: tuple[Source, ...] = ()
    """Places to fetch from, best first."""

    @property
    def can_be_fetched(self) -> bool:
        """True if ``clipbench data get`` can fetch it from any source."""
        return any(source.can_be_fetched for source in self.sources)

    @property
    def terms(self) -> str:
        """The licence, with the condition of a gate."""
        gate = self.gate or ("accept the licence" if any(source.is_gated for source in self.sources) else "")
        return f"{self.licence}; gated: {gate}" if gate else self.licence

    @property
    def by_hand(self) -> str | None:
        """Instructions for data that cannot be fetched by command, or None if none are known."""
        return next((source.note for source in self.sources if source.form == "by-hand"), None)

    @property
    def hub(self) -> tuple[str, ...]:
        """Repositories with the same data and label order, the recommended one first."""
        return tuple(source.hub for source in self.sources if source.hub is not None and source.form != "script")


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return all entries by name, in the order of the file, with the user's own entries.

    Raises:
        UsageError: the file that ``CLIPBENCH_CATALOGUE`` names cannot be read, or is not a catalogue.
    """
    text = files("clipbench.data.catalogue").joinpath("catalogue.toml").read_text(encoding="utf-8")
    entries = {name: read_entry(name, table, "catalogue.toml") for name, table in tomllib.loads(text).items()}
    user_file = os.environ.get(OWN_CATALOGUE)
    if user_file:
        try:
            tables = read_toml(Path(user_file), UsageError)
        except UsageError as error:
            raise UsageError(f"{OWN_CATALOGUE}: {error}") from error
        entries |= {name: read_entry(name, table, f"{OWN_CATALOGUE}: {user_file}") for name, table in tables.items()}
    for name, entry in entries.items():
        if entry.images is not None and (entry.images not in entries or entries[entry.images].images is not None):
            file = f"{OWN_CATALOGUE}: {user_file}" if user_file else "catalogue.toml"
            raise UsageError(
                f"{file}: [{name}] has images = '{entry.images}', expected the name of an entry with images"
            )
    return MappingProxyType(entries)


def read_entry(name: str, table: object, file: str) -> CatalogueEntry:
    """Return an entry of a catalogue, or raise UsageError if a field is missing, misspelt or of another type."""
    location = f"{file}: [{name}]"
    if name != name.lower():
        raise UsageError(f"{location} is a name with capitals, expected [{name.lower()}]")
    if not isinstance(table, dict):
        raise UsageError(f"{location} is {shown(table)}, expected a table ({NEEDS})")
    sources = table.get("source", [])
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise UsageError(f"{location} has source = {shown(sources)}, expected [[{name}.source]] ({NEEDS})")
    _refuse_misspelt({key: value for key, value in table.items() if key != "source"}, sources, location)
    arguments = {"name": name, "places": [name], **table, "sources": sources}
    try:
        entry = parse_record(CatalogueEntry, arguments)
    except SchemaError as error:
        raise UsageError(f"{location}: {error} ({NEEDS})") from error
    chosen = [("kind", entry.kind, KINDS), *(("form", source.form, FORMS) for source in entry.sources)]
    for field_name, value, known_values in chosen:
        if value not in known_values:
            raise UsageError(f"{location} has {field_name} '{value}': {did_you_mean(value, known_values)} ({NEEDS})")
    for source in entry.sources:
        for field_name in FORMS[source.form]:
            if not getattr(source, field_name):
                raise UsageError(f"{location} has a source of form '{source.form}' without {field_name} ({NEEDS})")
    return replace(entry, size=sum(entry.shards)) if entry.shards else entry


def _refuse_misspelt(table: Mapping[str, Any], sources: Sequence[Mapping[str, Any]], location: str) -> None:
    """Raise UsageError for fields that ``parse_record`` would ignore: in an entry, its sources or their files."""
    parts: list[tuple[type[CatalogueEntry | Source | WebFile], Mapping[str, Any]]]
    parts = [(CatalogueEntry, table), *((Source, source) for source in sources)]
    for source in sources:
        web_files = source.get("urls")
        if isinstance(web_files, list):
            parts += [(WebFile, file) for file in web_files if isinstance(file, dict)]
    for kind, section in parts:
        field_names = {dataclass_field.name for dataclass_field in fields(kind)} - {"name", "sources"}
        check_keys(section, field_names, location, hint=f" ({NEEDS})")


def entry_of_repository(repository: str) -> CatalogueEntry | None:
    """Return the entry whose data a Hub repository holds."""
    return next((entry for entry in catalogue().values() if repository in entry.hub), None)


def find_folder(entry: CatalogueEntry, data_root: Path | None) -> Path | None:
    """Return the existing folder of a data set below the data root (or the current folder), or None."""
    folders = ((data_root or Path()) / folder for folder in entry.places)
    return next((folder for folder in folders if is_there(folder)), None)


def require_folder(entry: CatalogueEntry, data_root: Path | None) -> Path:
    """Return the folder of a data set below the data root or the current folder, or raise Unavailable."""
    folder = find_folder(entry, data_root)
    if folder is not None:
        return folder
    elsewhere = option("data_root", "FOLDER")
    root = f"below {data_root}" if data_root else f"in the current folder ({elsewhere} searches another)"
    raise Unavailable(
        f"data set '{entry.name}' ({entry.title}) is not on this machine: looked for"
        f" {', '.join(entry.places)} {root}. {_remedy(entry)} (licence: {entry.licence})"
    )


def column_options(entry: CatalogueEntry, folder: Path, options: DataOptions) -> DataOptions:
    """Return the options with the columns of the fetched source, which the user's own options override.

    Shards that somebody else put there are read as the shards of the entry.
    """
    origin = read_origin(folder)
    if not origin and is_layout(folder):
        source = next((source for source in entry.sources if source.form == "webdataset"), None)
    else:
        source = source_of(entry, origin)
    return options if source is None else with_columns(source, entry, options)


def with_columns(source: Source, entry: CatalogueEntry, options: DataOptions) -> DataOptions:
    """Return the options with the columns of a source, if they give labels, captions or groups. The user's own options
    take precedence.
    """
    if source.form not in ("parquet", "webdataset") or entry.kind not in ("classification", "retrieval"):
        return options
    return replace(options, options={**source.columns, **options.options})


def read_origin(folder: Path) -> Mapping[str, Any]:
    """Return the record of ``data get`` from a folder or its parent, empty if there is none or it is damaged."""
    return origin_in(folder) or origin_in(folder.parent)


def origin_in(folder: Path) -> Mapping[str, Any]:
    """Return the record of ``data get`` in this very folder, or empty if there is none, or a damaged one."""
    try:
        origin = decode_json(read_bytes(folder / ORIGIN_FILE).decode())
    except (OSError, ValueError):
        return {}
    is_record = isinstance(origin, dict) and isinstance(origin.get("revision"), str | None)
    return origin if is_record else {}


def source_of(entry: CatalogueEntry, origin: Mapping[str, Any]) -> Source | None:
    """Return the repository that files come from, by the record of ``data get``."""
    repository = origin.get("repository")
    for source in entry.sources:
        if source.hub and source.hub == repository:
            return source
    return None


def with_citation(dataset: Dataset, entry: CatalogueEntry) -> Dataset:
    """Return the data set with the citation and the licence of its entry."""
    return replace(dataset, cite=entry.cite or None, licence=entry.terms)


def with_entry_facts(dataset: Dataset, entry: CatalogueEntry) -> Dataset:
    """Return the data set with the citation, the licence, and the published templates and class names of its entry."""
    dataset = with_citation(dataset, entry)
    if entry.prompts is None:
        return dataset
    templates, names = published_prompts(entry.prompts)
    notes = dataset.notes
    if dataset.templates not in (None, templates):
        notes += (f"the published templates of {entry.name} are used, not the templates in the folder of the data",)
    dataset = replace(dataset, templates=templates, notes=notes)
    return dataset if names is None else with_class_names(dataset, names, source=f"the catalogue's {entry.name}")


def check_size(dataset: Dataset, entry: CatalogueEntry, *, allow_partial: bool) -> Dataset:
    """Return the data set if it has the published size. Otherwise raise DataError, or with ``allow_partial`` add a
    note.
    """
    differences = size_differences(dataset, entry)
    if not differences:
        return dataset
    note = f"{entry.name} ({entry.title}) has {' and '.join(differences)}"
    if not allow_partial:
        raise DataError(
            f"{note}: its numbers would not be comparable. Complete the data, give the folder as a path to"
            f" score it as data of your own, or run with {option('allow_partial', True)}"
        )
    return replace(dataset, notes=(*dataset.notes, note))


def size_differences(dataset: Dataset, entry: CatalogueEntry) -> list[str]:
    """Return the counts of the data set that differ from its published protocol."""
    questions = dataset.contrasts if dataset.contrasts is not None else dataset.attacks
    sizes = [
        ("image", len(dataset), entry.n_images),
        ("caption", None if dataset.captions is None else len(dataset.captions), entry.n_captions),
        ("item", None if questions is None else len(questions), entry.n_items),
    ]
    differences = []
    for unit, actual, expected in sizes:
        if actual is not None and expected is not None and actual != expected:
            plural = "" if actual == 1 else "s"
            differences.append(f"{actual:,} {unit}{plural}, expected {expected:,}")
    return differences


def _remedy(entry: CatalogueEntry) -> str:
    if entry.can_be_fetched:
        command = f"Fetch it with `clipbench data get {entry.name}`"
        gate = f" (first {entry.gate})" if entry.gate else ""
        direct = f", or read it from the Hub as hf:{entry.hub[0]}" if entry.hub else ""
        return f"{command}{gate}{direct}, or put it there as {_LAYOUTS[entry.kind]}"
    return f"No command can fetch it: put it there by hand: {entry.by_hand or 'see `clipbench data show`'}"


_LAYOUTS = {
    "classification": "one folder per class, CLIP_benchmark's webdataset layout, or parquet files",
    "retrieval": (
        "a manifest.jsonl or .csv with image and caption, CLIP_benchmark's webdataset layout, or parquet files"
    ),
    "contrasts": "its authors publish it",
    "attacks": "its authors publish it",
}
"""Layouts that a person can put in place by hand, by kind of data."""

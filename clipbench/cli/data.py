"""``clipbench data``: lists, describes and downloads the data sets of the catalogue."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import DONE, INCOMPLETE, INTERRUPTED, SETTINGS, HelpfulGroup
from clipbench.cli.options import DATA_ROOT, TRACEBACK
from clipbench.cli.output import echo, terminal_width
from clipbench.errors import ClipbenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    from clipbench.data.catalogue.entries import CatalogueEntry, Source

UNSURE = " (?)"
"""Marks a licence that no first-hand source confirms."""


@click.group(cls=HelpfulGroup, context_settings=SETTINGS)
def data() -> None:
    """List, describe and download data sets of the papers."""


@data.command("list", context_settings=SETTINGS)
@DATA_ROOT
@TRACEBACK
def list_(data_root: Path | None) -> None:
    """List the data sets with presence, size, licence and access conditions."""
    from clipbench.data.catalogue.entries import catalogue
    from clipbench.results.table import Table, as_text, columns

    headers = columns("name", "present", "download", "licence", "access")
    table = Table(columns=headers, rows=[_row(entry, data_root) for entry in catalogue().values()])
    echo(*as_text(table, indent="", width=terminal_width()).splitlines())
    root = data_root or "the current folder"
    echo("", f"present: in {root} (part: some of its shards; unfinished: a download that was interrupted)")
    echo(f"access: empty where no condition is known;{UNSURE}: not verified; clipbench data show NAME says more")


@data.command(context_settings=SETTINGS)
@click.argument("name")
@DATA_ROOT
@TRACEBACK
def show(name: str, data_root: Path | None) -> None:
    """Describe a data set: purpose, size, licence, protocol and sources."""
    entry = _find(name)
    echo(f"{entry.name}: {entry.title}")
    for label, text in _facts(entry, data_root):
        echo(f"  {label:11} {text}")
    for number, source in enumerate(entry.sources, 1):
        echo(f"  {'source ' + str(number):11} {source_line(source)}")
    for source_seen in entry.seen:
        echo(f"  {'seen at':11} {source_seen}")
    for fact in entry.unverified:
        echo(f"  {'unverified':11} {fact}")


@data.command(context_settings=SETTINGS)
@click.argument("names", nargs=-1, required=True)
@DATA_ROOT
@click.option(
    "--from", "source", metavar="SOURCE", help="Source that `clipbench data show` lists, such as hf:ORG/NAME."
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub, instead of the pinned commit.")
@click.option("--quiet", is_flag=True, help="Hide progress bars.")
@TRACEBACK
def get(names: Sequence[str], data_root: Path | None, source: str | None, revision: str | None, quiet: bool) -> int:
    """Download data sets into the data root.

    Each gets a folder of its own name once all of its files are complete and their checksums match. If a data set
    is about the images of another one, these images come with it. An interrupted download continues when the command is
    repeated.

    Exit status: 0 all are present, 2 bad usage or input, 3 something cannot be downloaded.
    """
    entries = [_find(name) for name in dict.fromkeys(names)]
    if len(entries) > 1 and (source or revision):
        raise UsageError(
            "--from and --revision apply to one data set: got " + ", ".join(entry.name for entry in entries)
        )
    _silence_client(hide_progress=quiet)
    wanted = _with_images(entries)
    choices = {entries[0].name: (source, revision)}
    with _immediate_interrupt():
        failures = [
            _get(entry, data_root or Path(), *choices.get(entry.name, (None, None)), is_one=len(wanted) == 1)
            for entry in wanted
        ]
    return INCOMPLETE if any(failures) else DONE


def _with_images(entries: "Sequence[CatalogueEntry]") -> "list[CatalogueEntry]":
    """Return the entries, and after each that is about the images of another, that other; each once."""
    from clipbench.data.catalogue.entries import catalogue

    wanted: dict[str, CatalogueEntry] = {}
    for entry in entries:
        wanted[entry.name] = entry
        if entry.images is not None:
            _say(f"{entry.name} is about the images of {entry.images}: these are needed too")
            wanted[entry.images] = catalogue()[entry.images]
    return list(wanted.values())


def source_line(source: "Source") -> str:
    """Return a source of a data set as a line.

    Example:
        >>> from clipbench.data.catalogue.entries import Source
        >>> source_line(Source(form="parquet", hub="me/pets", split="test", revision="abc", columns={"image": "img"}))
        'hf:me/pets, parquet, split test, at abc (image = img)'
    """
    if source.form == "by-hand":
        return f"by hand: {source.note}"
    files = f"{len(source.urls)} files, the last " if len(source.urls) > 1 else ""
    parts = [source.name if source.hub else f"urls: {files}{source.urls[-1].url}"]
    if source.hub:
        parts.append("a script, which the datasets library no longer runs" if source.form == "script" else source.form)
    if source.split:
        parts.append(f"split {source.split}")
    if source.hub and source.form != "script":
        parts.append(f"at {source.revision}" if source.revision else "no revision pinned")
    columns = ", ".join(f"{ours} = {theirs}" for ours, theirs in source.columns.items() if ours != theirs)
    return ", ".join(parts) + (f" ({columns})" if columns else "") + (f"; {source.note}" if source.note else "")


def _get(
    entry: "CatalogueEntry", root: Path, source: str | None, revision: str | None, *, is_one: bool
) -> ClipbenchError | None:
    """Download one data set; if there are others, print an error and return it instead of raising it."""
    from clipbench.data.catalogue.download import Download, choose_source, fetch
    from clipbench.data.catalogue.entries import origin_in, place_of

    place = place_of(entry, root)
    if place is not None:
        echo(f"{entry.name} is present: {place} (to download it again, move that away)")
        return None
    try:
        download = Download(entry=entry, source=choose_source(entry, source), root=root, revision=revision, report=_say)
        folder = fetch(download)
    except ClipbenchError as error:
        if is_one:
            raise
        _say(f"clipbench: {error}")
        return error
    commit = (origin_in(folder) or {}).get("revision")
    echo(f"{entry.name} is present: {folder}" + (f" (commit {commit})" if commit else ""))
    return None


@contextmanager
def _immediate_interrupt() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process at once: the client's threads would first finish their files.

    Nothing is lost: incomplete files do not have their final names yet.
    """

    def stop(*_: object) -> None:
        _say("clipbench: interrupted: complete files are kept, and the same command continues from there")
        os._exit(INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _silence_client(*, hide_progress: bool) -> None:
    """Hide the Hub client's warnings about its retries and, if asked, its progress bars."""
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    if hide_progress:
        disable_progress_bars()


def _say(line: str) -> None:
    echo(line, err=True)


def _find(name: str) -> "CatalogueEntry":
    from clipbench.data.catalogue.entries import catalogue

    entry = catalogue().get(name.lower())
    if entry is None:
        raise UsageError(f"unknown data '{name}': {did_you_mean(name, catalogue())} (clipbench data list)")
    return entry


def _row(entry: "CatalogueEntry", root: Path | None) -> tuple[str, ...]:
    from clipbench.data.catalogue.download import readable_size

    unknown = "unknown" if entry.can_be_fetched else "by hand"
    size = readable_size(entry.size) if entry.size else unknown
    access = entry.gate or ("" if entry.images is None else f"comes with {entry.images}")
    return (entry.name, _presence(entry, root), size, _licence(entry), access)


def _presence(entry: "CatalogueEntry", root: Path | None) -> str:
    from clipbench.data.catalogue.download import staging_of
    from clipbench.data.catalogue.entries import place_of
    from clipbench.data.catalogue.shards import folder_of

    if place_of(entry, root) is not None:
        return "yes"
    if os.path.isdir(folder_of(entry, root or Path())):
        return "part"
    return "unfinished" if os.path.isdir(staging_of(entry, root or Path())) else "no"


def _licence(entry: "CatalogueEntry") -> str:
    return entry.licence + (UNSURE if any(fact.startswith("licence") for fact in entry.unverified) else "")


def _facts(entry: "CatalogueEntry", root: Path | None) -> list[tuple[str, str]]:
    from clipbench.data.catalogue.download import readable_size
    from clipbench.data.catalogue.entries import place_of

    counts = [("images", entry.n_images), ("captions", entry.n_captions), ("items", entry.n_items),
              ("classes", entry.n_classes)]  # fmt: skip
    there = place_of(entry, root) or f"not in {root or 'the current folder'} (looked for {', '.join(entry.places)})"
    facts = [
        ("present", str(there)),
        ("for", entry.purpose),
        ("tasks", ", ".join(entry.tasks)),
        ("size", ", ".join(f"{n:,} {unit}" for unit, n in counts if n is not None)),
        ("download", "" if entry.size is None else readable_size(entry.size)),
        ("licence", _licence(entry)),
        ("cite", entry.cite),
        ("access", entry.gate or "no condition known"),
        ("images", "" if entry.images is None else f"those of {entry.images}, which are fetched along"),
        ("protocol", entry.protocol),
        ("chance", ", ".join(f"{name} {100 * value:.3g} %" for name, value in entry.chance.items())),
        ("prompts", _prompts(entry)),
    ]
    return [(label, text) for label, text in facts if text]


def _prompts(entry: "CatalogueEntry") -> str:
    """Return whose prompts classification takes, in a few words."""
    from clipbench.data.prompts import known_prompts
    from clipbench.results.numbers import counted

    if entry.prompts is None:
        return "those beside the data" if entry.kind == "classification" else ""
    templates, names = known_prompts(entry.prompts)
    classes = "the data's class names" if names is None else counted(len(names), "class name")
    return f"{counted(len(templates), 'published template')}, {classes}"

"""``clipbench data``: list, describe and download the data sets of the catalogue, without importing torch."""

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
from clipbench.cli.output import echo, print_error, print_line, terminal_width
from clipbench.errors import STOP_SIGNALS, ClipbenchError, UsageError, did_you_mean

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
    from clipbench.data.catalogue.download import readable_size
    from clipbench.data.catalogue.entries import catalogue
    from clipbench.results.table import Table, as_text, columns

    rows = []
    for entry in catalogue().values():
        unknown = "unknown" if entry.can_be_fetched else "by hand"
        size = readable_size(entry.size) if entry.size else unknown
        access = entry.gate or ("" if entry.images is None else f"comes with {entry.images}")
        rows.append((entry.name, _presence(entry, data_root), size, _licence(entry), access))
    table = Table(columns=columns("name", "present", "download", "licence", "access"), rows=rows)
    echo(*as_text(table, indent="", width=terminal_width()).splitlines())
    root = data_root or "the current folder"
    echo("", f"present: yes if in {root}, part if some of its shards are, unfinished if its download was interrupted")
    echo(f"access: empty if no condition is known.{UNSURE}: not verified. For details: clipbench data show NAME")


@data.command(context_settings=SETTINGS)
@click.argument("name")
@DATA_ROOT
@TRACEBACK
def show(name: str, data_root: Path | None) -> None:
    """Describe a data set: purpose, size, licence, protocol and sources."""
    entry = _find_entry(name)
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
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@TRACEBACK
def sample(folder: Path) -> None:
    """Write 24 small pictures with captions, classes and queries, free for any use, to try commands with."""
    from clipbench.data.sample_photographs import BROKEN, QUERIES, TABLE, TABLE_OF_ALL, write_sample

    write_sample(folder)
    echo(
        f"{folder / TABLE}: 23 pictures with captions, classes and regions, in English, German and Swahili",
        f"{folder / TABLE_OF_ALL}: the broken picture {BROKEN} too",
        f"{folder / QUERIES}: 15 queries to choose a model with",
        f"clipbench run --model tiny --tasks retrieval,zero-shot --data {folder / TABLE}",
    )


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
    entries = [_find_entry(name) for name in dict.fromkeys(names)]
    if len(entries) > 1 and (source or revision):
        raise UsageError(
            "--from and --revision apply to one data set: got " + ", ".join(entry.name for entry in entries)
        )
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()  # it warns of each retry
    if quiet:
        disable_progress_bars()
    downloads = _add_image_entries(entries)
    choices = {entries[0].name: (source, revision)}
    status = DONE
    with _immediate_interrupt():
        for entry in downloads:
            try:
                _download(entry, data_root or Path(), *choices.get(entry.name, (None, None)))
            except ClipbenchError as error:
                if len(downloads) == 1:
                    raise
                print_error(str(error))
                status = INCOMPLETE
    return status


def _add_image_entries(entries: "Sequence[CatalogueEntry]") -> "list[CatalogueEntry]":
    """Return the entries without repetition, each followed by the entry whose images it needs."""
    from clipbench.data.catalogue.entries import catalogue

    by_name: dict[str, CatalogueEntry] = {}
    for entry in entries:
        by_name[entry.name] = entry
        if entry.images is not None:
            print_line(f"{entry.name} also needs the images of {entry.images}")
            by_name[entry.images] = catalogue()[entry.images]
    return list(by_name.values())


def source_line(source: "Source") -> str:
    """Return a source of a data set as a line."""
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


def _download(entry: "CatalogueEntry", root: Path, source: str | None, revision: str | None) -> None:
    from clipbench.data.catalogue.download import Download, choose_source, fetch
    from clipbench.data.catalogue.entries import find_folder, origin_in

    existing = find_folder(entry, root)
    if existing is not None:
        echo(f"{entry.name} is present: {existing} (to download it again, move that away)")
        return
    chosen = choose_source(entry, source)
    folder = fetch(Download(entry=entry, source=chosen, root=root, revision=revision, report=print_line))
    commit = (origin_in(folder) or {}).get("revision")
    echo(f"{entry.name} is present: {folder}" + (f" (commit {commit})" if commit else ""))


@contextmanager
def _immediate_interrupt() -> Iterator[None]:
    """Let a signal to stop end the process at once: the client's threads would first finish their files.

    Nothing is lost: incomplete files do not have their final names yet.
    """

    def stop(*_: object) -> None:
        print_error("interrupted: complete files are kept, and the same command resumes from there")
        os._exit(INTERRUPTED)

    is_main = threading.current_thread() is threading.main_thread()  # others get no signals
    handlers = {}
    for number in STOP_SIGNALS:
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if is_main and not is_ignored:
            handlers[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _find_entry(name: str) -> "CatalogueEntry":
    from clipbench.data.catalogue.entries import catalogue

    entry = catalogue().get(name.lower())
    if entry is None:
        raise UsageError(f"unknown data '{name}': {did_you_mean(name, catalogue())} (clipbench data list)")
    return entry


def _presence(entry: "CatalogueEntry", root: Path | None) -> str:
    from clipbench.data.catalogue.download import staging_of
    from clipbench.data.catalogue.entries import find_folder
    from clipbench.data.catalogue.shards import shard_folder

    if find_folder(entry, root) is not None:
        return "yes"
    if os.path.isdir(shard_folder(entry, root or Path())):
        return "part"
    return "unfinished" if os.path.isdir(staging_of(entry, root or Path())) else "no"


def _licence(entry: "CatalogueEntry") -> str:
    return entry.licence + (UNSURE if any(fact.startswith("licence") for fact in entry.unverified) else "")


def _facts(entry: "CatalogueEntry", root: Path | None) -> list[tuple[str, str]]:
    from clipbench.data.catalogue.download import readable_size
    from clipbench.data.catalogue.entries import find_folder

    counts = [
        ("images", entry.n_images),
        ("captions", entry.n_captions),
        ("items", entry.n_items),
        ("classes", entry.n_classes),
    ]
    location = find_folder(entry, root)
    absent = f"not in {root or 'the current folder'} (looked for {', '.join(entry.places)})"
    chances = [f"{name} {100 * value:.3g} %" for name, value in entry.chance.items()]
    facts = [
        ("present", absent if location is None else str(location)),
        ("for", entry.purpose),
        ("tasks", ", ".join(entry.tasks)),
        ("size", ", ".join(f"{n:,} {unit}" for unit, n in counts if n is not None)),
        ("download", "" if entry.size is None else readable_size(entry.size)),
        ("licence", _licence(entry)),
        ("cite", entry.cite),
        ("access", entry.gate or "no condition known"),
        ("images", "" if entry.images is None else f"the images of {entry.images}, which are fetched with it"),
        ("protocol", entry.protocol),
        ("chance", ", ".join(chances)),
        ("prompts", _prompts(entry)),
    ]
    return [(label, text) for label, text in facts if text]


def _prompts(entry: "CatalogueEntry") -> str:
    """Return whose prompts classification takes, in a few words."""
    from clipbench.data.prompts import published_prompts
    from clipbench.results.numbers import counted

    if entry.prompts is None:
        return "the templates in the folder of the data" if entry.kind == "classification" else ""
    templates, names = published_prompts(entry.prompts)
    classes = "the data's class names" if names is None else counted(len(names), "class name")
    return f"{counted(len(templates), 'published template')}, {classes}"

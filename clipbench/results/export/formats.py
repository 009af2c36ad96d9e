"""Export formats, which are entry points of ``clipbench.exports``, and the one way to write runs in any of them."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipbench import plugins
from clipbench.errors import FOREIGN, ClipbenchError, UsageError, did_you_mean, error_summary, option
from clipbench.files import write_atomic, write_errors
from clipbench.results.run import Run, all_evaluations, runs_of
from clipbench.results.table import Table
from clipbench.untrusted.reading import is_folder, is_there

Object = dict[str, object]
"""An object of JSON or YAML."""


@dataclass(frozen=True, kw_only=True)
class RenderedExport:
    """Runs written in a format."""

    content: bytes
    """The content of one file."""
    parts: Mapping[str, bytes] = field(default_factory=dict)
    """The same content as files of a folder, by name, where the format has that form."""
    notes: Sequence[str] = ()
    """Values and evaluations that the format has no place for, with the reasons."""


@dataclass(frozen=True, kw_only=True)
class ListChoice:
    """The result lists that an export writes."""

    depth: int | None = None
    """Number of results per query, None for all that a run keeps."""
    side: str | None = None
    """Side of the queries: ``text`` or ``image``. None for every side."""
    is_folder: bool = False
    """True if a file per evaluation and side is written."""


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """A way to write runs down, which a plug-in declares as an entry point of ``clipbench.exports``."""

    suffixes: tuple[str, ...]
    """Suffixes of its files, the usual one first."""
    render: Callable[[Sequence[Run]], RenderedExport]
    is_text: bool = True
    has_slices: bool = False
    """True where metrics by the groups of the data have a place."""
    takes_folder: bool = False
    """True when ``RenderedExport.parts`` may be written to a folder."""
    render_folder: Callable[[Sequence[Run]], RenderedExport] | None = None
    """Renders runs for a folder, if that has more than a file."""
    render_lists: Callable[[Sequence[Run], ListChoice], RenderedExport] | None = None
    """Renders some of the result lists of runs, for a format of result lists."""
    render_table: Callable[[Table], RenderedExport] | None = None
    """Renders one table that has a row per model, for a format of tables."""


def json_bytes(value: object, indent: int | None = None) -> bytes:
    """Return the content of a JSON file."""
    return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()


def format_of(to: str) -> ExportFormat:
    """Return a format by its name, in which ``-`` and ``_`` are alike.

    Raises:
        UsageError: there is none.
        ClipbenchError: a plug-in declares it and cannot be imported, or it is no ``ExportFormat``.
    """
    names = plugins.names(plugins.EXPORTS)
    name = next((candidate for candidate in names if candidate.replace("_", "-") == to.replace("_", "-")), None)
    if name is None:
        raise UsageError(f"{option('to', to)}: no such format, {did_you_mean(to, names)}")
    export_format = plugins.load(plugins.EXPORTS, name)
    if not isinstance(export_format, ExportFormat):
        maker = plugins.distribution(plugins.EXPORTS, name)
        raise ClipbenchError(
            f"the export {name} of {maker} is of type {type(export_format).__name__}: expected an ExportFormat"
        )
    return export_format


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The outcome of an export."""

    text: str | None
    """The content to print, None if files were written."""
    written: list[Path]
    notes: Sequence[str]
    """Values and evaluations that the format has no place for, with the reasons."""

    def __str__(self) -> str:
        """Return the content, or the files that were written, one per line."""
        return "\n".join(map(str, self.written)) if self.text is None else self.text


def export(
    sources: Sequence[Path | Run],
    to: str,
    out: Path | None = None,
    choice: ListChoice = ListChoice(),
    make_table: Callable[[Sequence[Run]], Table] | None = None,
) -> Exported:
    """Write runs in a format. An existing file is replaced, whole or not at all. A name in ``.gz`` compresses it.

    Args:
        sources: runs, run folders, or their ``result.json``.
        to: a name of an entry point of ``clipbench.exports``, in which ``-`` and ``_`` are alike.
        out: a file with the format's suffix, or a folder where the format has that form, None for none.
        choice: depth and side of result lists, for a format of these.
        make_table: makes one table of all runs, with a row per model, which is written instead of the runs.

    Raises:
        UsageError: an unknown format, a file that does not suit it or cannot be written, or runs that it cannot hold.
        ClipbenchError: a run is damaged or newer, or a plug-in's format fails.
    """
    form = format_of(to)
    is_folder = _check_out(form, to, out)
    if form.render_lists is None:
        _refuse_choice(to, choice)
    if make_table is not None and form.render_table is None:
        raise UsageError(
            f"{to} has no table with a row per model: remove {option('rows', 'models')}, or export to latex, markdown"
            " or csv"
        )
    runs = runs_of(sources)
    try:
        if make_table is not None and form.render_table is not None:
            rendered = form.render_table(make_table(runs))
        elif form.render_lists is not None:
            rendered = form.render_lists(runs, replace(choice, is_folder=is_folder))
        else:
            render = form.render_folder if is_folder and form.render_folder else form.render
            rendered = render(runs)
    except ClipbenchError:
        raise
    except FOREIGN as error:  # a plug-in may raise anything
        raise ClipbenchError(f"the export {to} failed ({error_summary(error)})") from error
    notes = list(rendered.notes)
    if not form.has_slices and make_table is None:
        slices_by_name = {record.name: record.slices for record in all_evaluations(runs) if record.slices}
        notes += [
            f"{name}: slices by {', '.join(slices)} are left out: {to} has no place for them, csv and parquet have"
            for name, slices in slices_by_name.items()
        ]
    if out is None:
        return Exported(text=rendered.content.decode(), written=[], notes=notes)
    content = gzip.compress(rendered.content, mtime=0) if out.suffix.lower() == ".gz" else rendered.content
    files = _parts(rendered, out) if is_folder else {out: content}
    write_atomic(files)
    return Exported(text=None, written=[out] if is_folder else list(files), notes=notes)


def _refuse_choice(to: str, choice: ListChoice) -> None:
    """Raise UsageError for a depth or a side, which only formats of result lists have."""
    for name, value in (("depth", choice.depth), ("direction", choice.side)):
        if value is not None:
            raise UsageError(f"{option(name, value)} has no effect on {to}, which has no result lists: remove it")


def _check_out(form: ExportFormat, to: str, out: Path | None) -> bool:
    """Return True for a folder, and refuse a file that does not suit the format."""
    expected = " or ".join(form.suffixes)
    if out is None:
        if not form.is_text:
            raise UsageError(f"{to} cannot be printed: give -o FILE{form.suffixes[0]}")
        return False
    if form.takes_folder and (is_folder(out) or not out.suffix):
        return True
    if not out.name.lower().endswith(form.suffixes) or out.name == "result.json":
        folder = " or a folder" if form.takes_folder else ""
        other = ", other than result.json" if out.name == "result.json" else ""  # the record of a run is not to be lost
        raise UsageError(f"-o {out}: {to} needs a file ending in {expected}{folder}{other}")
    return False


def _parts(rendered: RenderedExport, folder: Path) -> dict[Path, bytes]:
    """Return the files of a folder, or raise UsageError if a file with other content would be overwritten."""
    files = {folder / name: content for name, content in rendered.parts.items()}
    with write_errors(folder):
        for parent in {folder, *(path.parent for path in files)}:
            parent.mkdir(parents=True, exist_ok=True)
        conflicts = [path for path, content in files.items() if is_there(path) and path.read_bytes() != content]
    if conflicts:
        raise UsageError(f"{conflicts[0]} exists and holds other results: choose another folder")
    return files

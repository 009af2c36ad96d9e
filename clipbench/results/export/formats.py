"""Export formats, which are entry points of ``clipbench.exports``, and the one way to write runs in any of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipbench import plugins
from clipbench.errors import FOREIGN, ClipbenchError, UsageError, did_you_mean, error_summary
from clipbench.files import write_atomic, write_errors
from clipbench.results.run import Run, all_evaluations, read_one_run
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
        raise UsageError(f"--to {to}: {did_you_mean(to, names)}")
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


def export(paths: Sequence[Path], to: str, out: Path | None = None) -> Exported:
    """Write runs in a format. An existing file is replaced, whole or not at all.

    Args:
        paths: run folders, or their ``result.json``.
        to: a name of an entry point of ``clipbench.exports``, in which ``-`` and ``_`` are alike.
        out: a file with the format's suffix, or a folder where the format has that form, None for none.

    Raises:
        UsageError: an unknown format, a file that does not suit it or cannot be written, or runs that it cannot hold.
        ClipbenchError: a run is damaged or newer, or a plug-in's format fails.
    """
    form = format_of(to)
    is_folder = _check_out(form, to, out)
    runs = [read_one_run(path) for path in paths]
    try:
        render = form.render_folder or form.render if is_folder else form.render
        rendered = render(runs)
    except ClipbenchError:
        raise
    except FOREIGN as error:  # a plug-in may raise anything
        raise ClipbenchError(f"the export {to} failed ({error_summary(error)})") from error
    sliced = {record.name: record.slices for record in all_evaluations(runs) if record.slices}
    notes = list(rendered.notes)
    if not form.has_slices:
        notes += [
            f"{name}: slices by {', '.join(slices)} are left out: {to} has no place for them, csv and parquet have"
            for name, slices in sliced.items()
        ]
    if out is None:
        return Exported(text=rendered.content.decode(), written=[], notes=notes)
    files = _parts(rendered, out) if is_folder else {out: rendered.content}
    write_atomic(files)
    return Exported(text=None, written=[out] if is_folder else list(files), notes=notes)


def _check_out(form: ExportFormat, to: str, out: Path | None) -> bool:
    """Return True for a folder, and refuse a file that does not suit the format."""
    expected = " or ".join(form.suffixes)
    if out is None:
        if not form.is_text:
            raise UsageError(f"{to} cannot be printed: give -o FILE{form.suffixes[0]}")
        return False
    if form.takes_folder and (is_folder(out) or not out.suffix):
        return True
    if out.suffix.lower() not in form.suffixes or out.name == "result.json":
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

"""The formats by name, and the one way to write runs in any of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clipbench.errors import UsageError, did_you_mean
from clipbench.files import write_atomic
from clipbench.results.export import clip_benchmark, eval_results, every_eval_ever, model_index, mteb, rows, tables
from clipbench.results.export.rendered import Format, Rendered
from clipbench.results.run import Run, read_one_run
from clipbench.untrusted.reading import is_folder, is_there

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "csv": Format(
            summary="one row per metric, with all that a run says of it",
            suffixes=(".csv",),
            render=rows.as_csv,
            has_slices=True,
        ),
        "parquet": Format(
            summary="the same rows with types",
            suffixes=(".parquet",),
            render=rows.as_parquet,
            is_text=False,
            has_slices=True,
        ),
        "clip_benchmark": Format(
            summary="CLIP_benchmark's JSON: a list in one file, or a folder with a file per evaluation",
            suffixes=(".json",),
            render=clip_benchmark.render,
            takes_folder=True,
        ),
        "model-index": Format(
            summary="YAML for the model card of a Hugging Face repository",
            suffixes=(".yaml", ".yml"),
            render=model_index.render,
        ),
        "eval-results": Format(
            summary="YAML for the leaderboards of the Hub's benchmarks",
            suffixes=(".yaml", ".yml"),
            render=eval_results.render,
        ),
        "every-eval-ever": Format(
            summary="JSON of the EvalEval coalition's shared schema", suffixes=(".json",), render=every_eval_ever.render
        ),
        "mteb": Format(
            summary="mteb's results of its image tasks: one list, or one file per task",
            suffixes=(".json",),
            render=mteb.render,
            takes_folder=True,
        ),
        "markdown": Format(
            summary="one table per evaluation, with a column per model", suffixes=(".md",), render=tables.markdown
        ),
        "latex": Format(summary="the same tables for a paper, with booktabs", suffixes=(".tex",), render=tables.latex),
    }
)
"""The formats of ``clipbench export --to``."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The outcome of an export."""

    text: str | None
    """The content to print; None where files were written."""
    written: list[Path]
    notes: Sequence[str]
    """Values and evaluations that the format has no place for, with the reasons."""


def export(paths: Sequence[Path], to: str, out: Path | None = None) -> Exported:
    """Write runs in a format; a file that is there is replaced, whole or not at all.

    Args:
        paths: run folders, or their ``result.json``.
        to: one of ``FORMATS``; ``-`` and ``_`` are alike.
        out: a file with the format's suffix, or a folder where the format has that form; None for none.

    Raises:
        UsageError: an unknown format, a file that does not suit it or cannot be written, or runs that it cannot hold.
        ClipbenchError: a run is damaged or newer.
    """
    form = {name.replace("_", "-"): form for name, form in FORMATS.items()}.get(to.replace("_", "-"))
    if form is None:
        raise UsageError(f"--to {to}: {did_you_mean(to, FORMATS)}")
    is_folder = _check_out(form, to, out)
    runs = [read_one_run(path) for path in paths]
    rendered = form.render(runs)
    notes = [*rendered.notes, *([] if form.has_slices else _slices_left_out(runs, to))]
    if out is None:
        return Exported(text=rendered.content.decode(), written=[], notes=notes)
    files = _parts(rendered, out) if is_folder else {out: rendered.content}
    write_atomic(files)
    return Exported(text=None, written=[out] if is_folder else list(files), notes=notes)


def _slices_left_out(runs: Sequence[Run], to: str) -> list[str]:
    records = {record.name: record for run in runs for record in run.result.evaluations if record.slices}
    return [
        f"{name}: slices by {', '.join(record.slices)} are left out: {to} has no place for them, csv and parquet have"
        for name, record in records.items()
    ]


def _check_out(form: Format, to: str, out: Path | None) -> bool:
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


def _parts(rendered: Rendered, folder: Path) -> dict[Path, bytes]:
    """Return the files of a folder; one that holds something else is not to be lost: only the folder was named."""
    files = {folder / name: content for name, content in rendered.parts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [path for path, content in files.items() if is_there(path) and path.read_bytes() != content]
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error
    if others:
        raise UsageError(f"{others[0]} exists and holds other results: choose another folder")
    return files

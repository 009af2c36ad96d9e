"""The list of runs and their reports as static files that any host can serve, and that load nothing from elsewhere."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from clipbench.errors import ClipbenchError, MachineError, UsageError
from clipbench.files import TEMPORARY_SUFFIX, atomic_file, folder_lock, write_atomic
from clipbench.results.run import read_run
from clipbench_reports.page.html import assets
from clipbench_reports.page.report import write_report
from clipbench_reports.view.pages import render
from clipbench_reports.view.runs import (
    Row,
    Runs,
    default_columns,
    filter_runs,
    have_different_headlines,
    metric_columns,
)

NO_JEKYLL = ".nojekyll"
"""File that is written first."""
_PAGE = re.compile(rf"{re.escape(NO_JEKYLL)}|\..*\{TEMPORARY_SUFFIX}|[A-Za-z0-9-]+-[0-9a-f]{{6}}\.html")
"""Names of the files that are written before the list: the page of a run, or a file that is being written."""


def write_site(folder: Path, out: Path, note: Callable[[str], None]) -> int:
    """Write a page that lists the runs below a folder, newest first, and the report of each, and return their number.

    The list is written last: a folder without ``index.html`` is not whole, and the next export writes it again. Runs
    that cannot be read are left out.

    Args:
        note: called with each run that is left out, with the reason, and with each report before it is made.

    Raises:
        UsageError: ``out`` holds something, another process writes to it, or no run can be read.
        MachineError: a file cannot be written.
    """
    if out.exists() and (not out.is_dir() or not _is_unfinished(out)):
        raise UsageError(f"{out} is not an empty folder: name a new folder for the site")
    with folder_lock(out, f"another clipbench process writes to {out}: wait until it ends, or name another folder"):
        for path in out.iterdir():
            path.unlink()
        return _write_pages(folder, out, note)


def _is_unfinished(out: Path) -> bool:
    """Return whether a folder is empty, or holds only what an export that was interrupted has written."""
    names = [path.name for path in out.iterdir()]
    return not names or (NO_JEKYLL in names and all(map(_PAGE.fullmatch, names)))


def _write_pages(folder: Path, out: Path, note: Callable[[str], None]) -> int:
    """Write the pages into an empty folder, as ``write_site`` does."""
    runs = Runs(folder)
    runs.look()
    all_rows = filter_runs(runs.rows())
    rows = [row for row in all_rows if not row.fault]
    for row in all_rows:
        if row.fault:
            note(f"left out: {row.fault}")
    none = UsageError(f"no readable run in {folder} or its subfolders: name the folder that holds your runs")
    if not rows:
        raise none
    with atomic_file(out / NO_JEKYLL):  # else GitHub Pages leaves out names that begin with a line
        pass
    written: dict[str, Row] = {}
    for number, row in enumerate(rows, 1):
        note(f"{number} of {len(rows)}: {row.relative_path}")
        plain_path = re.sub(r"[^A-Za-z0-9]+", "-", row.relative_path).strip("-")[:60]
        name = f"{plain_path or 'run'}-{row.id[:6]}.html"
        try:
            write_report([read_run(row.folder)], out / name)
        except MachineError:
            raise
        except ClipbenchError as error:
            note(f"left out: {error}")
        else:
            written[name] = row
    if not written:
        raise none
    readable = list(written.values())
    choices = metric_columns(readable)
    site_style = files("clipbench_reports.view").joinpath("static/view.css").read_text(encoding="utf-8")
    page = render(
        "static.html.j2",
        rows=written,
        columns={name: choices[name] for name in default_columns(readable, choices)},
        has_headlines=have_different_headlines(readable),
        style=Markup(f"{assets()['style']}\n{site_style}"),
    )
    write_atomic({out / "index.html": page.encode()})
    return len(written)

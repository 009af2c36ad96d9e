"""``clipbench report``: write one HTML report of finished runs."""

from pathlib import Path

import click

from clipbench.cli.main import command
from clipbench.cli.options import PATH, RUNS, TRACEBACK
from clipbench.cli.output import echo, print_note


@command()
@RUNS
@click.option("-o", "--out", required=True, metavar="FILE.html", type=PATH, help="Output file.")
@click.option(
    "--print",
    "printed",
    type=click.Choice(["short", "full"]),
    default="short",
    help="Parts that are printed: only the open ones, or the folded ones too.",
)
@TRACEBACK
def report(runs: tuple[Path, ...], out: Path, printed: str) -> None:
    """Write one HTML report of finished runs.

    A RUN is a run folder or the folder of several. If you give several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.plugins import report_writer
    from clipbench.results.run import find_runs, read_run

    report_writer()([read_run(run) for run in find_runs(runs, print_note)], out, prints_all=printed == "full")
    echo(f"wrote {out}")

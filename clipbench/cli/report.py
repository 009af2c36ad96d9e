"""``clipbench report``: the HTML report of finished runs, from their results alone."""

from pathlib import Path

import click

from clipbench.cli.main import SETTINGS
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo, print_note


@click.command(context_settings=SETTINGS)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="FILE.html", type=click.Path(path_type=Path),
              help="Output file.")  # fmt: skip
@click.option("--print", "printed", type=click.Choice(["short", "full"]), default="short", show_default=True,
              help="Parts that are printed: those that stand open, or all that is folded too.")  # fmt: skip
@TRACEBACK
def report(runs: tuple[Path, ...], out: Path, printed: str) -> None:
    """Write one HTML report of finished runs.

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.plugins import report_writer
    from clipbench.results.run import find_runs, read_run

    report_writer()([read_run(run) for run in find_runs(runs, print_note)], out, prints_all=printed == "full")
    echo(f"wrote {out}")

"""``clipbench report``: make the report of finished runs again, from their results alone."""

from pathlib import Path

import click

from clipbench.cli.main import SETTINGS


@click.command(context_settings=SETTINGS)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="FILE.html", type=click.Path(path_type=Path))
@click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
def report(runs: tuple[Path, ...], out: Path, traceback: bool) -> None:
    """Write one HTML report of finished runs.

    It is made from the run folders alone: neither the models nor the data are needed.
    """
    from clipbench.plugins import report_writer
    from clipbench.results.run import read_run

    report_writer()([read_run(run) for run in runs], out)
    click.echo(f"report in {out}")

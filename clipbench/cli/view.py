"""``clipbench view``: a site over runs, on this machine alone."""

from pathlib import Path

import click

from clipbench.cli.main import SETTINGS
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo


@click.command(context_settings=SETTINGS)
@click.argument("folder", metavar="[FOLDER]", default="runs", type=click.Path(path_type=Path))
@click.option("--port", default=0, metavar="N", type=click.IntRange(0, 65535), help="Port. [default: a free one]")
@click.option("--no-open", is_flag=True, help="Open no browser.")
@TRACEBACK
def view(folder: Path, port: int, no_open: bool) -> None:
    """Browse the runs below FOLDER, runs/ by default, in the browser.

    \b
    clipbench view
    clipbench view experiments --port 8000 --no-open

    It shows runs, comparisons, reports, samples and maps of vectors. Nothing is written; only this machine, and who knows
    the address that is printed, can read it. Ctrl-C ends it. docs/view.md says more.
    """
    from clipbench.plugins import site

    made = site()(folder, port)
    echo(f"{folder} is at {made.address}", "Ctrl-C ends it.")
    if not no_open:
        click.launch(made.address)
    made.serve()

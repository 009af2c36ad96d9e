"""``clipbench view``: browse the runs in a folder, or export them as a site."""

from pathlib import Path

import click

from clipbench.cli.main import command
from clipbench.cli.options import NO_OPEN, PATH, PORT, TRACEBACK
from clipbench.cli.output import echo, print_line


@command()
@click.argument("folder", metavar="[FOLDER]", default="runs", type=PATH)
@PORT
@NO_OPEN
@click.option(
    "--export",
    "out",
    metavar="SITE",
    type=PATH,
    help="Write the list of runs and their reports into a new folder, for any web host, and exit.",
)
@TRACEBACK
def view(folder: Path, port: int, no_open: bool, out: Path | None) -> None:
    """Browse the runs below FOLDER, runs/ by default, in the browser.

    \b
    clipbench view
    clipbench view experiments --port 8000 --no-open
    clipbench view experiments --export site

    It shows runs, comparisons, reports, samples and maps of vectors. Nothing is written. Only a reader on this machine
    who has the printed address can open it. Ctrl-C stops the server. docs/view.md says more.
    """
    from clipbench import plugins
    from clipbench.results.run_names import run_folder

    folder = run_folder(folder)
    if out is not None:
        from clipbench.results.numbers import counted

        n_runs = plugins.load(plugins.REPORTS, "site")(folder, out, print_line)
        echo(f"{counted(n_runs, 'run')} in {out / 'index.html'}")
        return
    server = plugins.load(plugins.REPORTS, "view")(folder, port)
    echo(f"{folder} is at {server.address}", "Ctrl-C stops the server.")
    if not no_open:
        click.launch(server.address)
    server.serve()

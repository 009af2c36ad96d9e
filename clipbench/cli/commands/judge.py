"""``clipbench judge``: judge the photographs of a pool in the browser."""

import shlex
from pathlib import Path

import click

from clipbench.cli import options
from clipbench.cli.main import command
from clipbench.cli.output import echo


@command()
@options.POOL
@click.option("--judge", "judge_name", metavar="NAME", help="Name of the judge. [default: your user name]")
@options.PORT
@options.NO_OPEN
@options.TRACEBACK
def judge(folder: Path, judge_name: str | None, port: int, no_open: bool) -> None:
    """Judge the photographs of POOL in the browser, blind to the models.

    \b
    clipbench judge pool
    clipbench judge pool --judge anna --port 8000 --no-open

    Each judgement is on the disk before the next photograph is shown. You can stop at any time and continue later, and
    several judges can judge at once. Only this machine, and who knows the address that is printed, can judge. Ctrl-C
    ends it.
    """
    from clipbench import plugins

    server = plugins.load(plugins.REPORTS, "judge")(folder, port, judge_name or _user())
    echo(
        f"{folder} is at {server.address}",
        f"Ctrl-C stops the server. clipbench choose {shlex.quote(str(folder))} prints the verdict.",
    )
    if not no_open:
        click.launch(server.address)
    server.serve()


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a user without a name
        return "judge"

"""The one list of command lines: one for each command, in an order in which each has what it needs.

The names of the commands come from the command line itself, so that a new command is in no test before it has a line
here, and the tests say so.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from clipbench.cli.main import cli

_LINES = {
    "data sample": "data sample photos",
    "run": "run --model tiny --suite scenes --tasks {tasks} --limit {limit} --thumbnails 2 --out runs/base",
    "doctor": "doctor --model tiny",
    "list": "list tasks",
    "data list": "data list",
    "data show": "data show winoground",
    "data get": "data get a-set-that-is-in-no-catalogue",
    "cache": "cache",
    "compare": "compare runs/base runs/candidate -o compare.html --format html",
    "explain": "explain runs/base runs/candidate -o explanation.html",
    "show": "show runs --all",
    "report": "report runs/base runs/candidate -o report.html",
    "view": "view runs --export site",
    "plot": "plot gap runs/base -o gap.pdf",
    "export": "export runs --to parquet -o metrics.parquet",
    "train": "train --data scenes --data-option primer=64 --steps 2 --batch-size 16 --out training",
    "pool": "pool --model tiny --model training/step-2 --images photos --queries photos/queries.txt --k 2"
    " --on-bad-image skip --out pool",
    "judge": "judge pool --no-open",
    "choose": "choose pool",
    "cache prune": "cache prune --older-than 52w --yes",
}
SERVERS = ("judge",)
"""Commands that serve pages until they are interrupted."""
STATUS = {"judge": (0, 130), "choose": (3,), "data get": (2,)}
"""Exit statuses other than 0. A server is interrupted, which older versions of uvicorn end with 0. Nobody has judged
the pool, and the tests have no network.
"""
CANDIDATE = Path("runs/candidate")
"""The copy of ``runs/base`` that commands for two runs need."""


def commands() -> list[str]:
    """Return the names of all commands, as the command line knows them, such as ``run`` and ``data list``."""
    return [" ".join(path) for path in _paths(cli, ())]


def command_lines(*, tasks: str = "all", limit: int = 120) -> dict[str, list[str]]:
    """Return the arguments of one line per command, in an order in which each has what it needs.

    Args:
        tasks: of the run.
        limit: images of the run.
    """
    lines = {name: shlex.split(line.format(tasks=tasks, limit=limit)) for name, line in _LINES.items()}
    assert sorted(lines) == sorted(commands()), "give each command a line in tests/command_lines.py"
    return lines


def output_of(arguments: list[str]) -> Path | None:
    """Return the file or folder that a line writes, or None."""
    for option in ("--out", "-o", "--export"):
        if option in arguments:
            return Path(arguments[arguments.index(option) + 1])
    return Path(arguments[-1]) if arguments[:2] == ["data", "sample"] else None


def _paths(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    if path and command.invoke_without_command:
        yield path
    context = click.Context(command)
    for name in command.list_commands(context):
        subcommand = command.get_command(context, name)
        assert subcommand is not None
        yield from _paths(subcommand, (*path, name))

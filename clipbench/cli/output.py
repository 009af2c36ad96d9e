"""Everything that the command line prints goes through here, because its names come from files of others."""

import json
import os
import sys
import traceback

import click

from clipbench.cli.colours import coloured, is_coloured
from clipbench.results.table.text import wrap_text
from clipbench.untrusted.terminal import json_text, log_line, one_line, printable


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on standard output or standard error, with the control characters of terminals and CI jobs escaped.

    On a terminal they are wrapped between words, and the words of verdicts have colours. Elsewhere each stays one line.
    """
    width = terminal_width(err=err)
    has_colours = is_coloured(err=err)
    for line in lines:
        for part in [line] if width is None else wrap_text(printable(line), width):
            text = log_line(part)
            click.echo(coloured(text) if has_colours else text, err=err)


def echo_text(text: str) -> None:
    """Print a text of several lines on standard output, none of them wrapped: it may be JSON, Markdown or LaTeX."""
    for line in text.removesuffix("\n").split("\n"):
        click.echo(log_line(line))


def terminal_width(*, err: bool = False) -> int | None:
    """Return the columns of the terminal that standard output (or standard error) is, or None if it is none."""
    stream = sys.stderr if err else sys.stdout
    try:
        if not stream.isatty():
            return None
        chosen = os.environ.get("COLUMNS", "")
        columns = int(chosen) if chosen.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, OSError, ValueError):  # missing, closed, or without a size
        return None
    return columns or None


def echo_json(value: object) -> None:
    """Print a value as strict JSON in one line on standard output."""
    click.echo(json_text(json.dumps(value, allow_nan=False, ensure_ascii=False)))


def echo_commands(text: str) -> None:
    """Print the commands of a GitHub workflow, whose parts are escaped already, on standard output."""
    click.echo(text.removesuffix("\n"))


def print_line(text: str) -> None:
    """Print a line on standard error."""
    echo(text, err=True)


def print_note(text: str) -> None:
    """Print a note on standard error, in one line."""
    echo(f"note: {one_line(text)}", err=True)


def print_error(text: str) -> None:
    """Print an error, or anything that a command's user must not miss, on standard error, in one line."""
    echo(f"clipbench: {one_line(text)}", err=True)


def confirm(question: str, *, default: bool = True) -> bool:
    """Ask a question on standard error, and return the answer, or ``default`` for an empty line."""
    return click.confirm(log_line(question), default=default, err=True)


def is_interactive() -> bool:
    """Return whether a question would be seen and could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_traceback() -> None:
    """Print the traceback of the exception that is being handled on standard error."""
    echo(*traceback.format_exc().removesuffix("\n").split("\n"), err=True)

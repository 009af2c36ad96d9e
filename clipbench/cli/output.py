"""Everything that the command line prints goes through here: the names in it are those of others."""

import json
import textwrap
import traceback

import click

from clipbench.results.record import CheckFinding
from clipbench.untrusted.terminal import json_text, log_line, one_line


def echo(*lines: str, err: bool = False) -> None:
    """Print lines, on standard output or standard error; none of them steers the terminal or a CI job."""
    for line in lines:
        click.echo(log_line(line), err=err)


def echo_text(text: str) -> None:
    """Print a text of several lines on standard output."""
    echo(*text.removesuffix("\n").split("\n"))


def echo_json(value: object) -> None:
    """Print a value as strict JSON in one line on standard output."""
    click.echo(json_text(json.dumps(value, allow_nan=False, ensure_ascii=False)))


def echo_commands(text: str) -> None:
    """Print the commands of a GitHub workflow, whose parts are escaped already, on standard output."""
    click.echo(text.removesuffix("\n"))


def print_note(text: str) -> None:
    """Print a note on standard error, in one line."""
    echo(f"note: {one_line(text)}", err=True)


def print_warning(finding: CheckFinding) -> None:
    """Print what a quick check of the model found, and what to do, on standard error, in one line."""
    echo(f"warning: {one_line(f'{finding.check}: {finding.seen}; {finding.mend}')}", err=True)


def print_error(text: str) -> None:
    """Print an error, or what else a command's user must not miss, on standard error, in one line."""
    echo(f"clipbench: {one_line(text)}", err=True)


def wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Return a text in lines that fit, with nothing broken that is to be copied, such as an option or a path.

    Args:
        first: what the first line begins with.
        rest: what the others begin with.
    """
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def confirm(question: str) -> bool:
    """Ask a question on standard error, and return the answer; without one it is yes."""
    return click.confirm(log_line(question), default=True, err=True)


def print_traceback() -> None:
    """Print the traceback of the exception that is being handled on standard error."""
    echo(*traceback.format_exc().removesuffix("\n").split("\n"), err=True)

"""The entry point: imports the command, and turns every failure into one line and an exit status."""

import gc
import io
import os
import re
import select
import signal
import sys
import threading
import warnings
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any

import click

from clipbench.cli.output import echo, print_error, print_traceback, terminal_width
from clipbench.errors import (
    STOP_SIGNALS,
    ClipbenchError,
    LeftOutWarning,
    NotComparable,
    Unavailable,
    bug_summary,
    did_you_mean,
    for_command_line,
)
from clipbench.results.table.text import wrap_text

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

GROUPS = {
    "Measure": ("run", "doctor", "list", "data", "cache"),
    "Compare": ("compare", "explain", "show"),
    "Choose": ("pool", "judge", "choose"),
    "Publish": ("report", "view", "plot", "export"),
    "Train": ("train",),
}
"""The commands as ``clipbench --help`` groups them, each in the module of its name in ``cli/commands``."""
COMMANDS = [name for names in GROUPS.values() for name in names]
DONE, FAULT, BAD_INPUT, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""New objects after which Python collects unreachable cycles. Its own default is 700."""
MOST_OPEN_FILES = 65_536
UNREAD = 141
"""Exit status where nobody reads the output to its end, as shells have it."""
SECONDS_BETWEEN_TRIES, MOST_SECONDS_OF_WAITING = 0.05, 5.0
UNINTERRUPTED = ("<frozen importlib._bootstrap>", os.path.join("safetensors", "torch.py"))
"""Files that abort at the exception of a signal, or turn it into another one, such as the error of a damaged file."""
SHOWS_TRACEBACK = "clipbench.traceback"
"""Key of a context's ``meta``: True to print the traceback of an error."""
SHOWS_ALL = "clipbench.help-all"
"""Key of a context's ``meta``: True if help has the rare options too."""

SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 80,
    "show_default": True,
    "token_normalize_func": lambda name: name.replace("_", "-"),
}
"""Flags take - and _ alike."""
WITHOUT_VARIABLE = ("data", "json_file")
"""Options without an environment variable: a data set for all tasks would contradict a command that names some
itself, and the variable of --json is a switch in other commands.
"""


_RANGE = re.compile(r"; [^;\]]*\bx[<>][^\]]*(?=\])|\[[^\]:]*\bx[<>][^\]]*\]")
"""The range of a number as click writes it, ``[x>=1]``: a wrong number's error says it better."""


class HelpFormatter(click.HelpFormatter):
    """Writes help texts. On a terminal, examples that are too wide are wrapped between words too."""

    def __init__(self, *, width: int | None, max_width: int | None) -> None:
        super().__init__(width=width, max_width=max_width)
        self.width = min(self.width, terminal_width() or self.width)  # click takes 50 columns at least

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        plain = [(name, _RANGE.sub("", text).rstrip()) for name, text in rows]
        super().write_dl(plain, min(col_max, self.width // 2 - 8), col_spacing)

    def getvalue(self) -> str:
        text, width = super().getvalue(), terminal_width()
        if width is None:
            return text
        lines: list[str] = []
        for line in text.split("\n"):
            lines += wrap_text(line, width)
        return "\n".join(lines)


class HelpContext(click.Context):
    """A context whose help fits the terminal."""

    formatter_class = HelpFormatter


class Command(click.Command):
    """A command whose help fits the terminal, and whose options have environment variables.

    Args:
        reads_environment: False for a command that no variable, meant for another command, may change.
    """

    context_class = HelpContext

    def __init__(self, *args: Any, reads_environment: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in self.params:
            if reads_environment and isinstance(option, click.Option) and option.name not in WITHOUT_VARIABLE:
                option.envvar = environment_variable(option)


def environment_variable(option: click.Option) -> str:
    """Return the name of an option's environment variable, the same in every command: ``CLIPBENCH_DEVICE``."""
    long_name = next(name for name in option.opts if name.startswith("--"))
    return f"CLIPBENCH_{long_name.removeprefix('--').replace('-', '_').upper()}"


class GroupedCommand(Command):
    """A command whose help groups its options. ``--help-all`` shows the options without a group.

    Args:
        groups: the names of options by the title of their group.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = groups
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options and exit.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options_of_command = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        rest = {str(parameter.name): parameter for parameter in options_of_command}
        titled = {title: [rest.pop(name) for name in names] for title, names in self.groups.items()}
        of_help = [rest.pop(name) for name in ("help_all", str(getattr(self.get_help_option(ctx), "name", "")))]
        if ctx.meta.get(SHOWS_ALL):
            titled["More"] = list(rest.values())
        titled["Help"] = of_help
        for title, options in titled.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record])


def command(name: str | None = None, **groups: Sequence[str]) -> Callable[[Callable[..., object]], click.Command]:
    """Return a decorator that makes a function a command, a ``GroupedCommand`` if ``groups`` of options are named."""
    if groups:
        return click.command(name, GroupedCommand, context_settings=SETTINGS, groups=groups)
    return click.command(name, Command, context_settings=SETTINGS)


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[SHOWS_ALL] = True
        echo(*ctx.get_help().split("\n"))
        ctx.exit()


class HelpfulGroup(click.Group):
    """A group of commands that prints its help when no command is given, unless it is one itself."""

    context_class, command_class = HelpContext, Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ([] if self.invoke_without_command else ["--help"]))


class Commands(HelpfulGroup):
    """The commands of clipbench, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"clipbench.cli.commands.{cmd_name}")
        commands = (value for value in vars(module).values() if isinstance(value, click.Command))
        return next(command for command in commands if command.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in GROUPS.items():
            with formatter.section(title):
                commands = {name: self.get_command(ctx, name) for name in names}
                formatter.write_dl(
                    [(name, command.get_short_help_str(80)) for name, command in commands.items() if command]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command '{args[0]}': {did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="clipbench", prog_name="clipbench")  # looked up when asked: it takes 30 ms
def cli() -> None:
    """Measure CLIP-style dual encoders: how good a model is, where it breaks, and by how much.

    \b
    clipbench run --model vit-b-32 --tasks all
    clipbench run --model hf:ORG/REPO --tasks zero-shot@path/to/images
    clipbench run --model embeddings:vectors.npz --tasks all

    Options have environment variables: --device is CLIPBENCH_DEVICE.
    """


@for_command_line()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 regression, 2 bad usage or input, 3 incomplete, 130 interrupted.

    It is 141 where the output goes to a program that ends before it has read all, such as ``head``.
    """
    if "RANK" in os.environ:  # one of several processes ends with what has started it, whatever it does by then
        from clipbench.distributed.process_rank import end_with_parent

        end_with_parent()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A caption may hold any character: one that the terminal cannot show must not fail a finished command.
            stream.reconfigure(errors="backslashreplace")
    if "_CLIPBENCH_COMPLETE" in os.environ:  # a shell asks what may follow
        cli.main(prog_name="clipbench")
    # Data sets and results are a million objects that live to the end: looking for circles among them over and over
    # takes a tenth of a command's time.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    _raise_limit_of_open_files()
    context: click.Context | None = None
    status: object = DONE
    try:
        # Not cli.main: it takes every EOFError for an interruption, and ends with status 1 where a pipe is closed.
        with (
            _interrupt_handlers(),
            _warn_once_per_plug_in(),
            cli.make_context("clipbench", argv, obj=["clipbench", *argv]) as context,
        ):
            from clipbench.files import remove_abandoned_folders  # not needed for help

            remove_abandoned_folders()
            status = cli.invoke(context)
    except click.exceptions.Exit as end:
        status = end.exit_code
    except BaseException as error:  # noqa: BLE001  the last line of defence, also against a plug-in's sys.exit(0)
        try:
            status = _report_error(error, context, argv)
        except BrokenPipeError:  # nobody reads the line
            _leave_unread_output()
            status = UNREAD
    if status == INTERRUPTED and "RANK" in os.environ:
        from clipbench.distributed.process_rank import tell_launcher

        tell_launcher()
    sys.exit(status if isinstance(status, int) else DONE)


def _raise_limit_of_open_files() -> None:
    """Raise the limit of open files to what the system allows: a store of years has thousands of files."""
    if resource is not None:
        soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_OPEN_FILES if hard_limit == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, hard_limit)
        if soft_limit != resource.RLIM_INFINITY and soft_limit < wanted:
            with suppress(OSError, ValueError):  # a container may forbid it
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard_limit))


def _report_error(error: BaseException, context: click.Context | None, argv: list[str]) -> int:
    """Print one line on why a command ended, and return its exit status."""
    # One of several processes says what all of them meet.
    is_silent = argv[:1] in (["run"], ["train"]) and os.environ.get("RANK", "0") != "0"
    if isinstance(error, KeyboardInterrupt | click.Abort):  # the second also from a question that is closed unanswered
        if not is_silent:
            echo("", err=True)  # below the ^C
            print_error("interrupted")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error_context = getattr(error, "ctx", None)  # click gives none where an option lacks its value
        path = " ".join(["clipbench", *(name for name in argv[:1] if name in COMMANDS)])
        if not is_silent:
            print_error(
                f"{error.format_message()} ({path if error_context is None else error_context.command_path} --help)"
            )
        return BAD_INPUT
    if isinstance(error, BrokenPipeError) and _leave_unread_output():
        return UNREAD
    if context is not None and context.meta.get(SHOWS_TRACEBACK):
        print_traceback()
    print_error(str(error) if isinstance(error, ClipbenchError) else bug_summary(error, "clipbench or in a plug-in"))
    return INCOMPLETE if isinstance(error, Unavailable | NotComparable) else BAD_INPUT


def _leave_unread_output() -> bool:
    """Point unread standard output and error to the null device, and return whether one was unread."""
    is_unread = False
    for handle in (1, 2) if hasattr(select, "poll") else ():
        poll = select.poll()
        poll.register(handle, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            is_unread = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
    return is_unread


@contextmanager
def _warn_once_per_plug_in() -> Iterator[None]:
    """Print a line on each plug-in that is left out, in the first of several processes."""
    before, printed = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **keywords: Any) -> None:
        text = str(message)
        if not issubclass(category, LeftOutWarning):
            before(message, category, *rest, **keywords)
        elif text not in printed and os.environ.get("RANK", "0") == "0":
            printed.add(text)
            print_error(text)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _interrupt_handlers() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and the end of a terminal (SIGHUP) end a command with its cleaning up, unless others handle
    them already, as ``nohup`` does.

    While a file of ``UNINTERRUPTED`` runs they wait for its end, but not long.
    """
    usual = {number: (signal.SIG_DFL, signal.default_int_handler) for number in STOP_SIGNALS}
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in usual if is_main}
    is_over, tries = threading.Event(), 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal tries
        tries += 1
        while frame is not None and not frame.f_code.co_filename.endswith(UNINTERRUPTED):
            frame = frame.f_back
        if frame is None or tries * SECONDS_BETWEEN_TRIES > MOST_SECONDS_OF_WAITING:
            raise KeyboardInterrupt
        start_new_thread(again, (number,))  # not by threading, whose locks may be held where the signal came

    def again(number: int) -> None:
        if is_over.wait(SECONDS_BETWEEN_TRIES):
            return
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)  # else a call that waits goes on waiting
        else:
            signal.raise_signal(number)

    handled = [number for number, handler in before.items() if handler in usual[number]]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        is_over.set()
        for number in handled:
            signal.signal(number, before[number])

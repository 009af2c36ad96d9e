"""The help: commands in groups, texts that stand alone, and nothing heavy imported for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clipbench.cli.main import COMMANDS, cli, main
from clipbench.errors import ClipbenchError
from tests.command_lines import command_lines, commands

HEAVY = ("torch", "open_clip", "transformers", "datasets", "sklearn", "scipy", "pandas", "matplotlib", "umap", "numpy")


def every_command() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", subcommand) for below, subcommand in command.commands.items())


def clipbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_command_has_a_line_for_the_tests_of_all_commands() -> None:
    assert set(command_lines()) == set(commands()) >= set(COMMANDS) - {"data"}


def test_completion_is_there_as_the_docs_say() -> None:
    text = (Path(__file__).parents[2] / "docs/install.md").read_text(encoding="utf-8")
    assert all(f"_CLIPBENCH_COMPLETE={shell}_source clipbench" in text for shell in ("bash", "zsh", "fish"))
    assert "_CLIPBENCH_COMPLETE=bash_complete" in _completed("bash_source")
    assert "plain,--older-than" in _completed("bash_complete", COMP_WORDS="clipbench cache prune --o", COMP_CWORD="3")


def _completed(instruction: str, **variables: str) -> str:
    environment = {**os.environ, "_CLIPBENCH_COMPLETE": instruction, **variables}
    command = [sys.executable, "-m", "clipbench"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize(("both", "unbuffered"), [(False, ""), (True, "1")])
def test_a_reader_that_ends_early_is_no_error(both: bool, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", "data", "list"],
        stdout=writing,
        stderr=writing if both else subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.stderr or b"", done.returncode) == (b"", 141)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize("command", ["show nothing", "run --no-such-option", "run --model tiny --out out"])
def test_an_error_that_nobody_reads_is_no_traceback_and_no_failed_model(command: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", *command.split()], stderr=writing, cwd=tmp_path, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 141 and list(tmp_path.iterdir()) == []


def test_a_broken_pipe_of_something_else_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ending(monkeypatch, BrokenPipeError(32, "Broken pipe")) == 2
    assert "Broken pipe (a bug in clipbench or in a plug-in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (EOFError("No data left in file"), 2, "clipbench: EOFError: No data left in file (a bug in clipbench"),
        (click.Abort(), 130, "clipbench: interrupted"),
        (KeyboardInterrupt(), 130, "clipbench: interrupted"),
    ],
)
def test_only_a_person_interrupts(
    error: BaseException, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ending(monkeypatch, error) == status
    assert capsys.readouterr().err.strip().startswith(line)


@pytest.mark.parametrize(("value", "is_shown"), [("1", True), ("0", False)])
def test_the_variable_of_traceback_is_the_option(
    value: str, is_shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPBENCH_TRACEBACK", value)
    assert _ending(monkeypatch, ClipbenchError("no such thing")) == 2
    assert ("Traceback (most recent call last)" in capsys.readouterr().err) == is_shown


def test_a_variable_belongs_to_one_option_of_all_commands() -> None:
    options: dict[str, set[str]] = {}
    for _, command in every_command():
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is not None:
                options.setdefault(str(option.envvar), set()).add(
                    next(name for name in option.opts if name[:2] == "--")
                )
    assert options["CLIPBENCH_DEVICE"] == {"--device"}
    assert options["CLIPBENCH_DATA_ROOT"] == {"--data-root"}
    assert {variable: names for variable, names in options.items() if len(names) > 1} == {}
    other_variables = {"CACHE", "CATALOGUE", "MAX_PIXELS", "API_KEY", "DATA"}
    assert not {f"CLIPBENCH_{name}" for name in other_variables} & options.keys()


def _ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """Return the exit status of ``clipbench list data`` if it raises an error."""

    def fail() -> object:
        raise error

    monkeypatch.setattr("clipbench.cli.commands.list._data", fail)
    with pytest.raises(SystemExit) as end:
        main(["list", "data"])
    return end.value.code


def test_no_help_imports_a_heavy_module() -> None:
    code = (
        "import sys\nfrom clipbench.cli import main\n"
        f"for name in {['', *(name for name, _ in every_command())]!r}:\n"
        "    try:\n        main([*name.split(), '--help'])\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        f"    assert not set({HEAVY!r}) & set(sys.modules), (name, set({HEAVY!r}) & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

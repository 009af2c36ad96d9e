"""The help: commands in groups, texts that stand alone, and nothing heavy imported for them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clipbench.cli.main import COMMANDS, GROUPS, cli, main
from clipbench.errors import ClipbenchError

HEAVY = ("torch", "open_clip", "transformers", "datasets", "sklearn", "scipy", "pandas", "matplotlib", "umap", "numpy")


def every_command() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", each) for below, each in command.commands.items())


def clipbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipbench.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_a_group_without_a_command_prints_its_help(arguments: tuple[str, ...]) -> None:
    done = clipbench(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == clipbench(*arguments, "--help").stdout


def test_the_help_lists_the_commands_in_groups_with_whole_sentences() -> None:
    lines = clipbench("--help").stdout.splitlines()
    titles = [line.removesuffix(":") for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
    assert titles == ["Options", *GROUPS] == ["Options", "Measure", "Compare", "Publish", "Train"]
    listed = [line for line in lines[lines.index("Measure:") :] if line.startswith("  ")]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_each_help_text_is_a_noun_phrase_or_an_imperative() -> None:
    for name, command in every_command():
        options = [option for option in command.params if isinstance(option, click.Option)]
        texts = [(command.help or "").partition("\n\n")[0], *(option.help or "" for option in options)]
        for text in texts:
            assert re.match(r"[A-Z]", text) and re.search(r"[.\]]$", text), f"{name}: {text!r}"
            assert not re.match(r"(What|Of|At|Whether|Where|Which|It)\b", text), f"{name}: {text!r}"


@pytest.mark.parametrize(
    ("shell", "words"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no-files")]
)
def test_completion_is_there_for_each_shell_as_the_docs_say(shell: str, words: str) -> None:
    text = (Path(__file__).parents[2] / "docs/faq.md").read_text(encoding="utf-8")
    assert f"_CLIPBENCH_COMPLETE={shell}_source clipbench" in text
    script = _completed(f"{shell}_source")
    assert words in script and f"_CLIPBENCH_COMPLETE={shell}_complete" in script


def test_commands_and_options_are_completed() -> None:
    assert _completed("bash_complete", COMP_WORDS="clipbench cac", COMP_CWORD="1").split() == ["plain,cache"]
    assert "plain,--older-than" in _completed("bash_complete", COMP_WORDS="clipbench cache prune --o", COMP_CWORD="3")


def _completed(instruction: str, **variables: str) -> str:
    environment = {**os.environ, "_CLIPBENCH_COMPLETE": instruction, **variables}
    command = [sys.executable, "-m", "clipbench.cli"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_ends_early_is_no_error(both: bool, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "clipbench.cli", "data", "list"],
        stdout=writing,
        stderr=writing if both else subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.stderr or b"", done.returncode) == (b"", 141)


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


def test_the_list_of_suites_says_tasks_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["list", "suites"])
    lines = capsys.readouterr().out.splitlines()
    names = ["standard", "quick", "scenes", "datacomp", "languages"]
    assert end.value.code == 0 and [line.split()[0] for line in lines] == names
    assert lines[2].endswith(
        "long-caption (only if named in --tasks: few-shot, operating-points, compression, mixed-retrieval) on scenes"
    )
    assert lines[3].endswith("zero-shot, retrieval, composition on 38 data sets")


def _ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """Return the exit status of ``clipbench list data`` if it raises an error."""

    def fail() -> object:
        raise error

    monkeypatch.setattr("clipbench.cli.list._data", fail)
    with pytest.raises(SystemExit) as end:
        main(["list", "data"])
    return end.value.code


@pytest.mark.parametrize("name", ["", *(name for name, _ in every_command())])
def test_no_help_imports_a_heavy_module(name: str) -> None:
    code = (
        "import sys\nfrom clipbench.cli import main\n"
        f"try:\n    main({[*name.split(), '--help']!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

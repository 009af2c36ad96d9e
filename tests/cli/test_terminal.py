"""Output on a terminal of any width, and into a pipe: no word or number is broken, and nothing is coloured."""

import os
import re
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipbench.cli import main
from clipbench.cli.main import COMMANDS
from tests.cli.conftest import Call

termios = pytest.importorskip("termios")
import fcntl

WIDTHS = (40, 60, 80, 120)
Terminal = Callable[..., str]
END = "\0"
"""Is written when a command has ended: a terminal that is closed can lose what was not read yet."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a function that runs a command on a terminal of so many columns, and returns all that it shows."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def terminal(width: int, *arguments: str) -> str:
        reads, writes = os.openpty()
        fcntl.ioctl(writes, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        with ThreadPoolExecutor(1) as reader, open(writes, "w") as stream:
            reading = reader.submit(_read, reads)
            with monkeypatch.context() as patch, pytest.raises(SystemExit):
                patch.setattr("sys.stdout", stream)
                patch.setattr("sys.stderr", stream)
                main(list(arguments))
            stream.write(END)
            stream.flush()
            return reading.result().replace("\r\n", "\n")

    return terminal


def _read(terminal: int) -> str:
    shown = b""
    with open(terminal, "rb", buffering=0) as stream:
        while not shown.endswith(END.encode()):
            part = stream.read(1 << 16)
            assert part, "the terminal was closed before its end"
            shown += part
    return shown.decode().removesuffix(END)


def words(text: str) -> list[str]:
    """Return the words of a text, numbers with units and intervals whole."""
    return re.findall(r"\[[-\d.,]+ [-\d.,]+\]|[-\d.]+ (?:%|pp)|\S+", text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs on vectors."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 8))
    for name in ("base", "candidate"):
        np.savez(folder / f"{name}.npz", images=images, texts=images + rng.normal(size=(40, 8)), allow_pickle=False)
        with pytest.raises(SystemExit) as end:
            main(
                f"run --model embeddings:{folder / name}.npz --tasks retrieval --quiet --no-report"
                f" --out {folder / name}".split()
            )
        assert end.value.code == 0
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["show base", "show base --all", "data list", "list data", "data show winoground"])
def test_no_line_is_wider_than_the_terminal_and_no_word_or_number_is_broken(
    command: str, width: int, runs: Path, terminal: Terminal, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    piped = call(*command.split()).out
    screen = terminal(width, *command.split())
    assert "\x1b" not in screen
    long_words = [word for word in words(piped) if len(word) > width - 8]  # what is to be copied is not broken either
    too_wide = [line for line in screen.splitlines() if len(line) > width]
    assert all(any(word in line for word in long_words) for line in too_wide), too_wide
    if not any(re.search(r"^(task|name) |^ +metric", text, re.MULTILINE) for text in (piped, screen)):
        assert words(screen) == words(piped)
    assert set(words(piped)) - {word.removesuffix(":") for word in words(screen)} - set(words(screen)) <= {
        "task",
        "name",
    }


@pytest.mark.parametrize("width", (80, 120))
def test_a_comparison_fits_and_says_what_it_leaves_out(
    width: int, runs: Path, terminal: Terminal, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    piped = call("compare", "base", "candidate", "-v").out
    screen = terminal(width, "compare", "base", "candidate", "-v")
    assert max(map(len, screen.splitlines())) <= width
    assert (f"left out in {width} columns: p and detectable" in " ".join(screen.split())) == (width < 100)
    assert "left out" not in piped and max(map(len, piped.splitlines())) > 100
    assert max(map(len, call("compare", "base", "candidate").out.splitlines())) <= 100
    for name, value in re.findall(r"^  (\w+(?:@\d+)?) .*?(\[[-+\d.]+, [-+\d.]+\])", piped, re.MULTILINE):
        assert name in screen and value in screen


@pytest.mark.parametrize("width", (40, 80))
def test_help_fits(width: int, terminal: Terminal) -> None:
    for command in ("", *COMMANDS):
        screen = terminal(width, *command.split(), "--help")
        assert max(map(len, screen.splitlines())) <= width, command


def test_an_error_wraps_on_a_terminal_and_is_one_line_in_a_pipe(
    terminal: Terminal, runs: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    command = ("run", "--model", "embeddings:base.npz", "--tasks", "zero-shoot", "--suite", "a-suite-that-is-nowhere")
    piped = call(*command).err
    parts = terminal(60, *command).rstrip("\n").split("\n")
    assert piped.count("\n") == 1 and len(parts) > 1 and max(map(len, parts)) <= 60
    assert words("\n".join(parts)) == words(piped) and all(line.startswith("    ") for line in parts[1:])

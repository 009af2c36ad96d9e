"""Commands played in a folder of their own, and what they say without what differs from machine to machine and day to
day.
"""

import asyncio
import difflib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clipbench import __version__
from clipbench.cli import main
from clipbench.data.catalogue.entries import catalogue
from clipbench.errors import for_command_line
from clipbench.evaluation import measure

HERE = Path(__file__).parent
MOST_LINES = 80
"""Lines of a difference that are shown."""
ENVIRONMENT = {"COLUMNS": "80", "TERM": "dumb", "CLIPBENCH_CACHE": "cache", "CLIPBENCH_WORKERS": "0"}
VOLATILE = (
    (rf"\b{re.escape(__version__)}\b", "VERSION"),
    (r"(< )?\b\d+(\.\d+)? s\b", "N s"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?( UTC|[+.\d:]+|Z)?", "TIME"),
    (r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b", "HASH"),
    (r"\b20[2-9]\d-\d\d-\d\d\b", "DATE"),
    (r"-?\b\d+\.\d{7,}(e-?\d+)?", lambda found: f"{float(found[0]):.5g}"),
    (r"(?<=for reports, )[\d.]+ k?B", "N B"),
    (r"\[Errno \d+\]", "[Errno N]"),
    (r"http://127\.0\.0\.1:\d+(/\?token=\S+)?", "ADDRESS"),
    (r"(?m)(?<= \| )[\d,]+,\d00$|(?<=^\| Image \| )\S+|(?<=^\| Text \| )\S+", "RATE"),
    (r".*\d%\|.*\|.*", "PROGRESS"),
)
"""Text that differs from run to run, or in the last digits from machine to machine, and what is written instead."""
LONGEST = 120
"""Characters of a line of a transcript. A longer one is written as one line per fact."""
CONTINUED = "  ⤷ "
"""How the lines of a transcript begin that were one line with the line above."""
FACT_ENDS = r"(?<=[.;!?]) (?=\S)|(?<=[.!?]\]) (?=\S)|(?<=\S) (?=\| )|(?<=,) (?=[{\"])"
"""Spaces between sentences, clauses, cells of a table and fields of JSON."""
INLINE = frozenset(
    ["a", "b", "bdi", "code", "em", "input", "kbd", "label", "small", "span", "strong", "sub", "sup", "time", "wbr"]
)
SILENT = frozenset(["script", "style", "template", "title"])


class Step(NamedTuple):
    """A line of ``commands.txt``: a command and how it ends."""

    status: int
    command: str
    target: str | None
    """The golden file of what the command prints, or writes to its ``-o`` file; None for the transcript."""


def sections() -> dict[str, list[Step]]:
    """Return the commands of each section of ``commands.txt``."""
    result: dict[str, list[Step]] = {}
    for line in (HERE / "commands.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            result[line.strip("[]")] = steps = []
        elif line and not line.startswith("#"):
            status, command = line.split(maxsplit=1)
            command, _, target = command.partition(" > ")
            steps.append(Step(int(status), command, target or None))
    return result


class Player:
    """Plays sections, each in a copy of the folder in which the first was played."""

    def __init__(self, new_folder: Callable[[str], Path]) -> None:
        self.new_folder = new_folder
        self.world: Path | None = None
        self.first: dict[str, str] = {}

    def play(self, section: str, capture: Any, patch: pytest.MonkeyPatch) -> dict[str, str]:
        """Return the text of each golden file of a section."""
        if self.world is None:
            self.world = self.new_folder("world")
            _move_to(self.world, patch)
            importlib.import_module("toy").write_world(self.world)
            self.first = _play("run", capture)
            _end_world(self.world)
        if section == "run":
            return self.first
        folder = self.new_folder("copy") / "world"
        shutil.copytree(self.world, folder)
        _move_to(folder, patch)
        return _play(section, capture)


def _move_to(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("CLIPBENCH_", "GITHUB_", "HF_TOKEN"))]:
        patch.delenv(name)
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    patch.chdir(folder)
    patch.syspath_prepend(str(HERE))
    patch.setattr(sys, "stdin", io.StringIO())
    facts = measure.environment_of
    machine_facts = ("device", "precision")
    patch.setattr(
        measure, "environment_of", lambda info: {k: v if k in machine_facts else "FACT" for k, v in facts(info).items()}
    )


def _end_world(world: Path) -> None:
    """Make pools and pairs of runs, empty the cache, and let a day lie between two runs: lists of runs are in the order
    of their dates.
    """
    importlib.import_module("toy").write_pools(world)
    importlib.import_module("pairs").write_pairs(world)
    shutil.rmtree(world / "cache")
    for day, path in enumerate(sorted(world.glob("runs/*/result.json")), 1):
        result = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**result, "created": f"2026-01-{day:02}T00:00:00+00:00"}), encoding="utf-8")


def _play(section: str, capture: Any) -> dict[str, str]:
    transcript, other_files, wrong = list[str](), dict[str, str](), list[str]()
    for status, command, target in sections()[section]:
        shutil.rmtree("out", ignore_errors=True)
        result, out, err = _page(command) if command.startswith("GET ") else _call(command, capture)
        if result != status:
            wrong.append(f"{result}, expected {status}: {command}\n{out}{err}")
        if target is not None:
            file = re.search(r" -o (\S+)", command)
            other_files[target] = _normal(Path(file[1]).read_text(encoding="utf-8") if file else out)
            if target.endswith(".txt"):  # files of other kinds are what other tools read
                other_files[target] = one_fact_per_line(other_files[target])
            out = out if file else f"(in {target})\n"
        text = _normal(out) + "".join(f"! {line}\n".replace("! \n", "!\n") for line in _normal(err).splitlines())
        if command.startswith(("clipbench list data", "clipbench data list --data-root")):
            text = _few_data_sets(text)
        if "MASKED=1" in command:
            text = re.sub(r"\b\d+\.\d+\b", "N", text)
        transcript.append(f"$ {command}\n{text}[{result}]\n")
    assert not wrong, f"commands of [{section}] end with another status:\n" + "\n".join(wrong)
    return {f"{section}.txt": one_fact_per_line("\n".join(transcript)), **other_files}


def one_fact_per_line(text: str) -> str:
    """Return a text with its long lines cut where a fact ends and, within long facts, between words."""
    lines: list[str] = []
    for line in text.splitlines():
        parts = [line]
        if len(line) > LONGEST:
            parts = [part for fact in re.split(FACT_ENDS, line) for part in _cut_between_words(fact)]
        lines += [parts[0], *(f"{CONTINUED}{part}" for part in parts[1:])]
    return "".join(f"{line}\n" for line in lines)


def _cut_between_words(fact: str) -> list[str]:
    parts = [""]
    for word in re.split(r"(?<=\S) (?=\S)", fact):  # not at several spaces, which align columns
        longer = f"{parts[-1]} {word}" if parts[-1] else word
        if len(longer) <= LONGEST or not parts[-1]:
            parts[-1] = longer
        else:
            parts.append(word)
    return parts


def _few_data_sets(said: str) -> str:
    """Return a list of data sets without all but the first three of the catalogue, so that it does not change with each
    new one.
    """
    lines = []
    for line in said.splitlines(keepends=True):
        index = list(catalogue()).index(name) if (name := line.split(" ")[0]) in catalogue() else None
        if index is None or index < 3:
            lines.append(re.sub(r"(?<=\S) {2,}(?=\S)", "  ", line))
    return "".join(lines)


def _call(command: str, capture: Any) -> tuple[int, str, str]:
    """Give clipbench a command; words such as TERMINAL=1 and NO=wandb before it say where it runs."""
    before, _, arguments = command.partition("clipbench")
    with pytest.MonkeyPatch.context() as patch:
        for name, _, value in (part.partition("=") for part in before.split()):
            if name == "NO":
                patch.setitem(sys.modules, value, None)
            elif name == "TERMINAL":
                patch.setattr(sys.stdout, "isatty", lambda: True)
                patch.setattr(sys.stderr, "isatty", lambda: True)
                patch.setenv("NO_COLOR", "1")  # a transcript is read without a terminal
            else:
                patch.setenv(name, value)
        capture.readouterr()
        with pytest.raises(SystemExit) as end:
            main(shlex.split(arguments))
        return int(end.value.code or 0), *capture.readouterr()


def _page(command: str) -> tuple[int, str, str]:
    """Ask the site of ``clipbench view`` for a page; {base} in its address is the run in that folder."""
    from clipbench_reports.view import pages, runs, site

    path, _, query = command.removeprefix("GET ").partition("?")
    query = query.format(**{row.relative_path: row.id for row in runs.Runs(Path("runs")).rows()})
    headers = [(b"host", b"localhost:1"), (b"cookie", b"clipbench-1=token")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": headers}
    messages: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        messages.append(message)

    async def ask() -> None:
        await site.guarded(pages.Pages(runs.Runs(Path("runs"))), "token", 1, "clipbench view")(scope, receive, send)

    # as the command serves it; in a thread, since a browser that was used before leaves a loop in this one
    with for_command_line(), ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask()).result()
    return messages[0]["status"], b"".join(each.get("body", b"") for each in messages).decode(), ""


def _normal(text: str) -> str:
    """Return a text, of a page what can be read on it, without what differs from run to run."""
    if text.lstrip()[:9].lower() == "<!doctype":
        reader = _Reader()
        reader.feed(text)
        reader.close()
        text = "\n".join(filter(None, (" ".join(line.split()) for line in reader.lines)))
    text = text.replace(str(Path.cwd()), "FOLDER")
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


class _Reader(HTMLParser):
    """Gathers a line for each block, row of a table and drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.n_silent, self.n_rows = [""], 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.n_silent += tag in SILENT
        if tag in ("td", "th", "dd"):
            self.lines[-1] += " | "
        elif tag not in INLINE:
            self._part()
        self.n_rows += tag in ("tr", "svg")
        label = dict(attrs).get("alt") or (dict(attrs).get("aria-label") if tag == "svg" else None)
        self.lines[-1] += f"[{label}] " if label else ""

    def handle_endtag(self, tag: str) -> None:
        self.n_silent -= tag in SILENT
        self.n_rows -= tag in ("tr", "svg")
        if tag not in INLINE and tag != "dt":
            self._part()

    def _part(self) -> None:
        if self.n_rows:
            self.lines[-1] += " "
        else:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += "" if self.n_silent else data.replace("\n", " ")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "section" in metafunc.fixturenames:
        metafunc.parametrize("section", list(sections()))


@pytest.fixture
def golden_files() -> set[str]:
    """The names of all files that sections write."""
    targets = {step.target for steps in sections().values() for step in steps if step.target is not None}
    return targets | {f"{name}.txt" for name in sections()}


@pytest.fixture(scope="module")
def _player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(tmp_path_factory.mktemp)


@pytest.fixture
def play(_player: Player, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, str]]:
    """Return the function that plays a section of ``commands.txt``."""
    return lambda section: _player.play(section, capfd, monkeypatch)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that holds a text against a golden file, or writes it where --update-golden is given."""

    def agree(name: str, text: str) -> None:
        path = HERE / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
            return
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text != before:
            names = (f"tests/golden/{name}", "now")
            lines = list(difflib.unified_diff(before.splitlines(), text.splitlines(), *names, lineterm=""))
            remainder = [f"... and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
            accept = f"to accept this: pytest '{request.node.nodeid}' --update-golden"
            pytest.fail("\n".join([*lines[:MOST_LINES], *remainder, "", accept]), pytrace=False)

    return agree

"""Run the commands of the pages, and write into each block what they print: `make pages`.

    python tools/page_output.py                             # every page: about ten minutes
    python tools/page_output.py docs/ci.md --keep /tmp/kept # one page, with the runs of an earlier call

A page is run from an empty folder with the sample photographs (`clipbench data sample photos`) and the files that the
page itself shows with a title. A comment before a block says what is special about it:

- ``<!-- not run: needs a GPU -->``, or ``<!-- page not run: ... -->`` for all of a page
- ``<!-- exit status 1: the candidate is worse -->``
- ``<!-- lines 1-4, 9 -->`` of the output are shown, and ``...`` for the others; without it, the first fifteen
- ``<!-- numbers vary: a training -->``: another machine prints other numbers
"""

import argparse
import ast
import doctest
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(DOCS.rglob("*.md"))))
APART = ("docs/plugins.md",)
"""The page whose commands install a package: a test of its own runs it."""
PROGRAMS = ("pip", "make", "curl", "hf", "docker")
"""Programs of the pages that are not run."""
VARIES = (
    r"(?:< )?\d[\d.]*(?= (?:s|ms)\b)|\d{4}-\d\d-\d\d \d\d:\d\d|\d[\d.]*e-\d+|\b0(?= (?:apart|away)\b)"
    r"|\d[\d,]* (?:images|texts) (?:encoded|from cache)(?: and \d[\d,]* from cache)?"
)
"""What every run prints anew: times, dates, errors of rounding, and what was encoded before."""
MOST_LINES, SHOWN_LINES = 18, 15
ELLIPSIS = "..."


class Block(NamedTuple):
    """Input that a page shows, with the output below it.

    ``start`` and ``end`` are the positions in the page of ``text``, and of the output of Python, a block ``text`` that
    follows.
    """

    place: str
    kind: str
    text: str
    comment: str
    start: int
    end: int
    output: str = ""

    @property
    def is_run(self) -> bool:
        return not self.comment.startswith("not run: ")

    @property
    def status(self) -> int:
        """The exit status that its commands are meant to have."""
        status = re.search(r"exit status (\d+)", self.comment)
        return int(status[1]) if status else 0

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """The command lines, each with the lines that the page shows below it."""
        commands: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if self.kind == "indented" or line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            elif commands:
                commands[-1][1].append(line)
        return commands


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    printed: str
    errors: str


class RunBlock(NamedTuple):
    """A block with its new text, and the faults of its commands."""

    block: Block
    text: str
    faults: tuple[str, ...]


def main(pages: Collection[str], kept: Path | None) -> int:
    """Write the output into pages, and return 1 if a command failed. A page with a failure stays as it is."""
    faults = []
    with tempfile.TemporaryDirectory() as empty:
        workshop = Workshop(kept or Path(empty))
        for page in pages:
            start = time.monotonic()
            text, faults_of_page = workshop.run_page(page)
            if not faults_of_page:
                (ROOT / page).write_text(text, encoding="utf-8")
            faults += faults_of_page
            print(f"{page}: {time.monotonic() - start:.0f} s", flush=True)
    print("\n".join(faults))
    return int(bool(faults))


# Blocks of a page


def blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page that can be run: fenced ones without a title, and indented command lines."""
    all_of_it = re.search(r"<!-- page (not run: .*?) -->", text, re.DOTALL)
    fenced = r"^```(?P<kind>console|python|pycon)\n(?P<text>.*?)^```(?P<output>\n\n```text\n.*?^```)?"
    indented = r"(?:\A|\n\n)(?P<indented>(?:    (?:clipbench |cb\.)[^\n]*\n)+)"
    runnable = re.sub(r"^```(.*?)\n.*?^```$", _hide_others, text, flags=re.MULTILINE | re.DOTALL)
    for match in re.finditer(f"{fenced}|{indented}", runnable, re.MULTILINE | re.DOTALL):
        group = "text" if match["kind"] else "indented"
        content = match[group] if match["kind"] else re.sub("^    ", "", match[group], flags=re.MULTILINE)
        kind = match["kind"] or ("python" if content.startswith("cb.") else "indented")
        comment = re.search(r"<!-- ([^>]*) -->\Z", runnable[: match.start()].rstrip())
        place = f"{page}:{runnable.count(chr(10), 0, match.start()) + 1}"
        said = all_of_it[1] if all_of_it else comment[1] if comment else ""
        end = match.end("output") - len("```") if match["output"] and kind == "python" else match.end(group)
        yield Block(place, kind, content, said, match.start(group), end, match["output"] or "")


def _hide_others(block: re.Match[str]) -> str:
    """Return a fenced block, or blanks of the same length if it is none of those that are run."""
    return block[0] if block[1] in ("console", "python", "pycon", "text") else re.sub(r"[^\n]", " ", block[0])


def files(text: str) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    return dict(re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL))


# Running them


class Workshop:
    """Runs pages, each in a folder of its own. They share vectors, and runs that the same command makes.

    Args:
        shared: a folder for what they share.
    """

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    def run_page(self, page: str) -> tuple[str, list[str]]:
        """Run the blocks of a page in order; return the page with their output, and what is wrong."""
        text = (ROOT / page).read_text(encoding="utf-8")
        to_run = [block for block in blocks(page, text) if block.is_run]
        if not to_run or page in APART:
            return text, []
        environment = {"CLIPBENCH_CACHE": str(self._shared / "cache"), "CLIPBENCH_WORKERS": "0", "COLUMNS": "100"}
        with tempfile.TemporaryDirectory() as folder, chdir(folder), mock.patch.dict(os.environ, environment):
            results = self._run_blocks(to_run, files(text))
        for result in reversed(results):
            text = text[: result.block.start] + result.text + text[result.block.end :]
        return text, [fault for result in results for fault in result.faults]

    def _run_blocks(self, to_run: list[Block], shown_files: dict[str, str]) -> list[RunBlock]:
        self._invoke("clipbench data sample photos", ())
        for name, content in shown_files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content, encoding="utf-8")
        names = given_names() if any(block.kind in ("python", "pycon") for block in to_run) else {}
        results: list[RunBlock] = []
        trainings: list[str] = []
        for block in to_run:
            if block.kind == "pycon":
                results.append(_run_python_session(block, names))
            elif block.kind == "python":
                results.append(_run_python(block, names))
            else:
                results.append(self._run_commands(block, trainings, shown_files))
        return results

    def _run_commands(self, block: Block, trainings: list[str], shown_files: dict[str, str]) -> RunBlock:
        """Run the commands of a block, and add its trainings to the earlier ones. Indented commands show no output."""
        lines, faults = [], []
        for line, before in block.commands:
            named_files = [file for file in shown_files.items() if file[0] in line]
            outcome = self._invoke(line, [*trainings, *named_files])
            if line.startswith("clipbench train "):
                trainings.append(line)
            lines.append(f"$ {line}")
            if outcome is None:
                lines += before
                continue
            if outcome.status != block.status:
                faults.append(f"{block.place}: {line}: exit status {outcome.status}: {outcome.errors[-500:]}")
            lines += kept_if_equal(before, shown_lines(outcome, block.comment), block.comment)
        indented = re.sub("^(?=.)", "    ", block.text, flags=re.MULTILINE)
        text = indented if block.kind == "indented" else "".join(f"{line}\n" for line in lines)
        return RunBlock(block, text, tuple(faults))

    def _invoke(self, line: str, depends_on: Sequence[object]) -> Outcome | None:
        """Run a command in this process; None for a program that is not run.

        What takes long and writes a folder is done once for all pages.

        Args:
            line: the command.
            depends_on: what its outcome depends on, apart from the line.
        """
        program, *arguments = shlex.split(line, comments=True)
        if program != "clipbench":
            assert program in PROGRAMS, f"nothing runs {program}"
            return None
        if arguments[0] == "judge":
            return grade_by_words(Path(arguments[1]))
        folder = _new_folder(arguments)
        if folder is None:
            return invoke(arguments)
        key = hashlib.sha256(repr((line, list(depends_on))).encode()).hexdigest()[:16]
        made, said = self._shared / key, self._shared / f"{key}.json"
        if not said.exists():
            outcome = invoke(arguments)
            if outcome.status or not folder.is_dir():
                return outcome
            shutil.copytree(folder, made)
            said.write_text(json.dumps(outcome), encoding="utf-8")
        elif not folder.exists():
            shutil.copytree(made, folder)
        return Outcome(*json.loads(said.read_text(encoding="utf-8")))


def invoke(arguments: Sequence[str]) -> Outcome:
    """Run a command of clipbench in this process."""
    from clipbench.cli.main import main as clipbench

    printed, errors = io.StringIO(), io.StringIO()
    status = 0
    with redirect_stdout(printed), redirect_stderr(errors):
        try:
            clipbench(list(arguments))
        except SystemExit as end:
            status = int(end.code or 0)
    return Outcome(status, printed.getvalue(), errors.getvalue())


def _new_folder(arguments: list[str]) -> Path | None:
    """Return the new folder that a slow command writes, None for other commands."""
    if arguments[:2] == ["data", "sample"]:
        return Path(arguments[2])
    if arguments[0] in ("run", "train") and "--out" in arguments:
        return Path(arguments[arguments.index("--out") + 1])
    return None


def given_names() -> dict[str, Any]:
    """Return what the Python of the pages takes as given: a small model in memory, vectors and a frame."""
    import numpy as np
    import open_clip
    import pandas

    import clipbench
    from clipbench.testing import ToyModel
    from tests.clipbench.models import small_models

    folder = small_models.open_clip_folder(Path("small"), small_models.CLIP)
    net, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder.absolute()}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder.absolute()}")
    x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    frame = pandas.read_csv("photos/captions.csv")
    frame["image"] = "photos/" + frame["image"]
    in_memory = {"net": net, "preprocess": preprocess, "tokenizer": tokenizer, "my_model": ToyModel(), "frame": frame}
    return {**in_memory, "x": x, "y": x + 1, "owner": np.arange(8), "cb": clipbench, "__name__": "page"}


def grade_by_words(pool: Path) -> Outcome:
    """Grade all candidates of a pool of the sample photographs, as a person would who reads the captions."""
    import csv

    from clipbench.choosing.judgement_log import append, grade_lines
    from clipbench.choosing.pool import read_pool

    with Path("photos/captions.csv").open(encoding="utf-8") as table:
        captions = {row["image"]: row["caption"] for row in csv.DictReader(table)}
    read = read_pool(pool)
    for query, text in read.queries.items():
        words = set(text.split()) - {"something", "a", "an"}
        grades = {
            image: 2 * (words <= set(captions.get(read.images[image].name, "").split()))
            for image in read.candidates[query]
        }
        append(read, grade_lines(query, grades, "anna"))
    return Outcome(0, "", "")


# What is shown


def shown_lines(outcome: Outcome, comment: str) -> list[str]:
    """Return the lines of the output that the page shows, ``...`` for lines that are left out.

    Example:
        >>> shown_lines(Outcome(0, "a\\nb\\nc\\nd\\n", ""), "lines 1, 4")
        ['a', '...', 'd']
    """
    lines = [line.rstrip() for line in (outcome.printed or (outcome.errors if outcome.status else "")).splitlines()]
    ranges = re.search(r"lines (\d[\d, -]*)", comment)
    if ranges is None:
        return lines if len(lines) <= MOST_LINES else [*lines[:SHOWN_LINES], ELLIPSIS]
    kept: set[int] = set()
    for part in ranges[1].split(","):
        first, dash, last = part.strip().partition("-")
        end = int(last or first) if last or not dash else len(lines)
        kept.update(range(int(first), end + 1))
    shown: list[str] = []
    for number, line in enumerate(lines, start=1):
        if number in kept:
            shown.append(line)
        elif shown[-1:] != [ELLIPSIS]:
            shown.append(ELLIPSIS)
    return shown


def kept_if_equal(before: list[str], after: list[str], comment: str) -> list[str]:
    """Return the lines of the page if the new ones differ only in what varies: times, and numbers if it says so."""
    varies = r"[+-]?<?\d[\d,.]*" if "numbers vary" in comment else VARIES
    same = [_masked(line, varies) for line in before] == [_masked(line, varies) for line in after]
    return before if same else after


def _masked(line: str, varies: str) -> str:
    return re.sub(r" +", " ", re.sub(varies, "?", line))


def _run_python(block: Block, names: dict[str, Any]) -> RunBlock:
    """Run a block of Python, and return it with its output if the page has a block for it."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            exec(compile(ast.parse(block.text), block.place, "exec"), names)  # noqa: S102  a page is code
    except Exception as error:  # noqa: BLE001  a page can fail in any way
        fault = f"{block.place}: {type(error).__name__}: {error}"
        return RunBlock(block, block.text + (block.output and "```" + block.output.removesuffix("```")), (fault,))
    if not block.output:
        return RunBlock(block, block.text, ())
    before = block.output.strip().splitlines()[1:-1]
    shown = kept_if_equal(before, shown_lines(Outcome(0, printed.getvalue(), ""), block.comment), block.comment)
    return RunBlock(block, block.text + "```\n\n```text\n" + "".join(f"{line}\n" for line in shown), ())


class _Recorder(doctest.DocTestRunner):
    """Keeps what each example printed."""

    def __init__(self) -> None:
        super().__init__(optionflags=doctest.NORMALIZE_WHITESPACE)
        self.outputs: list[str] = []
        self.errors: list[str] = []

    def report_success(self, out: Any, test: Any, example: Any, got: str) -> None:
        self.outputs.append(got)

    def report_failure(self, out: Any, test: Any, example: Any, got: str) -> None:
        self.outputs.append(got)

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        self.outputs.append("")
        self.errors.append(f"{example.source}: {exc_info[1]}")


def _run_python_session(block: Block, names: dict[str, Any]) -> RunBlock:
    """Run a block with the prompt of Python, and return it with its output."""
    test = doctest.DocTestParser().get_doctest(block.text, names, block.place, block.place, 0)
    recorder = _Recorder()
    test.globs = names  # what a block defines, the next one uses
    recorder.run(test, clear_globs=False)
    lines = []
    for example, output in zip(test.examples, recorder.outputs, strict=True):
        first, *others = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}".rstrip() for line in others)]
        shown = shown_lines(Outcome(0, output, ""), block.comment)
        lines += kept_if_equal(example.want.splitlines(), shown, block.comment)
    return RunBlock(
        block, "".join(f"{line}\n" for line in lines), tuple(f"{block.place}: {e}" for e in recorder.errors)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=PAGES, metavar="PAGE")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep vectors and runs here for the next call")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    sys.exit(main(options.pages, options.keep))

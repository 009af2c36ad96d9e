"""The documentation: its commands and blocks run as they stand, its links lead somewhere, and it names all there is.

A command line (in a block ``console``, or indented) and a block of Python are run, unless the comment before it says
why
not: ``<!-- not run: needs a GPU -->``, or ``<!-- page not run: ... -->`` for all of a page. ``<!-- exit status 1: ...
    -->`` is a
command that is meant to fail. What a page shows as printed is what is printed, apart from times. Everything runs in one
folder with the files that the pages speak of (``make_world``), with 20 images where a command states no number; the
slow tests run each page in full: ``pytest -m slow tests/test_docs.py -k tutorial``.
"""

import ast
import doctest
import importlib.util
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

import clipbench
from clipbench import plugins
from clipbench.cli.main import cli, main
from clipbench.data.catalogue.entries import read_entry
from clipbench.results.record import Metric
from clipbench.stats.differences import paired_difference
from clipbench.stats.intervals import wilson

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(DOCS.rglob("*.md"))))
FILED = ("docs/plugins.md",)
"""The page whose commands need the files of the page: a test of its own runs it."""
QUICK = ("README.md", "docs/ci.md", "docs/data.md", "docs/runs.md")
"""Pages that take seconds."""


class Block(NamedTuple):
    """Input that a page shows, with what is printed below it."""

    place: str
    kind: str
    text: str
    comment: str

    @property
    def is_run(self) -> bool:
        return not self.comment.startswith("not run: ")

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """The command lines, each with the lines that it prints."""
        result: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if self.kind == "indented" or line.startswith("$ "):
                result.append((line.removeprefix("$ "), []))
            elif result:
                result[-1][1].append(line)
        return result


@cache
def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page that can be run: fenced ones without a file name, and indented command lines."""
    all_of_it = re.search(r"<!-- page (not run: .*?) -->", read(page), re.DOTALL)
    fenced = r"^```(?P<kind>console|python|pycon)\n(?P<text>.*?)^```"
    indented = r"(?:\A|\n\n)(?P<indented>(?:    (?:clipbench |cb\.)[^\n]*\n)+)"
    without_files = re.sub(r"^```(.*?)\n.*?^```$", hide_others, read(page), flags=re.MULTILINE | re.DOTALL)
    for match in re.finditer(f"{fenced}|{indented}", without_files, re.MULTILINE | re.DOTALL):
        before = without_files[: match.start()].rstrip()
        comment = re.search(r"<!-- ([^>]*) -->\Z", before)
        location = f"{page}:{without_files.count(chr(10), 0, match.start()) + 1}"
        text = match["text"] or re.sub("^    ", "", match["indented"], flags=re.MULTILINE)
        kind = match["kind"] or ("python" if text.startswith("cb.") else "indented")
        yield Block(location, kind, text, all_of_it[1] if all_of_it else comment[1] if comment else "")


def hide_others(block: re.Match[str]) -> str:
    """Return a fenced block, or as many empty lines if it is none of those that are run."""
    return block[0] if block[1] in ("console", "python", "pycon") else "\n" * block[0].count("\n")


# The commands and blocks, run


def make_world(folder: Path, *, in_full: bool) -> None:
    """Make the files that the pages speak of: images with captions, a page's own files, and three small runs."""
    invoke(["data", "sample", "photos"])
    for page in ("docs/tutorial.md", "docs/ci.md"):
        for name, content in re.findall(r'^```toml title="(\S+)"\n(.*?)^```', read(page), re.MULTILINE | re.DOTALL):
            (folder / name).write_text(content)
    invoke(["run", "--model", "tiny", "--tasks", "all", "--suite", "scenes", "--out", "runs/tiny"])
    for name in ("base", "candidate", "one", "two"):
        shutil.copytree("runs/tiny", f"runs/{name}")
    if in_full:
        steps = ["--steps", "2", "--save-every", "1", "--batch-size", "16"]
        invoke(["train", "--data", "scenes", "--out", "runs/mine", *steps, "--quiet"])


def names() -> dict[str, Any]:
    """Return what the Python of the pages takes as given."""
    import open_clip
    import pandas

    from clipbench.testing import ToyModel
    from tests.clipbench.models import small_models

    folder = small_models.open_clip_folder(Path("small"), small_models.CLIP)
    net, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder.absolute()}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder.absolute()}")
    x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    frame = pandas.read_csv("photos/captions.csv")
    frame["image"] = "photos/" + frame["image"]
    namespace = {"net": net, "preprocess": preprocess, "tokenizer": tokenizer, "my_model": ToyModel(), "frame": frame}
    return {**namespace, "x": x, "y": x + 1, "owner": np.arange(8), "cb": clipbench, "__name__": "page"}


MADE: dict[tuple[Path, str], tuple[int, str, str]] = {}
"""Outcomes of the commands that take long or write a new folder, by the folder: pages that show the same command share its run folder."""


def invoke(arguments: list[str]) -> tuple[int, str, str]:
    """Run a command in this process; return its status and what it printed."""
    line = Path.cwd(), shlex.join(arguments)
    if line in MADE:
        return MADE[line]
    is_done_once = arguments[0] in ("run", "train") or arguments[:2] == ["data", "sample"]
    if is_done_once and "--out" in arguments:
        shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told), pytest.raises(SystemExit) as end:
        main(arguments)
    outcome = int(end.value.code or 0), printed.getvalue(), told.getvalue()
    if is_done_once:
        MADE[line] = outcome
    return outcome


def run_block(block: Block, values: dict[str, Any], *, in_full: bool) -> list[str]:
    """Return what is wrong with a block; nothing if it runs and prints what the page shows."""
    if block.kind == "pycon":
        return check_session(block, values) if in_full else []
    if block.kind == "python":
        with redirect_stdout(io.StringIO()):
            exec(compile(ast.parse(block.text), block.place, "exec"), values)  # noqa: S102  a page is code
        return []
    wrong = []
    for line, expected in block.commands:
        program, *arguments = shlex.split(line, comments=True)
        if program != "clipbench":
            assert program in ("pip", "make"), f"{block.place}: nothing runs {program}"
            continue
        status, printed, outcome = invoke(arguments)
        meant = re.match(r"exit status (\d+)", block.comment)
        if status != (int(meant[1]) if meant else 0):
            wrong.append(f"{block.place}: {line}: exit status {status}: {outcome[-500:]}")
        elif in_full and expected and without_times(printed.splitlines()) != without_times(expected):
            wrong.append(f"{block.place}: {line}: printed\n{printed}")
    return wrong


def check_session(block: Block, values: dict[str, Any]) -> list[str]:
    """Return where a Python session prints other lines than the page shows."""
    test = doctest.DocTestParser().get_doctest(block.text, values, block.place, block.place, 0)
    failures = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=failures.write, clear_globs=False)
    return [failures.getvalue()] if failures.getvalue() else []


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"[\d.]+ s$", "? s", line) for line in lines]


def run_page(page: str, *, in_full: bool) -> list[str]:
    """Return what is wrong with the blocks of a page, run one after another."""
    to_run = [block for block in blocks(page) if block.is_run]
    namespace = names() if any(each.kind != "indented" for each in to_run) else {}
    return [fault for block in to_run for fault in run_block(block, namespace, in_full=in_full)]


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setenv("CLIPBENCH_CACHE", str(folder / "cache"))
    patch.setenv("CLIPBENCH_WORKERS", "0")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the pages are run in full."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        make_world(folder, in_full=True)
    return folder


@pytest.mark.slow
def test_commands_and_blocks_of_quick_pages_run_and_their_metrics_are_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    monkeypatch.setenv("CLIPBENCH_LIMIT", "20")
    monkeypatch.setenv("CLIPBENCH_THUMBNAILS", "5")
    monkeypatch.setenv("CLIPBENCH_NO_REPORT", "1")
    make_world(tmp_path, in_full=False)
    assert not [fault for page in QUICK for fault in run_page(page, in_full=False)]
    for record in clipbench.read_run("runs/tiny").result.evaluations:
        for name, metric in (*record.metrics.items(), *record.baselines.items()):
            pages = pages_module()
            row = pages.listed(pages.shared_row(f"| `{name.rpartition('/')[2]}` | {metric.title} |"))
            assert row in read("docs/metrics.md"), f"{record.name}: {name}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in FILED])
def test_commands_and_blocks_of_a_page_run_and_print_what_it_shows(
    page: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(world, monkeypatch)
    faults = run_page(page, in_full=True)
    assert not faults, "\n".join(faults)


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    env = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)


def run_as_written(program: str, arguments: list[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page of plug-ins, with what it installs apart from the environment of the tests."""
    path = os.pathsep.join(["installed", *filter(None, [os.environ.get("PYTHONPATH")])])
    if program == "clipbench":
        return run(*arguments, folder=folder, PYTHONPATH=path)
    offline_options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", "installed"]
    module = [] if program == "python" else ["-m", program]
    command = [sys.executable, *module, *arguments, *(offline_options if program == "pip" else [])]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.mark.slow
def test_the_plug_in_of_the_docs_runs_as_it_stands(tmp_path: Path) -> None:
    text = read("docs/plugins.md")
    files = re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    assert len(files) == 9
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    printed = {}
    for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        program, *arguments = shlex.split(line)
        done = run_as_written(program, arguments, folder=tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed[program] = done.stdout
    assert list(printed) == ["pip", "pytest", "python", "clipbench"]
    assert "shouting@animals.csv" in printed["clipbench"] and "cosine" in printed["clipbench"]
    assert re.search(r"^  float16 +32 +\d\.\d{4}", printed["clipbench"], re.MULTILINE), printed["clipbench"]
    assert "1 passed" in printed["pytest"]
    report = (tmp_path / "animals/report.html").read_text(encoding="utf-8")
    section = report.partition('aria-labelledby="shouting"')[2].partition("</section>")[0]
    for words in (
        "A caption and its capitals have cosine ",
        "Lowest cosine: ",
        "that capitals change most",
        "Case ignored",
    ):
        assert words in section, words
    assert "failed" not in section and "Does a caption in capitals mean the same" in section


# Commands that are not run


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_pages_parses(page: str) -> None:
    for line in re.findall(r"^(?:\$ |    )(clipbench [^\n]*)", read(page), re.MULTILINE):
        if not re.search(r"\[OPTIONS]|\.\.\.", line):
            parse([part for part in shlex.split(line, comments=True)[1:] if part != "|"])
    for spoken in re.findall(r"`(clipbench [^`]*)`", read(page)):
        if "..." not in spoken:
            with suppress(click.MissingParameter, click.exceptions.Exit):  # spoken of, with what matters there
                parse([part for part in shlex.split(spoken)[1:] if part != "|"])


@pytest.mark.parametrize("page", PAGES)
def test_python_in_the_pages_names_what_is_there(page: str) -> None:
    values_by_name: dict[str, Any] = {}
    for block in blocks(page):
        nodes = list(ast.walk(ast.parse(block.text))) if block.kind == "python" else []
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values_by_name[node.targets[0].id] = made_by(node.value)
        for node in nodes:
            if isinstance(node, ast.Call) and (function := public(node.func)):
                keyword_names = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(function).bind_partial(*node.args, **keyword_names)
            elif isinstance(node, ast.Attribute):
                of = values_by_name.get(node.value.id) if isinstance(node.value, ast.Name) else made_by(node.value)
                is_there = of is None or hasattr(of, node.attr) or node.attr in getattr(of, "__dataclass_fields__", ())
                assert is_there, f"{block.place}: {ast.unparse(node)}: {of} has no {node.attr}"


def public(node: ast.AST) -> Any:
    """Return what a name of ``cb`` stands for, None for other expressions."""
    is_public = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cb"
    return getattr(clipbench, node.attr) if is_public else None  # type: ignore[attr-defined]


def made_by(node: ast.AST) -> type | None:
    """Return the class of what a call of ``cb`` returns, None if that is not one class."""
    function = public(node.func) if isinstance(node, ast.Call) else None
    result = function if inspect.isclass(function) else getattr(function, "__annotations__", {}).get("return")
    return result if inspect.isclass(result) else None


def parse(arguments: list[str]) -> None:
    """Parse a command line as the command does."""
    name, left = "clipbench", arguments
    command: click.Command | None = cli
    while isinstance(command, click.Group) and left:
        name, *left = left
        command = command.get_command(click.Context(command), name)
    assert command is not None, arguments
    command.make_context(name, left, obj=[])


# What is documented


@cache
def pages_module(name: str = "pages") -> ModuleType:
    """The module ``tools/pages.py``, which writes two of the pages, or another one beside it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_that_are_written_from_the_code_are_up_to_date() -> None:
    pages = pages_module()
    assert pages.commands_page() == read("docs/commands.md"), "make pages"
    assert pages.metrics_page() == read("docs/metrics.md"), "make pages"
    assert pages_module("schema").text() == read("docs/schemas/result-1.json"), "make pages"


def test_every_task_and_figure_is_documented() -> None:
    from clipbench_reports.plots.plots import plots

    documented = "".join(map(read, PAGES))
    for name in plugins.names(plugins.TASKS):
        assert f"[`{name}`]({name}.md)" in read("docs/tasks/index.md"), name
    for name in plots():
        assert f"`{name}`" in documented or f"clipbench plot {name} " in documented, name
    figures = pages_module("figures")
    assert {entry.plot for entry in figures.ENTRIES} == set(plots()) - figures.NEED_DATA


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(read(page) for page in PAGES if page.startswith("docs/api/"))
    listed = re.findall(r"^::: clipbench\.(\w+)$", pages, re.MULTILINE)
    assert sorted([*listed, "__version__"]) == sorted(clipbench.__all__)


def test_every_argument_that_a_docstring_describes_is_there() -> None:
    for path in (
        module_path
        for folder in ("clipbench", "tasks", "reports")
        for module_path in sorted((ROOT / folder).rglob("*.py"))
    ):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "    Args:\n" in text else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
                described = set(re.findall(r"^    \**(\w+)(?=:)", section[1] if section else "", re.MULTILINE))
                assert described <= arguments_of(node), (path, node.name)


def arguments_of(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """Return the names of a function's arguments, or of a class's: of its ``__init__``, else its fields."""
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        listed = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        return {argument.arg for argument in listed if argument}
    makers = [
        arguments for arguments in node.body if isinstance(arguments, ast.FunctionDef) and arguments.name == "__init__"
    ]
    fields = {
        arguments.target.id
        for arguments in node.body
        if isinstance(arguments, ast.AnnAssign) and isinstance(arguments.target, ast.Name)
    }
    return arguments_of(makers[0]) if makers else fields


# Links


def without_code(text: str) -> str:
    """Return a page without what stands in its blocks and spans of code."""
    return re.sub("`[^`\n]+`", "code", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def addresses_of_headings(text: str) -> set[str]:
    """Return the addresses of headings that are the same on the site and on GitHub; a repeated heading has none."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    result: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        kept = re.sub(r"[^\w\s-]", "", plain.lower())
        on_github = re.sub(r"\s", "-", kept)
        on_site = re.sub(r"[-\s]+", "-", unicodedata.normalize("NFKD", kept).encode("ascii", "ignore").decode().strip())
        result += [on_site] if on_site == on_github else []
    return {address for address in result if result.count(address) == 1}


def faults_of_links(page: str, text: str) -> list[str]:
    """Return the links of a page that lead nowhere, on GitHub or on the site: what its strict build refuses, and
    more.
    """
    prose = without_code(text)
    is_on_site = page.startswith("docs/")
    faults = [f"{match}: expected [text](address), the one form here" for match in re.findall(r"\]\[[^]]*\]", prose)]
    links = re.findall(
        r"""\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|(?:src|href)="([^"]+)"|^\[[^]]+\]:\s+(\S+)""", prose, re.MULTILINE
    )
    for address in map("".join, links):
        target, _, heading = address.partition("#")
        if re.match(r"https?:|mailto:", target):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if target.startswith("/") or not path.exists():
            faults.append(f"{address}: no such file")
        elif is_on_site and not (path.is_file() and path.resolve().is_relative_to(DOCS)):
            faults.append(f"{address}: not a file of the site")
        elif heading and path.suffix == ".md":
            content = path.read_text(encoding="utf-8") if target else text
            if heading not in addresses_of_headings(content):
                faults.append(f"{address}: no heading of this address, or not on both GitHub and the site")
    return faults


@pytest.mark.parametrize(
    "page",
    [
        *(*PAGES, "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md"),
        *(f"design/{path.name}" for path in (ROOT / "design").glob("*.md")),
        *(f"experiments/{path.name}" for path in (ROOT / "experiments").glob("*.md") if path.name != "proof_page.md"),
    ],
)
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    assert not faults_of_links(page, read(page))


def test_the_site_has_every_page() -> None:
    def listed(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for part in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from listed(part)

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(f"docs/{page}" for page in listed(nav)) == sorted(page for page in PAGES if page.startswith("docs/"))


def test_the_catalogue_reads_the_entry_of_contributing() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    ((name, table),) = tomllib.loads(example).items()
    entry = read_entry(name, table, "CONTRIBUTING.md")
    assert (entry.kind, entry.sources[0].hub) == ("classification", "me/pets")


KINDS_OF_METRICS = {
    "fraction of samples": r"(acc\d?|recall@k|_success|_rate|_strict|same_words|shorter_caption|truncated_fraction)$",
    "mean over classes or subsets": r"^(macro_|mean_per_class_recall|mean_average_precision)",
    "mean without a range": r"(_cosine|^alignment|^l2i|_tokens|^tokens_lost)$",
    "quantile or another smooth statistic": r"(median_rank|_cone|_uniformity|^rmg\w*|^separability)$",
    "calibration error": r"^ece$",
    "distance between centroids": r"^gap$",
    "change, drop, difference": r"^drop",
    "where two curves meet": r"^effective_length$",
}
"""Kinds of docs/statistics.md, with the names of their metrics in experiments/coverage.md. A name has the first kind
that fits, but a mean over groups its own."""


def lowest_coverage(kind: str, lines: Sequence[str]) -> float:
    """Return the lowest coverage of a kind of metric in the table of the built-in suite."""
    rates: list[float] = []
    for line in lines:
        name, *cells = [cell.strip() for cell in line.strip("| \n").split("|")]
        name = name.strip("`").split(" ")[0]
        kinds = [key for key, names in KINDS_OF_METRICS.items() if re.search(names, name)]
        is_over_groups = "mean over classes or subsets" in kinds
        if kinds and kind == ("mean over classes or subsets" if is_over_groups else kinds[0]):
            rates += [float(cell) for cell in cells[:2] if cell != "–"]
    return min(rates)


@pytest.mark.parametrize("kind", KINDS_OF_METRICS)
def test_the_page_of_statistics_promises_no_more_coverage_than_was_simulated(kind: str) -> None:
    table = read("experiments/coverage.md").split("| Metric | coverage, n = 100")[1].split("<!-- rates: end")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    row = next(line for line in read("docs/statistics.md").splitlines() if line.startswith(f"| {kind} |"))
    promised = re.match(r"(\.\d\d) to ", row.rstrip("| ").rpartition("| ")[2])
    assert promised is not None, row
    lowest = lowest_coverage(kind, lines)
    assert float(promised[1]) <= lowest, (kind, lowest)
    if kind in ("fraction of samples", "mean over classes or subsets", "mean without a range"):
        assert lowest - float(promised[1]) < 0.011, (kind, lowest)  # it is the lowest, rounded down


def test_the_page_of_statistics_promises_ranks_that_were_simulated() -> None:
    section = (
        read("experiments/coverage.md").split("## Ranks of several models")[1].split("The mean rank over tasks")[0]
    )
    cells = [line.split("|")[3] for line in section.splitlines() if line.startswith(("| equal", "| graded"))]
    rates = [float(rate) for cell in cells for rate in cell.split("·")]
    rates += [float(rate) for rate in re.findall(r"coverage is (\.\d{3}) to 1", section)]
    promised = re.search(r"\(simultaneous coverage\) in at least (\d\d) %", read("docs/statistics.md"))
    assert promised is not None and len(rates) > 60
    assert 0 <= min(rates) - int(promised[1]) / 100 < 0.01, min(rates)


def test_half_widths_and_the_detectable_difference_of_the_page_are_computed() -> None:
    page = read("docs/statistics.md")
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for n_text, *cells in rows:
        n = int(n_text.replace(",", ""))
        halves = [np.diff(wilson(share * n, n).bounds)[0] / 2 for share in (0.5, 0.9, 0.99)]
        assert cells == [f"{100 * half:.1f}" for half in halves]
    before, after = np.repeat([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [20, 20, 960], axis=0).T
    metric = Metric(value=0.98, n=1_000, column="hit")
    rng = np.random.default_rng(0)
    paired = paired_difference(metric, metric, before={"hit": before}, after={"hit": after}, clusters=None, rng=rng)
    assert paired.power is not None
    detectable = paired.power.at(0.05)
    assert detectable is not None
    assert f"of which 4 % change, about {100 * detectable:.1f} points" in page

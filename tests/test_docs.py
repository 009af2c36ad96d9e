"""The documentation: its commands run and print what the pages show, its links lead somewhere, and it names all there
is.

``tools/page_output.py`` runs the pages, and writes them (``make pages``). The slow tests run those that take longer:
``pytest -m slow tests/test_docs.py -k tutorial``.
"""

import ast
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

import clipbench
import page_output
from clipbench import plugins
from clipbench.cli.main import cli
from clipbench.data.catalogue.entries import read_entry
from clipbench.results.record import Metric
from clipbench.stats.differences import paired_difference
from clipbench.stats.intervals import wilson
from page_output import APART, PAGES, Workshop

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
QUICK = ("docs/data.md", "docs/images.md")
"""Pages that take less than ten seconds."""


@cache
def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


# The commands and blocks, run


def assert_shows_what_is_printed(page: str, folder: Path) -> None:
    text, faults = Workshop(folder).run_page(page)
    assert not faults, "\n".join(faults)
    assert text == read(page), f"{page} shows other output than its commands print: make pages"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors and runs that the pages have in common."""
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("page", QUICK)
def test_a_quick_page_shows_what_its_commands_print(page: str, shared: Path) -> None:
    assert_shows_what_is_printed(page, shared)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in (*QUICK, *APART)])
def test_a_page_shows_what_its_commands_print(page: str, shared: Path) -> None:
    assert_shows_what_is_printed(page, shared)


@pytest.mark.slow
def test_every_metric_that_a_run_has_is_documented() -> None:
    run = clipbench.run("tiny", "all", suite="scenes", limit=20)
    pages = pages_module()
    for record in run.result.evaluations:
        for name, metric in (*record.metrics.items(), *record.baselines.items()):
            row = pages.listed(pages.shared_row(f"| `{name.rpartition('/')[2]}` | {metric.title} |"))
            assert row in read("docs/metrics.md"), f"{record.name}: {name}"


def test_a_block_that_shows_other_output_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ clipbench list tasks\nzero-shot  nothing\n```\n")
    monkeypatch.setattr(page_output, "ROOT", tmp_path)
    text, faults = Workshop(tmp_path / "shared").run_page("page.md")
    assert not faults and "nothing" not in text and "zero-shot" in text
    page.write_text(text)
    assert Workshop(tmp_path / "shared").run_page("page.md") == (text, [])
    page.write_text("<!-- exit status 1: a fault -->\n" + text)
    assert "exit status 0" in Workshop(tmp_path / "shared").run_page("page.md")[1][0]


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    env = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)


def run_as_written(program: str, arguments: list[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page of plug-ins, with what it installs apart from the environment of the tests."""
    path = os.pathsep.join(["installed", *filter(None, [os.environ.get("PYTHONPATH")])])
    if program == "clipbench":
        return run(*arguments, folder=folder, PYTHONPATH=path)
    apart = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", "installed"]
    module = [] if program == "python" else ["-m", program]
    command = [sys.executable, *module, *arguments, *(apart if program == "pip" else [])]
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
            parse([each for each in shlex.split(line, comments=True)[1:] if each != "|"])
    for spoken in re.findall(r"`(clipbench [^`]*)`", read(page)):
        if "..." not in spoken:
            with suppress(click.MissingParameter, click.exceptions.Exit):  # spoken of, with what matters there
                parse([each for each in shlex.split(spoken)[1:] if each != "|"])


@pytest.mark.parametrize("page", PAGES)
def test_python_in_the_pages_names_what_is_there(page: str) -> None:
    made: dict[str, Any] = {}
    for block in page_output.blocks(page, read(page)):
        nodes = list(ast.walk(ast.parse(block.text))) if block.kind == "python" else []
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                made[node.targets[0].id] = made_by(node.value)
        for node in nodes:
            if isinstance(node, ast.Call) and (function := public(node.func)):
                named = {each.arg: None for each in node.keywords if each.arg}
                inspect.signature(function).bind_partial(*node.args, **named)
            elif isinstance(node, ast.Attribute):
                of = made.get(node.value.id) if isinstance(node.value, ast.Name) else made_by(node.value)
                known = of is None or hasattr(of, node.attr) or node.attr in getattr(of, "__dataclass_fields__", ())
                assert known, f"{block.place}: {ast.unparse(node)}: {of} has no {node.attr}"


def public(node: ast.AST) -> Any:
    """Return what a name of ``cb`` stands for, None for other expressions."""
    is_public = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cb"
    return getattr(clipbench, node.attr) if is_public else None  # type: ignore[attr-defined]


def made_by(node: ast.AST) -> type | None:
    """Return the class of what a call of ``cb`` returns, None if that is not one class."""
    function = public(node.func) if isinstance(node, ast.Call) else None
    found = function if inspect.isclass(function) else getattr(function, "__annotations__", {}).get("return")
    return found if inspect.isclass(found) else None


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
        each for folder in ("clipbench", "tasks", "reports") for each in sorted((ROOT / folder).rglob("*.py"))
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
        each = node.args
        listed = (*each.posonlyargs, *each.args, *each.kwonlyargs, each.vararg, each.kwarg)
        return {argument.arg for argument in listed if argument}
    makers = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    fields = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return arguments_of(makers[0]) if makers else fields


# Links


def without_code(text: str) -> str:
    """Return a page without what stands in its blocks and spans of code."""
    return re.sub("`[^`\n]+`", "code", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def addresses_of_headings(text: str) -> set[str]:
    """Return the addresses of headings that are the same on the site and on GitHub; a repeated heading has none."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        kept = re.sub(r"[^\w\s-]", "", plain.lower())
        on_github = re.sub(r"\s", "-", kept)
        on_site = re.sub(r"[-\s]+", "-", unicodedata.normalize("NFKD", kept).encode("ascii", "ignore").decode().strip())
        found += [on_site] if on_site == on_github else []
    return {address for address in found if found.count(address) == 1}


def faults_of_links(page: str, text: str) -> list[str]:
    """Return the links of a page that lead nowhere, on GitHub or on the site: what its strict build refuses, and
    more.
    """
    prose = without_code(text)
    is_on_site = page.startswith("docs/")
    faults = [f"{each}: expected [text](address), the one form here" for each in re.findall(r"\]\[[^]]*\]", prose)]
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
        for each in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from listed(each)

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
        kinds = [each for each, names in KINDS_OF_METRICS.items() if re.search(names, name)]
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
    promised = re.search(r"\(simultaneous coverage\) in at least (\d\d) %", read("docs/differences.md"))
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

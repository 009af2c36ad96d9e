"""Promises of README and docs, a line each in tests/inventory.txt: none is lost without a line of a diff that says so.

Data sets are not among them: the catalogue is their list. tests/test_contracts.py demands a line of CHANGELOG.md for each
change of the file.

`pytest tests/test_inventory.py --update-golden` writes the file anew.
"""

import difflib
import inspect
import re
import runpy
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
import pytest

import clipbench
import clipbench_reports
from clipbench import plugins, testing
from clipbench.checks.examination import OURS
from clipbench.cli.main import BAD_INPUT, DONE, FAULT, INCOMPLETE, INTERRUPTED, UNREAD, cli
from clipbench.comparison import explanation_records, gate_outcomes, metric_difference, records
from clipbench.comparison.gate_rules import COMPARISONS, read_gate
from clipbench.evaluation.plan import SUITES, Request, build_task, suites
from clipbench.models import aliases
from clipbench.results.trackers import TRACKERS
from clipbench_reports.plots.plots import plots

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("inventory.txt")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ACCEPT = "python -m pytest tests/test_inventory.py --update-golden"
STATUSES = {
    "done": DONE,
    "fault": FAULT,
    "bad input": BAD_INPUT,
    "incomplete": INCOMPLETE,
    "interrupted": INTERRUPTED,
    "output not read to its end": UNREAD,
}
pytestmark = pytest.mark.skipif(
    not PAGES[-1].is_file(), reason="README.md and docs/ are not part of the source distribution"
)


def inventory() -> list[str]:
    """Return all lines, kind by kind."""
    kinds = (
        *(commands(), public_names(), tasks(), metrics(), documented_options(), entry_points()),
        *(exit_statuses(), gate(), doors(clipbench_reports, "clipbench_reports"), doors(testing, "clipbench.testing")),
        (f"plot {name}" for name in plots()),
        (f"export {name}" for name in plugins.names(plugins.EXPORTS)),
        (f"tracker {name}" for name in TRACKERS),
        (f"check {package.name}" for package in OURS),
        (f"suite {name}" for name in suites()),
        (f"model alias {name}" for name in aliases()),
    )
    return [line for kind in kinds for line in sorted(set(kind))]


def commands() -> Iterator[str]:
    """Yield each command, argument and option."""
    for path, command in commands_by_path(cli, "clipbench"):
        yield f"command {path}"
        for parameter in command.params:
            flags = (
                ", ".join([*parameter.opts, *parameter.secondary_opts])
                if isinstance(parameter, click.Option)
                else parameter.name
            )
            yield f"command {path}: {flags}"
            if isinstance(parameter.type, click.Choice):
                yield from (f"command {path}: {flags} {choice}" for choice in parameter.type.choices)


def commands_by_path(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command of a group and of the groups in it, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands_by_path(command, f"{path} {name}")


def public_names() -> Iterator[str]:
    """Yield each public name: a function with its parameters, a class with its methods and attributes."""
    for name in clipbench.__all__:
        value = getattr(clipbench, name)
        if inspect.isclass(value):
            yield f"class {name}"
            members = {key for key in dir(value) if not key.startswith("_") and not hasattr(Exception, key)}
            members |= {
                key for base in value.__mro__ for key in inspect.get_annotations(base) if not key.startswith("_")
            }
            yield from (f"class {name}: {key}" for key in members)
        elif callable(value):
            yield f"function {name}({', '.join(inspect.signature(value).parameters)})"


def tasks() -> Iterator[str]:
    """Yield each task and its parameters."""
    for name in plugins.names(plugins.TASKS):
        task = build_task(Request(task=name))
        yield f"task {name}"
        yield from (f"task {name}: {field.name}" for field in fields(task))  # type: ignore[arg-type]


def metrics() -> Iterator[str]:
    """Yield the metrics of each task, from the tasks' own definitions, as docs/metrics.md is made of them."""
    pages = runpy.run_path(str(ROOT / "tools/pages.py"))
    for task, result in pages["definitions"]().items():
        yield from (f"metric {task}/{key}" for key in result)


PAGES_ON_MODELS = ("models", "families", "exports-and-servers", "model-object", "vectors")


def documented_options() -> Iterator[str]:
    """Yield the options of models and data that pages name: ``--model-option name`` or `name=VALUE`."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for kind, name in re.findall(r"--(model|data)-option[ =]'?([a-z_.]+)", text):
            yield f"{kind} option {name}"
        of_page = {**dict.fromkeys(PAGES_ON_MODELS, "model"), "data": "data"}.get(page.stem)
        if of_page is not None:
            for name in re.findall(r"`([a-z_]+)=[^`]*`", text):
                yield f"{of_page} option {name}"


def exit_statuses() -> Iterator[str]:
    """Yield each exit status with its meaning, and the statuses that the help of each command lists."""
    yield from (f"exit status {status}: {meaning}" for meaning, status in STATUSES.items())
    for path, command in commands_by_path(cli, "clipbench"):
        for status in re.findall(r"\b\d+\b", (command.help or "").partition("Exit status:")[2]):
            yield f"exit status {status} of {path}"


def gate() -> Iterator[str]:
    """Yield the words of a verdict, a difference, a gated metric and an explanation, and the keys of JSON and a gate file."""
    yield from (f"verdict {word}" for word in records.WORDS)
    yield from (f"word of a difference {word}" for word in get_args(metric_difference.Verdict))
    yield from (f"word of a gated metric {word}" for word in get_args(gate_outcomes.Status))
    yield from (f"word of a claim {word}" for word in get_args(explanation_records.Kind))
    yield from (f"sign of a requirement {sign}" for sign in COMPARISONS)
    transcript = (ROOT / "tests/golden/compare.json").read_text(encoding="utf-8")
    yield from (f"key of compare --format json {key}" for key in re.findall(r'^ +"(\w+)": ', transcript, re.MULTILINE))
    for key, value in tomllib.loads(gate_file_of_page()).items():
        tables = [value] if isinstance(value, dict) else [table for table in value if isinstance(table, dict)]
        yield f"gate key {'PATTERN' if '*' in key else key}"
        yield from (f"gate key {'PATTERN' if '*' in key else key}: {field}" for table in tables for field in table)


def gate_file_of_page() -> str:
    """Return the example of a gate file in docs/ci.md, which has every key."""
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    (example,) = re.findall(r'^```toml title="clipbench-gate.toml"\n(.*?)^```', page, re.MULTILINE | re.DOTALL)
    return str(example)


def doors(module: ModuleType, name: str) -> Iterator[str]:
    """Yield the names that authors of plug-ins import from a module: a function with its parameters, a class with its fields."""
    for key, value in vars(module).items():
        is_ours = getattr(value, "__module__", "").startswith(("clipbench.results.table", "clipbench_reports", name))
        if key.startswith("_") or not is_ours:
            continue
        if inspect.isclass(value):
            yield f"plug-in class {name}.{key}"
            annotations = {field for base in value.__mro__ for field in inspect.get_annotations(base)}
            yield from (f"plug-in class {name}.{key}: {field}" for field in annotations if not field.startswith("_"))
        elif callable(value):
            yield f"plug-in function {name}.{key}({', '.join(inspect.signature(value).parameters)})"


def entry_points() -> Iterator[str]:
    """Yield what a plug-in can bring, and what is brought here by name: the forms of models among it."""
    groups = (plugins.TASKS, SUITES, plugins.MODELS, plugins.SECTIONS, plugins.CHECKS, plugins.EXPORTS, plugins.REPORTS)
    yield from (f"plug-in door {group}" for group in groups)
    for entry_point in distribution("clipbench").entry_points:
        if entry_point.group.startswith("clipbench."):
            yield f"entry point {entry_point.group}: {entry_point.name}"


def test_nothing_that_is_promised_is_lost_unseen(pytestconfig: pytest.Config) -> None:
    result = inventory()
    if pytestconfig.getoption("--update-golden"):
        FILE.write_text("\n".join(result) + "\n", encoding="utf-8")
    recorded_lines = FILE.read_text(encoding="utf-8").splitlines()
    lines = [
        line
        for line in difflib.unified_diff(
            recorded_lines, result, "tests/inventory.txt", "what there is", n=0, lineterm=""
        )
        if not line.startswith("@@")
    ]
    assert not lines, "\n".join([*lines, f"to accept this: {ACCEPT}"])


def test_the_gate_file_of_the_page_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(gate_file_of_page(), encoding="utf-8")
    assert read_gate(path).requirements


def test_the_exit_statuses_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    described = {int(status) for status in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert described == set(STATUSES.values()) - {UNREAD}

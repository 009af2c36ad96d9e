"""The installation: entry points as declared, exports as said, light commands light, and the wheel when it is
tested.
"""

import ast
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.made import modules_after

ROOT = Path(__file__).parents[1]
GROUPS = ("clipbench.tasks", "clipbench.suites", "clipbench.models", "clipbench.reports")
PACKAGES = (
    "clipbench.models",
    "clipbench.data",
    "clipbench.cli",
)


@pytest.mark.parametrize("group", GROUPS)
def test_the_installed_entry_points_are_those_declared(group: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][group]
    installed = {point.name: point.value for point in entry_points(group=group)}
    assert declared.items() <= installed.items(), "pyproject.toml has changed: run `make install`"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_exports_just_what_it_says(package: str) -> None:
    module = import_module(package)
    statements = ast.walk(ast.parse(Path(str(module.__file__)).read_text()))  # imports for type checkers too
    imported = {
        alias.name
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("clipbench")
        for alias in statement.names
    }
    assert set(module.__all__) == imported
    assert all(hasattr(module, name) for name in module.__all__)


def dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (requirement for extra in project["optional-dependencies"].values() for requirement in extra)
    return [Requirement(requirement) for requirement in (*project["dependencies"], *extras)]


def test_the_tested_versions_are_of_all_dependencies_and_within_their_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = {
        dependency.name: dependency
        for dependency in map(Requirement, (line for line in lines if not line.startswith("#")))
    }
    assert {dependency.name for dependency in dependencies()} == set(tested), (
        "constraints.txt and pyproject.toml name different ones"
    )
    for dependency in dependencies():
        (pin,) = tested[dependency.name].specifier
        assert pin.operator == "==" and pin.version in dependency.specifier, dependency


def test_a_library_whose_internals_are_used_has_an_upper_bound() -> None:
    internals = {
        "open-clip-torch": "from open_clip.factory import",
        "huggingface-hub": "from huggingface_hub.file_download import",
        "transformers": "from transformers import dynamic_module_utils",
    }
    code = "".join(path.read_text() for path in (ROOT / "clipbench").rglob("*.py"))
    bounded = {
        dependency.name for dependency in dependencies() if any(part.operator == "<" for part in dependency.specifier)
    }
    assert {name for name, statement in internals.items() if statement in code} <= bounded


@pytest.mark.parametrize("listed", ["tasks", "models", "data"])
def test_listings_do_not_import_torch(listed: str) -> None:
    heavy = {"torch", "open_clip", "transformers", "datasets", "sklearn", "scipy", "pandas", "matplotlib"}
    code = f"try:\n    main(['list', '{listed}'])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    assert not heavy & modules_after(f"from clipbench.cli import main\n{code}")


@pytest.mark.parametrize("source", ["clipbench", "tasks/clipbench_tasks", "reports/clipbench_reports"])
def test_every_file_of_a_package_is_installed(source: str) -> None:
    """A line in .gitignore keeps files out of the wheel without a word."""
    installed = Path(str(import_module(Path(source).name).__file__)).parent
    files = [path.relative_to(ROOT / source) for path in (ROOT / source).rglob("*") if path.is_file()]
    missing = [str(path) for path in files if "__pycache__" not in path.parts and not (installed / path).is_file()]
    assert not missing

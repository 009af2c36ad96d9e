"""``import clipbench``: light, and whole for people, type checkers and plug-ins alike."""

import ast
from pathlib import Path

import pytest

import clipbench
from tests.made import modules_after


def test_each_name_stands_once_in_the_stub() -> None:
    stub = ast.parse(Path(str(clipbench.__file__)).with_suffix(".pyi").read_text())
    names = [
        alias.asname for statement in stub.body if isinstance(statement, ast.ImportFrom) for alias in statement.names
    ]
    assert len(names) == len(set(names)) and sorted([*map(str, names), "__version__"]) == sorted(clipbench.__all__)
    assert dir(clipbench) == sorted(clipbench.__all__)


@pytest.mark.parametrize("name", clipbench.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(clipbench, name)
    assert value is getattr(clipbench, name)
    assert value.__doc__, name


MADE = (
    "Curve",
    "Dataset",
    "Definition",
    "Evaluation",
    "Fixed",
    "Mean",
    "Monitor",
    "Progress",
    "Run",
    "Smooth",
    "Statistic",
)
"""Classes that a user makes or works with; errors, protocols and what is only returned need no example."""


@pytest.mark.parametrize("name", [*MADE, *(name for name in clipbench.__all__ if name.islower() and name[0] != "_")])
def test_functions_and_what_users_make_have_an_example(name: str) -> None:
    assert ">>> " in str(getattr(clipbench, name).__doc__), name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = clipbench.runs  # type: ignore[attr-defined]


def test_the_import_is_light() -> None:
    imported = modules_after("import clipbench") - modules_after("")
    assert not {"torch", "pandas", "numpy", "PIL", "matplotlib", "transformers", "open_clip", "click"} & imported
    assert "clipbench" in imported and len(imported) < 80, sorted(imported)

"""Docstrings of ``import clipbench``: an entry for every parameter, its default, and where to look next."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import clipbench

FOR_AUTHORS = (
    *("Check", "CheckFinding", "CheckOutcome", "Subject", "NotExamined", "Embedder", "Model", "ModelInfo", "Internals"),
    *("LoadOptions", "Task", "Evaluation", "ExportFormat", "RenderedExport", "DataOptions", "Dataset", "ImageRef"),
    *("Fixed", "Mean", "Measure", "Smooth", "Statistic", "Within", "Progress", "StoredFormat"),
)
"""Classes whose methods only authors of plug-ins call or override: docs/plugins.md explains them."""
PUBLIC = [name for name in clipbench.__all__ if not name.startswith("__")]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(clipbench, name))]


def callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public functions, and the public methods of what they return."""
    for name in PUBLIC:
        value = getattr(clipbench, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and name not in FOR_AUTHORS and not issubclass(value, Exception):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


def sections(docstring: str) -> dict[str, str]:
    """Return the sections of a docstring by their titles."""
    parts = re.split(r"^([A-Z][\w ]+):\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(docstring: str) -> dict[str, str]:
    """Return the entry of each parameter."""
    found = re.split(r"^    (\w+): ", sections(docstring).get("Args", ""), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


CALLABLES = dict(callables())


@pytest.mark.parametrize("name", CALLABLES)
def test_every_parameter_has_an_entry(name: str) -> None:
    parameters = [parameter for parameter in inspect.signature(CALLABLES[name]).parameters if parameter != "self"]
    assert [*entries(CALLABLES[name].__doc__ or "")] == parameters


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_entry_of_an_option_says_its_default(name: str) -> None:
    """An entry has the default of the signature as a reader writes it, or says that it is the default."""
    function = getattr(clipbench, name)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is inspect.Parameter.empty:
            continue
        entry = " ".join(entries(function.__doc__)[parameter.name].split())
        assert "default" in entry, f"{name}, {parameter.name}: {entry}"
        default = parameter.default
        written = f'"{default}"' if isinstance(default, str) else str(default)
        is_named = default in ((), []) or written in entry
        assert is_named, f"{name}, {parameter.name}: expected {written} in {entry}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_an_example_with_output_and_the_next_step(name: str) -> None:
    docstring = getattr(clipbench, name).__doc__
    example = sections(docstring)["Example"]
    assert re.search(r"^    (?!>>>|\.\.\.)\S", example, re.MULTILINE), "an example with its output"
    names = re.findall(r"^    ([\w.]+): ", sections(docstring)["See Also"], re.MULTILINE)
    assert names
    for other in names:
        value: Any = clipbench
        for part in other.split("."):
            value = getattr(value, part)


def test_a_parameter_without_an_entry_is_seen() -> None:
    docstring = "Return it.\n\n    Args:\n        first: one.\n\n    Raises:\n        second: no entry.\n    "
    assert [*entries(docstring)] == ["first"]

"""Evaluation and diagnostics for CLIP-style dual encoders.

Every public name is found here, and each is imported when it is first asked for: ``import clipbench`` itself imports
neither numpy nor torch. ``__init__.pyi`` lists the names, and type checkers read them there.
"""

import os
from importlib import import_module

with open(os.path.join(os.path.dirname(__file__), "__init__.pyi"), encoding="utf-8") as _file:
    _HOMES = {line.split()[-1]: line.split()[1] for line in _file if line.startswith("from ")}
"""The module of each public name: ``from MODULE import NAME as NAME``."""

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604  all of them are texts


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name == "__version__":
        from importlib.metadata import version  # takes as long as all the rest of the import

        value: object = version("clipbench")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        if isinstance(value, type(__getattr__)):
            value = import_module("clipbench.errors").with_checked_arguments(value)
    else:
        raise AttributeError(f"module 'clipbench' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

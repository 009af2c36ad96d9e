"""Phrases that `make check` refuses: each place is named with better words, in pages, docstrings and messages."""

import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.test_docs import pages_module

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools/prose.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="tools/ is not part of the source distribution")
PAGE = """# A page

Distances alone
are not shown. `alone` is code.

    clipbench run --alone

```text
alone
```

Of a pair [alone](alone.md), and ask no one else, whatever else there is.
"""
MODULE = '''"""Return the rank alone."""

HELP = "the rank alone, as text"
WORD = "alone"
FIELD: int = 0
"""A value beside another."""
'''


@pytest.fixture(scope="module")
def prose() -> ModuleType:
    return pages_module("prose")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prose"]
    return loaded


def places(faults: list[str]) -> list[str]:
    return [fault.rpartition(": write ")[0] for fault in faults]


def test_a_phrase_of_a_page_is_named_with_its_line_and_a_better_word(
    prose: ModuleType, settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    faults = list(prose.find(tmp_path, {**settings, "pages": ["*.md"]}))
    assert "page.md:3: 'alone': write only" in faults
    assert sorted(places(faults)) == ["page.md:12: 'Of'", "page.md:12: 'alone'", "page.md:3: 'alone'"]


def test_docstrings_and_messages_are_checked_once_their_files_are_listed(
    prose: ModuleType, settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    chosen = {"pages": [], "phrases": settings["phrases"]}
    of_docstrings = list(prose.find(tmp_path, {**chosen, "docstrings": ["*.py"]}))
    assert places(of_docstrings) == ["module.py:1: 'alone'", "module.py:6: 'beside'"]
    assert places(list(prose.find(tmp_path, {**chosen, "messages": ["*.py"]}))) == ["module.py:3: 'alone'"]
    assert not list(prose.find(tmp_path, {**chosen, "messages": ["*.py"], "exclude": ["module.py"]}))


def test_every_listed_file_is_there_and_every_phrase_has_a_better_one(
    prose: ModuleType, settings: dict[str, Any]
) -> None:
    for kind in ("pages", "docstrings", "messages"):
        assert all(prose.files(ROOT, [pattern], ()) for pattern in settings[kind]), kind
    assert all((ROOT / name).is_file() for name in settings["exclude"])
    assert all(re.compile(pattern) and better for pattern, better in settings["phrases"].items())

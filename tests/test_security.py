"""Every promise of SECURITY.md has tests, which design/security.md names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADING = "## The tests of each promise"


def listed_tests() -> dict[str, list[str]]:
    """Return the tests that design/security.md lists below each promise."""
    page = (ROOT / "design/security.md").read_text(encoding="utf-8").partition(HEADING)[2]
    tests: dict[str, list[str]] = {}
    for promise, test in re.findall(r"^- (.+)$|^  - `(.+)`$", page, re.MULTILINE):
        if promise:
            tests[promise] = []
        else:
            tests[[*tests][-1]].append(test)
    return tests


def promises() -> list[str]:
    """Return the promises of the page: the items of its lists."""
    return re.findall(r"^- (.+)$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_each_promise_names_its_tests() -> None:
    assert promises() == list(listed_tests())
    assert all(listed_tests().values())


@pytest.mark.parametrize("promise", listed_tests())
def test_the_tests_of_a_promise_exist(promise: str) -> None:
    for test in listed_tests()[promise]:
        file, name = test.split("::")
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), test

"""What is said of skipped tests."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def skips() -> ModuleType:
    spec = importlib.util.spec_from_file_location("skips_under_test", Path(__file__).with_name("skips.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_skips_that_are_expected_pass_up_to_their_number(skips: ModuleType) -> None:
    assert skips.faults(Counter({"needs mteb": 1, "published vectors of clasp are not at ../shared/data": 3})) == []
    (line,) = skips.faults(Counter({"published vectors of clasp are not at ../shared/data": 4}))
    assert line == "4 tests were skipped for want of published vectors that are not given: expected at most 3"


def test_a_browser_and_unknown_reasons_are_faults(skips: ModuleType) -> None:
    counts = Counter({"no Chromium on the path: apt-get install chromium": 70, "a new reason": 1})
    assert skips.faults(counts) == [
        "70 tests were skipped, and CI has to have a browser: no Chromium on the path: apt-get install chromium",
        "1 tests were skipped for a reason that tests/skips.py does not expect: a new reason",
    ]

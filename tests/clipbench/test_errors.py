import pickle
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from clipbench.errors import DEPENDENCIES, BadImage, ClipbenchError, DataError, missing_package

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.skipif(not PYPROJECT.is_file(), reason="pyproject.toml is not part of the tests alone")
def test_the_dependencies_are_those_that_are_declared() -> None:
    declared = {
        re.split(r"[<>=\[]", each)[0] for each in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    }
    names = {
        module: {re.sub(r"[-_.]+", "-", each).lower() for each in found}
        for module, found in packages_distributions().items()
    }
    of_each = {module: declared & names[module.partition(".")[0]] for module in DEPENDENCIES}
    assert all(of_each.values()), of_each
    assert set().union(*of_each.values()) == declared


@pytest.mark.parametrize("name", ["google.cloud", "torchaudio", "", None])
def test_a_package_of_someone_else_is_none_of_the_dependencies(name: str | None) -> None:
    assert missing_package(ModuleNotFoundError("No module", name=name)) is None


def test_a_message_is_one_line_of_bounded_length_whatever_it_names() -> None:
    assert (
        str(DataError("a caption 'one\ntwo\r\nthree\u2028four' is wrong")) == "a caption 'one two three four' is wrong"
    )
    text = str(ClipbenchError(f"begins {'x' * 100_000} ends"))
    assert len(text) < 2_100 and text.startswith("begins xxx") and text.endswith("xxx ends")
    assert str(ClipbenchError()) == ""


def test_a_bad_image_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadImage("a\nb.png", "truncated")))
    assert str(error).startswith("cannot read image a b.png: truncated") and error.name == "a\nb.png"

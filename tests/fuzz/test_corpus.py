"""Every target of the fuzzer starts, and inputs that once escaped are read or refused; ``make fuzz`` looks for more."""

import importlib.util
import random
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
CORPUS = sorted(path for path in HERE.glob("corpus/*/*") if path.is_file())


def module(name: str) -> ModuleType:
    """Return a module that lies beside this one: a plain import does not find it everywhere."""
    if (key := f"fuzz_{name}") not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


@pytest.fixture(scope="module")
def folder_of_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(autouse=True)
def _in_the_tests_folder(folder_of_sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what targets make once, such as models, below the folder of the tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder_of_sources))


def escape(target: Any, data: bytes, folder: Path) -> str:
    """Return place and text of what escapes when a target reads an input; an empty text if nothing does."""
    fuzz = module("fuzz")
    error = fuzz.check(target, data, folder)
    return "" if error is None else f"{fuzz.place(error)}: {str(error)[:300]}, from {data[:100]!r}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", module("targets").TARGETS)
def test_a_target_starts(name: str, tmp_path: Path) -> None:
    try:
        target = module("targets").with_seeds(name)
        target.furnish(tmp_path)
        target.run(target.seeds[0], tmp_path)  # without limits: what it imports has a size of its own
    except Exception as error:
        raise AssertionError(
            f"the fuzzer's target {name} reads no sound input: {type(error).__name__}: {error}"
        ) from error
    rng = random.Random(0)
    for seed in rng.choices(target.seeds, k=3):
        text = escape(target, module("fuzz").mutated(seed, rng), tmp_path)
        assert not text, f"the fuzzer's target {name}: {text}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_that_escaped_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    target = module("targets").TARGETS[path.parent.name]
    target.furnish(tmp_path)
    assert not escape(target, path.read_bytes(), tmp_path)


def test_an_escape_is_found_and_named(tmp_path: Path) -> None:
    targets, fuzz = module("targets"), module("fuzz")

    def broken(path: Path) -> None:
        raise KeyError(path.read_bytes())

    def endless(path: Path) -> None:
        while True:
            pass

    def greedy(path: Path) -> None:
        bytearray(1 << 33)

    for read, kind in ((broken, KeyError), (endless, type(None)), (greedy, type(None))):
        target = targets.Target(reads={"x": read}, seeds=(b"x\n",))
        assert isinstance(fuzz.check(target, b"x\nab", tmp_path, seconds=0.5), kind)

"""Inputs that once escaped, and the seeds of the fuzzer, are read or refused; ``make fuzz`` looks for more."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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


def test_there_is_something_to_replay() -> None:
    assert CORPUS and {path.parent.name for path in CORPUS} <= set(module("targets").TARGETS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_that_escaped_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    target = module("targets").TARGETS[path.parent.name]
    target.furnish(tmp_path)
    error = module("fuzz").check(target, path.read_bytes(), tmp_path)
    assert error is None, f"{type(error).__name__}: {str(error)[:300]}"


def test_an_escape_is_found_and_named(tmp_path: Path) -> None:
    targets, fuzz = module("targets"), module("fuzz")

    def broken(path: Path) -> None:
        raise KeyError(path.read_bytes())

    def endless(path: Path) -> None:
        while True:
            pass

    def greedy(path: Path) -> None:
        bytearray(1 << 33)

    kinds = {broken: KeyError, endless: fuzz.TooSlow, greedy: MemoryError}
    for read, kind in kinds.items():
        target = targets.Target(reads={"x": read}, seeds=(b"x\n",))
        assert isinstance(fuzz.check(target, b"x\nab", tmp_path, seconds=0.05), kind)

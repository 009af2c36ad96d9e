"""The check of names in ``make check``: it fails on fillers and repeated classes, and says where and why."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "names.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="tools/ is not part of the source distribution")

SETTINGS = '[tool.names]\npackages = ["product"]\nfillers = ["each", "found"]\nshared_classes = ["Spoon"]\n'
GOOD = "class Spoon: ...\n\n\ndef scale(ranks):\n    found = [rank + 1 for rank in ranks]\n    return found\n"
BAD = """\
class Spoon: ...
class Fork: ...


def scale(ranks, *, found=0):
    for index, each in enumerate(ranks):
        print(index, each)
    best = max(ranks, key=lambda each: -each)
    return {rank: [each for each in rank] for rank in ranks}, best
"""
AGAIN = "class Knife:\n    class Fork: ...\n"


def check(root: Path, **modules: str) -> tuple[int, list[str]]:
    (root / "pyproject.toml").write_text(SETTINGS)
    for name, source in modules.items():
        (root / "product").mkdir(exist_ok=True)
        (root / "product" / f"{name}.py").write_text(source)
    done = subprocess.run([sys.executable, str(SCRIPT), str(root)], capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_fillers_and_repeated_classes_fail_with_their_lines(tmp_path: Path) -> None:
    loop = "filler name: got the loop variable 'each', expected the noun of what the loop iterates over. Rename it."
    parameter = "filler name: got the parameter '{}', expected the noun of its argument. Rename it."
    twice = "class name used twice: got 'Fork', which product/bad.py:2 defines too. Rename one of them."

    assert check(tmp_path, good=GOOD, bad=BAD, cutlery=AGAIN) == (
        1,
        [
            f"product/bad.py:5: {parameter.format('found')}",
            f"product/bad.py:6: {loop}",
            f"product/bad.py:8: {parameter.format('each')}",
            f"product/bad.py:9: {loop}",
            f"product/cutlery.py:2: {twice}",
        ],
    )


def test_other_bindings_and_shared_classes_pass(tmp_path: Path) -> None:
    assert check(tmp_path, good=GOOD, again="class Spoon: ...\n") == (0, ["All names pass."])


def test_a_wrong_folder_does_not_pass(tmp_path: Path) -> None:
    status, (line,) = check(tmp_path)

    assert status == 1 and line.startswith("no module to check: got product in ")

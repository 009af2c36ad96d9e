"""`make mutants`: each mutant that is written down is found again, and changes what it says; code may move meanwhile."""

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments/ is not part of the source distribution")

SOURCE = '''
class Shelf:
    """A shelf."""

    def _fits(self, n: int = 3) -> bool:
        """Return whether so many fit."""
        if (n  >
                self.room):  # a comment
            raise ValueError(f"{n + 1} do not fit")
        return not self.is_full and n < 2
'''


@pytest.fixture(scope="module")
def mutants() -> Iterator[ModuleType]:
    """The script, which finds its modules beside itself; last in the path, so that they hide nothing."""
    sys.path.append(str(EXPERIMENTS))
    yield importlib.import_module("mutants")
    sys.path.remove(str(EXPERIMENTS))


@pytest.fixture
def find(mutants: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that finds a mutant of ``return n < 2`` in modules of these sources."""

    def find(function: str, **sources: str) -> str | None:
        for name, source in sources.items():
            path = tmp_path / "clipbench" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        mutant = mutants.Mutant("", "", "clipbench/old.py", function, "boundary", "return n < 2", 1, "return n <= 2")
        found = mutants.Code(tmp_path, mutants.PACKAGES).find(mutant)
        if found is None:
            return None
        file, mutation = found
        changed = importlib.import_module("mutants_code").mutated((tmp_path / file).read_text(), mutation)
        line = next(number for number, text in enumerate(changed.splitlines(), 1) if "<=" in text)
        return f"{Path(file).stem} {line}"

    return find


def test_every_mutant_is_found_or_written_down_as_gone(mutants: ModuleType) -> None:
    code = mutants.Code(ROOT, mutants.PACKAGES)
    gone = [mutant.id for mutant in mutants.read_sample() if mutant.after != "gone" and code.find(mutant) is None]
    assert gone == [], "code of the sample has changed: python experiments/mutants.py gone"


def test_the_sample_has_fifty_of_each_room_and_is_written_as_it_is_read(mutants: ModuleType, tmp_path: Path) -> None:
    sample = mutants.read_sample()
    assert [mutant.id for mutant in sample] == [
        f"{room}-{number:02}" for room in mutants.ROOMS for number in range(1, 51)
    ]
    mutants.write_sample(sample, tmp_path / "sample.json")
    assert (tmp_path / "sample.json").read_text() == mutants.SAMPLE.read_text()


def test_a_statement_is_changed_in_each_way_and_nothing_else_is(mutants: ModuleType) -> None:
    code = importlib.import_module("mutants_code")
    before = [each.text for each in code.statements(SOURCE)]
    made = []
    for statement in code.statements(SOURCE):
        for mutation in code.mutations(statement):
            after = [each.text for each in code.statements(code.mutated(SOURCE, mutation))]
            if mutation.operator == "delete":
                after.insert(before.index(statement.text), statement.text)
                after.remove("pass")
                assert after == before
            else:
                changes = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
                assert changes == [(statement.text, mutation.text)]
            made.append((mutation.operator, mutation.text))
    assert made == [
        ("default", "def _fits(self, n: int=4) -> bool:"),
        ("boundary", "if n >= self.room:"),
        ("comparison", "if n <= self.room:"),
        ("delete", "pass"),
        ("logic", "return not self.is_full or n < 2"),
        ("not", "return self.is_full and n < 2"),
        ("boundary", "return not self.is_full and n <= 2"),
        ("comparison", "return not self.is_full and n >= 2"),
        ("number", "return not self.is_full and n < 3"),
        ("return", "return None"),
    ]


def test_a_mutant_is_found_where_its_function_went(find: Callable[..., Any]) -> None:
    two = "def fits(n):\n    if n:\n        return n < 2\n    return n  <  2\n"
    other = "def others(n):\n    return n < 2\n"
    assert find("fits", old=other + two) == "old 6", "the second of two in its function"
    assert find("_fits", old=other, new=two) == "new 4", "its function is public elsewhere"
    assert (
        find("Shelf.fits", old=other, new="class Rack:\n" + "".join(f"    {x}\n" for x in two.splitlines())) == "new 5"
    )


def test_a_mutant_is_found_under_another_name_where_it_is_the_only_one(find: Callable[..., Any]) -> None:
    other = "def others(n):\n    return n < 2\n"
    assert find("fits", old=other, new=other) == "old 2", "the only one of its file"
    assert find("fits", old="", new=other) == "new 2", "the only one of all"
    assert find("fits", old="", new=other, third=other) is None
    assert find("fits", old="", new="", third="def fits(n):\n    return n < 3\n") is None


def test_a_copy_has_its_own_entry_points_whatever_is_installed(
    mutants: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = '[project]\nname = "clipbench"\nversion = "9.0"\n[project.scripts]\nclipbench = "clipbench.old:main"\n'
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "pyproject.toml").write_text(project + '[project.entry-points."clipbench.tasks"]\nold = "old:Old"\n')
    monkeypatch.syspath_prepend(importlib.import_module("mutants_trying").entry_points_of(copy))
    assert [each.value for each in entry_points(group="clipbench.tasks")] == ["old:Old"]


def test_the_table_counts_what_died_before_among_those_that_are_left(mutants: ModuleType) -> None:
    sample = [
        mutants.Mutant(f"stats-{number}", "stats", "", "", "", "", 0, "", before)
        for number, before in enumerate(("killed", "slow", "survived", "killed"))
    ]
    outcomes = {"stats-0": "killed", "stats-1": "survived", "stats-2": "slow", "stats-3": "gone"}
    assert mutants.table(sample, outcomes).splitlines()[2:] == [
        "| stats | 4 | 1 | 3 | 2 | 1 | 1 | 2 |",
        "| all | 4 | 1 | 3 | 2 | 1 | 1 | 2 |",
    ]
    assert "stats-1 survived, killed before" in mutants.survivors(sample, outcomes)

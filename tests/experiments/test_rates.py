"""`make rates`: the outcomes that are kept, those that are missing, and the place of the tables."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from clipbench.errors import UsageError

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments/ is not part of the source distribution")

CELL = "retrieval", 100, "none"


@pytest.fixture(scope="module")
def rates() -> Iterator[ModuleType]:
    """The script, which finds its modules beside itself; last in the path, so that they hide nothing."""
    sys.path.append(str(EXPERIMENTS))
    yield importlib.import_module("rates")
    sys.path.remove(str(EXPERIMENTS))


def outcome(p: float = 1.0) -> dict[str, dict[str, float]]:
    return {"covers": {}, "p": {"recall@1": p}}


def test_a_line_that_was_broken_off_swallows_no_other(rates: ModuleType, tmp_path: Path) -> None:
    kept = rates.Kept(tmp_path)
    kept.add(*CELL, {index: outcome() for index in range(3)})
    file = kept.path(*CELL)
    file.write_bytes(file.read_bytes()[:-10])
    kept.add(*CELL, {index: outcome() for index in range(3, 5)})
    assert list(kept.read(*CELL)) == [0, 1, 3, 4]


def test_missing_simulations_are_those_without_an_outcome(rates: ModuleType, tmp_path: Path) -> None:
    kept = rates.Kept(tmp_path)
    kept.add(*CELL, {index: outcome() for index in (0, 1, 3, 4)})
    pieces = [indices for *cell, indices in rates._missing(kept, [CELL[0]], {100: 7}) if tuple(cell) == CELL]
    assert pieces == [[2, 5, 6]]


def test_a_page_without_a_place_for_the_tables_is_refused_before_anything_is_simulated(
    rates: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "statistics.md"
    page.write_text("# Statistics\n")
    with pytest.raises(UsageError, match="no place for the tables"):
        rates.main(worlds=[CELL[0]], counts={100: 10**9}, workers=1, runs=tmp_path, page=page)


def test_tables_are_written_into_their_place_again_and_again(rates: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "statistics.md"
    page.write_text((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8"), encoding="utf-8")
    before, after = rates.around_tables(page)
    written = []
    for p in (0.01, 1.0):
        rates.write_page(page, {("retrieval", 100, effect): [outcome(p)] for effect in ("none", "small", "large")})
        written.append(page.read_text(encoding="utf-8"))
    assert "| `recall@1` | – · – · – | 1.000 · 1.000 · 1.000 |" in written[0]
    assert "| `recall@1` | – · – · – | 0.000 · 0.000 · 0.000 |" in written[1]
    assert all(text.startswith(before) and text.endswith(after) for text in written)


def test_make_has_the_target() -> None:
    assert "\nrates: $(READY)  ## " in (ROOT / "Makefile").read_text()

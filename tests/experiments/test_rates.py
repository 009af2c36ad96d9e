"""`make rates`: the outcomes that are kept, those that are missing, and the place of the tables."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import clipbench as cb
from clipbench.errors import UsageError
from clipbench.testing import ToyModel

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments/ is not part of the source distribution")

PAGE = ROOT / "docs" / "statistics.md"

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
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    before, after = rates.around_tables(page)
    written = []
    for p in (0.01, 1.0):
        rates.write_page(page, {("retrieval", 100, effect): [outcome(p)] for effect in ("none", "small", "large")})
        written.append(page.read_text(encoding="utf-8"))
    assert "| `recall@1` | – · – · – | 1.000 · 1.000 · 1.000 |" in written[0]
    assert "| `recall@1` | – · – · – | 0.000 · 0.000 · 0.000 |" in written[1]
    assert all(text.startswith(before) and text.endswith(after) for text in written)


class RowOfPage(NamedTuple):
    """A row of a table: rates at no, a small and a large effect, by n; what is not there is left out."""

    coverage: dict[int, list[float]]
    alarms: dict[int, list[float]]


def page() -> tuple[dict[int, int], dict[str, RowOfPage]]:
    """Return the simulations by n, and each world's rows by its name and theirs."""
    text = PAGE.read_text(encoding="utf-8")
    said = re.search(r"^Simulations of each law and effect: (.*)\.$", text, re.MULTILINE)
    assert said is not None
    simulations = {
        int(n.replace(",", "")): int(number.replace(",", ""))
        for number, n in re.findall(r"([\d,]+) at n = ([\d,]*\d)", said[1])
    }
    found = {}
    for world, table in re.findall(r"^### (.*?)\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            rates = [[float(each) for each in cell.split(" · ") if each != "–"] for cell in cells]
            coverage, alarms = rates[: len(simulations)], rates[len(simulations) :]
            row = RowOfPage(dict(zip(simulations, coverage, strict=True)), dict(zip(simulations, alarms, strict=True)))
            found[f"{world}: {name.strip('` ')}"] = row
    return simulations, found


def kind(row: str) -> str:
    """Return what a row counts, whatever subset it is of, and whatever a curve runs over."""
    return row.partition(" (")[0].rpartition("/")[2].partition("_by_")[0]


@pytest.mark.slow
def test_every_interval_of_the_built_in_suite_has_a_row(rates: ModuleType) -> None:
    _, rows = page()
    known = {kind(row.partition(": ")[2]) for row, rates_of in rows.items() if any(rates_of.coverage.values())}
    run = cb.run(ToyModel(), "all", suite="scenes", limit=20)
    for record in run.result.evaluations:
        printed = {kind(importlib.import_module("rates_page").row_name(name)) for name in rates.intervals_of(record)}
        assert printed and printed <= known


def test_intervals_cover_and_false_alarms_are_rare() -> None:
    """0.92 is what a few items have, and Wilson's interval at its worst; three standard errors are left to chance."""
    simulations, rows = page()
    assert len(rows) > 150
    for name, row in rows.items():
        for n, number in simulations.items():
            chance = 3 * (0.05 * 0.95 / number) ** 0.5
            assert min(row.coverage[n], default=1.0) >= 0.92 - chance, name
            assert max(row.alarms[n], default=0.0) <= 0.06 + chance, name


def test_make_has_the_target() -> None:
    assert "\nrates: $(READY)  ## " in (ROOT / "Makefile").read_text()

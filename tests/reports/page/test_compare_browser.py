"""The page of a comparison in a browser: laid out, sorted and filtered by keyboard, without scripts, and attacked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.comparison.gate_rules import Gate
from clipbench.results.record import Metric
from tests.reports.conftest import Faults, Visit
from tests.reports.page.test_compare import written

N = 60


def hits(n_right: int) -> np.ndarray:
    """Return which of 60 samples are right: the first ones."""
    return (np.arange(N) < n_right).astype(np.float64)


def words(text: str) -> np.ndarray:
    """Return a column of one text."""
    return np.array([text] * N, object)


def evaluations(n_right: int, text: str = "owl") -> dict[str, dict[str, Any]]:
    """Return a zero-shot and a retrieval evaluation with so many right, in which every word that data give is a
    text.
    """
    right, ids = hits(n_right), np.array([f"{text} {k}" for k in range(N)], object)
    shared = {"sample_id": ids, "image": np.array([f"{k:032x}" for k in range(N)], object)}
    names = [f"set{k}" for k in range(12)]
    classes = {f"{name}/acc1": np.roll(right, index) for index, name in enumerate(names)}
    metrics = {
        name: Metric(value=float(column.mean()), n=N, column=name, higher_is_better=True)
        for name, column in classes.items()
    }
    ranked = {
        "caption": words(text),
        "predicted_caption": words(text),
        "predicted_image": np.roll(shared["image"], 1),
        "image_retrieval_rank": 2 - right,
        "image_retrieval_recall@1": right,
    }
    recall = Metric(value=float(right.mean()), n=N, column="image_retrieval_recall@1", higher_is_better=True)
    return {
        "zero-shot@birds": {
            "samples": shared | classes | {"label": words(text), "predicted": words(f"{text} {n_right}")},
            "metrics": metrics | {"gap": Metric(value=0.5, n=N, unit="distance")},
        },
        "retrieval@birds": {"samples": shared | ranked, "metrics": {"image_retrieval_recall@1": recall}},
    }


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the page of one candidate, with a gate, and that of three."""
    folder = tmp_path_factory.mktemp("pages")
    runs = []
    for name, n_right in (("base", 50), ("worse", 20), ("alike", 49), ("better", 60)):
        runs.append(parts.write_run(folder / name, evaluations(n_right)))
        parts.write_thumbnails(runs[-1].folder, [f"{k:032x}" for k in range(N)])
    gate = Gate.from_options("1pp", ["zero-shot/set0/acc1 >= 0.5"])
    written(runs[:2], folder / "one.html", gate)
    written(runs, folder / "many.html", gate)
    return SimpleNamespace(one=folder / "one.html", many=folder / "many.html")


@pytest.mark.parametrize(("name", "width", "scheme"), [("one", 1600, "dark"), ("many", 360, "light")])
def test_axe_finds_no_fault(
    pages: SimpleNamespace, visit: Visit, axe_faults: Faults, name: str, width: int, scheme: str
) -> None:
    assert not axe_faults(visit(getattr(pages, name), width=width, color_scheme=scheme))


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_no_cell_of_the_gate_is_cut_or_covered(pages: SimpleNamespace, visit: Visit, width: int) -> None:
    page = visit(pages.one, width=width)
    faults = page.evaluate("""() => {
            const boxes = [...document.querySelectorAll("table.gate td, table.gate tbody th")]
                .filter((cell) => cell.checkVisibility())
                .map((cell) => {
                    const range = document.createRange();
                    range.selectNodeContents(cell);
                    return [cell.innerText, range.getBoundingClientRect(), cell];
                });
            const overlaps = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
                && one.top < other.bottom - 1 && other.top < one.bottom - 1;
            return boxes.flatMap(([text, box], index) => [
                ...(box.left < 0 || box.right > document.documentElement.clientWidth ? [`${text} is outside`] : []),
                ...boxes.slice(index + 1).filter(([, other]) => overlaps(box, other)).map(([other]) => `${text} covers ${other}`),
            ]);
        }""")
    assert page.locator("table.gate").first.is_visible()
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    colour = page.locator(".gate .regression").first.evaluate("cell => getComputedStyle(cell).color")
    assert (
        colour
        == page.locator(".rows .worse .mark").first.evaluate("mark => getComputedStyle(mark).color")
        != "rgb(28, 28, 30)"
    )


def column(table: Any, index: int) -> list[str]:
    """Return the texts of a column."""
    return [row.locator("th, td").nth(index).inner_text() for row in table.locator("tbody tr:not(.block)").all()]


def test_differences_are_sorted_by_number_and_verdicts_by_weight_by_keyboard_and_filtered(
    pages: SimpleNamespace, visit: Visit
) -> None:
    page = visit(pages.one)
    page.locator("#metrics > summary").click()
    table = page.locator("#metrics table")
    before = column(table, 3)
    table.get_by_role("button", name="Sort by Difference").press("Enter")
    values = [float(text.removesuffix(" pp").replace("−", "-")) for text in column(table, 3)[:13]]
    assert values == sorted(values) and values[0] == -50
    table.get_by_role("button", name="Sort by p (Holm)").press("Enter")
    assert column(table, 5)[0] == "<0.0001" and column(table, 5)[12].startswith("no test")
    table.get_by_role("button", name="Sort by Verdict").press("Enter")
    assert [text.lstrip("▲–") for text in column(table, 8)[:13]] == ["worse"] * 12 + ["not tested"]
    for _ in range(2):
        table.get_by_role("button", name="Sort by Verdict").press("Enter")
    assert column(table, 3) == before
    field = page.get_by_label("Filter rows")
    for name in ("recall", "retrieval@birds"):  # a metric, and a heading
        field.fill(name)
        assert page.locator("#metrics output").inner_text() == "1 of 14 rows"
        assert page.locator("#metrics tbody tr:visible").count() == 2
    field.fill("")
    assert all(each.is_visible() for each in table.locator("tr").all())

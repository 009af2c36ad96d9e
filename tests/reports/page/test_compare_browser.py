"""The page of a comparison in a browser: laid out, sorted and filtered by keyboard, without scripts, and attacked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clipbench.comparison.compare import compare
from clipbench.comparison.gate import Judged, Outcome, judge
from clipbench.comparison.gate_rules import Gate
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench_reports.page.compare import write_compare

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
Faults = Callable[["Page"], list[tuple[str, str, str]]]
N = 60
ARE_WHOLE = "[...document.querySelectorAll('.drawing')].every((each) => each.scrollWidth <= each.clientWidth)"
"""Whether no image has to be moved sideways."""
UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


def hits(n_right: int) -> np.ndarray:
    """Return which of 60 samples are right: the first ones."""
    return (np.arange(N) < n_right).astype(np.float64)


def words(text: str) -> np.ndarray:
    """Return a column of one text."""
    return np.array([text] * N, object)


def evaluations(n_right: int, text: str = "owl") -> dict[str, dict[str, Any]]:
    """Return a zero-shot and a retrieval evaluation with so many right, in which every word that data give is a text."""
    right, ids = hits(n_right), np.array([f"{text} {k}" for k in range(N)], object)
    shared = {"sample_id": ids, "image": np.array([f"{k:032x}" for k in range(N)], object)}
    names = [f"set{k}" for k in range(12)]
    classes = {f"{name}/acc1": np.roll(right, place) for place, name in enumerate(names)}
    metrics = {
        name: Metric(value=float(column.mean()), n=N, column=name, higher_is_better=True)
        for name, column in classes.items()
    }
    ranked = {
        "caption": words(text),
        "chosen_caption": words(text),
        "chosen_image": np.roll(shared["image"], 1),
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


def written(runs: Sequence[Run], path: Path, gate: Gate | None = None) -> Path:
    """Write the page of a base and its candidates."""
    judged = []
    for candidate in runs[1:]:
        found = compare(runs[0], candidate)
        sides = runs[0].named_metrics, candidate.named_metrics
        outcomes = judge(found, gate, base=sides[0], candidate=sides[1], alpha=0.05) if gate else []
        judged.append(Judged(comparison=found, outcomes=outcomes))
    write_compare(judged, runs, path)
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the page of one candidate, with a gate, and that of three."""
    folder = tmp_path_factory.mktemp("pages")
    runs = []
    for name, n_right in (("base", 50), ("worse", 20), ("alike", 49), ("better", 60)):
        runs.append(parts.write_run(folder / name, evaluations(n_right)))
        parts.write_thumbnails(runs[-1].folder, [f"{k:032x}" for k in range(N)])
    gate = Gate.from_options("1pp", ["zero-shot/set0/acc1 >= 0.5"])
    return SimpleNamespace(
        one=written(runs[:2], folder / "one.html", gate), many=written(runs, folder / "many.html", gate)
    )


@pytest.mark.parametrize(("name", "width", "scheme"), [("one", 1600, "dark"), ("many", 360, "light")])
def test_axe_finds_no_fault(
    pages: SimpleNamespace, visit: Visit, axe_faults: Faults, name: str, width: int, scheme: str
) -> None:
    assert not axe_faults(visit(getattr(pages, name), width=width, color_scheme=scheme))


@pytest.mark.parametrize("name", ["one", "many"])
def test_nothing_reaches_beyond_the_page_at_any_width(pages: SimpleNamespace, visit: Visit, name: str) -> None:
    page = visit(getattr(pages, name))
    page.evaluate(UNFOLD)
    for width in (320, 360, 700, 800, 900, 1200, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(ARE_WHOLE)


def test_without_scripts_everything_is_there_to_read(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one, java_script_enabled=False)
    assert page.locator("button, input").count() == 0
    assert page.locator("figure .broad svg:visible").count() == 2
    assert page.locator(".failures img").first.is_visible()
    rows = page.locator("#metrics table tr")
    assert rows.count() > 14 and not rows.first.is_visible()
    page.locator("#metrics > summary").click()
    assert all(row.is_visible() for row in rows.all())


def test_the_first_screen_has_the_verdict_and_a_row_for_each_evaluation_and_the_contents_stay(
    pages: SimpleNamespace, visit: Visit
) -> None:
    page = visit(pages.one, width=1280)
    assert page.locator(".rows").evaluate("each => each.getBoundingClientRect().bottom") < 900
    assert page.locator(".rows .task").all_inner_texts() == ["Zero-shot", "Retrieval"]
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.locator("nav.contents [aria-current][href='#retrieval']").wait_for()
    assert page.locator("nav.contents").bounding_box()["y"] == 0  # type: ignore[index]
    page.locator("section[aria-labelledby='retrieval'] .opener").first.click()
    viewer = page.locator("dialog.viewer")
    assert viewer.inner_text().startswith("Wrong now, right before, 1 of 12")
    assert "Rank" in viewer.inner_text() and page.evaluate("location.hash").startswith("#retrieval/sample/")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 800, "height": 900})
    assert page.locator("details.menu").is_visible() and not page.locator("nav.contents").is_visible()


def column(table: Any, place: int) -> list[str]:
    """Return the texts of a column."""
    return [row.locator("th, td").nth(place).inner_text() for row in table.locator("tbody tr:not(.block)").all()]


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
    for asked in ("recall", "retrieval@birds"):  # a metric, and a heading
        field.fill(asked)
        assert page.locator("#metrics output").inner_text() == "1 of 14 rows"
        assert page.locator("#metrics tbody tr:visible").count() == 2
    field.fill("")
    assert all(each.is_visible() for each in table.locator("tr").all())


def test_the_overview_leads_to_each_candidate_and_the_picker_hides_one(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.many)
    page.evaluate(UNFOLD)
    row = page.locator(".overview tr", has_text="set3/acc1")
    assert [" ".join(cell.inner_text().split()) for cell in row.locator("td").all()] == [
        "83.3 %", "−50.00 pp ▲worse", "−1.67 pp ○no evidence", "+16.67 pp ●better"
    ]  # fmt: skip
    links = page.locator("a[href^='#']").evaluate_all("found => found.map((each) => each.hash.slice(1))")
    assert len(links) > 20 and page.evaluate("(ids) => ids.every((id) => document.getElementById(id))", links)
    box = page.get_by_role("checkbox", name="alike")
    box.press("Space")
    assert not page.locator("h2", has_text="alike against base").is_visible()
    assert row.locator("td").nth(1).is_visible() and not row.locator("td").nth(2).is_visible()
    assert [each.is_visible() for each in page.locator(".row").first.locator(".line").all()] == [True, False, True]
    box.press("Space")
    assert page.locator("h2", has_text="alike against base").is_visible()


def test_paper_has_readable_figures_and_nothing_that_is_folded(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one, width=720)
    page.emulate_media(media="print")
    assert page.locator("details table").count() and not page.locator("details table:visible").count()
    assert not any(each.is_visible() for each in page.locator("button, input").all())
    heights = page.locator("section > .lead figure .broad text").evaluate_all(
        "found => found.map((e) => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 9  # of a line of type, in pixels: some 7 points


def hostile(run: Callable[..., Run], payload: str) -> list[Run]:
    """Return two runs in which every word that can come from data, models or commands is a payload."""
    runs = []
    for name, n_right in (("old", 50), ("new", 20)):
        zero_shot, retrieval = evaluations(n_right, payload).values()
        renamed = {f"{payload}/{key}": column for key, column in zero_shot["samples"].items() if "/" in key}
        metrics = {key: Metric(value=column.mean(), n=N, column=key) for key, column in renamed.items()}
        found: Mapping[str, dict[str, Any]] = {
            f"zero-shot@{payload}": {
                "samples": zero_shot["samples"] | renamed,
                "metrics": metrics | {payload: Metric(value=0.5, unit=payload)},
                "notes": [payload],
            },
            "retrieval@d": retrieval,
            f"other@{payload}": {"samples": {"sample_id": words(payload)}, "task_version": n_right},
            f"failed@{payload}": {"status": "failed", "reason": payload},
        }
        model = {"ref": payload, "id": f"{payload}/{name}", "notes": [payload], "family": payload}
        environment = {payload: payload, "precision": f"{payload} {name}"}
        runs.append(run(found, name=name, model=model, environment=environment, command=["clipbench", payload]))
    return runs


def test_nothing_that_data_say_is_run(
    make_run: Callable[..., Run], parts: SimpleNamespace, visit: Visit, tmp_path: Path
) -> None:
    payload = " ".join(sorted(parts.payloads, key=lambda each: not each.startswith("javascript:")))
    runs = hostile(make_run, payload)
    found = compare(runs[0], runs[1])
    outcomes = [
        Outcome(metric=payload, rule=payload, status=status, message=payload)
        for status in ("regression", "unmet", "missing", "untested", "acknowledged", "not gated")
    ]
    judged = Judged(comparison=found, outcomes=outcomes)
    write_compare([judged, judged], [*runs, runs[1]], tmp_path / "page.html")
    page = visit(tmp_path / "page.html", width=360, bypass_csp=True)  # escaping alone has to do
    page.evaluate(UNFOLD)
    page.get_by_role("searchbox").first.fill("x")
    assert page.evaluate("window.broken") is None
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(
        "[...document.querySelectorAll('*')].filter((each) => [...each.attributes].some(({ name, value }) =>"
        " name.startsWith('on') || /^\\s*javascript:/i.test(value) && ['href', 'src'].includes(name))).length"
    ) == 0  # fmt: skip
    assert payload in str(page.locator("main").text_content())

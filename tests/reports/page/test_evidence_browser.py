"""Figures tell their values and are saved, failures open large and are searched: in a browser, by pointer and by
keys.
"""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas
import PIL.Image
import pytest

from clipbench.results import numbers as fmt
from clipbench_reports.drawing import chart_data
from clipbench_reports.drawing.chart_data import chart_json
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.page.report import write_report
from tests.reports.conftest import Faults, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

CAPTION = "A long caption of a hut by the sea. " * 12
BEYOND = "new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true, cancelable: true })"
UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the report of one model, and say what it draws; and small ones of one model and of two."""
    folder = tmp_path_factory.mktemp("pages")
    task_parts = parts.standard()
    task_parts["retrieval@scenes"]["samples"]["caption"] = np.array(
        [f"{CAPTION}Number {k}." for k in range(1000)], object
    )
    task_parts["retrieval@scenes"]["neighbours"] = {
        "sample_id": [name for name in task_parts["retrieval@scenes"]["samples"]["sample_id"] for _ in range(2)],
        "rank": [1, 2] * 1000,
        "text": ["the nearest", "the next"] * 1000,
        "image": [f"{0:032x}", ""] * 1000,
        "cosine": [0.5, 0.25] * 1000,
        "is_right": [False, True] * 1000,
    }
    run = parts.write_run(folder / "run", task_parts)
    parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(0, 2000, 5)])
    small = [
        parts.write_run(
            folder / f"small{k}", {"retrieval@scenes": parts.retrieval(np.random.default_rng(k), n=40, skill=0.2)}
        )
        for k in range(2)
    ]
    opened_pages: list[Chart] = []

    def tell(figure: Chart) -> str:
        opened_pages.append(figure)
        return chart_json(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipbench_reports.page.html.chart_json", tell)
        write_report([run], folder / "one.html")
    write_report(small[:1], folder / "small.html")
    write_report(small, folder / "many.html")
    return SimpleNamespace(
        one=folder / "one.html", small=folder / "small.html", many=folder / "many.html", run=run, drawn=opened_pages
    )


def figure_of(page: "Page", title: str) -> Any:
    page.evaluate(UNFOLD)
    return page.locator("figure", has_text=title).first


def point_at(page: "Page", figure: Any, x: float, y: float) -> str:
    """Move the pointer to the place of a value in the first plane of a figure; return what is shown."""
    figure.scroll_into_view_if_needed()
    page_state = figure.evaluate(
        """(figure, [x, y]) => {
          const group = figure.querySelector("[data-plane]");
          const [, left, top, width, height, x0, x1, isLogX, y0, y1] = group.dataset.plane.split(" ").map(Number);
          const along = isLogX ? Math.log(x / x0) / Math.log(x1 / x0) : (x - x0) / (x1 - x0);
          const at = new DOMPoint(left + along * width, top + (1 - (y - y0) / (y1 - y0)) * height);
          const { x: a, y: b } = at.matrixTransform(group.ownerSVGElement.getScreenCTM());
          return [a, b];
        }""",
        [x, y],
    )
    page.mouse.move(*page_state)
    return str(figure.locator(".pointed").inner_text())


def test_the_pointer_is_told_what_a_mark_of_each_kind_stands_for(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one)
    evaluations = {
        evaluation.task: evaluation for evaluation in pages.run.result.evaluations if evaluation.status == "ok"
    }
    recall = evaluations["retrieval"].curves["image_retrieval_recall"].y[9]
    shown = point_at(page, figure_of(page, "Recall@k with k from 1"), 10, recall)
    assert "k 10" in shown and f"{fmt.percent(recall)}\u00a0%" in shown and "text → image" in shown
    templates = point_at(page, figure_of(page, "Accuracy of single prompt templates"), 0.839, 0)
    assert "art of the {c}." in templates and "83.9\u00a0%" in templates
    cell = point_at(page, figure_of(page, "Mean recall of"), 0.5, 0.5)
    assert re.search(r"True class arch, answer arch\n\d+\.\d\u00a0%", cell)
    bar = point_at(page, figure_of(page, "Mean confidence"), 0.975, 0.01)
    assert "Confidence 95.0 to 100.0\u00a0%" in bar
    hill = point_at(page, figure_of(page, "Mean cosines"), 0.531, 3.2)
    assert "image–image" in hill and "Cosine 0.5" in hill
    page.mouse.move(0, 0)
    assert not page.locator(".pointed:visible").count() and not page.locator(".drawing .here").count()


def test_arrow_keys_read_out_the_marks_of_every_figure(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one)
    page.evaluate(UNFOLD)
    for figure in page.locator("figure").all():
        figure.locator(".drawing").focus()
        announcements = []
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "End"):
            page.keyboard.press(key)
            announcements.append(page.locator("#told").inner_text())
        assert all(announcements) and len(set(announcements)) > 1, announcements
        assert figure.locator(".pointed").is_visible() and figure.locator(".drawing .here").count() == 1
        assert page.evaluate(f"document.activeElement.dispatchEvent({BEYOND})")  # after the last, the page may scroll
        page.keyboard.press("Escape")
        assert not figure.locator(".pointed").is_visible() and not figure.locator(".drawing .here").count()


def saved(page: "Page", figure: Any, kind: str) -> bytes:
    with page.expect_download() as download:
        figure.get_by_role("button", name=f"Download as {kind}").click()
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    return Path(download.value.path()).read_bytes()


def test_figures_are_saved_as_drawings_that_stand_alone_as_pixels_and_as_numbers(
    pages: SimpleNamespace, visit: Visit
) -> None:
    page = visit(pages.one, color_scheme="dark")
    page.evaluate(UNFOLD)
    figures = page.locator("figure").all()
    assert len(figures) == len(pages.drawn) > 8
    for k, (figure, drawn) in enumerate(list(zip(figures, pages.drawn, strict=True))[::2]):
        opener = figure.get_by_role("button", name="Download", exact=True)
        opener.press("Enter")
        assert opener.get_attribute("aria-expanded") == "true"
        text = saved(page, figure, "SVG").decode()
        root = ElementTree.fromstring(text)
        assert not re.search(r"class=|data-|var\(|rgb\(233, 232, 228\)", text)  # in dark colours ink is light
        assert root[0].tag.endswith("title") and len(list(root.iter())) > 20
        numbers = pandas.read_csv(io.BytesIO(saved(page, figure, "CSV")))
        expected = pandas.read_csv(io.StringIO(chart_data.chart_csv(drawn)))
        assert (
            list(numbers.columns) == list(chart_data.COLUMNS)
            and numbers["series"].tolist() == expected["series"].tolist()
        )
        for column in ("x", "y", "low", "high", "value"):
            np.testing.assert_allclose(numbers[column], expected[column], rtol=1e-4, atol=1e-4)
        if k < 1:
            image = PIL.Image.open(io.BytesIO(saved(page, figure, "PNG")))
            assert image.size == (2 * float(root.get("width", 0)), int(2 * float(root.get("height", 0))))
            assert len(np.unique(np.asarray(image.convert("L")))) > 9 and image.getpixel((1, 1)) == (255, 255, 255, 255)


def test_a_failure_opens_large_and_gives_the_focus_back(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one)
    cards = page.locator("section", has=page.locator("#retrieval-scenes, #e2")).locator(".failures > li[data-sample]")
    first, second = (str(cards.nth(k).get_attribute("data-sample")) for k in range(2))
    cards.first.locator(".opener").press("Enter")
    viewer = page.get_by_role("dialog")
    assert viewer.is_visible() and viewer.locator(".thumb").first.evaluate("(each) => each.offsetWidth") > 200
    text = viewer.inner_text()
    assert (
        first in text and "rank" in text and f"{CAPTION}Number" in " ".join(text.split())
    )  # whole, where the card is cut
    near = " ".join(text.split("Nearest, by cosine")[1].split())
    assert near.startswith("0.5000 the nearest 0.2500 the next right Previous")
    assert viewer.locator(".nearest img").count() == 1 and not page.locator("main .nearest img").count()
    assert "1 of" in viewer.get_by_role("heading", level=2).inner_text() and page.url.endswith(f"/sample/{first}")
    page.keyboard.press("ArrowLeft")
    assert page.url.endswith(f"/sample/{first}")
    page.keyboard.press("ArrowRight")
    assert second in viewer.inner_text() and page.url.endswith(f"/sample/{second}")
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    page.wait_for_url(pages.one.as_uri())  # the event of closing comes after the closing
    assert page.evaluate("document.activeElement.closest('li').dataset.sample") == second


def test_an_address_opens_its_failure_and_can_be_copied(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.one, permissions=["clipboard-read", "clipboard-write"])
    folded = page.locator("details .failures > li[data-sample]").first
    folded.evaluate("(each) => each.querySelector('.opener').click()")
    address = page.url
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == address
    page.goto("about:blank")
    page.goto(address)
    viewer = page.get_by_role("dialog")
    assert (
        viewer.is_visible()
        and str(page.locator("details .failures > li").first.get_attribute("data-sample")) in viewer.inner_text()
    )
    viewer.get_by_role("button", name="Close").click()
    page.locator("details[open] .opener:focus").wait_for()  # its fold is open, once the event of closing has come


def test_axe_finds_no_fault_in_what_is_open(pages: SimpleNamespace, visit: Visit, axe_faults: Faults) -> None:
    page = visit(pages.small, width=360)
    page.get_by_label("Search the failures").fill("image")
    page.locator("figure").first.get_by_role("button", name="Download", exact=True).click()
    page.locator("figure .drawing").first.press("End")
    assert page.locator(".found > li").count() and not axe_faults(page)
    page.locator(".failures .opener").first.click()
    assert not axe_faults(page)

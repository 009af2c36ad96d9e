"""The report in a browser: read, printed, used by keyboard, without scripts, and by who wants to break it."""

import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clipbench.results.record import Curve, DatasetRecord, Metric
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report
from tests.reports.conftest import Faults, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("cube", "sphere", "cylinder")
ARE_WHOLE = "[...document.querySelectorAll('.drawing')].every((each) => each.scrollWidth <= each.clientWidth)"
"""Whether no image has to be moved sideways."""
BROKEN_WORDS = r"""() => {
  const found = [], range = document.createRange();
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    if (!node.parentElement.checkVisibility() || node.parentElement.closest(".unseen, svg, template, pre, .card thead")) continue;
    for (const { 0: word, index } of node.data.matchAll(/[\p{L}\p{N}]+/gu)) {
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const tops = [...range.getClientRects()].map((each) => each.top);
      if (word.length < 32 && Math.max(...tops) - Math.min(...tops) > 5) found.push(word);
    }
  }
  return found;
}"""
"""Words that are broken inside, but hashes."""


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the reports of one model and of two."""
    folder = tmp_path_factory.mktemp("reports")
    runs = []
    for index in range(2):
        task_parts = parts.standard(seed=index, skill=1 - index / 2)
        task_parts["retrieval@scenes"]["samples"]["caption"] = np.array([f"caption {k}" for k in range(1000)], object)
        if index:
            task_parts["retrieval@scenes"]["metrics"] |= {f"own/{name}": parts.fraction(0.5, 40) for name in "ab"}
        run = parts.write_run(folder / f"run{index}", task_parts)
        parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(2000)])
        runs.append(run)
    write_report(runs[:1], folder / "one.html")
    write_report(runs, folder / "many.html")
    write_report(runs[:1], folder / "printed.html", prints_all=True)
    return SimpleNamespace(**{name: folder / f"{name}.html" for name in ("one", "many", "printed")})


def unfolded(page: "Page") -> "Page":
    """Open every fold of a page."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return page


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("one", 360, "dark"), ("many", 1600, "light")],
)
def test_axe_finds_no_fault(
    reports: SimpleNamespace, visit: Visit, axe_faults: Faults, name: str, width: int, scheme: str
) -> None:
    assert not axe_faults(visit(getattr(reports, name), width=width, color_scheme=scheme))


@pytest.mark.parametrize("name", ["one", "many"])
def test_nothing_reaches_beyond_the_page_at_any_width(reports: SimpleNamespace, visit: Visit, name: str) -> None:
    page = unfolded(visit(getattr(reports, name), width=320))
    n_slim = page.locator(".slim").count()
    for width in (320, 360, 800, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(ARE_WHOLE), width
        assert not page.evaluate(BROKEN_WORDS), width
        assert page.locator(".slim:visible").count() == (n_slim if width < 720 else 0)
        assert page.locator(".broad:visible").count() == (0 if width < 720 else n_slim)


PRINTED_BLOCKS = """() => {
  const isRead = ({ parentElement }) => parentElement.checkVisibility() && !parentElement.closest(".sign, .unseen");
  const blocks = [...document.querySelectorAll("main :is(p, li, figcaption, dd, summary, h1, h2, h3, h4, caption)")];
  const innermost = blocks.filter((block) => !block.querySelector("p, li, dd, table") && !block.closest(".failures"));
  return innermost.map((block) => {
    const walk = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    let text = "";
    while (walk.nextNode()) if (isRead(walk.currentNode)) text += walk.currentNode.data;
    return text;
  });
}"""
"""Paragraphs, headings and the like that are printed, without the words of signs; those of failures may be cut."""


A4, LETTER = (210, 297), (216, 279)
"""Width and height of a sheet in mm."""


def printed_pages(page: "Page", sheet: tuple[int, int] = A4) -> list[str]:
    """Return the text of each printed page, without spaces."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not on the path: apt-get install poppler-utils")
    width, height = (f"{side}mm" for side in sheet)
    sheets = page.pdf(width=width, height=height, prefer_css_page_size=True)
    command = ["pdftotext", "-raw", "-enc", "UTF-8", "-", "-"]
    text = subprocess.run(command, input=sheets, capture_output=True, check=True).stdout.decode()
    return [without_spaces(part) for part in text.split("\f")[:-1]]


def without_spaces(text: str) -> str:
    """Return a text in which ligatures are letters, without spaces."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def torn_blocks(page: "Page", sheets: list[str]) -> list[str]:
    """Return the paragraphs and headings that are on no page as a whole."""
    page.emulate_media(media="print")
    blocks = [text for text in page.evaluate(PRINTED_BLOCKS) if text.strip()]
    assert len(blocks) > 20
    return [text for text in blocks if not any(without_spaces(text) in sheet for sheet in sheets)]


def test_no_sentence_is_printed_across_pages(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    for sheet in (A4, LETTER, (210, 130), (210, 135), (210, 140)):
        assert not torn_blocks(page, printed_pages(page, sheet)), sheet


def test_a_printed_report_is_short_and_has_margins(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    assert len(printed_pages(page)) == 3
    assert "@page { margin: 12mm 13mm; }" in page.locator("style").inner_text()


@pytest.mark.slow
def test_the_six_tasks_are_printed_on_as_many_pages_as_the_docs_say(visit: Visit, tmp_path: Path) -> None:
    command = [
        "run",
        "--model",
        "tiny",
        "--suite",
        "scenes",
        "--tasks",
        "all",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
    ]
    environment = {**os.environ, "CLIPBENCH_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-m", "clipbench", *command], check=True, env=environment)
    docs = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    answers = re.search(r"takes (\d+) pages of A4 and (\d+) of US Letter", docs)
    assert answers
    for sheet, n_pages in zip((A4, LETTER), answers.groups(), strict=True):
        page = visit(tmp_path / "run" / "report.html")
        sheets = printed_pages(page, sheet)
        assert (len(sheets), torn_blocks(page, sheets)) == (int(n_pages), [])


FILL = """() => [...document.querySelectorAll(".lead:not(.stacked)")].map((lead) => {
  const bottom = (element) => element.getBoundingClientRect().bottom;
  const cards = [...lead.querySelectorAll(".failures > li")];
  const top = lead.getBoundingClientRect().top;
  const words = document.createRange();
  words.selectNodeContents(lead.querySelector(".reading"));
  const figure = bottom(words) - top;
  const parts = (card) => [...card.querySelectorAll("dl, .thumbs, .thumb, img")];
  const overlaps = cards.filter((card) => parts(card).some((part) => bottom(part) > bottom(card) + 1));
  const image = cards.at(-1).querySelector(".thumb:only-child");
  return { share: (bottom(image ?? cards.at(-1)) - top) / figure, overlaps: overlaps.length };
})"""
"""The fraction of the height of a figure which the failures beside it fill, and cards whose parts reach beyond them."""


@pytest.mark.parametrize("width", [760, 1280, 1920])
def test_failures_fill_the_height_of_the_figure_beside_them(reports: SimpleNamespace, visit: Visit, width: int) -> None:
    leads = visit(reports.one, width=width).evaluate(FILL)
    assert len(leads) == 2
    assert all(lead["share"] > 0.9 and not lead["overlaps"] for lead in leads), leads


@pytest.mark.parametrize("width", [360, 1280])
def test_the_other_failures_are_reached_from_where_they_are_announced(
    reports: SimpleNamespace, visit: Visit, width: int
) -> None:
    page = visit(reports.one, width=width)
    links = page.locator(".lead .small a")
    assert links.count() == 2
    for link in links.all():
        n = int(link.inner_text().removeprefix("Show ").removesuffix(" more"))
        details = link.locator("xpath=ancestor::section").locator(".folds > details > summary").first
        assert re.search(r"\d+ more failures?", details.inner_text())
        link.click()
        locator = page.locator(f"[id='{str(link.get_attribute('href'))[1:]}'] .failures > li")
        assert locator.count() == n and locator.first.is_visible()
    assert "docs/" not in page.locator("main").inner_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_buttons_of_a_table_are_in_one_row(reports: SimpleNamespace, visit: Visit, width: int) -> None:
    buttons = unfolded(visit(reports.one, width=width)).locator("#metrics .tools button, .tools:has(+ .card) button")
    tops = {button.inner_text(): button.evaluate("each => each.offsetTop") for button in buttons.all()}
    assert list(tops) == ["Copy as Markdown", "Copy as CSV"] and len(set(tops.values())) == 1, tops


HEADINGS = ("block", "subset", "metric")


def rows_of(card: Any) -> list[tuple[str, str, str]]:
    """Return the rows of a table that are seen, headings too: kind, model and text."""
    rows = card.locator("tbody tr").evaluate_all(
        "rows => rows.filter((row) => row.checkVisibility()).map((row) =>"
        " [row.classList[0], row.dataset.model ?? '', row.textContent.trim()])"
    )
    return [(kind, model, text) for kind, model, text in rows]


def matching(rows: list[tuple[str, str, str]], typed: str, model: str = "") -> list[tuple[str, str, str]]:
    """Return the rows that hold a word, or stand under a heading that does, with their headings; one model's, if
    asked.
    """
    rows_shown: list[int] = []
    above: dict[str, int] = {}
    for index, (kind, of, text) in enumerate(rows):
        if kind in HEADINGS:
            above = {heading: above[heading] for heading in HEADINGS[: HEADINGS.index(kind)] if heading in above} | {
                kind: index
            }
        elif typed in " ".join([*(rows[heading][2] for heading in above.values()), text]).lower() and of in (
            "",
            model or of,
        ):
            rows_shown += [*above.values(), index]
    return [rows[index] for index in sorted(set(rows_shown))]


@pytest.mark.parametrize("n_models", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_what_is_filtered_sorted_and_hidden_together_is_right_and_cleared_everything_is_back(
    parts: SimpleNamespace, visit: Visit, tmp_path: Path, n_models: int
) -> None:
    subsets = [f"{kind}_{of}" for kind in ("swap", "add") for of in ("att", "obj")]
    values = {
        f"{name}/{side}_acc": parts.fraction(0.4 + 0.01 * k, 40) for k, name in enumerate(subsets) for side in "ti"
    }
    result = parts.standard() | {"composition@sugarcrepe": {"metrics": values}}
    runs = [parts.write_run(tmp_path / f"run{index}", result) for index in range(n_models)]
    write_report(runs, tmp_path / "report.html")
    page = unfolded(visit(tmp_path / "report.html"))
    fields = page.get_by_label("Filter rows")
    cards = [
        (field, card)
        for field in fields.all()
        if (card := field.locator("xpath=../../following-sibling::table[1]")).locator("tr.subset").count()
        and field.is_visible()
    ]
    assert cards
    for field, card in cards:
        rows = rows_of(card)
        for typed in ("swap_att", "sugarcrepe", "t_acc", "nothing of the kind"):
            field.press_sequentially(typed)
            assert rows_of(card) == matching(rows, typed)
            for _ in typed:
                field.press("Backspace")
            assert rows_of(card) == rows
        field.press_sequentially("add_")
        sort = card.get_by_role("button", name="Sort by Metric")
        for _ in range(2):
            sort.press("Enter")
        assert sorted(rows_of(card)) == sorted(matching(rows, "add_"))
        if n_models > 1:
            page.locator(".picker input").first.press("Space")
            assert sorted(rows_of(card)) == sorted(matching(rows, "add_", "1"))
            field.press("Control+A")
            field.press("Delete")
            assert sorted(rows_of(card)) == sorted(matching(rows, "", "1"))
            page.locator(".picker input").first.press("Space")
        field.press("Control+A")
        field.press("Delete")
        sort.press("Enter")
        assert rows_of(card) == rows


def test_a_model_that_is_not_picked_is_hidden_everywhere_and_comes_back(reports: SimpleNamespace, visit: Visit) -> None:
    page = unfolded(visit(reports.many))
    label = page.locator(".picker label").nth(1)
    mine, drawn = page.locator("section [data-model='1']"), page.locator("figure [data-model='1']")
    assert mine.count() > 20 and drawn.count() > 20
    before = page.locator("figure [data-model='1']:visible").count()
    assert before > 20
    label.locator("input").press("Space")
    assert not page.locator("section [data-model='1']:visible").count()  # in tables, sections, images and legends
    assert page.locator("section [data-model='0']").first.is_visible()
    assert not page.locator("tr.subset", has_text="own").is_visible()  # nothing is left under it
    assert page.locator("figure g[data-model='0']:visible").count() > 10
    label.click()
    assert page.locator("section tr[data-model='1']:visible").count() > 20
    assert page.locator("figure [data-model='1']:visible").count() == before


@pytest.mark.parametrize(("name", "cloud"), [("one", "path.specks.text"), ("many", ".apart > :last-child path.specks")])
def test_pointing_at_a_dot_shows_its_image_and_its_name(
    reports: SimpleNamespace, visit: Visit, name: str, cloud: str
) -> None:
    page = visit(getattr(reports, name))
    figure = page.locator("figure:has(template.points)")
    figure.scroll_into_view_if_needed()
    first = page.evaluate(
        """(cloud) => {
          const path = document.querySelector(`figure:has(template.points) ${cloud}`);
          const [, x, y] = path.getAttribute("d").match(/M([-\\d.]+) ([-\\d.]+)/);
          const at = new DOMPoint(x, y).matrixTransform(path.ownerSVGElement.getScreenCTM());
          return [at.x, at.y];
        }""",
        cloud,
    )
    page.mouse.move(*first)
    assert figure.locator(".pointed:visible").inner_text().startswith("pair-")
    left, top = figure.locator("svg").first.evaluate(
        "(each) => [each.getBoundingClientRect().x, each.getBoundingClientRect().y]"
    )
    for away in ((left + 2, top + 2), (0, 0)):
        page.mouse.move(*first)
        assert figure.locator(".pointed:visible").count()
        page.mouse.move(*away)
        assert not figure.locator(".pointed:visible").count()


def is_marked(page: "Page", anchor: str) -> None:
    """Wait until the contents say that a section is the one on screen."""
    page.locator(f"nav.contents [aria-current][href='#{anchor}']").wait_for(state="attached")


def is_in_view(page: "Page", anchor: str) -> None:
    """Wait until the head of a section, or a row, is on screen."""
    from playwright.sync_api import expect

    expect(page.locator(f"[id='{anchor}']")).to_be_in_viewport()


def test_keys_go_from_section_to_section_and_the_contents_tell_where_one_is(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one, width=1280)
    anchors = [
        each[1:] for each in page.locator("nav.contents ol a").evaluate_all("all => all.map((each) => each.hash)")
    ]
    assert anchors == ["summary", "zero-shot-scenes", "retrieval-scenes", "modality-gap", "provenance"]
    is_marked(page, "summary")
    for anchor in anchors[1:]:
        page.keyboard.press("j")
        is_marked(page, anchor)
        is_in_view(page, anchor)
    for anchor in anchors[-2::-1]:
        page.keyboard.press("k")
        is_marked(page, anchor)
    page.mouse.wheel(0, 100_000)
    is_marked(page, "provenance")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("jk?acc5")  # typed, not pressed
    assert page.locator("input:focus").input_value() == "jk?acc5" and not page.locator("dialog[open]").count()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.keyboard.press("?")
    assert page.locator("dialog[open]").inner_text().startswith("Keys")
    page.keyboard.press("Escape")
    page.locator("dialog.keys").wait_for(state="detached")


def test_an_address_in_a_fold_opens_it(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    close = "document.querySelectorAll('details').forEach((each) => { each.open = false; })"
    for anchor in (
        "retrieval-scenes/image_retrieval_recall@1",
        "modality-gap/gap",
        "modality-gap/advice/images-and-texts-are-in-separate-regions",
    ):
        page.goto("about:blank")  # after a reload the browser goes where it was
        page.goto(f"{reports.one.as_uri()}#{anchor}")
        is_in_view(page, anchor)
        page.evaluate(close)
        page.evaluate("location.hash = '#top'")
        page.evaluate("name => { location.hash = name; }", anchor)
        is_in_view(page, anchor)
    page.evaluate(close)
    page.get_by_role("link", name="What it means, and what helps").click()
    is_in_view(page, "modality-gap/advice/images-and-texts-are-in-separate-regions")


def hostile(run: Callable[..., Run], parts: SimpleNamespace, payload: str) -> list[Run]:
    """Return two runs in which every word that can come from data or from a model is a payload."""
    rng = np.random.default_rng(0)
    words = np.array([payload] * 20, object)
    margin, wrong = np.linspace(-1, 0.5, 20), np.zeros(20)
    samples = {
        **dict.fromkeys(["sample_id", "image", "caption", "preferred", "subset", "direction"], words),
        **dict.fromkeys(["object", "word", "predicted", "written", "read", "condition", "label"], words),
        **dict.fromkeys(["acc1", "micro/text_acc", "attacked_acc", "reading_acc", "attack_success"], wrong),
        "predicted_caption": words, "predicted_image": words, "confidence": np.full(20, 0.5), "margin": margin,
    }  # fmt: skip
    ranked = samples | {"direction": np.array(["image_retrieval"] * 20, object), "image_retrieval_rank": wrong + 9}
    bad = Metric(value=None, reason=payload, unit=payload)
    curve = Curve(x=[0.0, 1.0], y=[0.0, 1.0], x_label=payload, y_label=payload)
    own = {"metrics": {payload: bad, f"{payload}/x": bad}, "curves": {payload: curve}, "notes": [payload]}
    gap = parts.modality_gap(rng, n=40)
    gap["arrays"]["pair_id"] = np.array([payload] * 40)
    classes = parts.zero_shot(rng, (payload, *NAMES), n=60)
    baselines = {payload: bad, f"{payload}/tie_rate": parts.fraction(0.5, 20)}
    result = {
        f"zero-shot@{payload}": classes | {"baselines": baselines, "params": {payload: payload}},
        "retrieval@d": {"samples": ranked, "dataset": DatasetRecord(id="d", revision=payload, cite=payload)} | own,
        "composition@d": {"samples": samples} | own,
        "text-in-image@d": {"samples": samples} | own,
        "modality-gap@d": gap,
        f"{payload}@d": own,
        "other@x": {"status": "failed", "reason": payload},
    }
    facts = {"ref": payload, "id": payload, "notes": [payload], "family": payload}
    other = {"command": ["clipbench", payload], "environment": {payload: payload, "device": payload}}
    return [run(result, name=name, model=facts, **other) for name in ("a", "b")]


def test_nothing_that_data_say_is_run(
    make_run: Callable[..., Run], parts: SimpleNamespace, visit: Visit, tmp_path: Path, payload: str
) -> None:
    runs = hostile(make_run, parts, payload)
    for index, some in enumerate((runs[:1], runs)):
        write_report(some, tmp_path / f"{index}.html")
        page = visit(tmp_path / f"{index}.html", bypass_csp=True)  # escaping alone has to do
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for field in page.locator("input[type=search]").all():
            field.fill("x")
            field.fill("")
        assert page.evaluate("window.broken") is None
        assert page.locator("script").count() == 1
        assert page.evaluate(
            "[...document.querySelectorAll('*')].filter((each) => [...each.attributes].some(({ name, value }) =>"
            " name.startsWith('on') || /^\\s*javascript:/i.test(value) && !/^(aria-label|abbr|title|data-.*)$/.test(name))).length"
        ) == 0  # fmt: skip
        assert payload in str(page.locator("main").text_content())

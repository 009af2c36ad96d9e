"""The report in a browser: read, printed, used by keyboard, without scripts, and by who wants to break it."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clipbench.results.record import Curve, DatasetRecord, Metric
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
Faults = Callable[["Page"], list[tuple[str, str, str]]]
NAMES = ("cube", "sphere", "cylinder")
ARE_WHOLE = "[...document.querySelectorAll('.drawing')].every((each) => each.scrollWidth <= each.clientWidth)"
"""Whether no image has to be moved sideways."""


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the reports of one model and of two."""
    folder = tmp_path_factory.mktemp("reports")
    runs = []
    for place in range(2):
        found = parts.standard(seed=place, skill=1 - place / 2)
        found["retrieval@scenes"]["samples"]["caption"] = np.array([f"caption {k}" for k in range(1000)], object)
        if place:
            found["retrieval@scenes"]["metrics"] |= {f"own/{name}": parts.fraction(0.5, 40) for name in "ab"}
        run = parts.write_run(folder / f"run{place}", found)
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
        assert page.locator(".slim:visible").count() == (n_slim if width < 720 else 0)
        assert page.locator(".broad:visible").count() == (0 if width < 720 else n_slim)


def test_without_scripts_everything_is_there_to_read(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.many, java_script_enabled=False)
    assert page.locator("button, input").count() == 0
    rows = page.locator("#metrics tr")
    assert rows.count() > 60 and not rows.first.is_visible()
    page.locator("#metrics > summary").click()
    assert all(row.is_visible() for row in rows.all()[:60])
    assert page.locator(".failures img").count() > 20
    assert page.locator(".contents a:visible").count() > 5


def open_table(page: "Page") -> Any:
    """Open the table of each class's recall, and return it."""
    return unfolded(page).locator("details > .scroll > table", has_text="Recall, %")


def column(table: Any, place: int) -> list[str]:
    """Return the texts of a column."""
    return [row.locator("th, td").nth(place).inner_text() for row in table.locator("tbody tr").all()]


def test_a_table_is_sorted_by_numbers_both_ways_and_back_by_keyboard(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    table = open_table(page)
    before, head = column(table, 2), table.locator("th", has_text="Recall")
    rising = sorted(before, key=float)
    button = head.get_by_role("button", name="Sort by Recall, %")
    for order, expected in (("ascending", rising), ("descending", rising[::-1]), ("none", before)):
        button.press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert column(table, 2) == expected


def test_words_are_sorted_as_words(reports: SimpleNamespace, visit: Visit) -> None:
    table = open_table(visit(reports.one))
    table.get_by_role("button", name="Sort by Class").click()
    names = column(table, 0)
    assert names == sorted(names) and names[0] == "arch"


def test_rows_of_the_scorecard_are_sorted_within_their_headings_and_those_without_a_number_come_last(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one)
    card = unfolded(page).locator("#metrics table")
    card.get_by_role("button", name="Sort by Chance").click()
    body = card.locator("tbody", has_text="Zero-shot on scenes")
    assert [row.locator("td").nth(3).inner_text().strip() for row in body.locator("tr.line").all()] == [
        "10.0", "10.0", "50.0", "–"
    ]  # fmt: skip
    assert body.locator("tr").first.inner_text().strip() == "Zero-shot on scenes"


def test_a_filter_keeps_matching_rows_with_their_headings(reports: SimpleNamespace, visit: Visit) -> None:
    page = unfolded(visit(reports.one))
    page.get_by_label("Filter rows").first.fill("acc5")
    shown = [row.inner_text() for row in page.locator("#metrics tbody tr").all() if row.is_visible()]
    assert len(shown) == 2 and shown[0].strip() == "Zero-shot on scenes" and "acc5" in shown[1]
    assert page.get_by_role("status").first.inner_text().startswith("1 of ")
    page.get_by_label("Filter rows").first.fill("")
    assert all(row.is_visible() for row in page.locator("#metrics tbody tr").all())


HEADINGS = ("block", "subset", "metric")


def rows_of(card: Any) -> list[tuple[str, str, str]]:
    """Return the rows of a table that are seen, headings too: kind, model and text."""
    rows = card.locator("tbody tr").evaluate_all(
        "rows => rows.filter((row) => row.checkVisibility()).map((row) =>"
        " [row.classList[0], row.dataset.model ?? '', row.textContent.trim()])"
    )
    return [(kind, model, text) for kind, model, text in rows]


def matching(rows: list[tuple[str, str, str]], typed: str, model: str = "") -> list[tuple[str, str, str]]:
    """Return the rows that hold a word, or stand under a heading that does, with their headings; one model's, if asked."""
    kept: list[int] = []
    above: dict[str, int] = {}
    for place, (kind, of, text) in enumerate(rows):
        if kind in HEADINGS:
            above = {each: above[each] for each in HEADINGS[: HEADINGS.index(kind)] if each in above} | {kind: place}
        elif typed in " ".join([*(rows[each][2] for each in above.values()), text]).lower() and of in ("", model or of):
            kept += [*above.values(), place]
    return [rows[place] for place in sorted(set(kept))]


@pytest.mark.parametrize("n_models", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_what_is_filtered_sorted_and_hidden_together_is_right_and_cleared_everything_is_back(
    parts: SimpleNamespace, visit: Visit, tmp_path: Path, n_models: int
) -> None:
    subsets = [f"{kind}_{of}" for kind in ("swap", "add") for of in ("att", "obj")]
    values = {
        f"{name}/{side}_acc": parts.fraction(0.4 + 0.01 * k, 40) for k, name in enumerate(subsets) for side in "ti"
    }
    found = parts.standard() | {"composition@sugarcrepe": {"metrics": values}}
    runs = [parts.write_run(tmp_path / f"run{place}", found) for place in range(n_models)]
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
        whole = rows_of(card)
        for typed in ("swap_att", "sugarcrepe", "t_acc", "nothing of the kind"):
            field.press_sequentially(typed)
            assert rows_of(card) == matching(whole, typed)
            for _ in typed:
                field.press("Backspace")
            assert rows_of(card) == whole
        field.press_sequentially("add_")
        sort = card.get_by_role("button", name="Sort by Metric")
        for _ in range(2):
            sort.press("Enter")
        assert sorted(rows_of(card)) == sorted(matching(whole, "add_"))
        if n_models > 1:
            page.locator(".picker input").first.press("Space")
            assert sorted(rows_of(card)) == sorted(matching(whole, "add_", "1"))
            field.press("Control+A")
            field.press("Delete")
            assert sorted(rows_of(card)) == sorted(matching(whole, "", "1"))
            page.locator(".picker input").first.press("Space")
        field.press("Control+A")
        field.press("Delete")
        sort.press("Enter")
        assert rows_of(card) == whole


def test_no_heading_of_another_evaluation_is_left_over_what_is_found(reports: SimpleNamespace, visit: Visit) -> None:
    page = unfolded(visit(reports.many))
    page.get_by_label("Filter rows").first.fill("separability")
    shown = [row for row in page.locator("#metrics tbody tr").all() if row.is_visible()]
    assert [row.get_attribute("class") for row in shown] == ["block", "metric", "line", "line"]


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


def test_light_and_dark_are_switched_and_paper_is_white(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) == "rgb(22, 23, 26)"
    assert page.get_by_role("button", name="Light").is_visible()
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not any(each.is_visible() for each in page.locator("button, input").all())
    assert page.locator("table.heads thead").evaluate("each => each.offsetHeight") > 10
    folded = page.locator("details table, details .failures")
    assert folded.count() > 3 and not any(each.is_visible() for each in folded.all())
    page.goto(reports.printed.as_uri())
    page.emulate_media(media="print")
    assert folded.count() > 3 and all(each.is_visible() for each in folded.all())
    page.set_viewport_size({"width": 600, "height": 900})  # what paper is, is no narrow screen
    assert page.locator(".broad:visible").count() and not page.locator(".slim:visible").count()


THEMES = """
window.themes = [];
new MutationObserver(() => document.body && window.themes.push(document.documentElement.dataset.theme ?? null)).observe(
  document, { childList: true, subtree: true },
);
"""
REFUSED = 'Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });'
GROUND = "getComputedStyle(document.body).backgroundColor"
WHITE, BLACK = "rgb(255, 255, 255)", "rgb(22, 23, 26)"


def test_the_choice_of_colours_is_kept_from_the_first_paint_on_until_it_is_the_system_s_again(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one, color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    page.context.add_init_script(THEMES)
    for other in (reports.one, reports.many):
        page.goto(other.as_uri())
        assert page.evaluate("window.themes[0]") == "dark"  # when the body was not yet there
        assert page.evaluate(GROUND) == BLACK
    page.get_by_role("button", name="Light").click()
    page.reload()
    assert page.evaluate("window.themes[0]") is None
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(GROUND) == BLACK


def test_where_nothing_may_be_kept_the_choice_holds_for_the_page(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one, color_scheme="dark")
    page.context.add_init_script(REFUSED)
    page.reload()
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(GROUND) == WHITE
    page.reload()
    assert page.evaluate(GROUND) == BLACK


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


def test_every_stop_of_the_keyboard_is_in_sight_and_outlined(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one, width=360)
    page.evaluate("document.getElementById('metrics').open = true")
    seen: list[str] = []
    for _ in range(200):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const each = document.activeElement, box = each.getBoundingClientRect(), style = getComputedStyle(each);
              const isIn = box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
              return { tag: each.tagName, html: each.outerHTML.slice(0, 80), isIn: isIn && box.width * box.height > 0,
                       isOutlined: style.outlineStyle !== "none" };
            }"""
        )
        if stop["tag"] == "BODY":  # after the last
            break
        assert stop["isIn"] and stop["isOutlined"], stop
        seen.append(stop["tag"])
    assert {"A", "BUTTON", "INPUT", "SUMMARY"} <= set(seen) and len(seen) > 20


def is_marked(page: "Page", anchor: str) -> None:
    """Wait until the contents say that a section is the one on screen."""
    page.locator(f"nav.contents [aria-current][href='#{anchor}']").wait_for(state="attached")


def is_in_view(page: "Page", anchor: str) -> None:
    """Wait until the head of a section, or a row, is on screen."""
    from playwright.sync_api import expect

    expect(page.locator(f"[id='{anchor}']")).to_be_in_viewport()


def test_the_first_screen_has_the_model_the_sentences_and_a_row_for_each_task(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one, width=1280)
    bottom = "each => each.getBoundingClientRect().bottom"
    assert page.locator(".rows").evaluate(bottom) < 900
    assert page.locator(".summary .findings li:not(.missing)").count() == 3
    assert page.locator(".rows .row .task").all_inner_texts() == ["Zero-shot", "Retrieval", "Modality gap"]
    assert page.locator(".row .telling img").count() == 2 and page.locator(".row .cloud path.specks").count() == 2
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.locator(".rows").evaluate(bottom) < 3 * 780
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_keys_go_from_section_to_section_and_the_contents_tell_where_one_is(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one, width=1280)
    anchors = [
        each[1:] for each in page.locator("nav.contents ol a").evaluate_all("all => all.map((each) => each.hash)")
    ]
    assert anchors == ["summary", "scorecard", "zero-shot-scenes", "retrieval-scenes", "modality-gap", "provenance"]
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


def test_the_menu_of_a_narrow_screen_follows_and_closes_and_a_wide_one_has_a_column(
    reports: SimpleNamespace, visit: Visit
) -> None:
    page = visit(reports.one, width=800)
    menu, column = page.locator("details.menu"), page.locator("nav.contents")
    assert menu.is_visible() and not column.is_visible()
    menu.locator("summary").click()
    menu.get_by_role("link", name="Retrieval").click()
    page.locator(".here", has_text="Retrieval").wait_for()
    assert menu.get_attribute("open") is None
    is_in_view(page, "retrieval-scenes")
    assert menu.bounding_box()["y"] == 0  # type: ignore[index]
    page.set_viewport_size({"width": 1280, "height": 900})
    assert column.is_visible() and not menu.is_visible()
    is_marked(page, "retrieval-scenes")
    assert column.bounding_box()["y"] == 0  # type: ignore[index]


def test_an_address_in_a_fold_opens_it(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    close = "document.querySelectorAll('details').forEach((each) => { each.open = false; })"
    for anchor in (
        "retrieval-scenes/image_retrieval_recall@1",
        "modality-gap/gap",
        "modality-gap/advice/images-and-texts-lie-apart",
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
    is_in_view(page, "modality-gap/advice/images-and-texts-lie-apart")


def test_what_is_shown_of_all_metrics_is_copied(reports: SimpleNamespace, visit: Visit) -> None:
    page = visit(reports.one)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#metrics > summary").click()
    page.locator("#metrics").get_by_label("Filter rows").fill("acc5")
    page.get_by_role("button", name="Copy as CSV").click()
    page.get_by_text("1 rows copied").wait_for()
    head, row = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert head == '"Evaluation","Metric","Name","Value","Unit","95 % interval","Chance","n"'
    assert row.startswith('"Zero-shot on scenes","Acc5 ') and row.endswith('"50.0","2,000"')
    page.locator("#metrics").get_by_label("Filter rows").fill("")
    page.get_by_role("button", name="Copy as Markdown").click()
    page.get_by_text(f"{page.locator('#metrics tr.line').count()} rows copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- | --- |"
    assert (
        len({line.count(" | ") for line in lines}) == 1 and len(lines) == 2 + page.locator("#metrics tr.line").count()
    )


def n_pages(page: "Page") -> int:
    """Return on how many sheets of A4 a page is printed."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))


def test_few_pages_are_printed_unless_all_is_asked_for(reports: SimpleNamespace, visit: Visit) -> None:
    short, whole = n_pages(visit(reports.one)), n_pages(visit(reports.printed))
    assert short <= 5 < whole


def hostile(run: Callable[..., Run], parts: SimpleNamespace, payload: str) -> list[Run]:
    """Return two runs in which every word that can come from data or from a model is a payload."""
    rng = np.random.default_rng(0)
    words = np.array([payload] * 20, object)
    margin, wrong = np.linspace(-1, 0.5, 20), np.zeros(20)
    samples = {
        **dict.fromkeys(["sample_id", "image", "caption", "preferred", "subset", "direction"], words),
        **dict.fromkeys(["object", "word", "predicted", "written", "read", "condition", "label"], words),
        **dict.fromkeys(["acc1", "micro/text_acc", "attacked_acc", "reading_acc", "attack_success"], wrong),
        "chosen_caption": words, "chosen_image": words, "confidence": np.full(20, 0.5), "margin": margin,
    }  # fmt: skip
    ranked = samples | {"direction": np.array(["image_retrieval"] * 20, object), "image_retrieval_rank": wrong + 9}
    bad = Metric(value=None, reason=payload, unit=payload)
    curve = Curve(x=[0.0, 1.0], y=[0.0, 1.0], x_label=payload, y_label=payload)
    own = {"metrics": {payload: bad, f"{payload}/x": bad}, "curves": {payload: curve}, "notes": [payload]}
    gap = parts.modality_gap(rng, n=40)
    gap["arrays"]["pair_id"] = np.array([payload] * 40)
    classes = parts.zero_shot(rng, (payload, *NAMES), n=60)
    controls = {payload: bad, f"{payload}/tie_rate": parts.fraction(0.5, 20)}
    found = {
        f"zero-shot@{payload}": classes | {"controls": controls, "params": {payload: payload}},
        "retrieval@d": {"samples": ranked, "dataset": DatasetRecord(id="d", revision=payload, cite=payload)} | own,
        "composition@d": {"samples": samples} | own,
        "text-in-image@d": {"samples": samples} | own,
        "modality-gap@d": gap,
        f"{payload}@d": own,
        "other@x": {"status": "failed", "reason": payload},
    }
    facts = {"ref": payload, "id": payload, "notes": [payload], "family": payload}
    other = {"command": ["clipbench", payload], "environment": {payload: payload, "device": payload}}
    return [run(found, name=name, model=facts, **other) for name in ("a", "b")]


def test_nothing_that_data_say_is_run(
    make_run: Callable[..., Run], parts: SimpleNamespace, visit: Visit, tmp_path: Path, payload: str
) -> None:
    runs = hostile(make_run, parts, payload)
    for place, some in enumerate((runs[:1], runs)):
        write_report(some, tmp_path / f"{place}.html")
        page = visit(tmp_path / f"{place}.html", bypass_csp=True)  # escaping alone has to do
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for field in page.locator("input[type=search]").all():
            field.fill("x")
            field.fill("")
        assert page.evaluate("window.broken") is None
        assert page.locator("script").count() == 1
        assert page.evaluate(
            "[...document.querySelectorAll('*')].filter((each) => [...each.attributes].some(({ name, value }) =>"
            " name.startsWith('on') || /^\\s*javascript:/i.test(value) && !/^(aria-label|abbr|data-.*)$/.test(name))).length"
        ) == 0  # fmt: skip
        assert payload in str(page.locator("main").text_content())


@pytest.mark.slow
def test_long_and_strange_words_are_laid_out(
    make_run: Callable[..., Run], parts: SimpleNamespace, visit: Visit, tmp_path: Path
) -> None:
    run = make_run(model={"ref": parts.hostile})
    (run.result.evaluations[0]).notes.append("w" * 5000)
    runs = hostile(make_run, parts, parts.hostile + "ש" * 5000)
    write_report([run, *runs], tmp_path / "report.html")
    page = visit(tmp_path / "report.html", width=1200)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width

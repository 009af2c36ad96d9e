"""The site in a browser: runs are chosen, compared and filtered, samples opened, and hostile runs stay words."""

import csv
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.reports.conftest import Visit

site = pytest.importorskip("clipbench_reports.view.site", reason="the extra view is not installed")
expect = pytest.importorskip("playwright.sync_api", reason="Python's playwright is not installed").expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def served(viewed: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve a copy of the runs."""
    folder = Path(shutil.copytree(viewed, tmp_path / "runs"))
    served_site = site.view(folder)
    thread = threading.Thread(target=served_site.serve)
    thread.start()
    yield SimpleNamespace(folder=folder, address=served_site.address, base=served_site.address.partition("/?")[0])
    served_site.server.should_exit = True
    thread.join()


@pytest.fixture
def visit(browser: "Browser", served: SimpleNamespace) -> Iterator[Visit]:
    """Return a function that enters the site; what a page logs, or asks for elsewhere, is a failure of the test."""
    trouble: list[str] = []
    contexts = []

    def make(*, width: int = 1200, **options: Any) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("response", lambda found: trouble.extend([found.url] * (found.status >= 400)))
        page.on("request", lambda sent: trouble.extend([sent.url] * (not sent.url.startswith((served.base, "data:")))))
        page.goto(served.address)
        page.wait_for_url(f"{served.base}/")  # the token is not left in the address
        return page

    yield make
    for context in contexts:
        context.close()
    assert not trouble


def test_what_is_typed_before_the_script_has_come_is_asked_then(browser: "Browser", served: SimpleNamespace) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/view.js", hold)
        with page.expect_request("**/view.js"):
            page.goto(served.address, wait_until="commit")
        page.get_by_label("Filter").fill("model-b")
        expect(page.locator(".of-run")).to_have_count(3)
        held[0].continue_()
        expect(page.locator(".of-run")).to_have_count(1)


def choose(page: "Page", *text: str) -> None:
    for place in text:
        page.get_by_role("checkbox", name=f"Choose model-{place} in {place}").check()


def test_runs_are_filtered_chosen_and_their_samples_searched(visit: Visit) -> None:
    page = visit()
    page.get_by_label("Filter").fill("model-b")
    expect(page.locator(".of-run")).to_have_count(1)
    choose(page, "bad")
    page.get_by_label("Filter").fill("")
    expect(page.locator(".of-run")).to_have_count(3)
    choose(page, "good")
    assert page.locator("#results [role=status]").inner_text() == "3 of 3 runs"
    assert page.locator("output").inner_text() == "2 chosen"
    page.get_by_label("Base").select_option(label="model-good (good)")
    page.get_by_role("button", name="Samples").click()
    page.wait_for_selector(".sample")
    assert page.locator(".facts").inner_text() == "A model-good and B model-bad"
    page.get_by_label("Wrong in B, right in A").check()
    expect(page.locator("#results [role=status]")).not_to_have_text("40 of 40 samples")
    n = int(page.locator("#results [role=status]").inner_text().split()[0])
    assert page.locator(".sample").count() == n == page.locator(".sample.wrong").count() > 0
    page.get_by_label("Search").fill("cube")
    expect(page.locator("#results [role=status]")).not_to_have_text(f"{n} of 40 samples")
    assert all("cube" in card.inner_text() for card in page.locator(".sample").all())


def test_the_oldest_chosen_run_is_the_base_until_another_is_asked_for(visit: Visit, served: SimpleNamespace) -> None:
    result = served.folder / "bad/result.json"
    result.write_text(result.read_text(encoding="utf-8").replace("2026-11-24T", "2026-11-23T"), encoding="utf-8")
    page = visit()
    expect(page.locator("[data-created^='2026-11-23T']")).to_have_count(1)
    base = page.get_by_label("Base")
    choose(page, "good", "bad")
    expect(base.locator("option:checked")).to_have_text("model-bad (bad)")
    base.select_option(label="model-good (good)")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".models li").first).to_contain_text("Base: good")
    page.get_by_role("link", name="Swap base and candidate").click()
    expect(page.locator(".models li").first).to_contain_text("Base: bad")


def test_samples_are_marked_by_a_key_and_downloaded(visit: Visit, served: SimpleNamespace) -> None:
    page = visit()
    page.goto(page.get_by_role("link", name="Samples of model-good in good").evaluate("each => each.href"))
    first = page.locator(".sample .id").first.inner_text()
    for key in ("j", "x", "j", "x", "j", "x", "x"):
        page.keyboard.press(key)
    marked = page.locator("[data-marked]")
    expect(marked.locator("b")).to_have_text("2")
    page.reload()
    expect(page.locator(".marker[aria-pressed=true]")).to_have_count(2)
    marked.locator("summary").click()
    with page.expect_download() as download:
        marked.get_by_role("button", name="Download as CSV").click()
    head, *rows = csv.reader(download.value.path().read_text(encoding="utf-8-sig").splitlines())
    assert head[:4] == ["model", "evaluation", "sample", "verdict"] and {"True class", "Taken for"} <= set(head)
    assert len(rows) == 2 and rows[0][:3] == ["model-good", "zero-shot@scenes", first]
    assert float(rows[0][head.index("Margin (cosine)")]) < float(rows[1][head.index("Margin (cosine)")])
    cells = {"=1+1": "'=1+1", '-a"b': '"\'-a""b"', "-0.5": "-0.5", "a,b": '"a,b"'}
    assert {text: page.evaluate("text => cell(text)", text) for text in cells} == cells
    marked.get_by_role("button", name="Unmark all").click()
    expect(marked).to_be_hidden()


def test_a_reader_switches_to_dark_on_every_page(visit: Visit, served: SimpleNamespace) -> None:
    page = visit(color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    page.get_by_role("link", name="model-good").first.click()
    page.wait_for_selector(".scorecard, .summary")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.slow
def test_the_list_and_a_sample_are_used_by_keyboard(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("model")
    page.keyboard.press("Tab")
    expect(page.locator(".of-run")).to_have_count(2)
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    assert page.locator("output").inner_text() == "2 chosen"
    page.goto(page.get_by_role("link", name="Samples of model-good in good").evaluate("each => each.href"))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".large")
    first = page.locator("h1").inner_text()
    page.wait_for_load_state()  # keys are heard once the script has come
    page.keyboard.press("ArrowRight")
    expect(page.locator("h1")).not_to_have_text(first)
    page.wait_for_load_state()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("h1")).to_have_text(first)


@pytest.mark.slow
def test_new_runs_appear_while_the_list_is_open_and_those_chosen_stay(visit: Visit, served: SimpleNamespace) -> None:
    page = visit()
    choose(page, "good")
    shutil.copytree(served.folder / "bad", served.folder / "new")
    page.get_by_role("checkbox", name="Choose model-bad in new").wait_for(timeout=15_000)
    assert page.get_by_role("checkbox", name="Choose model-good in good").is_checked()


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 800, 1280, 1920])
def test_no_page_reaches_beyond_any_width_and_axe_finds_no_fault(
    visit: Visit, served: SimpleNamespace, width: int, axe_faults: Callable[["Page"], list[Any]]
) -> None:
    page = visit(width=width, color_scheme="dark" if width < 1000 else "light", bypass_csp=True)  # of axe
    run = page.locator('input[name="run"]').first.get_attribute("value")
    addresses = ("?group=on", f"samples?run={run}", f"sample?run={run}&of=retrieval@scenes&row=3", f"map?run={run}")
    for path in addresses:
        page.goto(f"{served.base}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert not axe_faults(page), path


@pytest.mark.slow
def test_points_of_a_map_are_listed_by_button_and_by_keyboard(visit: Visit) -> None:
    page = visit()
    page.get_by_role("link", name="Map of model-good in good").click()
    page.wait_for_selector(".wait[hidden]", state="attached")
    page.get_by_label("Colour").select_option(label="Failure: zero-shot margin")
    assert "wrong" in page.locator("[data-key]").inner_text()
    page.get_by_role("button", name="List what is in view").click()
    expect(page.locator(".sample")).to_have_count(40)
    assert page.locator("[data-count]").inner_text() == "40 of 40 pairs in view"
    page.locator("canvas[tabindex]").focus()
    for key in ("+", "+", "+", "+", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("[data-count]")).not_to_have_text("40 of 40 pairs in view")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400

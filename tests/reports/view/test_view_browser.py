"""The site in a browser: runs are chosen, compared and filtered, samples opened, and hostile runs stay words."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

site = pytest.importorskip("clipbench_reports.view.site", reason="the extra view is not installed")
expect = pytest.importorskip("playwright.sync_api", reason="Python's playwright is not installed").expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Visit = Callable[..., "Page"]


@pytest.fixture
def served(viewed: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve a copy of the runs."""
    folder = Path(shutil.copytree(viewed, tmp_path / "runs"))
    made = site.Site(folder)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield SimpleNamespace(folder=folder, address=made.address, base=made.address.partition("/?")[0])
    made.server.should_exit = True
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


def choose(page: "Page", *places: str) -> None:
    for place in places:
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


@pytest.mark.slow
def test_two_runs_are_compared_against_the_chosen_base(visit: Visit) -> None:
    page = visit()
    choose(page, "bad", "good")
    page.get_by_label("Base").select_option(label="model-good (good)")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_load_state()
    assert "/compare?base=" in page.url and page.locator("h1").inner_text() == "bad against good"
    page.go_back()
    page.get_by_role("link", name="model-good", exact=True).click()
    page.wait_for_load_state()
    assert "/report?run=" in page.url and "model-good" in page.title()


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
    page.keyboard.press("ArrowRight")
    expect(page.locator("h1")).not_to_have_text(first)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("h1")).to_have_text(first)


@pytest.mark.slow
def test_columns_sort_and_group_hold_together(visit: Visit) -> None:
    page = visit()
    page.get_by_text("Columns", exact=True).click()
    boxes = page.locator(".columns input")
    for box in boxes.all()[1:]:
        box.uncheck()
    expect(page.locator(".runs thead small")).to_have_count(1)
    page.locator(".runs thead th a").last.click()
    page.wait_for_selector(".runs th[aria-sort=descending] small")
    assert page.locator(".of-run").all_inner_texts()[0] == "model-good"
    page.locator(".runs thead th a").last.click()
    page.wait_for_selector(".runs th[aria-sort=ascending] small")
    assert page.locator(".of-run").all_inner_texts()[0] == "model-bad"
    page.get_by_label("Group by model").check()
    page.wait_for_selector(".runs .block")
    assert page.locator(".runs th[aria-sort=ascending] small").count() == 1


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
def test_points_of_a_map_are_chosen_by_lasso_and_by_keyboard(visit: Visit) -> None:
    page = visit()
    page.get_by_role("link", name="Map of model-good in good").click()
    page.wait_for_selector(".wait[hidden]", state="attached")
    box = page.locator("canvas[tabindex]").bounding_box()
    assert box is not None
    page.get_by_label("Colour").select_option(label="Failure: zero-shot margin")
    assert "wrong" in page.locator("[data-key]").inner_text()
    page.get_by_role("button", name="Lasso").click()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    page.mouse.move(box["x"] + 0.01 * box["width"], box["y"] + 0.01 * box["height"])
    page.mouse.down()
    for x, y in corners:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
    page.mouse.up()
    expect(page.locator(".sample")).to_have_count(40)
    assert page.locator("[data-count]").inner_text() == "40 of 40 pairs chosen"
    page.locator("canvas[tabindex]").focus()
    for key in ("+", "+", "+", "+", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("[data-count]")).not_to_have_text("40 of 40 pairs chosen")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.slow
def test_without_scripts_runs_are_filtered_and_compared(browser: "Browser", served: SimpleNamespace) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.address)
    page.get_by_role("link", name="clipbench view").wait_for()
    page.get_by_label("Filter").fill("model-b")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("1 of 3 runs").wait_for()
    page.goto(f"{served.base}/")
    choose(page, "good", "bad")
    page.get_by_role("button", name="Samples").click()
    page.get_by_text("40 of 40 samples").wait_for()
    context.close()


@pytest.mark.slow
def test_a_hostile_run_stays_words(visit: Visit, served: SimpleNamespace, parts: SimpleNamespace, payload: str) -> None:
    found = parts.zero_shot(np.random.default_rng(0), (payload, "../../etc/passwd"), n=6)
    found["samples"]["sample_id"] = np.array([f"../../{payload}{k}" for k in range(6)], object)
    found["samples"]["image"] = np.array(["../../../../etc/passwd"] * 6, object)
    parts.write_run(served.folder / "0 <img src=x>", {f"zero-shot@{payload}": found}, model={"ref": payload})
    (served.folder / "etc").symlink_to("/etc")
    page = visit(width=360)
    row = page.locator(".of-run a", has_text=payload[:20])
    row.wait_for()
    address = row.get_attribute("href")
    assert address is not None
    for kind in ("samples", "report"):
        page.goto(f"{served.base}{address.replace('/report', f'/{kind}')}")
        assert page.locator("h1").inner_text()
        assert page.evaluate("window.broken") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.goto(f"{served.base}{address.replace('/report', '/samples')}")
    page.locator("a[data-row]").first.click()
    page.wait_for_selector(".large")
    assert page.evaluate("window.broken") is None and "root:" not in page.content()

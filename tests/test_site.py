"""The site of the pages: built without a warning, and searched in a browser, which finds the right page first."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
FIRST = {
    "confidence interval": "statistics.html",
    "latency": "costs.html",
    "cite": "paper.html",
    "hard negative": "tasks/composition.html",
    "threshold": "tasks/operating-points.html",
    "my number is different": "published.html",
}
"""The page that a search finds first."""
WIDTHS = (360, 1280)
"""A phone and a screen, in pixels."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning is an error."""
    pytest.importorskip("mkdocs", reason="needs the extra docs: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    opened = browser.new_page()
    yield opened
    opened.close()


def test_the_site_has_callouts_titles_of_files_and_no_code_that_is_text(site: Path) -> None:
    assert 'class="admonition warning"' in (site / "tasks/composition.html").read_text(encoding="utf-8")
    assert '<span class="filename">mine.toml</span>' in (site / "tutorial.html").read_text(encoding="utf-8")
    for built in site.rglob("*.html"):
        assert "```" not in built.read_text(encoding="utf-8") or "example-report" in built.name, built


def first_result(page: "Page", query: str) -> str:
    """Return the file that a search finds first."""
    page.wait_for_selector("[data-md-component=search-query]", state="attached")
    page.wait_for_timeout(1_000)  # the index is loaded
    page.keyboard.press("s")
    page.locator("[data-md-component=search-query]:focus").wait_for()
    page.keyboard.type(query)
    page.wait_for_timeout(1_500)  # results of the first characters are replaced
    result = page.locator(".md-search-result__link").first
    result.wait_for(state="attached")
    return str(result.get_attribute("href")).partition("?")[0].partition("#")[0]


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Serve the site: from a folder, the search needs a script of the theme that is fetched from elsewhere."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_search_finds_the_right_page_first(address: str, page: "Page") -> None:
    result = {}
    for query in FIRST:
        page.goto(f"{address}/index.html")
        result[query] = first_result(page, query)
    assert not {query: result[query] for query, name in FIRST.items() if not result[query].endswith(name)}


def test_no_page_is_wider_than_its_window(site: Path, page: "Page") -> None:
    built = [path for path in sorted(site.rglob("*.html")) if path.name not in ("example-report.html", "404.html")]
    wide = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for path in built:
            page.goto(path.as_uri())
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            wide += [(path.name, width, overflow)] if overflow > 0 else []
    assert not wide


def test_no_line_of_code_is_cut_off_on_a_screen(site: Path, page: "Page") -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    cut_off = []
    for name in ("ci.html", "explain.html", "models.html", "tutorial.html", "faq.html"):
        page.goto((site / name).as_uri())
        n = page.evaluate(
            "[...document.querySelectorAll('pre > code')].filter(c => c.scrollWidth > c.clientWidth).length"
        )
        cut_off += [(name, n)] if n else []
    assert not cut_off

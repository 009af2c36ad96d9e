"""Take the pictures of screens for the pages, docs/screens/*.webp, with a headless Chromium: `make screens`.

    python tools/screens.py    # about three minutes on two quiet cores

Runs, a pool and photographs are made once, in runs/screens. docs/report.png and docs/failures.png are of
`make example-report`.
"""

import argparse
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import clipbench as cb
from clipbench_command import CLIPBENCH, clipbench

ROOT = Path(__file__).parents[1]
RUNS, SCREENS = ROOT / "runs" / "screens", ROOT / "docs" / "screens"
WIDTH, HEIGHT = 1240, 780
N_PHOTOS, N_QUERIES = 80, 12


def main() -> None:
    """Make the missing runs, then take all pictures."""
    make_runs()
    make_pool()
    SCREENS.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        compare_page = RUNS / "compare.html"
        clipbench(RUNS, "compare", "all/tiny", "all/candidate", "--format", "html", "-o", compare_page.name)
        shoot(browser, compare_page.as_uri(), "compare")
        with serving("view", "all") as address:
            shoot(browser, address, "view", height=580)
        with serving("judge", "pool", "--judge", "anna") as address:
            shoot(browser, address, "judge", prepare=grade_some)
        browser.close()


def make_runs() -> None:
    """Measure the bundled model and two checkpoints of a short training."""
    if not (RUNS / "training").exists():
        training = ("--data", "scenes", "--arch", "tiny", "--batch-size", "64")
        clipbench(RUNS, "train", *training, "--steps", "60", "--out", "training")
    suite = ("--tasks", "all", "--suite", "scenes")
    models = {"tiny": "tiny", "step-30": "training/step-30", "candidate": "training/step-60"}
    for name, model in models.items():
        if not (RUNS / "all" / name / "result.json").exists():
            clipbench(RUNS, "run", "--model", model, *suite, "--out", f"all/{name}")


def make_pool() -> None:
    """Write scenes as photographs, and collect what two models find among them."""
    photos = RUNS / "photos"
    if not photos.exists():
        scenes = cb.load_data("scenes", data_options={"n": str(N_PHOTOS)})
        photos.mkdir(parents=True)
        for number, image in enumerate(scenes.images[:N_PHOTOS]):
            image.open().resize((256, 256)).save(photos / f"{number}.png")
        assert scenes.captions is not None
        queries = list(dict.fromkeys(scenes.captions))[:N_QUERIES]
        (RUNS / "queries.txt").write_text("\n".join(queries), encoding="utf-8")
    if not (RUNS / "pool").exists():
        models = ("--model", "tiny", "--model", "training/step-60")
        clipbench(RUNS, "pool", *models, "--images", "photos", "--queries", "queries.txt", "--out", "pool")


def grade_some(page: Page) -> None:
    """Grade a few photographs of the query that is shown."""
    for key in "000002":
        page.keyboard.press(key)
        page.wait_for_timeout(300)


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """Yield the address of a command that serves pages until it is interrupted."""
    server = subprocess.Popen(
        [*CLIPBENCH, *command, "--no-open"],
        cwd=RUNS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    try:
        printed = next(filter(None, (re.search(r"http://\S+", line) for line in server.stdout)))
        yield printed[0]
    finally:
        server.terminate()
        server.wait()


def shoot(
    browser: Browser,
    address: str,
    name: str,
    *,
    height: int = HEIGHT,
    prepare: Callable[[Page], None] | None = None,
) -> None:
    """Save a picture of a page as WebP."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height})
    page.goto(address)
    page.wait_for_timeout(2000)
    if prepare is not None:
        prepare(page)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(SCREENS / f"{name}.webp", quality=80, method=6)
    page.close()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()

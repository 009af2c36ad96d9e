"""Take the pictures of screens for the pages, docs/screens/*.webp, with a headless Chromium: `make screens`.

    python tools/screens.py            # about five minutes on two quiet cores
    python tools/screens.py explain    # one picture

Runs, a pool and photographs are made once, in runs/screens. docs/report.png and docs/failures.png are of
`make example-report`.
"""

import argparse
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import clipbench as cb
import page_output
from clipbench_command import CLIPBENCH, clipbench

ROOT = Path(__file__).parents[1]
RUNS, SCREENS = ROOT / "runs" / "screens", ROOT / "docs" / "screens"
WIDTH, HEIGHT = 1240, 780
N_PHOTOS, N_QUERIES = 80, 12


def main(names: Collection[str]) -> None:
    """Make the missing runs, then take the pictures of these names."""
    SCREENS.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in names:
            PICTURES[name](browser)
        browser.close()


def shoot_compare(browser: Browser) -> None:
    """Take the page of a comparison."""
    make_runs()
    page = RUNS / "compare.html"
    clipbench(RUNS, "compare", "all/tiny", "all/candidate", "--format", "html", "-o", page.name)
    shoot(browser, page.as_uri(), "compare")


def shoot_view(browser: Browser) -> None:
    """Take the list of runs."""
    make_runs()
    with serving("view", "all") as address:
        shoot(browser, address, "view", height=580)


def shoot_judge(browser: Browser) -> None:
    """Take a query that is judged."""
    make_runs()
    make_pool()
    with serving("judge", "pool", "--judge", "anna") as address:
        shoot(browser, address, "judge", prepare=grade_some)


def shoot_explain(browser: Browser) -> None:
    """Take the page of an explanation, of the example in docs/explain.md."""
    folder = guide_folder("explain")
    models = {"base": "tiny", "candidate": "python:night.py:Night"}
    for name, model in models.items():
        if not (folder / name).exists():
            kept = ("--thumbnails", "1000")
            clipbench(
                folder, "run", "--model", model, "--tasks", "retrieval", "--suite", "scenes", *kept, "--out", name
            )
    clipbench(folder, "explain", "base", "candidate", "-o", "explain.html")
    shoot(browser, (folder / "explain.html").as_uri(), "explain")


def shoot_choose(browser: Browser) -> None:
    """Take the page of a choice, of the example in docs/choose.md."""
    folder = guide_folder("choose")
    if not (folder / "pool").exists():
        models = ("--model", "tiny", "--model", "python:small.py:Small")
        photos = ("--images", "photos", "--queries", "photos/queries.txt", "--on-bad-image", "skip")
        clipbench(folder, "pool", *models, *photos, "--out", "pool")
        with chdir(folder):
            page_output.grade_by_words(Path("pool"))
    undecided = 3
    clipbench(folder, "choose", "pool", "--report", "choice.html", statuses=(0, undecided))
    shoot(browser, (folder / "choice.html").as_uri(), "choose")


PICTURES = {
    "compare": shoot_compare,
    "view": shoot_view,
    "judge": shoot_judge,
    "explain": shoot_explain,
    "choose": shoot_choose,
}


def guide_folder(name: str) -> Path:
    """Return a folder with the sample photographs and the files that a guide shows."""
    folder = RUNS / f"guide-{name}"
    if not (folder / "photos").exists():
        clipbench(folder, "data", "sample", "photos")
    for file, content in page_output.files((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")).items():
        (folder / file).write_text(content, encoding="utf-8")
    return folder


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*PICTURES], choices=[*PICTURES], metavar="NAME")
    main(parser.parse_args().names)

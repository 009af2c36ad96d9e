"""The page of an explanation: what it says, its images, and its layout in a browser at 360 and 1280 pixels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.comparison.chain import compare_chain
from clipbench.comparison.compare_runs import compare
from clipbench.comparison.explanation import explain
from clipbench.results.record import Metric
from clipbench.results.run import read_run
from clipbench_reports.page.compare import write_compare
from clipbench_reports.page.explanation import write_explanation
from tests.reports.conftest import Faults, Visit

N = 400
CAMERAS = np.array(["phone" if k % 8 == 0 else "camera" for k in range(N)], object)


def evaluation(right: np.ndarray, camera: str) -> dict[str, Any]:
    """Return zero-shot of two classes in which these samples are right, taken by one of two cameras."""
    samples = {
        "sample_id": np.array([f"bird {k:03}" for k in range(N)], object),
        "image": np.array([f"{k:032x}" for k in range(N)], object),
        "group:camera": np.where(CAMERAS == "phone", camera, CAMERAS).astype(object),
        "label": np.array(["owl" if k % 2 else "wren" for k in range(N)], object),
        "predicted": np.where(right > 0, "owl", "wren").astype(object),
        "acc1": right,
    }
    metric = Metric(value=float(right.mean()), n=N, column="acc1", higher_is_better=True, title="Top-1 accuracy")
    return {"samples": samples, "metrics": {"acc1": metric}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> SimpleNamespace:
    """Write the page of a candidate that lost on one camera, of one that lost nowhere, and of an attack."""
    folder = tmp_path_factory.mktemp("pages")
    before = np.ones(N)
    before[::7] = 0.0
    lost = np.where((CAMERAS == "phone") & (np.arange(N) % 16 == 0), 0.0, before)
    attack = "<script>alert(1)</script> " + "x" * 60
    paths = {}
    for name, after, camera in (("lost", lost, "phone"), ("same", before, "phone"), ("attack", lost, attack)):
        runs = [
            parts.write_run(folder / f"{name}-{side}", {"zero-shot@birds": evaluation(right, camera)})
            for side, right in (("base", before), ("candidate", after))
        ]
        for run in runs:
            parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(N)])
        paths[name] = folder / f"{name}.html"
        write_explanation(explain(*runs), runs, paths[name])
    paths["compared"] = folder / "compared.html"
    runs = [read_run(folder / f"lost-{side}") for side in ("base", "candidate")]
    write_compare([compare(*runs)], runs, paths["compared"], [explain(*runs)])
    steps = [runs[0], read_run(folder / "same-candidate"), runs[1]]
    chain = compare_chain(steps)
    paths["chain"] = folder / "chain.html"
    write_compare([chain.whole], runs, paths["chain"], [explain(*runs)], chain)
    return SimpleNamespace(**paths)


def test_a_page_names_the_group_with_six_images_and_both_answers(pages: SimpleNamespace) -> None:
    text = pages.lost.read_text(encoding="utf-8")

    assert "<h1><bdi>Worse than elsewhere: camera = phone</bdi></h1>" in text
    assert text.count("<img src=") == 6
    assert text.count("owl → wren") == 6
    assert "Not available: image inputs" in text


def test_a_comparison_has_the_same_as_a_section(pages: SimpleNamespace) -> None:
    text = pages.compared.read_text(encoding="utf-8")

    assert ">Where <bdi>lost-candidate</bdi> got worse<" in text
    assert "Worse than elsewhere: −42.00 pp of 50 samples" in text


def test_images_without_a_small_copy_have_the_option_that_keeps_them(
    pages: SimpleNamespace, parts: SimpleNamespace, tmp_path: Path
) -> None:
    before = np.ones(N)
    lost = np.where((CAMERAS == "phone") & (np.arange(N) % 16 == 0), 0.0, before)
    runs = [
        parts.write_run(tmp_path / side, {"zero-shot@birds": evaluation(right, "phone")})
        for side, right in (("base", before), ("candidate", lost))
    ]
    for n_kept in (0, 3):
        parts.write_thumbnails(runs[0].folder, [f"{16 * k:032x}" for k in range(n_kept)])
        write_explanation(explain(*runs), runs, tmp_path / f"{n_kept}.html")
        text = (tmp_path / f"{n_kept}.html").read_text(encoding="utf-8")
        assert text.count("<img src=") == n_kept
        assert "--thumbnails N" in text
    assert "--thumbnails" not in pages.lost.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lost", "compared"])
def test_the_difference_and_its_interval_are_on_a_narrow_screen(
    pages: SimpleNamespace, visit: Visit, name: str
) -> None:
    page = visit(getattr(pages, name), width=360)

    for label in ("difference", "95 % interval"):
        cells = page.evaluate(
            f"[...document.querySelectorAll('.explanation td[data-label=\"{label}\"]')].map(cell => {{"
            " const box = cell.getBoundingClientRect();"
            " return [box.width, box.left, window.innerWidth - box.right, getComputedStyle(cell, '::before').content] })"
        )
        assert cells
        for width, left, right, title in cells:
            assert width > 0 and left >= 0 and right >= 0
            assert "attr" in title or label in title


def test_steps_of_a_chain_are_cards_on_a_narrow_screen(pages: SimpleNamespace, visit: Visit) -> None:
    page = visit(pages.chain, width=360)

    for label in ("before", "after", "difference", "95 % interval", "p (Holm)", "verdict"):
        cells = page.evaluate(
            f"[...document.querySelectorAll('section[aria-labelledby=chain] td[data-label=\"{label}\"]')].map(cell => {{"
            " const box = cell.getBoundingClientRect();"
            " return [cell.textContent.trim(), box.left, window.innerWidth - box.right,"
            " getComputedStyle(cell, '::before').content] })"
        )
        assert len(cells) == 3, label  # two steps, and the last against the first
        for text, left, right, title in cells:
            assert text and left >= 0 and right >= 0
            assert "attr" in title or label in title
    assert ">Where <bdi>lost-candidate</bdi> got worse<" in pages.chain.read_text(encoding="utf-8")


def test_a_page_without_a_claim_says_so(pages: SimpleNamespace) -> None:
    text = pages.same.read_text(encoding="utf-8")

    assert "is shown to be worse" in text
    assert "<img src=" not in text


@pytest.mark.parametrize("name", ["lost", "same", "attack", "compared", "chain"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off_or_scrolls_sideways(pages: SimpleNamespace, visit: Visit, name: str, width: int) -> None:
    page = visit(getattr(pages, name), width=width)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for box in page.evaluate(
        "[...document.querySelectorAll('figure svg text')].filter(text => text.getClientRects().length).map(text => {"
        " const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();"
        " return [text.textContent, inner.left - outer.left, outer.right - inner.right] })"
    ):
        assert min(box[1:]) >= -1, box
    first = page.evaluate("(document.querySelector('.explanation tbody th .name') || {offsetWidth: 100}).offsetWidth")
    assert first >= 80


@pytest.mark.parametrize("name", ["lost", "same"])
def test_a_page_has_no_faults_of_access(pages: SimpleNamespace, visit: Visit, axe_faults: Faults, name: str) -> None:
    assert axe_faults(visit(getattr(pages, name))) == []

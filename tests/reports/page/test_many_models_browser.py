"""The report of many models in a browser: every name, mark and cell is whole, at every width and whatever the names."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import clipbench as cb
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report
from tests.many_runs import write_many_runs
from tests.reports.conftest import HOSTILE, Faults, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

Pages = Callable[..., Path]
WIDTHS = (360, 800, 1280, 1920)
FAULTS = r"""() => {
  const faults = [];
  const report = (kind, element, why = "") => faults.push(`${kind}: ${element.textContent.trim().slice(0, 60)} ${why}`);
  const isClipped = (element) =>
    element && (getComputedStyle(element).clipPath !== "none" || isClipped(element.parentElement));
  const isSeen = (element) => element.checkVisibility({ visibilityProperty: true }) && !isClipped(element);
  const width = document.documentElement.clientWidth;
  const whole = document.documentElement.scrollWidth;
  if (whole > width) faults.push(`the page scrolls sideways: ${whole}`);
  for (const box of document.querySelectorAll("main, main *:not(svg, svg *)")) {
    const style = getComputedStyle(box);
    const scrolls = ["auto", "scroll"].includes(style.overflowX) && box.scrollWidth > box.clientWidth + 1;
    if (isSeen(box) && scrolls) report("a box scrolls sideways", box, `${box.scrollWidth} > ${box.clientWidth}`);
  }
  // What is seen of an element: its words, or its own box if it is a drawing.
  const pieces = [], range = document.createRange();
  const add = (owner, rect) => {
    if (rect.width <= 0.5 || rect.height <= 0.5) return;
    if (owner.closest("details:not([open]) > summary .soft")) return; // the fold has it whole
    const tall = owner.closest(".scroll.tall")?.getBoundingClientRect(); // of a long table, what is in view
    if (!tall || (rect.top >= tall.top && rect.bottom <= tall.bottom)) pieces.push({ owner, rect });
  };
  const SEEN = "main :is(th, td, bdi, b, .swatch, .sign, figcaption, h1, h2, h3, caption)";
  for (const element of document.querySelectorAll(SEEN)) {
    if (!isSeen(element) || element.closest("svg")) continue;
    if (element.matches(".swatch")) add(element, element.getBoundingClientRect());
    for (const node of element.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE || !node.data.trim()) continue;
      range.selectNodeContents(node);
      for (const rect of range.getClientRects()) add(element, rect);
    }
  }
  for (const element of document.querySelectorAll("main .drawing svg text")) {
    if (!isSeen(element)) continue;
    const [rect, frame] = [element, element.ownerSVGElement].map((each) => each.getBoundingClientRect());
    if (rect.left < frame.left - 1.5 || rect.right > frame.right + 1.5) report("cut by its drawing", element);
    if (/\p{L}{3}/u.test(element.textContent)) add(element, rect);
  }
  for (const { owner, rect } of pieces) {
    if (rect.left < -0.5 || rect.right > width + 0.5) report("outside", owner, `${rect.left} to ${rect.right}`);
    for (let box = owner; box && box.tagName !== "MAIN"; box = box.parentElement) {
      if (box.matches("svg, svg *")) continue;
      const style = getComputedStyle(box), frame = box.getBoundingClientRect();
      if (style.overflowX === "visible" || style.display === "inline") continue;
      const isCut = rect.left < frame.left - 1 || rect.right > frame.right + 1;
      if (isCut) report("cut", owner, `by ${box.tagName}.${box.className}`);
    }
  }
  pieces.sort((a, b) => a.rect.top - b.rect.top);
  const isInside = (a, b) => a.contains(b) || b.contains(a);
  for (const [place, { owner, rect }] of pieces.entries()) {
    for (const other of pieces.slice(place + 1)) {
      if (other.rect.top >= rect.bottom - 2) break;
      const across = Math.min(rect.right, other.rect.right) - Math.max(rect.left, other.rect.left);
      const down = Math.min(rect.bottom, other.rect.bottom) - other.rect.top;
      if (across > 1.5 && down > 4 && owner !== other.owner && !isInside(owner, other.owner)) {
        report("covered", owner, `by ${other.owner.textContent.trim().slice(0, 40)}`);
      }
    }
  }
  return faults;
}"""
"""Names, marks, headers and cells that are cut, covered or outside, and what has to be moved sideways to be read."""
MARKS = """() => [...document.querySelectorAll(".models > li")].map((item) => {
  const mark = item.querySelector(".swatch");
  return mark.textContent.trim() || mark.innerHTML;
})"""


def long_names(n_models: int, n_characters: int = 60) -> list[str]:
    """Return names of equal length that differ in the middle alone."""
    start, end = "2026-11 ViT-B-32-laion2b-lr1e-3-WD", "-warmup2000-final-candidate"
    return [f"{start}{k:02}{end}".ljust(n_characters, "x")[:n_characters] for k in range(n_models)]


def measured(parts: SimpleNamespace, index: int) -> dict[str, dict[str, Any]]:
    """Return evaluations of few samples, with values that differ from model to model."""
    rng = np.random.default_rng(index)
    return {
        "zero-shot@scenes": parts.zero_shot(rng, parts.classes, n=40, skill=0.5 + index / 80),
        "retrieval@scenes": parts.retrieval(rng, n=24, skill=0.5 + index / 80),
        "modality-gap@scenes": parts.modality_gap(rng, n=30),
        "composition@sugarcrepe": {
            "metrics": {f"swap_{kind}/text_acc": parts.fraction(0.4, 40) for kind in ("att", "obj")}
        },
        "retrieval@coco": {"status": "failed", "reason": "cannot read image val/000139.jpg: truncated file"},
    }


def numbers_only(parts: SimpleNamespace, index: int) -> dict[str, dict[str, Any]]:
    """Return evaluations of which no figure is drawn, whose page takes a second."""
    return {name: {"metrics": each["metrics"]} for name, each in measured(parts, index).items() if "metrics" in each}


def runs_of(
    folder: Path, parts: SimpleNamespace, names: Sequence[str], evaluations: Callable[..., Any] = measured
) -> list[Run]:
    """Write a run of a model of each name."""
    return [
        parts.write_run(folder / f"run-{index}", evaluations(parts, index), model={**parts.model, "ref": name})
        for index, name in enumerate(names)
    ]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> Pages:
    """Return a function that writes the report of so many models, once."""
    folder = tmp_path_factory.mktemp("many")

    def make(n_models: int, evaluations: Callable[..., Any] = measured) -> Path:
        path = folder / f"{n_models}-{evaluations.__name__}.html"
        if not path.is_file():
            write_report(runs_of(folder / path.stem, parts, long_names(n_models), evaluations), path)
        return path

    return make


def faults_of(page: "Page", width: int) -> list[str]:
    """Return what is wrong with a page at a width: as it opens, and with every fold open."""
    page.set_viewport_size({"width": width, "height": 900})
    faults: list[str] = []
    for is_open in (False, True):
        page.evaluate("open => document.querySelectorAll('details').forEach((fold) => { fold.open = open; })", is_open)
        faults += page.evaluate(FAULTS)
    return faults


@pytest.mark.parametrize(
    ("n_models", "widths", "evaluations"),
    [
        (3, (360, 1280), measured),
        (11, (360, 1280), numbers_only),
        *(pytest.param(n_models, WIDTHS, measured, marks=pytest.mark.slow) for n_models in (2, 3, 5, 11, 40)),
    ],
)
def test_every_name_mark_and_cell_is_whole(
    pages: Pages, visit: Visit, n_models: int, widths: Sequence[int], evaluations: Callable[..., Any]
) -> None:
    page = visit(pages(n_models, evaluations))
    for width in widths:
        assert not faults_of(page, width), width
    marks = page.evaluate(MARKS)
    assert len(set(marks)) == len(marks) == n_models


def ranked(parts: SimpleNamespace, position: int) -> dict[str, dict[str, Any]]:
    """Return six evaluations of hits that are recorded per sample, so that models have ranks."""
    evaluations = {}
    for number in range(6):
        hits = (np.random.default_rng([position, number]).random(80) < 0.95 - position / 80).astype(np.float64)
        metric = replace(parts.fraction(float(hits.mean()), 80), column="hit", is_headline=True)
        samples = {"sample_id": np.array([f"s{row:02}" for row in range(80)], object), "hit": hits}
        evaluations[f"zero-shot@data-{number}"] = {"metrics": {"acc1": metric}, "samples": samples}
    return evaluations


RANKS = """() => [...document.querySelectorAll(".board.ranked tbody tr, .heads tbody td[data-model]")].flatMap((cell) => {
  const rank = [...cell.querySelectorAll(".rank")].find((element) => element.checkVisibility());
  if (!rank) return [];
  const range = document.createRange();
  range.selectNodeContents(rank);
  const [text, row] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
  const isInside = text.left >= row.left - 1 && text.right <= row.right + 1 && text.height < 2 * 24;
  return [[Number(cell.dataset.model), rank.innerText.replace("rank", "").trim(), isInside]];
})"""
"""The visible ranks in their order: model, text, and whether the text is inside its row in one line."""


@pytest.mark.parametrize("n_models", [3, 12, pytest.param(40, marks=pytest.mark.slow)])
def test_the_board_shows_the_rank_interval_of_every_model_at_every_width(
    pages: Pages, visit: Visit, n_models: int
) -> None:
    path = pages(n_models, ranked)
    page = visit(path)
    board = cb.board(*(path.parent / path.stem / f"run-{position}" for position in range(n_models)))
    for width in (360, 1280):
        assert not faults_of(page, width), width
        page_state = page.evaluate(RANKS)
        assert all(is_inside for *_, is_inside in page_state), width
        expected = [[(model.position, model.ranks) for model in ranks.ranked()] for ranks in board.metrics]
        assert sorted((position, text) for position, text, _ in page_state) == sorted(
            pair for pairs in expected for pair in pairs
        )
        if n_models > 3:  # rows are in the order of ranks
            assert [(position, text) for position, text, _ in page_state[:n_models]] == expected[0]
    assert board.mean_ranks is not None and page.get_by_text("Mean rank on new tasks like these").count()
    best = min(metric.value or 0.0 for metric in board.mean_ranks.these)
    assert page.get_by_text(f"{best:.1f}", exact=True).count()


def test_two_models_have_no_board(parts: SimpleNamespace, tmp_path: Path) -> None:
    runs = runs_of(tmp_path, parts, ["one", "two"], ranked)
    write_report(runs, tmp_path / "report.html")
    assert "rank-rule" not in (tmp_path / "report.html").read_text().partition("<body>")[2]


BARS = """() => [...document.querySelectorAll(".board")].map((table) => {
  const width = table.getBoundingClientRect().width;
  const tracks = [...table.querySelectorAll(".track")].map((track) => track.getBoundingClientRect());
  const isClipped = (ticks) => [...table.tHead.querySelectorAll(".ticks")].includes(ticks)
    && getComputedStyle(table.tHead).clipPath !== "none";
  const words = [...table.querySelectorAll(".ticks")].filter((ticks) => ticks.checkVisibility() && !isClipped(ticks));
  return {
    share: Math.min(...tracks.map((track) => track.width / width)),
    bars: [...table.querySelectorAll(".range")].map((bar) => bar.getBoundingClientRect().width / width),
    ends: [...new Set(tracks.map((track) => Math.round(track.left)))].length,
    ticks: words.map((ticks) => ticks.innerText.split(/\\s+/)),
  };
})"""
"""Of each board, the parts of its width that axes and intervals take, how many left ends there are, and the ticks."""
LANES = """() => [...document.querySelectorAll(".heads .track")].map((track) =>
  [...track.querySelectorAll(".dot")].map((mark) => {
    const { left, right, top, bottom } = mark.getBoundingClientRect();
    return { left, right, top, bottom };
  }))"""
"""The boxes of the marks on each axis that several models share."""


@pytest.mark.parametrize("n_models", [11, pytest.param(40, marks=pytest.mark.slow)])
def test_bars_use_the_width_and_have_an_axis_at_every_width(pages: Pages, visit: Visit, n_models: int) -> None:
    page = visit(pages(n_models, ranked))
    for width, least in ((1280, 0.5), (360, 0.9)):
        page.set_viewport_size({"width": width, "height": 900})
        boards = page.evaluate(BARS)
        assert len(boards) == 8  # six evaluations, and two mean ranks
        for board_facts in boards:
            assert board_facts["share"] >= least and board_facts["ends"] == 1, (width, board_facts)
            assert len(board_facts["bars"]) == n_models and max(board_facts["bars"]) > 0.02
            assert [ticks[0] for ticks in board_facts["ticks"]] == ["0"], (width, board_facts)
        assert boards[2]["ticks"] == [["0", "25", "50", "75", "100"]]


def test_marks_of_equal_values_do_not_hide_each_other(parts: SimpleNamespace, visit: Visit, tmp_path: Path) -> None:
    same = [
        parts.write_run(tmp_path / name, ranked(parts, 0), model={**parts.model, "ref": name})
        for name in ("one", "two", "three")
    ]
    write_report(same, tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        lanes = page.evaluate(LANES)
        assert len(lanes) == 6 and all(len(marks) == 3 for marks in lanes)
        for marks in lanes:
            for upper, lower in pairwise(marks):
                assert upper["bottom"] <= lower["top"] and abs(upper["left"] - lower["left"]) < 3


def test_the_page_opens_with_the_set_that_could_be_best_and_what_was_compared_is_not_uncompared(
    visit: Visit, tmp_path: Path
) -> None:
    runs = write_many_runs(tmp_path, 11)
    write_report(runs, tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    (ranks,) = cb.board(*runs).metrics
    best = [f"step-{model.position:02}" for model in ranks.ranked() if model.low == 1]
    assert 1 < len(best) < 6
    line = f"{len(best)} of 11 could be best in zero-shot: {', '.join(best)}"
    assert page.locator(".opening").inner_text() == line
    assert page.get_by_text("What could not be compared").count() == 0


HARD_NAMES = ("n" * 300, "n" * 299 + "x", "דגם " * 12 + "א", "דגם " * 12 + "ב", "twin", "twin", HOSTILE)
"""Names of 300 characters, right-to-left ones, one that two models share, and one that would like to be markup."""


def of_one_task(parts: SimpleNamespace, index: int) -> dict[str, dict[str, Any]]:
    """Return an evaluation that no other model has."""
    return {f"zero-shot@data-{index}": {"metrics": measured(parts, index)["zero-shot@scenes"]["metrics"]}}


@pytest.mark.parametrize(
    ("n_models", "evaluations"),
    [
        (3, numbers_only),
        (7, of_one_task),
        *(pytest.param(n_models, measured, marks=pytest.mark.slow) for n_models in (3, 7)),
    ],
)
def test_no_name_however_hard_overlaps_and_every_model_is_named(
    parts: SimpleNamespace, visit: Visit, tmp_path: Path, n_models: int, evaluations: Callable[..., Any]
) -> None:
    runs = runs_of(tmp_path, parts, HARD_NAMES[-n_models:], evaluations)
    write_report(runs, tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    assert not faults_of(page, 360)
    names = page.locator(".models > li b").all_inner_texts()
    assert len(set(names)) == n_models
    short = page.evaluate(
        "[...new Set([...document.querySelectorAll('.provenance h3 bdi')].map((each) => each.textContent))]"
    )
    assert len(short) == n_models and max(map(len, short)) <= 28


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_models", "scheme", "evaluations"),
    [(40, "dark", numbers_only), (3, "dark", measured), (11, "light", measured)],
)
def test_axe_finds_no_fault(
    pages: Pages, visit: Visit, axe_faults: Faults, n_models: int, scheme: str, evaluations: Callable[..., Any]
) -> None:
    assert not axe_faults(visit(pages(n_models, evaluations), width=800, color_scheme=scheme))

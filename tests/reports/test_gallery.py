"""The worst failures are shown with their pictures, and what is not there to show is said."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.result import Run
from clipbench_reports import failures
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.gallery import MAX_FAILURES, MAX_LETTERS, Gallery
from clipbench_reports.html import write_report
from clipbench_reports.pictures import MAX_BYTES, Room, address

MakeRun = Callable[..., Run]
ROOM = 1_000_000
N = 30


@pytest.fixture
def hang(make_run: MakeRun, parts: SimpleNamespace) -> Callable[..., Gallery]:
    """Return a function that makes a gallery of a sample table, with a small picture for each hash."""

    def make(of: failures.Make, room: int = ROOM, **samples: Any) -> Gallery:
        columns = {name: np.array(values) for name, values in samples.items()}
        run = make_run({"task@data": {"samples": columns}})
        parts.write_thumbnails(run.folder, samples.get("image", []))
        return of(Evidence(run, run.result.evaluations[0]), Room(room))

    return make


def classified(n: int = N) -> dict[str, Any]:
    """Return a table in which all samples but the first are wrong, the last by the most."""
    return {
        "image": [f"{k:032x}" for k in range(n)],
        "label": [f"right {k}" for k in range(n)],
        "predicted": [f"wrong {k}" for k in range(n)],
        "acc1": [1.0, *[0.0] * (n - 1)],
        "confidence": [0.5] * n,
        "margin": [-k / 100 for k in range(n)],
    }


def test_the_worst_mistakes_come_first_with_what_was_chosen_and_by_how_much(hang: Callable[..., Gallery]) -> None:
    found = hang(failures.misnamed, **classified())
    assert len(found.failures) == MAX_FAILURES and len(found.shown) + len(found.folded) == MAX_FAILURES
    assert found.note.startswith("The 24 worst of 29, the worst first. Margin: the cosine of the true class less")
    worst = found.failures[0]
    assert worst.facts == [
        ("Is", "right 29"),
        ("Taken for", "wrong 29"),
        ("Confidence", "50.0 %"),
        ("Margin", "−0.290 cosine"),
    ]
    (picture,) = worst.pictures
    assert picture.alt == "A picture of “right 29”, taken for “wrong 29”."
    assert picture.address.startswith("data:image/webp;base64,UklGR")


def test_a_right_answer_is_no_failure(hang: Callable[..., Gallery]) -> None:
    with pytest.raises(Lacking, match="pictures taken for another class: there are none"):
        hang(failures.misnamed, **(classified() | {"acc1": [1.0] * N}))


def test_pictures_stop_where_the_room_ends_and_the_note_counts_what_is_shown(hang: Callable[..., Gallery]) -> None:
    one = len(hang(failures.misnamed, **classified()).failures[0].pictures[0].address)
    assert hang(failures.misnamed, room=one * 3 + 1, **classified()).note.startswith("The 3 worst of 29")
    with pytest.raises(Lacking, match="would make the page too large"):
        hang(failures.misnamed, room=one - 1, **classified())


def test_a_picture_that_the_run_did_not_keep_leaves_its_words(make_run: MakeRun) -> None:
    columns = {name: np.array(values) for name, values in classified().items()}
    run = make_run({"task@data": {"samples": columns}})
    found = failures.misnamed(Evidence(run, run.result.evaluations[0]), Room(0))
    assert len(found.failures) == MAX_FAILURES and not found.failures[0].pictures[0].address


@pytest.mark.parametrize("digest", ["../result", "/etc/passwd", "", "00\n", "<script>", "g" * 32])
def test_only_a_hash_finds_a_picture(make_run: MakeRun, parts: SimpleNamespace, digest: str) -> None:
    run = make_run({"task@data": {}})
    parts.write_thumbnails(run.folder, ["ab" * 16])
    assert address(run, "ab" * 16)
    assert address(run, digest) == ""


def test_a_damaged_picture_is_not_shown(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"task@data": {}})
    parts.write_thumbnails(run.folder, ["ab" * 16])
    (run.folder / "thumbs" / f"{'ab' * 16}.webp").write_bytes(b"<html>")
    assert address(run, "ab" * 16) == ""


def ranked() -> dict[str, Any]:
    """Return two queries each way; the second of each was not found first."""
    nan = np.nan
    return {
        "image": ["a" * 32, "b" * 32] * 2,
        "direction": ["image_retrieval"] * 2 + ["text_retrieval"] * 2,
        "image_retrieval_rank": [1.0, 7.0, nan, nan],
        "text_retrieval_rank": [nan, nan, 1.0, 1.5],
    }


@pytest.mark.parametrize(("direction", "rank"), [("image_retrieval", "at rank 7"), ("text_retrieval", "at rank 1.50")])
def test_retrieval_says_the_rank_and_what_was_not_recorded(
    hang: Callable[..., Gallery], direction: str, rank: str
) -> None:
    found = hang(failures.unfound(direction), **ranked())
    assert found.note == "All 1, the worst first. Not recorded: the caption and what came first instead."
    (only,) = found.failures
    assert only.facts == [("Right answer", rank)]
    assert f"came {rank}." in only.pictures[0].alt


def test_retrieval_shows_what_came_first_where_it_was_recorded(hang: Callable[..., Gallery]) -> None:
    recorded = {
        "caption": ["a cat", "a dog"] * 2,
        "chosen_caption": ["", "", "", "a horse"],
        "chosen_image": ["", "a" * 32, "", ""],
    }
    of_captions = hang(failures.unfound("image_retrieval"), **ranked(), **recorded).failures[0]
    assert [picture.role for picture in of_captions.pictures] == ["Right", "Came first"]
    assert of_captions.pictures[0].alt == "The picture of “a dog”; the right answer came at rank 7."
    assert of_captions.facts == [("Caption", "a dog"), ("Right answer", "at rank 7")]
    of_images = hang(failures.unfound("text_retrieval"), **ranked(), **recorded).failures[0]
    assert ("Came first", "a horse") in of_images.facts


def test_written_words_are_told_beside_what_they_were_taken_for(hang: Callable[..., Gallery]) -> None:
    nan = np.nan
    table = {
        "image": [f"{k:032x}" for k in range(4)],
        "margin": [-0.1, -0.2, -0.3, 0.1],
        "object": ["cat", "dog", None, None],
        "word": ["pear", "pear", None, None],
        "predicted": ["pear", "sofa", None, None],
        "attacked_acc": [0.0, 0.0, nan, nan],
        "written": [None, None, 'the word "hut"', 'the word "sun"'],
        "read": [None, None, 'the word "hat"', 'the word "sun"'],
        "reading_acc": [nan, nan, 0.0, 1.0],
    }
    first, second = hang(failures.hijacked, **table).failures
    assert first.facts == [
        ("Is", "dog"),
        ("Written on it", "pear"),
        ("Taken for", "sofa"),
        ("Margin", "−0.200 cosine"),
    ]
    assert second.pictures[0].alt == "“cat” with “pear” written on it, taken for “pear”."
    (misread,) = hang(failures.misread, **table).failures
    assert misread.facts[:2] == [("Written", 'the word "hut"'), ("Read as", 'the word "hat"')]


def test_a_caption_of_five_thousand_letters_is_cut_and_nothing_is_turned_around(hang: Callable[..., Gallery]) -> None:
    table = classified() | {"label": ["\u202eword " * 1000] * N}
    (_, label), *_ = hang(failures.misnamed, **table).failures[0].facts
    assert len(label) == MAX_LETTERS and label.endswith("…")


def test_the_page_holds_pictures_with_words_for_who_cannot_see_them(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run()
    parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(2000)])
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    before, _, gallery = page.partition("Pictures taken for another class</h3>")
    assert before.count("<img") == 0
    images = re.findall(r"<img [^>]*>", gallery.partition("<figure")[0].partition("</section>")[0])
    assert len(images) == MAX_FAILURES and all(re.search(r'alt="[^"]+"', image) for image in images)


def test_large_pictures_stay_within_the_budget_of_a_page(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run()
    rng = np.random.default_rng(0)
    (run.folder / "thumbs").mkdir()
    for k in range(600):
        noise = b"RIFF\x00\x00\x00\x00WEBP" + rng.bytes(40_000)
        (run.folder / "thumbs" / f"{k:032x}.webp").write_bytes(noise)
    write_report([run], tmp_path / "report.html")
    size = (tmp_path / "report.html").stat().st_size
    assert MAX_BYTES / 2 < size < 5_000_000

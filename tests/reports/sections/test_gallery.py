"""The worst failures are shown with their images, and what is not there to show is said."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.shown_samples import LISTED
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.galleries import (
    MAX_LETTERS,
    Fact,
    FactColumn,
    Failure,
    Gallery,
    MakeGallery,
    PageBudget,
    address,
    around_difference,
    gallery,
    one_image,
)
from clipbench_reports.sections import composition, zero_shot
from tests.reports.conftest import MakeRun

ROOM = 1_000_000
N = 30


def words_of(failure: Failure) -> dict[str, str]:
    """Return what is said under each term, as it is read from left to right."""
    return {fact.term: " ".join(filter(None, fact[1:4])) for fact in failure.facts}


def classified(n: int = N) -> dict[str, Any]:
    """Return a table in which all samples but the first are wrong, the last by the most."""
    return {
        "image": [f"{k:032x}" for k in range(n)],
        "label": [f"right {k}" for k in range(n)],
        "predicted": [f"wrong {k}" for k in range(n)],
        "acc1": [1.0, *[0.0] * (n - 1)],
        "confidence": [0.5] * n,
        "margin": [-k / 100 for k in range(n)],
        "target_cosine": [0.2] * n,
        "predicted_cosine": [0.2 + k / 100 for k in range(n)],
    }


def test_what_was_nearest_is_kept_with_a_failure_of_its_label_set_and_small_images_of_the_open_ones(
    make_run: MakeRun, parts: SimpleNamespace
) -> None:
    near = {
        "sample_id": ["s29", "s29", "s28", "s1"],
        "rank": [1, 2, 1, 1],
        "text": ["wrong", "right", "other " * 50, "far"],
        "image": ["a" * 32, "", "", "b" * 32],
        "cosine": [0.5, 0.25, 0.125, 0.1],
        "is_right": [False, True, False, False],
        "label_set": ["", "", "kind", ""],
    }
    samples = {
        **{name: np.array(column) for name, column in classified().items()},
        "sample_id": [f"s{k}" for k in range(N)],
    }
    run = make_run({"zero-shot@d": {"samples": samples, "neighbours": near}})
    parts.write_thumbnails(run.folder, ["a" * 32, "b" * 32])
    evidence = Evidence(run, run.result.evaluations[0])
    gallery = zero_shot.misclassified_images(evidence, PageBudget(ROOM))
    first, second = gallery.failures[0].nearest
    assert first[:3] == ("wrong", "0.5000", False) and first.address.startswith("data:image/webp")
    assert second == ("right", "0.2500", True, "")
    assert gallery.failures[1].nearest == []  # of another label set
    assert len(gallery.folded_failures) == 21 and not any(
        point.address for failure in gallery.folded_failures for point in failure.nearest
    )
    assert zero_shot.misclassified_images(evidence, PageBudget(10)).failures[0].nearest[0].address == ""
    (run.folder / run.result.evaluations[0].files["neighbours"]).write_bytes(b"PAR1")
    damaged = zero_shot.misclassified_images(Evidence(run, run.result.evaluations[0]), PageBudget(ROOM))
    assert len(damaged.failures) == LISTED and damaged.failures[0].nearest == []


def test_the_worst_mistakes_come_first_with_what_was_chosen_and_by_how_much(hang: Callable[..., Gallery]) -> None:
    gallery = hang(zero_shot.misclassified_images, **classified())
    assert len(gallery.failures) == LISTED and len(gallery.open_failures) + len(gallery.folded_failures) == LISTED
    text = "The 24 worst of 29, the worst first. Numbers are cosines. Margin: the cosine of the true class minus"
    assert gallery.note.startswith(text)
    worst = gallery.failures[0]
    assert worst.facts == [
        Fact("True class", "right 29", "0.2000"),
        Fact("Taken for", "wrong 29", "0.4900"),
        Fact("Margin", "", "−0.2900"),
        Fact("Confidence", "50.0 %"),
    ]
    (image,) = worst.images
    assert image.alt == "An image of “right 29”, taken for “wrong 29”."
    assert image.address.startswith("data:image/webp;base64,UklGR")


def gallery_of(*columns: FactColumn, alt: str = "An image of {label}.") -> MakeGallery:
    """Return a function that makes a gallery of all samples with these facts."""

    def make(evidence: Evidence, budget: PageBudget) -> Gallery:
        return gallery(
            evidence,
            budget,
            title="Samples",
            note="",
            wrong=np.isfinite(evidence.numbers("margin")),
            margin="margin",
            facts=columns,
            images=one_image(evidence, alt),
        )

    return make


def test_a_fact_is_read_from_the_columns_that_it_names(hang: Callable[..., Gallery]) -> None:
    make = gallery_of(
        FactColumn("Class", "label", "target_cosine"),
        FactColumn("Row", lambda row: f"row {row}"),
        FactColumn("Margin", score="margin"),
        FactColumn("Confidence", "confidence", unit="fraction"),
        FactColumn("Subset", "subset", is_optional=True),
    )
    (failure,) = hang(make, **classified(1) | {"margin": [-0.00042]}).failures
    assert failure.facts == [
        Fact("Class", "right 0", "0.20000"),
        Fact("Row", "row 0"),
        Fact("Margin", "", "−0.00042"),
        Fact("Confidence", "50.0 %"),
    ]


def test_two_long_facts_are_shown_from_their_first_difference_and_open_in_full(hang: Callable[..., Gallery]) -> None:
    texts = {"label": ["word " * 600 + "red car"], "predicted": ["word " * 600 + "blue car"]}
    columns = FactColumn("True", "label", twin="predicted"), FactColumn("Preferred", "predicted", twin="label")
    (failure,) = hang(gallery_of(*columns), **classified(1) | texts).failures
    assert [fact.full_words for fact in failure.facts] == [*texts["label"], *texts["predicted"]]
    assert all(fact.words.startswith("… word") and fact.words.endswith(" car") for fact in failure.facts)


@pytest.mark.parametrize("columns", [{"words": "caption"}, {"score": "caption"}, {"words": "label", "twin": "caption"}])
def test_a_gallery_names_the_column_of_a_fact_that_the_run_did_not_keep(
    hang: Callable[..., Gallery], columns: dict[str, Any]
) -> None:
    with pytest.raises(MissingEvidence, match="no column “caption”"):
        hang(gallery_of(FactColumn("Caption", **columns)), **classified(1))
    with pytest.raises(MissingEvidence, match="no column “caption”"):
        hang(gallery_of(alt="An image of {caption}."), **classified(1))


def test_braces_in_the_words_of_a_column_are_words(hang: Callable[..., Gallery]) -> None:
    (failure,) = hang(gallery_of(), **classified(1) | {"label": ["{predicted} {0} {"]}).failures
    assert failure.images[0].alt == "An image of “{predicted} {0} {”."


def test_images_stop_where_the_room_ends_and_the_note_counts_what_is_shown(hang: Callable[..., Gallery]) -> None:
    one = len(hang(zero_shot.misclassified_images, **classified()).failures[0].images[0].address)
    assert hang(zero_shot.misclassified_images, room=one * 3 + 1, **classified()).note.startswith("The 3 worst of 29")
    with pytest.raises(MissingEvidence, match="would make the page too large"):
        hang(zero_shot.misclassified_images, room=one - 1, **classified())


@pytest.mark.parametrize("digest", ["../result", "/etc/passwd", "", "00\n", "<script>", "g" * 32])
def test_only_a_hash_finds_an_image(make_run: MakeRun, parts: SimpleNamespace, digest: str) -> None:
    run = make_run({"task@data": {}})
    parts.write_thumbnails(run.folder, ["ab" * 16])
    assert address(run, "ab" * 16)
    assert address(run, digest) == ""


def test_a_damaged_image_is_not_shown(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"task@data": {}})
    parts.write_thumbnails(run.folder, ["ab" * 16])
    (run.folder / "thumbs" / f"{'ab' * 16}.webp").write_bytes(b"<html>")
    assert address(run, "ab" * 16) == ""


def test_cosines_have_as_many_decimals_as_it_takes_to_see_which_is_higher(hang: Callable[..., Gallery]) -> None:
    table = classified(3) | {"acc1": [0.0] * 3, "margin": [-0.2, -0.00042, 0.0]}
    table |= {"target_cosine": [-0.1, 0.30001, 0.3], "predicted_cosine": [0.1, 0.30043, 0.3]}
    result = [words_of(failure) for failure in hang(zero_shot.misclassified_images, **table).failures]
    assert [
        (failure["True class"].split()[-1], failure["Taken for"].split()[-1], failure["Margin"]) for failure in result
    ] == [
        ("−0.1000", "0.1000", "−0.2000"),
        ("0.30001", "0.30043", "−0.00042"),
        ("0.3000", "0.3000", "0.0000"),
    ]


def test_long_texts_are_cut_to_where_they_part_and_short_ones_are_whole() -> None:
    assert around_difference("a cat", "a dog") == ("a cat", "a dog")
    long = "漢字" * 300
    one, other = around_difference(f"{long}甲{long}", f"{long}乙{long}")
    assert one[:200].index("甲") == other[:200].index("乙") and len(one) == len(other) == MAX_LETTERS
    assert around_difference("x" * 400, "y" * 10)[1] == "y" * 10
    start = "word " * 100
    assert around_difference(start + "end", start)[0].removesuffix("end") == around_difference(start, start + "end")[0]
    assert around_difference(start, "")[0].startswith("word word")


def test_an_item_is_lost_that_is_lost_in_any_of_its_subsets(hang: Callable[..., Gallery]) -> None:
    table = {
        "image": ["a" * 32] * 2,
        "subset": [""] * 2,
        "one/text_acc": [1.0, 1.0],
        "two/text_acc": [0.0, np.nan],
        "text_margin": [-0.1, 0.2],
        "caption": ["a cat"] * 2,
        "preferred": ["a dog"] * 2,
        "target_cosine": [0.3, 0.5],
        "predicted_cosine": [0.4, 0.3],
    }
    assert len(hang(composition.preferred_false_captions, **table).failures) == 1


def test_a_caption_of_five_thousand_letters_is_cut_and_nothing_is_turned_around(hang: Callable[..., Gallery]) -> None:
    table = classified() | {"label": ["\u202eword " * 1000] * N}
    label, *_ = hang(zero_shot.misclassified_images, **table).failures[0].facts
    assert len(label.words) == MAX_LETTERS and label.words.endswith("…")


def test_a_share_that_is_not_used_is_there_for_the_next_and_the_whole_is_never_exceeded() -> None:
    page = PageBudget(1000, n_shares=4)
    assert not page.share().take("x" * 251)
    assert page.share().take("x" * 333)
    assert page.share(2).take("x" * 600) and page.left == 67
    assert page.n_shares == 0
    assert not page.share().take("x" * 68) and page.left == 67

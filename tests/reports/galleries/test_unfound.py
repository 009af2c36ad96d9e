"""What was looked for in vain is shown with what came first instead, and a misjudged fact where its captions part."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.run import Run
from clipbench_reports.galleries import unfound
from clipbench_reports.galleries.gallery import MAX_LETTERS, MAX_WHOLE, Fact, Failure, Gallery
from clipbench_reports.page.evidence import NotAsked
from clipbench_reports.page.report import write_report

MakeRun = Callable[..., Run]
NAN = np.nan


def words_of(failure: Failure) -> dict[str, str]:
    """Return what is said under each term, as it is read from left to right."""
    return {fact.term: " ".join(filter(None, fact[1:4])) for fact in failure.facts}


def ranked() -> dict[str, Any]:
    """Return two queries each way, as an older run left them; the second of each was not found first."""
    return {
        "image": ["a" * 32, "b" * 32] * 2,
        "direction": ["image_retrieval"] * 2 + ["text_retrieval"] * 2,
        "image_retrieval_rank": [1.0, 7.0, NAN, NAN],
        "text_retrieval_rank": [NAN, NAN, 1.0, 1.5],
    }


def recorded(**changes: Any) -> dict[str, Any]:
    """Return the same queries with what came first instead."""
    return {
        **ranked(),
        "caption": ["a cat", "a dog"] * 2,
        "chosen_caption": ["", "", "a cat", "a horse"],
        "chosen_image": ["a" * 32, "a" * 32, "", ""],
        "right_cosine": [0.5, 0.3124, 0.5, 0.25],
        "chosen_cosine": [0.5, 0.4011, 0.5, 0.26],
        "image_retrieval_margin": [0.0, -0.0887, NAN, NAN],
        "text_retrieval_margin": [NAN, NAN, 0.0, -0.01],
        **changes,
    }


@pytest.mark.parametrize(
    ("direction", "rank", "lacking"),
    [
        ("image_retrieval", "at rank 7", "the caption, what came first instead and the two cosines"),
        ("text_retrieval", "at rank 1.50", "the caption, what came first instead and the two cosines"),
    ],
)
def test_an_older_run_says_the_rank_and_what_was_not_recorded(
    hang: Callable[..., Gallery], direction: str, rank: str, lacking: str
) -> None:
    found = hang(unfound.unfound(direction), **ranked())
    assert found.note == f"All 1, the worst first. Not recorded: {lacking}."
    (only,) = found.failures
    assert words_of(only) == {"Right": rank}
    assert len(only.images) == 1 and only.images[0].address and f"came {rank}." in only.images[0].alt


def test_the_last_is_the_worst_of_an_older_run(hang: Callable[..., Gallery]) -> None:
    found = hang(unfound.unfound("image_retrieval"), **(ranked() | {"image_retrieval_rank": [2.0, 7.0, NAN, NAN]}))
    assert [words_of(each)["Right"] for each in found.failures] == ["at rank 7", "at rank 2"]


def test_a_caption_shows_the_right_image_beside_the_one_that_came_first_each_with_its_cosine(
    hang: Callable[..., Gallery],
) -> None:
    (only,) = hang(unfound.unfound("image_retrieval"), **recorded()).failures
    assert [(image.role, bool(image.address)) for image in only.images] == [
        ("Right", True),
        ("Came first", True),
    ]
    assert only.images[0].address != only.images[1].address
    assert only.images[0].alt == "The image of “a dog”; the right answer came at rank 7."
    assert only.facts == [
        Fact("Caption", "a dog"),
        Fact("Right", "", "0.3124", "at rank 7"),
        Fact("Came first", "", "0.4011"),
        Fact("Margin", "", "−0.0887"),
    ]


def test_an_image_shows_its_own_caption_beside_the_one_that_came_first(hang: Callable[..., Gallery]) -> None:
    (only,) = hang(unfound.unfound("text_retrieval"), **recorded()).failures
    assert [image.role for image in only.images] == [""]
    assert only.facts == [
        Fact("Right", "a dog", "0.2500", "at rank 1.50"),
        Fact("Came first", "a horse", "0.2600"),
        Fact("Margin", "", "−0.0100"),
    ]


def test_the_widest_margin_of_cosines_comes_first_whatever_the_rank(hang: Callable[..., Gallery]) -> None:
    table = recorded(image_retrieval_rank=[2.0, 7.0, NAN, NAN], image_retrieval_margin=[-0.2, -0.0887, NAN, NAN])
    found = hang(unfound.unfound("image_retrieval"), **table)
    assert [words_of(each)["Caption"] for each in found.failures] == ["a cat", "a dog"]


def test_a_tie_for_the_first_place_names_nothing_that_came_first(hang: Callable[..., Gallery]) -> None:
    tied = recorded(
        image_retrieval_rank=[1.0, 1.5, NAN, NAN], chosen_cosine=[0.5, 0.3124, 0.5, 0.26], chosen_image=["b" * 32] * 4
    )
    (only,) = hang(
        unfound.unfound("image_retrieval"), **(tied | {"image_retrieval_margin": [0, 0.0, NAN, NAN]})
    ).failures
    assert [image.role for image in only.images] == [""]
    assert words_of(only) == {"Caption": "a dog", "Right": "0.3124 at rank 1.50, tied", "Margin": "0.0000"}


def within() -> dict[str, Any]:
    """Return a caption that looked for captions and an image that looked for images, both in vain."""
    return {
        "image": ["a" * 32, "b" * 32],
        "direction": ["text_text", "image_image"],
        "text_text_rank": [2.0, NAN],
        "image_image_rank": [NAN, 3.0],
        "caption": ["a cat", ""],
        "right_caption": ["a small cat", ""],
        "chosen_caption": ["a dog", ""],
        "label": ["", "cat"],
        "chosen_label": ["", "dog"],
        "right_image": ["", "c" * 32],
        "chosen_image": ["", "d" * 32],
        "right_cosine": [0.4, 0.6],
        "chosen_cosine": [0.5, 0.8],
        "text_text_margin": [-0.1, NAN],
        "image_image_margin": [NAN, -0.2],
    }


def test_what_looks_for_its_own_kind_is_shown_with_both_answers(hang: Callable[..., Gallery]) -> None:
    (caption,) = hang(unfound.unfound("text_text"), **within()).failures
    assert words_of(caption) == {
        "Caption": "a cat",
        "Right": "a small cat 0.4000 at rank 2",
        "Came first": "a dog 0.5000",
        "Margin": "−0.1000",
    }
    (image,) = hang(unfound.unfound("image_image"), **within()).failures
    assert [each.role for each in image.images] == ["Query", "Right", "Came first"]
    assert len({each.address for each in image.images}) == 3
    assert words_of(image) == {
        "True class": "cat",
        "Right": "0.6000 at rank 3",
        "Came first": "dog 0.8000",
        "Margin": "−0.2000",
    }


def test_short_words_stand_beside_their_cosine_and_captions_below_it(hang: Callable[..., Gallery]) -> None:
    assert hang(unfound.unfound("text_retrieval"), **recorded()).build == "terse"
    sentence = ["a small dog on a red sofa"] * 4
    assert hang(unfound.unfound("text_retrieval"), **recorded(caption=sentence)).build == "plain"


def test_a_direction_that_was_not_asked_has_nothing_to_say(hang: Callable[..., Gallery]) -> None:
    with pytest.raises(NotAsked):
        hang(unfound.unfound("image_image"), **recorded())


def test_a_long_caption_says_how_many_of_its_tokens_were_not_read(hang: Callable[..., Gallery]) -> None:
    table = recorded(caption=["word " * 400] * 4)
    table |= {
        "image_retrieval/n_tokens": [40.0, 1402.0, NAN, NAN],
        "image_retrieval/tokens_lost": [0.0, 1325.0, NAN, NAN],
    }
    found = hang(unfound.unfound("image_retrieval"), **table)
    told = words_of(found.failures[0])
    assert told["Tokens"] == "1,402, 1,325 of them not read"
    assert len(told["Caption"]) == MAX_LETTERS and found.build == "wordy"
    assert len(found.failures[0].facts[0].whole) == MAX_WHOLE  # where it is opened large
    (short,) = hang(
        unfound.unfound("image_retrieval"), **(table | {"image_retrieval_rank": [3.0, 1.0, NAN, NAN]})
    ).failures
    assert words_of(short)["Tokens"] == "40"


def probed() -> dict[str, Any]:
    """Return a query and three items of the position probe: right, wrong and tied."""
    start = "The sky is blue and nothing moves. " * 20
    return {
        "image": ["a" * 32] * 4,
        "sample_id": ["query", "p/0", "p/1", "p/2"],
        "direction": ["image_retrieval", *["position"] * 3],
        "place": ["", "late", "late", "beyond"],
        "fact_token": [NAN, 60.0, 61.0, 90.0],
        "margin": [-5.0, 0.1, -0.02, 0.0],
        "caption": ["a query", *[f"{start}There is a red cube."] * 3],
        "chosen_caption": ["", *[f"{start}There is a red cone."] * 3],
        "right_cosine": [0.1, 0.5, 0.5, 0.5],
        "chosen_cosine": [0.4, 0.4, 0.52, 0.5],
    }


def test_a_fact_that_was_judged_wrong_is_shown_where_the_captions_part(hang: Callable[..., Gallery]) -> None:
    (only,) = hang(unfound.misjudged, **probed()).failures
    told = words_of(only)
    assert told["True"].endswith("There is a red cube. 0.5000") and told["Preferred"].endswith(
        "There is a red cone. 0.5200"
    )
    assert only.facts[0].whole.startswith("The sky is blue") and only.id == probed()["sample_id"][2]
    assert len(told["True"]) < 150 and told["Margin"] == "−0.0200" and told["Place"] == "late, token 61"


def test_facts_of_an_older_run_are_told_by_place_and_margin(hang: Callable[..., Gallery]) -> None:
    new = ("caption", "chosen_caption", "right_cosine", "chosen_cosine")
    found = hang(unfound.misjudged, **{name: column for name, column in probed().items() if name not in new})
    assert words_of(found.failures[0]) == {"Margin": "−0.0200", "Place": "late, token 61"}
    assert found.note.endswith("Not recorded: the caption and the two cosines.")
    with pytest.raises(NotAsked):
        hang(unfound.misjudged, **ranked())


def test_hostile_words_are_words_on_the_page(make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path) -> None:
    hostile = parts.hostile
    table = recorded(caption=[hostile] * 4, chosen_caption=[hostile] * 4)
    probe = {
        name: [hostile if isinstance(each, str) and name != "direction" else each for each in column]
        for name, column in probed().items()
    }
    run = make_run(
        {
            "retrieval@data": {"samples": {name: np.array(column) for name, column in table.items()}},
            "long-caption@data": {"samples": {name: np.array(column) for name, column in probe.items()}},
        }
    )
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    body = page.partition("<body")[2]
    assert body.count("&lt;script&gt;alert") >= 4 and '<script>alert("1")' not in body
    for words in re.findall(r"<dd>(.*?)</dd>", body, re.DOTALL):
        assert re.fullmatch(r'<bdi(?: data-whole="[^"<]*")?>[^<]*</bdi>', words, re.DOTALL)

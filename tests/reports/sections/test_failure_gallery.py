"""Items looked for in vain are shown with what came first instead, and a misjudged fact where its captions part."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clipbench_reports.evidence import NotAsked
from clipbench_reports.galleries import Fact, Gallery
from clipbench_reports.sections.long_caption import misjudged_facts
from clipbench_reports.sections.retrieval import failure_gallery
from tests.reports.sections.test_gallery import words_of

NAN = np.nan


def recorded(**changes: Any) -> dict[str, Any]:
    """Return two queries each way; the second of each did not find its answer first."""
    return {
        "image": ["a" * 32, "b" * 32] * 2,
        "direction": ["image_retrieval"] * 2 + ["text_retrieval"] * 2,
        "image_retrieval_rank": [1.0, 7.0, NAN, NAN],
        "text_retrieval_rank": [NAN, NAN, 1.0, 1.5],
        "caption": ["a cat", "a dog"] * 2,
        "predicted_caption": ["", "", "a cat", "a horse"],
        "predicted_image": ["a" * 32, "a" * 32, "", ""],
        "target_cosine": [0.5, 0.3124, 0.5, 0.25],
        "predicted_cosine": [0.5, 0.4011, 0.5, 0.26],
        "image_retrieval_cosine_margin": [0.0, -0.0887, NAN, NAN],
        "text_retrieval_cosine_margin": [NAN, NAN, 0.0, -0.01],
        **changes,
    }


def test_a_caption_shows_the_right_image_beside_the_one_that_came_first_each_with_its_cosine(
    hang: Callable[..., Gallery],
) -> None:
    (only,) = hang(failure_gallery("image_retrieval"), **recorded()).failures
    assert [(image.role, bool(image.address)) for image in only.images] == [
        ("Right", True),
        ("Came first", True),
    ]
    assert only.images[0].address != only.images[1].address
    assert only.images[0].alt == "The image of “a dog”, whose right answer came at rank 7."
    assert only.facts == [
        Fact("Caption", "a dog"),
        Fact("Right", "", "0.3124", "at rank 7"),
        Fact("Came first", "", "0.4011"),
        Fact("Margin", "", "−0.0887"),
    ]


def test_the_widest_margin_of_cosines_comes_first_whatever_the_rank(hang: Callable[..., Gallery]) -> None:
    table = recorded(image_retrieval_rank=[2.0, 7.0, NAN, NAN], image_retrieval_cosine_margin=[-0.2, -0.0887, NAN, NAN])
    gallery = hang(failure_gallery("image_retrieval"), **table)
    assert [words_of(failure)["Caption"] for failure in gallery.failures] == ["a cat", "a dog"]


def test_a_tie_for_the_first_place_names_nothing_that_came_first(hang: Callable[..., Gallery]) -> None:
    tied = recorded(
        image_retrieval_rank=[1.0, 1.5, NAN, NAN],
        predicted_cosine=[0.5, 0.3124, 0.5, 0.26],
        predicted_image=["b" * 32] * 4,
    )
    (only,) = hang(
        failure_gallery("image_retrieval"), **(tied | {"image_retrieval_cosine_margin": [0, 0.0, NAN, NAN]})
    ).failures
    assert [image.role for image in only.images] == [""]
    assert words_of(only) == {"Caption": "a dog", "Right": "0.3124 at rank 1.50, tied", "Margin": "0.0000"}


def test_a_direction_that_was_not_asked_has_nothing_to_say(hang: Callable[..., Gallery]) -> None:
    with pytest.raises(NotAsked):
        hang(failure_gallery("image_image"), **recorded())
    with pytest.raises(NotAsked):
        hang(misjudged_facts, **recorded())

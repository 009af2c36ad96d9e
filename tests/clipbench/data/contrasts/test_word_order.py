"""order: shuffles that are drawn once, hold the same words, and differ from the caption."""

import numpy as np
import pytest

from clipbench.data.contrasts import order_contrasts, shuffle_words

CAPTION = "Two red birds are sitting on a very old wooden fence (in the rain)."


def test_each_option_has_the_same_words_in_another_order() -> None:
    (contrasts,) = order_contrasts([CAPTION], np.array([4]), ["7"])
    assert contrasts.images == (4,) and contrasts.truth.tolist() == [[True, False, False, False, False]]
    assert len(set(contrasts.captions)) == 5
    assert {tuple(sorted(caption.split())) for caption in contrasts.captions} == {
        tuple(sorted(contrasts.captions[0].split()))
    }


def test_the_four_shuffles_move_what_aro_moves() -> None:
    (contrasts,) = order_contrasts([CAPTION], np.array([0]), ["7"])
    true, content, other_captions, within, among = (caption.split() for caption in contrasts.captions)
    function = {"are", "on", "a", "in", "the"}
    assert all(a == b for a, b in zip(true, content, strict=True) if a in function)
    assert all(a == b for a, b in zip(true, other_captions, strict=True) if a not in function)
    threes = [true[at : at + 3] for at in range(0, len(true), 3)]
    assert [sorted(within[at : at + 3]) for at in range(0, len(true), 3)] == [sorted(three) for three in threes]
    assert all(" ".join(three) in " ".join(among) for three in threes)


def test_the_draw_depends_on_the_caption_alone() -> None:
    captions = order_contrasts([CAPTION], np.array([0]), ["7"])[0].captions
    assert order_contrasts(["a red bird sings", CAPTION], np.array([0, 1]), ["1", "2"])[1].captions == captions
    assert shuffle_words("a red cube on a box") == shuffle_words("a red cube on a box")


def test_the_draw_is_the_same_for_good() -> None:
    # What was drawn in 2026: with other words here, numbers of then and now could not be compared.
    (contrasts,) = order_contrasts([CAPTION], np.array([0]), ["7"])
    assert contrasts.captions[1:] == (
        "sitting birds two are fence on a very rain wooden old in the red",
        "two red birds the sitting on are very old wooden fence in a rain",
        "red birds two sitting on are a very old fence wooden in the rain",
        "wooden fence in the rain are sitting on two red birds a very old",
    )
    assert shuffle_words("a red cube on a blue box") == "a box red on cube blue a"


def test_captions_are_cleaned_and_cut_as_aro_does() -> None:
    (contrasts,) = order_contrasts([" ".join(["Dog!"] * 20 + ["cat-like, it's"] * 20)], np.array([0]), ["7"])
    assert contrasts.captions[0].split() == ["dog"] * 20 + ["cat-like,", "it's"] * 5


@pytest.mark.parametrize("caption", ["bird", "bird bird bird"])
def test_a_caption_without_another_order_is_left_out(caption: str) -> None:
    assert order_contrasts([caption], np.array([0]), ["7"]) == ()
    assert shuffle_words(caption) is None

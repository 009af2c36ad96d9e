"""What later tasks ask of models: compositions, words in images, and long captions."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.data.scenes.composition import SUBSETS, composition_item
from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.geometry import word_stands
from clipbench.data.scenes.long_captions import PLACES, long_caption_item, position_items
from clipbench.data.scenes.phrases import Phrase
from clipbench.data.scenes.records import Background, Scene, Solid
from clipbench.data.scenes.sampling import looks
from clipbench.data.scenes.splits import SPLITS, belongs, novelties
from clipbench.data.scenes.typography import Label, reading_item, typographic_item
from clipbench.data.scenes.vocabulary import KINDS, held_out
from clipbench.errors import UsageError

indices = st.integers(0, 10**6)


def is_true(stated: Phrase, shown: Scene) -> bool:
    return all(verdict(fact, shown) is True for fact in stated.facts)


def is_false(stated: Phrase, shown: Scene) -> bool:
    return any(verdict(fact, shown) is False for fact in stated.facts)


# -- composition


@settings(derandomize=True, max_examples=250, deadline=None)
@given(index=indices, split=st.sampled_from(SPLITS), subset=st.sampled_from(SUBSETS))
def test_each_caption_is_true_of_its_own_image_and_false_of_the_other(index: int, split: str, subset: str) -> None:
    item = composition_item(subset, index, split=split)
    for stated, own, other in (
        (item.caption, item.image.scene, item.twin.scene),
        (item.twin_caption, item.twin.scene, item.image.scene),
    ):
        assert is_true(stated, own), (stated, own)
        assert is_false(stated, other), (stated, other)
    assert belongs(item.image.scene, split) and belongs(item.twin.scene, split)


@pytest.mark.parametrize("subset", ["swap_att", "swap_obj"])
def test_swaps_are_the_same_bag_of_words(subset: str) -> None:
    for index in range(100):
        item = composition_item(subset, index)
        assert item.caption.text != item.twin_caption.text
        assert Counter(item.caption.text.split()) == Counter(item.twin_caption.text.split())


@pytest.mark.parametrize("subset", ["relation", "count"])
def test_other_changes_are_in_a_few_words(subset: str) -> None:
    for index in range(100):
        item = composition_item(subset, index)
        changed = Counter(item.caption.text.split()) - Counter(item.twin_caption.text.split())
        assert 1 <= sum(changed.values()) <= 3  # "in front of" for "behind" is the most


@pytest.mark.parametrize("subset", SUBSETS)
def test_no_blind_rule_finds_the_right_image(subset: str) -> None:
    items = [composition_item(subset, index) for index in range(400)]
    shorter = [np.sign(len(item.twin_caption.text) - len(item.caption.text)) for item in items]
    first_in_alphabet = [1 if item.caption.text < item.twin_caption.text else -1 for item in items]
    fewer_solids = [np.sign(len(item.twin.scene.solids) - len(item.image.scene.solids)) for item in items]
    for rule in (shorter, first_in_alphabet, fewer_solids):
        assert abs(np.mean(rule)) < 4 / 400**0.5  # four standard errors around a coin


def test_every_relation_with_an_opposite_is_asked_for() -> None:
    said = {composition_item("relation", index).caption.text for index in range(200)}
    for relation in ("left of", "right of", "above", "below", "in front of", "behind"):
        assert any(f" {relation} " in text for text in said)


def test_count_twins_differ_by_one_object_and_the_others_stay() -> None:
    for index in range(60):
        item = composition_item("count", index)
        few, many = sorted((item.image.scene.solids, item.twin.scene.solids), key=len)
        assert set(few) < set(many) and len(many) == len(few) + 1
        assert 2 <= len(few) <= 3


def test_an_unknown_subset_is_refused() -> None:
    with pytest.raises(UsageError, match="composition of scenes has no subset 'swap_atts': did you mean 'swap_att'"):
        composition_item("swap_atts", 0)


# -- words


def test_the_four_images_of_an_attack_differ_in_the_label_alone() -> None:
    for index in range(40):
        item = typographic_item(index)
        images = {"clean": item.clean, "blank": item.blank, "benign": item.benign, "attacked": item.attacked}
        scenes = {key: image_bytes.scene for key, image_bytes in images.items()}
        assert len({(each.background, each.solids) for each in scenes.values()}) == 1
        assert scenes["clean"].writing is None
        words = {key: each.writing for key, each in scenes.items() if each.writing is not None}
        assert words["benign"].word == item.kind == scenes["clean"].solids[0].kind
        assert words["attacked"].word == item.word != item.kind
        assert words["blank"].is_blank and not words["attacked"].is_blank
        assert len({image_bytes.digest() for image_bytes in images.values()}) == 4


def test_attacking_words_are_names_of_kinds_about_equally_often() -> None:
    counts = Counter(typographic_item(index).word for index in range(900))
    assert set(counts) == set(KINDS)
    assert max(counts.values()) < 90 + 4 * 9  # four standard errors


def test_the_label_lies_on_the_object_and_moves_with_the_offset() -> None:
    sphere = Solid("sphere", "red", "plain", 0.5, 0.5, 0.3)

    def place(offset: float) -> list[str]:
        shown = Label(offset=offset).on(Scene(Background("grey", "plain", 0.1), (sphere,)), "cube")
        assert shown.writing is not None
        return [name for name in ("above", "on", "below") if word_stands(shown.writing, name, shown.solids[0])]

    assert (place(-0.4), place(0.0), place(0.4)) == (["above"], ["on"], ["below"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"height": 0.5}, "the height of a label must be from 0.02 to 0.25, got 0.5"),
        ({"contrast": -0.1}, "the contrast of a label must be from 0 to 1, got -0.1"),
        ({"offset": 0.6}, "the offset of a label must be from -0.4 to 0.4, got 0.6"),
        ({"font": "comic"}, "labels have no font 'comic': known: sans, "),
    ],
)
def test_a_label_that_cannot_be_written_is_refused(parameters: dict[str, float | str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Label(**parameters)  # type: ignore[arg-type]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(index=indices, split=st.sampled_from(SPLITS))
def test_the_written_word_is_the_answer_and_no_candidate_names_what_is_seen(index: int, split: str) -> None:
    item = reading_item(index, split=split)
    shown = item.image.scene
    assert shown.writing is not None
    assert item.candidates[item.answer] == shown.writing.word
    assert len(set(item.candidates)) == 10
    assert {word in held_out().words for word in item.candidates} == {split == "held-out"}
    assert {solid.kind for solid in shown.solids}.isdisjoint({shown.writing.word})


def test_answers_stand_everywhere_among_the_candidates() -> None:
    counts = Counter(reading_item(index, n_candidates=4).answer for index in range(400))
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 100 - 4 * 9  # four standard errors


def test_more_candidates_than_words_are_refused() -> None:
    with pytest.raises(UsageError, match=r"reading takes 2 to 1.. candidates of split 'test', got 500"):
        reading_item(0, n_candidates=500)


# -- long captions


def test_the_deciding_sentence_stands_where_the_record_says() -> None:
    for index in range(40):
        for item in position_items(index):
            words, false_words = item.caption.text.split(), item.false_caption.text.split()
            assert words[item.first_word : item.last_word][:2] == ["There", "is"]
            changed = [place for place, pair in enumerate(zip(words, false_words, strict=True)) if pair[0] != pair[1]]
            assert len(changed) == 1 and item.first_word <= changed[0] < item.last_word
            assert PLACES[item.place] <= item.first_word < PLACES[item.place] + 12
            assert item.n_words == len(words)


def test_all_places_have_the_same_sentences() -> None:
    items = position_items(3)
    assert [item.place for item in items] == list(PLACES)
    assert len({tuple(sorted(item.caption.text.split())) for item in items}) == 1
    assert len({item.image.digest() for item in items}) == 1


def test_the_deciding_sentence_is_true_and_its_twin_false_and_of_the_same_split() -> None:
    for split in SPLITS:
        for index in range(40):
            item = position_items(index, split=split)[0]
            assert is_true(item.caption, item.image.scene)
            assert is_false(item.false_caption, item.image.scene)
            *_, colour, kind = item.false_caption.text.split(".")[0].split()
            assert (colour, kind) in looks(split)


def test_long_captions_are_true_and_longer_than_the_window() -> None:
    for index in range(60):
        item = long_caption_item(index)
        assert is_true(item.caption, item.image.scene)
        assert item.n_words == len(item.caption.text.split()) >= 90
        assert not novelties(item.image.scene)


def test_a_place_too_far_from_the_beginning_is_refused() -> None:
    with pytest.raises(UsageError, match=r"captions of scenes have up to 1.. words, got a length of 1000"):
        position_items(0, places={"far": 1000})

"""Long captions of scenes: captions that tell images apart, and a fact that moves through a paragraph."""

from itertools import permutations

import numpy as np
import pytest

from clipbench.data.scenes import scenes_dataset
from clipbench.data.scenes.long_captions import PLACES, long_caption_item, position_items
from clipbench.data.scenes.phrases import Phrase
from clipbench.data.scenes.sampling import SPLITS, looks, novelties
from clipbench.data.scenes.world.facts import verdict
from clipbench.data.scenes.world.records import Scene
from clipbench.errors import UsageError


def is_true(stated: Phrase, shown: Scene) -> bool:
    return all(verdict(fact, shown) is True for fact in stated.facts)


def is_false(stated: Phrase, shown: Scene) -> bool:
    return any(verdict(fact, shown) is False for fact in stated.facts)


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


def test_more_words_than_there_are_asides_are_refused() -> None:
    with pytest.raises(UsageError, match=r"captions of scenes have up to 1.. words, got a length of 1000"):
        long_caption_item(0, n_words=1000)


def test_captions_are_long_and_each_is_refuted_by_every_other_image() -> None:
    ids = scenes_dataset("long-caption", n=120).caption_ids or ()
    items = [long_caption_item(int(each.rpartition("/")[2])) for each in ids]
    assert len(items) == 120
    for first, second in permutations(items, 2):
        assert any(verdict(fact, second.image.scene) is False for fact in first.caption.facts), first.caption.text
    assert all(85 <= item.n_words <= 130 for item in items)


def test_there_are_five_hundred_captioned_images_and_half_as_many_to_be_asked_about() -> None:
    found = scenes_dataset("long-caption")
    assert found.captions is not None and found.caption_image is not None and found.contrasts is not None
    assert (len(found), len(set(found.captions)), len(found.contrasts)) == (750, 500, 1000)
    assert found.caption_image.tolist() == list(range(500))
    number = int(found.image_ids[7].rpartition("/")[2])
    assert found.captions[7] == long_caption_item(number).caption.text
    places = [each.subset for each in found.contrasts]
    assert {place: places.count(place) for place in places} == dict.fromkeys(("early", "middle", "late", "beyond"), 250)
    assert {row for each in found.contrasts for row in each.images} == set(range(500, 750))


def test_items_of_an_image_differ_in_where_the_fact_stands_and_in_nothing_else() -> None:
    found = scenes_dataset("long-caption", n=6)
    assert found.contrasts is not None
    by_image = [[each for each in found.contrasts if each.images == (row,)] for row in (6, 7, 8)]
    for items in by_image:
        for said in (0, 1):
            assert len({each.captions[said] for each in items}) == 4
            assert len({tuple(sorted(each.captions[said].split())) for each in items}) == 1
        assert all(each.is_true == ((True, False),) for each in items)


def test_other_splits_and_sizes_have_other_images() -> None:
    plain, drawn = scenes_dataset("long-caption", n=4), scenes_dataset("long-caption", n=4, size=64, split="train")
    assert np.array(drawn.images[0].open()).shape == (64, 64, 3)
    assert set(plain.image_ids).isdisjoint(drawn.image_ids)
    assert len(scenes_dataset("long-caption", n=1)) == 1

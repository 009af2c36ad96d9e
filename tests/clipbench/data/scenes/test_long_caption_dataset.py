"""The long-caption set of the scenes: captions that tell images apart, and a fact that moves through a paragraph."""

from itertools import permutations

import numpy as np

from clipbench.data.scenes import long_caption_item, scenes_dataset, verdict
from clipbench.data.scenes.long_caption_dataset import _distinct_items


def test_captions_are_long_and_each_is_refuted_by_every_other_image() -> None:
    items, _ = _distinct_items("test", 120, size=None, seed=0)
    for first, second in permutations(items.values(), 2):
        assert any(verdict(fact, second.image.scene) is False for fact in first.caption.facts), first.caption.text
    assert all(85 <= item.n_words <= 130 for item in items.values())


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


def test_items_of_a_image_differ_in_where_the_fact_stands_and_in_nothing_else() -> None:
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

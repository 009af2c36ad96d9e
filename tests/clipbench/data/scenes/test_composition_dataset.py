"""The composition set of scenes: four subsets of two images and two captions each."""

from collections import Counter

import pytest

from clipbench.data import DataOptions, load_data
from clipbench.data.contrasts import words
from clipbench.data.scenes import SUBSETS, scenes_dataset
from clipbench.data.scenes.composition_dataset import composition_dataset


def test_subsets_have_the_same_number_of_items_each_with_images_of_its_own() -> None:
    found = composition_dataset("test", 40)
    assert found.contrasts is not None and len(found) == 80
    assert Counter(each.subset for each in found.contrasts) == dict.fromkeys(SUBSETS, 10)
    assert sorted(row for each in found.contrasts for row in each.images) == list(range(80))
    assert len({image.digest() for image in found.images}) == 80
    assert {each.is_true for each in found.contrasts} == {((True, False), (False, True))}


@pytest.mark.parametrize("subset", ["swap_att", "swap_obj"])
def test_swaps_hold_the_same_words_in_both_captions(subset: str) -> None:
    for each in composition_dataset("test", 60).contrasts or ():
        if each.subset == subset:
            first, second = (Counter(words(caption)) for caption in each.captions)
            # an article goes with its noun: "a red orb and an olive cube" says "an" at another place
            assert first - Counter(("a", "an")) == second - Counter(("a", "an")), each.captions
            assert each.captions[0] != each.captions[1]


def test_the_set_is_asked_for_by_task_and_is_the_same_each_time() -> None:
    asked = load_data("scenes", DataOptions(task="composition", options={"n": "6"}))
    assert asked.contrasts == scenes_dataset("composition", n=6).contrasts
    assert asked.notes == ("generated world, version 1, seed 0, drawn as wide as the model's input",)
    larger = scenes_dataset("composition", n=8).contrasts
    assert larger is not None and {each.captions for each in asked.contrasts or ()} <= {e.captions for e in larger}

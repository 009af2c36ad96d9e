"""Compositions of scenes: items of two images and two captions, and the set of four subsets that they make."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.data import DataOptions, load_data
from clipbench.data.scenes import scenes_dataset
from clipbench.data.scenes.composition import SUBSETS, composition_dataset, composition_item
from clipbench.data.scenes.phrases import Phrase
from clipbench.data.scenes.sampling import SPLITS, belongs
from clipbench.data.scenes.world.facts import verdict
from clipbench.data.scenes.world.records import Scene
from clipbench.errors import UsageError

indices = st.integers(0, 10**6)


def is_true(stated: Phrase, shown: Scene) -> bool:
    return all(verdict(fact, shown) is True for fact in stated.facts)


def is_false(stated: Phrase, shown: Scene) -> bool:
    return any(verdict(fact, shown) is False for fact in stated.facts)


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


def test_subsets_have_the_same_number_of_items_each_with_images_of_its_own() -> None:
    found = composition_dataset("test", 40)
    assert found.contrasts is not None and len(found) == 80
    assert Counter(each.subset for each in found.contrasts) == dict.fromkeys(SUBSETS, 10)
    assert sorted(row for each in found.contrasts for row in each.images) == list(range(80))
    assert len({image.digest() for image in found.images}) == 80
    assert {each.is_true for each in found.contrasts} == {((True, False), (False, True))}


def test_the_set_is_asked_for_by_task_and_is_the_same_each_time() -> None:
    asked = load_data("scenes", DataOptions(task="composition", options={"n": "6"}))
    assert asked.contrasts == scenes_dataset("composition", n=6).contrasts
    assert asked.notes == ("generated world, version 1, seed 0, drawn as wide as the model's input",)
    larger = scenes_dataset("composition", n=8).contrasts
    assert larger is not None and {each.captions for each in asked.contrasts or ()} <= {e.captions for e in larger}

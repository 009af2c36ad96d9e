"""Compositions of scenes: items of two images and two captions, and the set of four subsets that they make."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.data.scenes.captions import Phrase
from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.sampling import SPLITS, belongs_to_split
from clipbench.data.scenes.scene_questions import SUBSETS, composition_dataset, composition_item
from clipbench.data.scenes.world import Scene

indices = st.integers(0, 10**6)


def is_true(stated: Phrase, scene: Scene) -> bool:
    return all(verdict(fact, scene) is True for fact in stated.facts)


def is_false(stated: Phrase, scene: Scene) -> bool:
    return any(verdict(fact, scene) is False for fact in stated.facts)


@settings(derandomize=True, max_examples=250, deadline=None)
@given(index=indices, split=st.sampled_from(SPLITS), subset=st.sampled_from(SUBSETS))
def test_each_caption_is_true_of_its_own_image_and_false_of_the_other(index: int, split: str, subset: str) -> None:
    pair = composition_item(subset, index, split=split)
    for (true_scene, stated), (other, _) in (pair, pair[::-1]):
        assert is_true(stated, true_scene), (stated, true_scene)
        assert is_false(stated, other), (stated, other)
        assert belongs_to_split(true_scene, split)


@pytest.mark.parametrize("subset", ["swap_att", "swap_obj"])
def test_swaps_are_the_same_bag_of_words(subset: str) -> None:
    for index in range(100):
        first, second = (contrast.caption.text for contrast in composition_item(subset, index))
        assert first != second and Counter(first.split()) == Counter(second.split())


@pytest.mark.parametrize("subset", SUBSETS)
def test_no_blind_rule_finds_the_right_image(subset: str) -> None:
    pairs = [composition_item(subset, index) for index in range(400)]
    shorter = [np.sign(len(twin.caption.text) - len(own.caption.text)) for own, twin in pairs]
    first_in_alphabet = [1 if own.caption.text < twin.caption.text else -1 for own, twin in pairs]
    fewer_solids = [np.sign(len(twin.scene.solids) - len(own.scene.solids)) for own, twin in pairs]
    for rule in (shorter, first_in_alphabet, fewer_solids):
        assert abs(np.mean(rule)) < 4 / 400**0.5  # four standard errors around a coin


def test_every_relation_with_an_opposite_is_asked_for() -> None:
    texts = {composition_item("relation", index)[0].caption.text for index in range(200)}
    for relation in ("left of", "right of", "above", "below", "in front of", "behind"):
        assert any(f" {relation} " in text for text in texts)


def test_count_twins_differ_by_one_object_and_the_others_stay() -> None:
    for index in range(60):
        few, many = sorted((twin.scene.solids for twin in composition_item("count", index)), key=len)
        assert set(few) < set(many) and len(many) == len(few) + 1
        assert 2 <= len(few) <= 3


def test_subsets_have_the_same_number_of_items_each_with_images_of_its_own() -> None:
    dataset = composition_dataset("test", 40)
    assert dataset.contrasts is not None and len(dataset) == 80
    assert Counter(contrast.subset for contrast in dataset.contrasts) == dict.fromkeys(SUBSETS, 10)
    assert sorted(row for contrast in dataset.contrasts for row in contrast.images) == list(range(80))
    assert len({image.digest() for image in dataset.images}) == 80
    assert {contrast.is_true for contrast in dataset.contrasts} == {((True, False), (False, True))}

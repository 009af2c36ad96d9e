"""Scenes of a split: fixed, independent, and of the combinations that belong to it."""

import pytest

from clipbench.data.scenes.facts import size_name
from clipbench.data.scenes.sampling import SPLITS, looks, novelties, portrait, scene
from clipbench.data.scenes.world import BACKGROUND_COLOURS, COLOURS, KINDS, difference, held_out

N = 1000
TRAIN = [scene("train", index) for index in range(N)]


def test_a_scene_depends_on_its_index_and_seed_alone() -> None:
    backwards = [scene("train", index) for index in reversed(range(50))]
    assert backwards[::-1] == TRAIN[:50]
    assert scene("train", 0, seed=1) != TRAIN[0] != scene("test", 0)


def seen(split: str, n: int = N) -> tuple[set[tuple[str, str]], set[str]]:
    sampled_scenes = [scene(split, index) for index in range(n)]
    pairs = {(solid.colour, solid.kind) for sampled_scene in sampled_scenes for solid in sampled_scene.solids}
    return pairs, {sampled_scene.writing.word for sampled_scene in sampled_scenes if sampled_scene.writing is not None}


@pytest.mark.parametrize("split", ["train", "test"])
def test_train_and_test_have_every_combination_but_those_held_out(split: str) -> None:
    pairs, words = seen(split)
    assert pairs == {(colour, kind) for colour in COLOURS for kind in KINDS} - held_out().looks
    assert words & held_out().words == set()
    assert not any(novelties(scene(split, index)) for index in range(200))


def test_every_held_out_scene_has_a_combination_that_train_never_shows() -> None:
    pairs, words = seen("held-out", 300)
    assert held_out().looks <= pairs
    assert held_out().words & words
    assert all(novelties(scene("held-out", index)) for index in range(200))


def test_held_out_combinations_leave_every_part_known() -> None:
    combinations = held_out()
    assert {colour for colour, _ in combinations.looks} == set(COLOURS)
    assert {kind for _, kind in combinations.looks} == set(KINDS)
    assert len(combinations.looks) == 10
    assert combinations.words.isdisjoint(KINDS)
    reversed_orders = {(second, relation, first) for first, relation, second in combinations.orders}
    assert combinations.orders & reversed_orders == set()


def test_train_shows_the_reverse_of_held_out_orders() -> None:
    shown = {
        (first.kind, second.kind)
        for scene in TRAIN
        for first in scene.solids
        for second in scene.solids
        if any(stated.name == "left of" for stated in scene.relations) and first.group == 0 and second.group == 1
    }
    kept = {(first, second) for first, relation, second in held_out().orders if relation == "left of"}
    assert kept & shown == set()
    assert len({(second, first) for first, second in kept} & shown) >= len(kept) / 2


def test_objects_stand_out_from_the_background_and_lie_within_the_image() -> None:
    for sampled in TRAIN:
        for solid in sampled.solids:
            assert difference(COLOURS[solid.colour], BACKGROUND_COLOURS[sampled.background.colour]) > 30
            assert min(solid.box) > 0 and max(solid.box) < 1, solid


def test_the_difference_of_colours_is_the_published_one() -> None:
    # L*a*b* of sRGB red and green over D65: (53.24, 80.09, 67.20) and (87.73, -86.18, 83.18)
    assert difference((255, 0, 0), (0, 255, 0)) == pytest.approx(170.6, abs=0.5)
    assert difference((0, 0, 0), (255, 255, 255)) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("split", SPLITS)
def test_portraits_show_one_large_object_and_go_round_the_looks(split: str) -> None:
    pairs = looks(split)
    sampled_scenes = [portrait(split, index) for index in range(2 * len(pairs))]
    assert [(sampled_scene.solids[0].colour, sampled_scene.solids[0].kind) for sampled_scene in sampled_scenes] == [
        *pairs,
        *pairs,
    ]
    assert all(
        len(sampled_scene.solids) == 1 and size_name(sampled_scene.solids[0]) == "large"
        for sampled_scene in sampled_scenes
    )
    assert all(
        abs(sampled_scene.solids[0].x - 0.5) < 0.06 and abs(sampled_scene.solids[0].y - 0.5) < 0.06
        for sampled_scene in sampled_scenes
    )
    assert len(set(sampled_scenes)) == len(sampled_scenes)

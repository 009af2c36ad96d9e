"""Verdicts on where things are, by hand and against what the pixels show."""

import numpy as np
import pytest

from clipbench.data.scenes.drawing import coverage
from clipbench.data.scenes.facts import is_in_region, relation_holds, word_relation_holds
from clipbench.data.scenes.sampling import scene
from clipbench.data.scenes.world import OPPOSITES, Solid, Writing


def solid(x: float, y: float, radius: float = 0.1, kind: str = "sphere") -> Solid:
    return Solid(kind, "red", "plain", x, y, radius)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.8, 0.5, True),  # straight to the right of (0.2, 0.5)
        (0.8, 0.8, True),  # 27 degrees down: still more beside than below
        (0.6, 0.9, None),  # 45 degrees: one could say either
        (0.3, 0.9, False),  # nearly straight below
        (0.35, 0.5, None),  # to the right, but the two overlap
        (0.2, 0.5, False),
        (0.05, 0.5, False),
    ],
)
def test_left_of_needs_clear_distance_and_a_flat_angle(x: float, y: float, expected: bool | None) -> None:
    here, there = solid(0.2, 0.5), solid(x, y)
    assert relation_holds(here, "left of", there, is_nearer=False) is expected
    assert relation_holds(there, "right of", here, is_nearer=True) is expected
    turned_here, turned_there = solid(0.5, 0.2), solid(y, x)
    assert relation_holds(turned_here, "above", turned_there, is_nearer=False) is expected
    assert relation_holds(turned_there, "below", turned_here, is_nearer=True) is expected


def test_in_front_of_needs_overlap_and_the_nearer_place() -> None:
    back, front, away = solid(0.5, 0.5, 0.2), solid(0.6, 0.6, 0.15), solid(0.9, 0.1, 0.05)
    assert relation_holds(front, "in front of", back, is_nearer=True) is True
    assert relation_holds(front, "in front of", back, is_nearer=False) is False
    assert relation_holds(back, "behind", front, is_nearer=False) is True
    assert relation_holds(away, "in front of", back, is_nearer=True) is False
    ring = solid(0.5, 0.5, 0.2, "ring")
    assert relation_holds(front, "in front of", ring, is_nearer=True) is None


def test_inside_needs_a_hole_that_holds_the_object() -> None:
    ring, sphere = solid(0.5, 0.5, 0.3, "ring"), solid(0.5, 0.5, 0.3)
    small, wide, off = solid(0.5, 0.5, 0.1), solid(0.5, 0.5, 0.25), solid(0.72, 0.5, 0.1)
    assert relation_holds(small, "inside", ring, is_nearer=True) is True
    assert relation_holds(small, "inside", sphere, is_nearer=True) is False
    assert relation_holds(wide, "inside", ring, is_nearer=True) is None
    assert relation_holds(off, "inside", ring, is_nearer=True) is False
    assert relation_holds(ring, "inside", small, is_nearer=False) is False


def test_on_needs_the_foot_on_the_seat() -> None:
    cube = solid(0.5, 0.7, 0.2, "cube")
    resting, floating = solid(0.5, cube.seat - 0.1), solid(0.5, cube.seat - 0.13)
    assert relation_holds(resting, "on", cube, is_nearer=True) is True
    assert relation_holds(floating, "on", cube, is_nearer=True) is None
    assert relation_holds(solid(0.5, 0.1), "on", cube, is_nearer=True) is False
    assert relation_holds(cube, "on", resting, is_nearer=False) is False


@pytest.mark.parametrize(
    ("x", "y", "true", "false"),
    [
        (0.2, 0.2, {"left", "top", "upper left"}, {"right", "bottom", "lower right", "upper right", "centre"}),
        (0.5, 0.5, {"centre"}, {"left", "right", "top", "bottom", "upper left"}),
        (0.42, 0.8, {"bottom"}, {"top", "upper left", "right", "centre"}),
    ],
)
def test_places_go_by_thirds(x: float, y: float, true: set[str], false: set[str]) -> None:
    assert {place for place in true | false if is_in_region(solid(x, y), place)} == true
    assert {place for place in true | false if is_in_region(solid(x, y), place) is False} == false


def test_a_word_is_above_below_or_on() -> None:
    def written(y: float, x: float = 0.5) -> Writing:
        return Writing("apple", x, y, 0.1, "sans", "lower", "black")

    sphere = solid(0.5, 0.5, 0.2)
    assert word_relation_holds(written(0.1), "above", sphere) is True
    assert word_relation_holds(written(0.1), "below", sphere) is False
    assert word_relation_holds(written(0.5), "on", sphere) is True
    assert word_relation_holds(written(0.5, x=0.9), "on", sphere) is False
    assert word_relation_holds(written(0.35), "on", sphere) is None


# -- the same from pixels: silhouettes drawn one by one


def facing_pairs(relation: str, n: int) -> list[tuple[Solid, Solid]]:
    """Return pairs of solids that scenes claim to stand so, nearest first."""
    result = []
    for index in range(4000):
        sampled_scene = scene("train", index)
        for stated in sampled_scene.relations:
            if stated.name == relation:
                first, second = sampled_scene.groups()[stated.subject][0], sampled_scene.groups()[stated.object][0]
                result.append((first, second))
        if len(result) >= n:
            return result
    raise AssertionError(f"only {len(result)} scenes with {relation}")


def columns(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero((mask > 0.5).any(axis=0))


def rows(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero((mask > 0.5).any(axis=1))


def test_silhouettes_left_of_each_other_share_no_column_and_above_no_row() -> None:
    for first, second in facing_pairs("left of", 40):
        assert columns(coverage(first, 128)).max() < columns(coverage(second, 128)).min()
    for first, second in facing_pairs("above", 40):
        assert rows(coverage(first, 128)).max() < rows(coverage(second, 128)).min()


def test_what_is_in_front_hides_a_visible_part_and_leaves_most_to_be_seen() -> None:
    for first, second in facing_pairs("in front of", 60):
        front, back = coverage(first, 128), coverage(second, 128)
        hidden = np.minimum(front, back).sum()
        assert hidden >= 0.2 * front.sum(), (first, second)
        assert hidden <= 0.6 * back.sum(), (first, second)


def test_what_is_inside_touches_nothing_and_has_its_container_on_all_sides() -> None:
    for first, second in facing_pairs("inside", 40):
        inner, outer = coverage(first, 256), coverage(second, 256)
        assert np.minimum(inner, outer).max() < 0.5, (first, second)
        assert columns(outer).min() < columns(inner).min() <= columns(inner).max() < columns(outer).max()
        assert rows(outer).min() < rows(inner).min() <= rows(inner).max() < rows(outer).max()


def test_what_is_on_another_meets_it_and_is_mostly_higher() -> None:
    for first, second in facing_pairs("on", 60):
        upper, lower = coverage(first, 256), coverage(second, 256)
        gap = rows(lower).min() - rows(upper).max()
        assert gap <= 2, (first, second)  # two pixels of 256: they touch
        assert rows(upper).mean() < rows(lower).min() + 2, (first, second)


def test_every_relation_occurs_in_images() -> None:
    names = {stated.name for index in range(1500) for stated in scene("train", index).relations}
    assert names | {"behind"} == {*OPPOSITES, "inside", "on"}  # "behind" is the same image as "in front of"

"""Verdicts on statements, worked by hand on one image."""

import pytest

from clipbench.data.scenes.facts import (
    Backdrop,
    Count,
    Exists,
    Fact,
    InRegion,
    ObjectDescription,
    Related,
    Written,
    WrittenBy,
    verdict,
)
from clipbench.data.scenes.world import Background, Scene, Solid, Writing

SCENE = Scene(
    Background("grey", "striped", 0.1),
    (
        Solid("cube", "red", "plain", 0.15, 0.4, 0.1, group=0),
        Solid("cube", "red", "plain", 0.15, 0.65, 0.1, group=0),
        Solid("sphere", "blue", "spotted", 0.75, 0.5, 0.2, group=1),
    ),
    writing=Writing("apple", 0.5, 0.12, 0.1, "sans", "upper", "black", paper="yellow"),
)
CUBES, SPHERE = ObjectDescription("cube", "red"), ObjectDescription("sphere", "blue")


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (Exists(ObjectDescription("cube", "red", "small")), True),
        (Exists(ObjectDescription("sphere", "blue", "large", "spotted")), True),
        (Exists(ObjectDescription("cube", "blue")), False),
        (Exists(ObjectDescription("sphere", "blue", "small")), False),
        (Exists(ObjectDescription("sphere", texture="striped")), False),
        (Count(CUBES, 2), True),
        (Count(CUBES, 1), False),
        (Count(ObjectDescription(), 3), True),
        (Related(CUBES, "left of", SPHERE), True),
        (Related(SPHERE, "right of", CUBES), True),
        (Related(CUBES, "right of", SPHERE), False),
        (Related(SPHERE, "left of", CUBES), False),
        (Related(ObjectDescription("cone"), "left of", SPHERE), False),
        (Related(CUBES, "above", SPHERE), False),
        (InRegion(CUBES, "left"), True),
        (InRegion(SPHERE, "left"), False),
        (InRegion(CUBES, "upper left"), None),  # one of them is lower
        (Backdrop("grey"), True),
        (Backdrop("grey", "striped"), True),
        (Backdrop(texture="plain"), False),
        (Backdrop("navy", "striped"), False),
        (Written("apple"), True),
        (Written("apple", ink="black", paper="yellow"), True),
        (Written("apple", ink="red"), False),
        (Written("pear"), False),
        (WrittenBy("apple", "above", ObjectDescription()), True),
        (WrittenBy("apple", "on", SPHERE), False),
        (WrittenBy("pear", "above", SPHERE), False),
    ],
)
def test_the_verdict_is_what_the_image_shows(fact: Fact, expected: bool | None) -> None:
    assert verdict(fact, SCENE) is expected


def test_nothing_can_be_read_on_a_blank_sign() -> None:
    assert verdict(Written("apple"), SCENE.with_blank_sign()) is False
    assert verdict(WrittenBy("apple", "above", SPHERE), SCENE.with_blank_sign()) is False

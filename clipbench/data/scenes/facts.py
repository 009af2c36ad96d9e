"""Facts about a scene, judged true or false from the places of its solids and from nothing else.

A verdict is True, False, or None where people could disagree, such as "left of" for an object that is only a little to
the left. Captions state only facts that are True. A hard negative states at least one that is False. The margins are
wide, so that every caption is clearly true or clearly false.
"""

from collections.abc import Callable
from itertools import product
from math import hypot
from typing import NamedTuple

from clipbench.data.scenes.world import HOLE, HOLLOW, MASSIVE, Bounds, Scene, Solid, Writing

CLEARANCE = 0.015
"""Least distance, in widths of the image, between objects that count as apart."""


class ObjectDescription(NamedTuple):
    """An object in a caption. Attributes that the caption leaves out are None."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None


class Exists(NamedTuple):
    """There is at least one such object."""

    description: ObjectDescription


class Count(NamedTuple):
    """The number of such objects is exactly this one."""

    description: ObjectDescription
    number: int


class Related(NamedTuple):
    """Every object of the first kind has the relation to every one of the second, and both kinds exist."""

    subject: ObjectDescription
    relation: str
    object: ObjectDescription


class InRegion(NamedTuple):
    """Every such object is in that part of the image, and at least one exists."""

    description: ObjectDescription
    region: str


class Backdrop(NamedTuple):
    """The background has that colour and texture, with None for what is not stated."""

    colour: str | None = None
    texture: str | None = None


class Written(NamedTuple):
    """A word can be read in the image, in that ink and on a sign of that colour, with None for what is not stated."""

    word: str
    ink: str | None = None
    paper: str | None = None


class WrittenBy(NamedTuple):
    """The word is written on, above or below every such object, and at least one such object exists."""

    word: str
    relation: str
    object: ObjectDescription


Fact = Exists | Count | Related | InRegion | Backdrop | Written | WrittenBy


def verdict(fact: Fact, scene: Scene) -> bool | None:
    """Return whether a fact is true of a scene, or None if people could disagree."""
    solids, behind, writing = scene.solids, scene.background, scene.writing
    is_true: bool | None
    match fact:
        case Exists(description):
            is_true = bool(matching_solids(scene, description))
        case Count(description, number):
            is_true = len(matching_solids(scene, description)) == number
        case Related(first, relation, second):
            matches = product(matching_solids(scene, first), matching_solids(scene, second))
            pairs = [(i, j) for i, j in matches if i != j]
            is_true = _all([relation_holds(solids[i], relation, solids[j], is_nearer=i > j) for i, j in pairs])
        case InRegion(description, region):
            is_true = _all([is_in_region(solids[i], region) for i in matching_solids(scene, description)])
        case Backdrop(colour, texture):
            is_true = colour in (None, behind.colour) and texture in (None, behind.texture)
        case Written(word, ink, paper):
            is_true = False
            if writing is not None and not writing.is_blank:
                is_true = word == writing.word and ink in (None, writing.ink) and paper in (None, writing.paper)
        case WrittenBy(word, relation, description):
            is_true = False
            if writing is not None and verdict(Written(word), scene):
                written_on = [solids[i] for i in matching_solids(scene, description)]
                is_true = _all([word_relation_holds(writing, relation, solid) for solid in written_on])
    return is_true


def _all(verdicts: list[bool | None]) -> bool | None:
    """Return True if all are true, False if all are false or none exists, and None otherwise."""
    if all(verdicts):
        return bool(verdicts)
    return False if all(verdict is False for verdict in verdicts) else None


def matching_solids(scene: Scene, description: ObjectDescription) -> list[int]:
    """Return the indices of the scene's solids that match a description."""
    matching = []
    for index, solid in enumerate(scene.solids):
        features = ObjectDescription(solid.kind, solid.colour, size_name(solid), solid.texture)
        if all(stated in (None, feature) for stated, feature in zip(description, features, strict=True)):
            matching.append(index)
    return matching


# -- relations of solids and words, from their places


def size_name(solid: Solid) -> str | None:
    """Return "small" or "large", or None for what is neither."""
    if solid.radius <= 0.125:
        return "small"
    return "large" if solid.radius >= 0.19 else None


def relation_holds(first: Solid, relation: str, second: Solid, *, is_nearer: bool) -> bool | None:
    """Return whether a relation holds. ``is_nearer`` is True if the first solid is drawn over the second."""
    if relation in _INVERSES:
        return relation_holds(second, _INVERSES[relation], first, is_nearer=not is_nearer)
    return _JUDGES[relation](first, second, is_nearer)


def is_in_region(solid: Solid, region: str) -> bool | None:
    """Return whether a solid is in a region such as "left", "upper left" or "centre", or None if it is unclear."""
    if region == "centre":
        away = max(abs(solid.x - 0.5), abs(solid.y - 0.5))
        return _at_most(away, 0.07, false_from=0.17)
    x, y = solid.x, solid.y
    distances = {"left": x, "right": 1 - x, "top": y, "upper": y, "bottom": 1 - y, "lower": 1 - y}
    parts = [_at_most(distances[word], 0.36, false_from=0.5) for word in region.split()]
    if False in parts:
        return False
    return None if None in parts else True


def word_relation_holds(writing: Writing, relation: str, solid: Solid) -> bool | None:
    """Return whether a word is above, below or on a solid, by height only for above and below."""
    top, bottom = writing.y - writing.height / 2, writing.y + writing.height / 2
    match relation:
        case "above":
            room = solid.box.top - bottom
        case "below":
            room = top - solid.box.bottom
        case _:
            aside = abs(writing.x - solid.x)
            room = min(top - solid.box.top, solid.box.bottom - bottom, 0.5 * solid.radius - aside)
    return _at_most(-room, -0.01, false_from=0.01)


def _is_left(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    return _is_before(first.box, second.box, second.x - first.x, second.y - first.y)


def _is_above(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    flipped, flipped_second = (Bounds(box.top, box.left, box.bottom, box.right) for box in (first.box, second.box))
    return _is_before(flipped, flipped_second, second.y - first.y, second.x - first.x)


def _is_before(first: Bounds, second: Bounds, ahead: float, aside: float) -> bool | None:
    """Judge "left of", or with x and y exchanged "above": clear of each other, and more so than the other way.

    The centre of the second is ``ahead`` to the right of the first one's, and ``aside`` below it.
    """
    if ahead <= 0.02 or ahead <= 0.3 * abs(aside):
        return False
    is_clear = second.left - first.right >= CLEARANCE
    return True if is_clear and abs(aside) <= 0.62 * ahead else None


def _is_in_front(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    one, other = first.box, second.box
    across = max(one.left, other.left) - min(one.right, other.right)
    if max(across, max(one.top, other.top) - min(one.bottom, other.bottom)) >= CLEARANCE:
        return False
    are_massive = first.kind in MASSIVE and second.kind in MASSIVE
    is_close = hypot(first.x - second.x, first.y - second.y) <= 0.52 * (first.radius + second.radius)
    return is_nearer if are_massive and is_close else None  # else it shows through a gap, or hardly overlaps


def _is_inside(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    room = HOLE * second.radius
    across, down = abs(first.x - second.x), abs(first.y - second.y)
    if second.kind not in HOLLOW or max(across, down) >= room:
        return False
    return True if max(across, down) + 0.9 * first.radius <= room else None


def _is_on(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    lift = abs(first.box.bottom - second.seat)
    off = abs(first.x - second.x)
    if lift > 0.06 or off > second.radius:
        return False
    return True if is_nearer and lift <= 0.01 and off <= 0.4 * second.radius else None


_INVERSES = {"right of": "left of", "below": "above", "behind": "in front of"}
_JUDGES: dict[str, Callable[[Solid, Solid, bool], bool | None]] = {
    "left of": _is_left,
    "above": _is_above,
    "in front of": _is_in_front,
    "inside": _is_inside,
    "on": _is_on,
}


def _at_most(distance: float, bound: float, *, false_from: float) -> bool | None:
    """Return True up to a bound, False from a greater distance on, and None between them."""
    if distance <= bound:
        return True
    return False if distance >= false_from else None

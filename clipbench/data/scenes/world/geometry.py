"""Relations of solids and words, judged from their places with wide margins.

A verdict is True, False, or None where people could disagree.
"""

from collections.abc import Callable
from math import hypot

from clipbench.data.scenes.world.records import HOLE, Box, Solid, Writing
from clipbench.data.scenes.world.vocabulary import HOLLOW, MASSIVE

CLEARANCE = 0.015
"""Least distance, in widths of the image, between objects that count as apart."""


def size_name(solid: Solid) -> str | None:
    """Return "small" or "large", or None for what is neither."""
    if solid.radius <= 0.125:
        return "small"
    return "large" if solid.radius >= 0.19 else None


def stands(first: Solid, relation: str, second: Solid, *, is_nearer: bool) -> bool | None:
    """Return whether a relation holds; ``is_nearer`` is True if the first solid is drawn over the second."""
    if relation in _INVERSES:
        return stands(second, _INVERSES[relation], first, is_nearer=not is_nearer)
    return _JUDGES[relation](first, second, is_nearer)


def is_in(solid: Solid, place: str) -> bool | None:
    """Judge a place such as "left", "top", "upper left" or "centre" by thirds of the image, with margins."""
    across = {"left": _low(solid.x), "right": _low(1 - solid.x)}
    down = {"top": _low(solid.y), "bottom": _low(1 - solid.y), "upper": _low(solid.y), "lower": _low(1 - solid.y)}
    if place == "centre":
        away = max(abs(solid.x - 0.5), abs(solid.y - 0.5))
        return True if away <= 0.07 else (False if away >= 0.17 else None)
    parts = [(across | down)[word] for word in place.split()]
    if False in parts:
        return False
    return None if None in parts else True


def word_stands(writing: Writing, relation: str, solid: Solid) -> bool | None:
    """Judge above and below by height alone, since words run across most of the image."""
    top, bottom = writing.y - writing.height / 2, writing.y + writing.height / 2
    match relation:
        case "above":
            room = solid.box.top - bottom
        case "below":
            room = top - solid.box.bottom
        case "on":
            room = min(top - solid.box.top, solid.box.bottom - bottom, 0.5 * solid.radius - abs(writing.x - solid.x))
        case _:
            raise ValueError(f"not a relation of words: {relation!r}")
    return True if room >= 0.01 else (False if room <= -0.01 else None)


def _flipped(box: Box) -> Box:
    return Box(box.top, box.left, box.bottom, box.right)


def _is_left(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    return _is_before(first.box, second.box, second.x - first.x, second.y - first.y)


def _is_above(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    return _is_before(_flipped(first.box), _flipped(second.box), second.y - first.y, second.x - first.x)


def _is_before(first: Box, second: Box, ahead: float, aside: float) -> bool | None:
    """Judge "left of", or with x and y exchanged "above": clear of each other, and more so than the other way.

    Args:
        first: of the object said to be on the left.
        second: of the other.
        ahead: how far the second centre is to the right of the first.
        aside: how far it is below.
    """
    if ahead <= 0.02 or ahead <= 0.3 * abs(aside):
        return False
    is_clear = second.left - first.right >= CLEARANCE
    return True if is_clear and abs(aside) <= 0.62 * ahead else None


def _are_apart(first: Box, second: Box) -> bool:
    """Return whether there is clearance between two boxes, across or down."""
    across = max(first.left, second.left) - min(first.right, second.right)
    down = max(first.top, second.top) - min(first.bottom, second.bottom)
    return max(across, down) >= CLEARANCE


def _is_in_front(first: Solid, second: Solid, is_nearer: bool) -> bool | None:
    if _are_apart(first.box, second.box):
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


def _low(position: float) -> bool | None:
    return True if position <= 0.36 else (False if position >= 0.5 else None)

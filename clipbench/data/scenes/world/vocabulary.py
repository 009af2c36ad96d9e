"""Vocabulary of the scenes: kinds, colours, textures, backgrounds, relations, words and fonts.

Every name begins with a consonant, so "a" is its article in any prompt template and before any adjective.
"""

from functools import cache
from typing import NamedTuple

RGB = tuple[int, int, int]

KINDS = {
    "sphere": "spheres",
    "cube": "cubes",
    "cylinder": "cylinders",
    "cone": "cones",
    "ring": "rings",
    "frame": "frames",
    "star": "stars",
    "heart": "hearts",
    "cross": "crosses",
    "moon": "moons",
}
"""Kinds of object, with their plurals."""

COLOURS: dict[str, RGB] = {
    "red": (216, 32, 36),
    "yellow": (250, 212, 40),
    "green": (36, 146, 54),
    "cyan": (60, 206, 222),
    "blue": (20, 88, 220),
    "purple": (144, 40, 156),
    "pink": (250, 134, 186),
    "brown": (124, 74, 38),
    "white": (246, 246, 246),
    "black": (38, 38, 42),
}
"""Colours of objects."""

TEXTURES = ("plain", "striped", "spotted", "checkered")
"""Textures of objects; captions do not mention a plain one."""

SIZES: dict[str, tuple[float, float]] = {"small": (0.09, 0.12), "medium": (0.14, 0.17), "large": (0.2, 0.34)}
"""The range of an object's radius, in widths of the image; captions name small and large ones only."""

BACKGROUND_COLOURS: dict[str, RGB] = {
    "white": (250, 250, 248),
    "grey": (138, 142, 148),
    "black": (16, 16, 18),
    "beige": (224, 204, 168),
    "navy": (26, 36, 88),
    "maroon": (98, 22, 42),
    "lavender": (200, 188, 236),
    "mint": (178, 226, 198),
}
BACKGROUND_TEXTURES = ("plain", "gradient", "striped", "checkered", "dotted")

OPPOSITES = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
}
"""Relations, with the name of the relation after the two objects have changed places."""

BASE_RELATIONS = ("left of", "above", "in front of", "inside", "on")
"""One of each opposed pair, and the two that have no opposite."""

HOLLOW = ("ring", "frame")
"""The kinds that another object can be inside of."""

MASSIVE = ("sphere", "cube", "cylinder", "cone", "star", "heart", "cross")
"""The kinds that fill most of their outline, so that one of them in front of another hides part of it."""

SUPPORTS = ("cube", "cylinder", "sphere", "ring", "frame", "cross")
"""The kinds that another object can rest on."""

_THINGS = """
apple bag bank bear bed bell bird boat bone book boot bottle bread bridge brush bus butter camera candle car
castle cat chair cheese clock cloud coat coffee coin comb corn cow cup deer desk dog door dress drum duck
farm fire fish flag flower fork fox frog garden gate glass glove goat grape guitar hammer hat honey horse house
jacket juice key kite knife ladder lamp leaf lemon lion map melon milk mirror monkey mouse nest
paper peach pear pencil piano pig pizza plane plate queen rabbit radio rain river road robot rocket rope rose
salt sand scarf seal sheep ship shirt shoe snake snow soap sock soup spoon stone sugar sun
table tea tent tiger toast tomato towel tower train tree truck turtle vase violin wagon water whale wheel
window wolf zebra
"""
WORDS = (*KINDS, *_THINGS.split())
"""Words that may be written in an image: the names of the kinds, and other short names of things."""

INKS: dict[str, RGB] = {
    "black": (12, 12, 14),
    "white": (252, 252, 252),
    "red": (200, 20, 28),
    "blue": (24, 60, 200),
    "green": (12, 116, 40),
}
"""Colours of the letters."""

PAPERS: dict[str, RGB] = {"white": (252, 252, 250), "yellow": (255, 226, 90), "black": (20, 20, 24)}
"""The colours of the signs and labels that words stand on."""

FONTS = {
    "sans": "DejaVuSans.ttf",
    "sans-bold": "DejaVuSans-Bold.ttf",
    "serif": "DejaVuSerif.ttf",
    "serif-bold": "DejaVuSerif-Bold.ttf",
    "mono-bold": "DejaVuSansMono-Bold.ttf",
    "oblique": "DejaVuSans-BoldOblique.ttf",
    "times": "STIXGeneralBol.ttf",
    "modern": "cmb10.ttf",
}
"""Fonts that matplotlib ships, by their name in a scene."""

CASES = ("lower", "upper", "title")


class Combinations(NamedTuple):
    """Combinations that never occur in the train and test splits, and at least once in every held-out scene."""

    looks: frozenset[tuple[str, str]]
    """(colour, kind): one colour of each kind, one kind of each colour."""
    orders: frozenset[tuple[str, str, str]]
    """(kind, base relation, kind); the reverse order does occur in train."""
    words: frozenset[str]
    """Words that are never written; no name of a kind is among them."""


@cache
def held_out() -> Combinations:
    """Return the combinations that are kept for the held-out split.

    Example:
        >>> sorted(held_out().looks)[:2]
        [('black', 'cross'), ('blue', 'cone')]
    """
    kinds, colours = list(KINDS), list(COLOURS)
    looks = {(colours[(7 * i + 3) % len(colours)], kind) for i, kind in enumerate(kinds)}
    orders = {
        (first, relation, second)
        for r, relation in enumerate(BASE_RELATIONS)
        for i, first in enumerate(kinds)
        for j, second in enumerate(kinds)
        if (i + 3 * j + 2 * r) % 10 == 0 and (i - j) % 5 != 0
    }
    return Combinations(frozenset(looks), frozenset(orders), frozenset(WORDS[len(KINDS) :: 7]))

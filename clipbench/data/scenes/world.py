"""Contents of the generated world: names, colours and fonts, and the records of a scene that is made of them.

A scene is solids back to front on a background, and perhaps a written word. Positions and lengths are in widths of the
image, from its upper left corner: a scene has no resolution. Every name begins with a consonant, so "a" is its article
in any prompt template and before any adjective.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import dist
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
"""Textures of objects. Captions do not mention a plain texture."""

SIZES: dict[str, tuple[float, float]] = {"small": (0.09, 0.12), "medium": (0.14, 0.17), "large": (0.2, 0.34)}
"""The range of an object's radius, in widths of the image. Captions name only small and large ones."""

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
"""The colours of the signs and overlays that words are written on."""

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
    """(kind, base relation, kind). The reverse order does occur in train."""
    words: frozenset[str]
    """Words that are never written, without names of kinds."""


@cache
def held_out() -> Combinations:
    """Return the combinations that are kept for the held-out split."""
    kinds, colours = list(KINDS), list(COLOURS)
    looks = {(colours[(7 * i + 3) % len(colours)], kind) for i, kind in enumerate(kinds)}
    orders = set()
    for r, relation in enumerate(BASE_RELATIONS):
        for i, first in enumerate(kinds):
            for j, second in enumerate(kinds):
                # An order and its reverse both meet the first condition only where i - j is divisible by 5.
                if (i + 3 * j + 2 * r) % 10 == 0 and (i - j) % 5 != 0:
                    orders.add((first, relation, second))
    return Combinations(frozenset(looks), frozenset(orders), frozenset(WORDS[len(KINDS) :: 7]))


# -- colours that can be told apart: objects from their background, words from their paper

LEAST_DIFFERENCE = 34
"""Minimum distance of an object's colour from the background's (CIE 1976, where about 2 is just noticeable)."""

LEAST_LIGHTNESS = 38
"""Minimum difference in lightness of ink and paper (0-100): thin strokes are read by lightness, not by hue."""


@cache
def palette(background: str) -> tuple[str, ...]:
    """Return the colours of objects that stand out from a background."""
    behind = BACKGROUND_COLOURS[background]
    return tuple(name for name, rgb in COLOURS.items() if difference(rgb, behind) >= LEAST_DIFFERENCE)


@cache
def legible_inks(paper: RGB) -> tuple[str, ...]:
    """Return the inks that can be read on a paper."""
    paper_lightness = _lab(paper)[0]
    legible = []
    for name, rgb in INKS.items():
        lightness = _lab(rgb)[0]
        if abs(lightness - paper_lightness) >= LEAST_LIGHTNESS:
            legible.append(name)
    return tuple(legible)


def difference(first: RGB, second: RGB) -> float:
    """Return how far two colours look apart: their distance in L*a*b* (CIE 1976)."""
    return dist(_lab(first), _lab(second))


@cache
def _lab(rgb: RGB) -> tuple[float, float, float]:
    # sRGB to linear light (IEC 61966-2-1; 3294.6 is 255 * 12.92), then CIE's L*a*b*.
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    rows = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))  # to XYZ over D65 white
    shares = (sum(w * c for w, c in zip(row, linear, strict=True)) for row in rows)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


SCENES_VERSION = 1
"""Raised whenever any scene, caption or image changes. The digest of every image holds it, and the repr of the records
below: to rename a record or a field changes every digest too.
"""

WIDTHS = {"cylinder": 0.72, "cone": 0.86, "cube": 0.94, "frame": 0.94, "cross": 0.96, "moon": 0.84, "star": 0.95}
HEIGHTS = {"cube": 0.94, "frame": 0.94, "star": 0.905, "heart": 0.92, "cross": 0.96}
"""Half the width and height in radii, where they are not 1."""

SEATS = {"cube": 0.27, "cylinder": 0.2}
"""Depth, in radii below an object's top, at which another object rests on it, where that is not 0."""

HOLE = 0.62
"""The inner radius of a hollow object, in radii."""


class Bounds(NamedTuple):
    """An upright rectangle."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Solid:
    """One object."""

    kind: str
    colour: str
    texture: str
    x: float
    y: float
    radius: float
    tilt: float = 0.0
    """Turn to the right, in radians, so small that the box hardly changes."""
    group: int = 0
    """Solids of a group look alike and are spoken of together: three red cubes."""

    @property
    def box(self) -> Bounds:
        half_width = self.radius * WIDTHS.get(self.kind, 1.0)
        half_height = self.radius * HEIGHTS.get(self.kind, 1.0)
        return Bounds(self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height)

    @property
    def seat(self) -> float:
        """The height at which another object rests on this one."""
        return self.box.top + self.radius * SEATS.get(self.kind, 0.0)


@dataclass(frozen=True, slots=True)
class Background:
    """The surface behind all objects."""

    colour: str
    texture: str
    scale: float
    """The period of a pattern."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A word, on a sign or straight on what is behind it."""

    word: str
    x: float
    y: float
    """The middle of its capitals."""
    height: float
    """Height of a capital letter."""
    font: str
    case: str
    ink: str
    paper: str | None = None
    """Colour of the sign that it is written on, None without a sign."""
    contrast: float = 1.0
    """Strength of the ink, from 0 (the colour of the paper) to 1, below 1 only for signs."""
    is_blank: bool = False
    """True for a sign without text."""


@dataclass(frozen=True, slots=True)
class Relation:
    """The relation of two groups: each solid of the one stands so to each of the other."""

    subject: int
    name: str
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """An image's whole content."""

    background: Background
    solids: tuple[Solid, ...] = ()
    """Back to front."""
    relations: tuple[Relation, ...] = ()
    """If there are several, they have the same subject."""
    writing: Writing | None = None

    def groups(self) -> list[list[Solid]]:
        """Return the solids of each group, in the order of their numbers."""
        n_groups = max((solid.group for solid in self.solids), default=-1) + 1
        groups: list[list[Solid]] = [[] for _ in range(n_groups)]
        for solid in self.solids:
            if solid.group >= 0:
                groups[solid.group].append(solid)
        return groups

    def with_blank_sign(self) -> "Scene":
        """Return the scene with the same sign and nothing on it. It must have a sign."""
        assert self.writing is not None and self.writing.paper is not None, f"no sign in {self.writing}"
        return replace(self, writing=replace(self.writing, is_blank=True))

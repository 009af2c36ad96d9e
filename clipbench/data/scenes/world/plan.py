"""The contents of an image, before anything has a place.

A plan can be edited where a scene cannot: with two looks exchanged, or one object more, its layout differs from the
original in nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.colour_contrast import legible_inks, palette
from clipbench.data.scenes.world.records import Background
from clipbench.data.scenes.world.vocabulary import (
    BACKGROUND_COLOURS,
    BACKGROUND_TEXTURES,
    CASES,
    FONTS,
    HOLLOW,
    KINDS,
    MASSIVE,
    PAPERS,
    SIZES,
    SUPPORTS,
    TEXTURES,
    WORDS,
)

ARRANGEMENTS: Mapping[str, float] = {
    "alone": 0.32,
    "word": 0.04,
    "left of": 0.13,
    "above": 0.1,
    "in front of": 0.07,
    "inside": 0.05,
    "on": 0.08,
    "group": 0.07,
    "group and one": 0.07,
    "row": 0.035,
    "corner": 0.035,
}
"""Share of scenes with each arrangement of objects, before splits are told apart."""

WORD_SHARES: Mapping[str, float] = {"alone": 0.5, "word": 1.0, "left of": 0.4}
"""Share of scenes of each arrangement that have a word; the others leave no room for one."""


class Look(NamedTuple):
    """Appearance of an object, or of each object of a group."""

    kind: str
    colour: str
    texture: str
    size: str


class Lettering(NamedTuple):
    """A word and how it is written."""

    word: str
    font: str
    case: str
    ink: str
    paper: str | None
    place: str
    """ "above" or "below" the objects, or "on" the only one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a layout needs."""

    arrangement: str
    background: Background
    looks: tuple[Look, ...]
    key: int
    """Seed of the places, on which nothing else has an influence."""
    number: int = 1
    """Number of objects with the first look."""
    lettering: Lettering | None = None

    def with_colours_exchanged(self) -> "Plan":
        """Return the plan of the image in which the first two objects have each other's colour."""
        first, second, *rest = self.looks
        looks = (first._replace(colour=second.colour), second._replace(colour=first.colour), *rest)
        return replace(self, looks=looks)

    def with_objects_exchanged(self) -> "Plan":
        """Return the plan of the image in which the first two objects have changed places; sizes stay in place."""
        first, second, *rest = self.looks
        looks = (second._replace(size=first.size), first._replace(size=second.size), *rest)
        return replace(self, looks=looks)

    def with_number(self, number: int) -> "Plan":
        """Return the plan of the image with that many of the first object; those that stay are where they were."""
        return replace(self, number=number)


def sample_plan(chance: Chance, *, arrangement: str | None = None, has_word: bool | None = None) -> Plan:
    """Return a plan from the world's distribution, with the given parts fixed."""
    arrangement = arrangement or chance.weighted(ARRANGEMENTS)
    background = sample_background(chance)
    if has_word is None:
        has_word = chance.happens(WORD_SHARES.get(arrangement, 0.0))
    looks = () if arrangement == "word" else _looks(chance, arrangement, background.colour)
    return Plan(
        arrangement,
        background,
        looks,
        key=chance.below(10**9),
        number=chance.one_of((2, 3, 4)) if arrangement.startswith("group") else 1,
        lettering=_lettering(chance, arrangement, background.colour, looks) if has_word else None,
    )


def sample_background(chance: Chance) -> Background:
    """Return a background; two in five are plain."""
    texture = "plain" if chance.happens(0.4) else chance.one_of(BACKGROUND_TEXTURES[1:])
    return Background(chance.one_of(tuple(BACKGROUND_COLOURS)), texture, chance.between(0.1, 0.15))


def sample_texture(chance: Chance, kind: str, size: str) -> str:
    """Return a texture that is visible on such an object: marks need space."""
    if size != "large" or kind in HOLLOW or chance.happens(0.5):
        return "plain"
    return chance.one_of(TEXTURES[1:])


def _looks(chance: Chance, arrangement: str, background: str) -> tuple[Look, ...]:
    sizes = [chance.one_of(options) for options in _SIZES[arrangement]]
    kinds = _kinds(chance, arrangement, len(sizes))
    colours = chance.some_of(palette(background), len(sizes))
    if len(kinds) == 2 and kinds[0] != kinds[1] and arrangement not in ("in front of", "on") and chance.happens(0.1):
        colours[1] = colours[0]
    textures = [sample_texture(chance, kind, size) for kind, size in zip(kinds, sizes, strict=True)]
    if arrangement == "in front of":
        textures = ["plain"] * 2  # marks would obscure the visible part of the outline
    return tuple(Look(*parts) for parts in zip(kinds, colours, textures, sizes, strict=True))


def _kinds(chance: Chance, arrangement: str, n: int) -> list[str]:
    """Return kinds that fit the arrangement: mostly all different, in 12 % of cases two the same."""
    first, second = _FITTING.get(arrangement, (tuple(KINDS), tuple(KINDS)))
    kinds = [chance.one_of(first)]
    if n > 1:
        is_same = kinds[0] in second and chance.happens(0.12)
        kinds += kinds if is_same else [chance.one_of([kind for kind in second if kind != kinds[0]])]
    return kinds + chance.some_of([kind for kind in KINDS if kind not in kinds], n - len(kinds))


_ANY = tuple(SIZES)
_LITTLE = ("small", "medium")
_SIZES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "alone": (("small", "medium", "large", "large", "large"),),
    "left of": (_ANY, _ANY),
    "above": (_ANY, _ANY),
    "in front of": (("medium",), ("large",)),
    "inside": (("small",), ("large",)),
    "on": (_ANY, ("medium", "large")),
    "group": (_LITTLE,),
    "group and one": (("small",), _ANY),
    "row": (("small",),) * 3,
    "corner": (_LITTLE,) * 3,
}
"""The sizes that each object may have, so that they fit beside each other."""

_FITTING = {
    "in front of": (MASSIVE, MASSIVE),
    "inside": (tuple(KINDS), HOLLOW),
    "on": (tuple(KINDS), SUPPORTS),
}


def _lettering(chance: Chance, arrangement: str, background: str, looks: tuple[Look, ...]) -> Lettering:
    place = chance.one_of(("above", "below"))
    if arrangement == "alone" and looks[0].size == "large" and chance.happens(0.4):
        place = "on"
    paper = chance.one_of(tuple(PAPERS)) if place == "on" or chance.happens(0.4) else None
    return Lettering(
        word=_word(chance, looks),
        font=chance.one_of(tuple(FONTS)),
        case=chance.one_of(CASES),
        ink=chance.one_of(legible_inks(BACKGROUND_COLOURS[background] if paper is None else PAPERS[paper])),
        paper=paper,
        place=place,
    )


def _word(chance: Chance, looks: tuple[Look, ...]) -> str:
    """Return a word that sometimes names the object, or another kind of object: both occur on the web."""
    if looks and chance.happens(0.25):
        return looks[0].kind
    return chance.one_of(tuple(KINDS) if chance.happens(0.2) else WORDS)

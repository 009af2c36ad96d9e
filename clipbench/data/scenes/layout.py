"""Plans, the contents of an image before anything has a place, and their layout as scenes.

A plan can be edited where a scene cannot: with two looks exchanged, or one object more, its layout differs from the
original in nothing else. Each arrangement leaves the margins that facts.py asks for, so that its relations are plain to
see.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import copysign
from typing import NamedTuple

from clipbench.data.scenes import world
from clipbench.data.scenes.world import Background, Relation, Scene, Solid, Writing
from clipbench.seeding import Sampler

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
"""Fraction of scenes with each arrangement of objects, before scenes are divided into splits."""

WORD_SHARES: Mapping[str, float] = {"alone": 0.5, "word": 1.0, "left of": 0.4}
"""Fraction of scenes with a word, by arrangement. The other arrangements leave no room for a word."""


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
    position: str
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
    """Number of objects with the first look. If it changes, the remaining objects keep their places."""
    lettering: Lettering | None = None

    def with_colours_exchanged(self) -> "Plan":
        """Return the plan of the image in which the first two objects have each other's colour."""
        first, second, *rest = self.looks
        looks = (first._replace(colour=second.colour), second._replace(colour=first.colour), *rest)
        return replace(self, looks=looks)

    def with_objects_exchanged(self) -> "Plan":
        """Return the plan of the image in which the first two objects have changed places, but not sizes."""
        first, second, *rest = self.looks
        looks = (second._replace(size=first.size), first._replace(size=second.size), *rest)
        return replace(self, looks=looks)


def sample_plan(chance: Sampler, *, arrangement: str | None = None, has_word: bool | None = None) -> Plan:
    """Return a plan from the world's distribution, with the given parts fixed."""
    arrangement = arrangement or chance.weighted(ARRANGEMENTS)
    background = sample_background(chance)
    if has_word is None:
        has_word = chance.bernoulli(WORD_SHARES.get(arrangement, 0.0))
    # The order of the draws is part of the world: another order gives other scenes.
    looks = () if arrangement == "word" else _looks(chance, arrangement, background.colour)
    key = chance.below(10**9)
    number = chance.one_of((2, 3, 4)) if arrangement.startswith("group") else 1
    lettering = _lettering(chance, arrangement, background.colour, looks) if has_word else None
    return Plan(arrangement, background, looks, key, number, lettering)


def sample_background(chance: Sampler) -> Background:
    """Return a background, plain in two of five cases."""
    texture = "plain" if chance.bernoulli(0.4) else chance.one_of(world.BACKGROUND_TEXTURES[1:])
    return Background(chance.one_of(tuple(world.BACKGROUND_COLOURS)), texture, chance.between(0.1, 0.15))


def sample_texture(chance: Sampler, kind: str, size: str) -> str:
    """Return a texture that is visible on such an object: marks need space."""
    if size != "large" or kind in world.HOLLOW or chance.bernoulli(0.5):
        return "plain"
    return chance.one_of(world.TEXTURES[1:])


def _looks(chance: Sampler, arrangement: str, background: str) -> tuple[Look, ...]:
    sizes = [chance.one_of(options) for options in _SIZES[arrangement]]
    kinds = _kinds(chance, arrangement, len(sizes))
    colours = chance.some_of(world.palette(background), len(sizes))
    are_separate = len(sizes) == 2 and arrangement not in ("in front of", "on")
    if are_separate and kinds[0] != kinds[1] and chance.bernoulli(0.1):
        colours[1] = colours[0]
    textures = [sample_texture(chance, kind, size) for kind, size in zip(kinds, sizes, strict=True)]
    if arrangement == "in front of":
        textures = ["plain"] * 2  # marks would obscure the visible part of the outline
    return tuple(Look(*parts) for parts in zip(kinds, colours, textures, sizes, strict=True))


def _kinds(chance: Sampler, arrangement: str, n: int) -> list[str]:
    """Return kinds that fit the arrangement: mostly all different, in 12 % of cases two the same."""
    first, second = _FITTING.get(arrangement, (tuple(world.KINDS), tuple(world.KINDS)))
    kinds = [chance.one_of(first)]
    if n > 1:
        is_same = kinds[0] in second and chance.bernoulli(0.12)
        other_kinds = [kind for kind in second if kind != kinds[0]]
        kinds.append(kinds[0] if is_same else chance.one_of(other_kinds))
    unused_kinds = [kind for kind in world.KINDS if kind not in kinds]
    return kinds + chance.some_of(unused_kinds, n - len(kinds))


_ANY = tuple(world.SIZES)
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
"""The sizes that each object may have, so that they fit next to each other."""

_FITTING = {
    "in front of": (world.MASSIVE, world.MASSIVE),
    "inside": (tuple(world.KINDS), world.HOLLOW),
    "on": (tuple(world.KINDS), world.SUPPORTS),
}


def _lettering(chance: Sampler, arrangement: str, background: str, looks: tuple[Look, ...]) -> Lettering:
    position = chance.one_of(("above", "below"))
    if arrangement == "alone" and looks[0].size == "large" and chance.bernoulli(0.4):
        position = "on"
    paper = chance.one_of(tuple(world.PAPERS)) if position == "on" or chance.bernoulli(0.4) else None
    surface = world.BACKGROUND_COLOURS[background] if paper is None else world.PAPERS[paper]
    return Lettering(
        word=_word(chance, looks),
        font=chance.one_of(tuple(world.FONTS)),
        case=chance.one_of(world.CASES),
        ink=chance.one_of(world.legible_inks(surface)),
        paper=paper,
        position=position,
    )


def _word(chance: Sampler, looks: tuple[Look, ...]) -> str:
    """Return a word that sometimes names the object, or another kind of object: both occur on the web."""
    if looks and chance.bernoulli(0.25):
        return looks[0].kind
    words = tuple(world.KINDS) if chance.bernoulli(0.2) else world.WORDS
    return chance.one_of(words)


TILTING = ("star", "heart", "cross", "moon")
MARGIN = 0.03
"""Least distance of an object from the edge of the image."""
BAND = 0.3
"""Height of the part that a word above or below the objects takes."""


class _Spot(NamedTuple):
    """Place of one object, and the number of its group."""

    x: float
    y: float
    radius: float
    group: int


class _Layout(NamedTuple):
    spots: list[_Spot]
    """Back to front."""
    relations: tuple[Relation, ...] = ()
    may_tilt: bool = True


def lay_out(plan: Plan) -> Scene:
    """Return the scene of a plan: the same plan gives the same scene."""
    layout = _LAYOUTS[plan.arrangement](plan, Sampler("places", plan.key))
    can_tilt = layout.may_tilt and any(look.kind in TILTING for look in plan.looks)
    tilts = Sampler("tilts", plan.key) if can_tilt else None
    solids = tuple(_solid(spot, plan.looks[spot.group], tilts) for spot in layout.spots)
    writing = None
    if plan.lettering is not None:
        writing = _writing(plan.lettering, solids, Sampler("writing", plan.key))
    return Scene(plan.background, solids, layout.relations, writing)


def _solid(spot: _Spot, look: Look, tilts: Sampler | None = None) -> Solid:
    tilt = tilts.between(-0.16, 0.16) if tilts and look.kind in TILTING else 0.0
    x, y, radius = round(spot.x, 4), round(spot.y, 4), round(spot.radius, 4)
    return Solid(look.kind, look.colour, look.texture, x, y, radius, tilt, spot.group)


def _writing(lettering: Lettering, solids: tuple[Solid, ...], chance: Sampler) -> Writing:
    word, font, case, ink, paper, position = lettering
    if position == "on":
        x, y, height = solids[0].x, solids[0].y, chance.between(0.1, 0.12)
    elif solids:
        x, height = chance.between(0.48, 0.52), chance.between(0.12, 0.17)
        y = BAND / 2 if position == "above" else 1 - BAND / 2
    else:
        x, y, height = chance.between(0.48, 0.52), chance.between(0.3, 0.7), chance.between(0.13, 0.2)
    return Writing(word, x, y, height, font, case, ink, paper)


def _radius(look: Look, chance: Sampler, *, at_most: float = 0.34) -> float:
    low, high = world.SIZES[look.size]
    return chance.between(low, min(high, max(at_most, low)))


def _free_height(plan: Plan) -> tuple[float, float]:
    """Return the top and bottom of the part of the image that no word takes."""
    position = None if plan.lettering is None else plan.lettering.position
    top = BAND if position == "above" else 0.0
    bottom = 1 - BAND if position == "below" else 1.0
    return top, bottom


def _between_or_middle(chance: Sampler, low: float, high: float) -> float:
    """Return a number between two bounds, or their middle where they have crossed."""
    return chance.between(low, high) if low < high else (low + high) / 2


# -- one object, or none


def _empty_layout(plan: Plan, chance: Sampler) -> _Layout:
    return _Layout([])


def _alone_layout(plan: Plan, chance: Sampler) -> _Layout:
    top, bottom = _free_height(plan)
    is_labelled = plan.lettering is not None and plan.lettering.position == "on"
    radius = 0.3 if is_labelled else _radius(plan.looks[0], chance, at_most=(bottom - top) / 2 - MARGIN)
    edge = radius + MARGIN
    sides = (0.45, 0.55) if is_labelled or chance.bernoulli(0.4) else (edge, 1 - edge)
    x = _between_or_middle(chance, *sides)
    y = _between_or_middle(chance, top + edge, bottom - edge)
    return _Layout([_Spot(x, y, radius, 0)])


def _portrait_layout(plan: Plan, chance: Sampler) -> _Layout:
    x, y = chance.between(0.45, 0.55), chance.between(0.45, 0.55)
    return _Layout([_Spot(x, y, chance.between(0.24, 0.32), 0)])


# -- two objects


def _beside_layout(plan: Plan, chance: Sampler) -> _Layout:
    top, bottom = _free_height(plan)
    spots = _side_by_side(plan.looks, chance, top, bottom)
    return _Layout(spots, (Relation(0, "left of", 1),))


def _stacked_layout(plan: Plan, chance: Sampler) -> _Layout:
    side_by_side = _side_by_side(plan.looks, chance, 0.0, 1.0)
    spots = [spot._replace(x=spot.y, y=spot.x) for spot in side_by_side]
    return _Layout(spots, (Relation(0, "above", 1),))


def _side_by_side(looks: tuple[Look, ...], chance: Sampler, top: float, bottom: float) -> list[_Spot]:
    """Return the places of two objects side by side, about level, clear of each other."""
    gap = 0.05
    a, b = (_radius(look, chance, at_most=0.22) for look in looks[:2])
    slack = 1 - 2 * MARGIN - 2 * a - 2 * b - gap
    before, between = sorted((chance.between(0.0, slack), chance.between(0.0, slack)))
    x = MARGIN + a + before
    away = a + gap + b + between - before
    edge = max(a, b) + MARGIN
    step = chance.between(-0.14, 0.14) * away
    middle = _between_or_middle(chance, top + edge + abs(step), bottom - edge - abs(step))
    return [_Spot(x, middle - step, a, 0), _Spot(x + away, middle + step, b, 1)]


def _in_front_layout(plan: Plan, chance: Sampler) -> _Layout:
    front, back = _radius(plan.looks[0], chance), chance.between(0.23, 0.27)
    x, y = chance.between(0.38, 0.62), chance.between(0.33, 0.5)
    aside = copysign(chance.between(0.4, 0.6) * back, chance.between(-1.0, 1.0))
    down = chance.between(0.2, 0.45) * back
    spots = [_Spot(x, y, back, 1), _Spot(x + aside, y + down, front, 0)]
    return _Layout(spots, (Relation(0, "in front of", 1),))


def _inside_layout(plan: Plan, chance: Sampler) -> _Layout:
    outer = chance.between(0.28, 0.36)
    low, high = outer + MARGIN, 1 - outer - MARGIN
    x, y = chance.between(low, high), chance.between(low, high)
    inner = _Spot(x + chance.between(-0.008, 0.008), y, chance.between(0.095, 0.115), 0)
    return _Layout([_Spot(x, y, outer, 1), inner], (Relation(0, "inside", 1),), may_tilt=False)


def _on_layout(plan: Plan, chance: Sampler) -> _Layout:
    upper, lower = (_radius(look, chance, at_most=0.22) for look in plan.looks[:2])
    x = chance.between(lower + 0.08, 0.92 - lower)
    bottom = chance.between(min(2 * (upper + lower) + MARGIN, 0.95), 0.97)
    base = _solid(_Spot(x, bottom - lower, lower, 1), plan.looks[1])
    top = _solid(_Spot(x + chance.between(-0.2, 0.2) * lower, 0.0, upper, 0), plan.looks[0])
    y = base.seat - top.box.bottom  # its foot is on the seat of the other
    spots = [_Spot(base.x, base.y, lower, 1), _Spot(top.x, y, upper, 0)]
    return _Layout(spots, (Relation(0, "on", 1),), may_tilt=False)


# -- several


def _group_layout(plan: Plan, chance: Sampler) -> _Layout:
    radius = _radius(plan.looks[0], chance)
    coordinates = (0.2, 0.5, 0.8) if plan.looks[0].size == "small" else (0.26, 0.74)
    cells = [(x, y) for x in coordinates for y in coordinates]
    cells = chance.some_of(cells, len(cells))  # all of them, so that the first ones stay where more are wanted
    return _Layout([_Spot(*_jitter(chance, x, y), radius, 0) for x, y in cells[: plan.number]])


def _group_and_one_layout(plan: Plan, chance: Sampler) -> _Layout:
    """Place a block of like objects at one side, and another object at the other."""
    radius, other = _radius(plan.looks[0], chance, at_most=0.1), _radius(plan.looks[1], chance, at_most=0.2)
    block = _BLOCKS[plan.number]
    middle = chance.between(0.46, 0.54)
    spots = [_Spot(*_jitter(chance, x, y + middle), radius, 0) for x, y in block]
    spots.append(_Spot(chance.between(0.73, 0.77), middle, other, 1))
    name = chance.one_of(("left of", "right of", "above", "below"))
    if name in ("right of", "below"):
        spots = [spot._replace(x=1 - spot.x) for spot in spots]
    if name in ("above", "below"):
        spots = [spot._replace(x=spot.y, y=spot.x) for spot in spots]
    return _Layout(spots, (Relation(0, name, 1),))


_BLOCKS = {
    2: ((0.2, -0.14), (0.2, 0.14)),
    3: ((0.15, -0.14), (0.15, 0.14), (0.38, 0.0)),
    4: ((0.13, -0.13), (0.13, 0.13), (0.38, -0.13), (0.38, 0.13)),
}


def _row_layout(plan: Plan, chance: Sampler) -> _Layout:
    y = chance.between(0.25, 0.75)
    columns = (0.18, 0.5, 0.82)
    spots = []
    for group, (column, look) in enumerate(zip(columns, plan.looks, strict=True)):
        spot_x, spot_y = column + chance.between(-0.02, 0.02), y + chance.between(-0.04, 0.04)
        spots.append(_Spot(spot_x, spot_y, _radius(look, chance), group))
    return _Layout(spots, (Relation(1, "right of", 0), Relation(1, "left of", 2)))


def _corner_layout(plan: Plan, chance: Sampler) -> _Layout:
    """Place the second next to the first, and the third above or below the first."""
    x, y = chance.one_of((0.26, 0.74)), chance.one_of((0.26, 0.74))
    cells = ((x, y), (1 - x, y), (x, 1 - y))
    spots = []
    for group, (cell, look) in enumerate(zip(cells, plan.looks, strict=True)):
        spot_x, spot_y = _jitter(chance, *cell)
        spots.append(_Spot(spot_x, spot_y, _radius(look, chance), group))
    across = "left of" if x < 0.5 else "right of"
    down = "above" if y < 0.5 else "below"
    return _Layout(spots, (Relation(0, across, 1), Relation(0, down, 2)))


def _jitter(chance: Sampler, x: float, y: float) -> tuple[float, float]:
    return x + chance.between(-0.02, 0.02), y + chance.between(-0.02, 0.02)


_LAYOUTS: dict[str, Callable[[Plan, Sampler], _Layout]] = {
    "word": _empty_layout,
    "alone": _alone_layout,
    "portrait": _portrait_layout,
    "left of": _beside_layout,
    "above": _stacked_layout,
    "in front of": _in_front_layout,
    "inside": _inside_layout,
    "on": _on_layout,
    "group": _group_layout,
    "group and one": _group_and_one_layout,
    "row": _row_layout,
    "corner": _corner_layout,
}

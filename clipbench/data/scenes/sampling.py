"""Scenes of a split, each determined by its index."""

from functools import cache

from clipbench.data.scenes.chance import Chance
from clipbench.data.scenes.colour_contrast import palette
from clipbench.data.scenes.layout import lay_out
from clipbench.data.scenes.plan import Look, Plan, sample_background, sample_plan, sample_texture
from clipbench.data.scenes.records import Scene
from clipbench.data.scenes.splits import belongs, check_split
from clipbench.data.scenes.vocabulary import COLOURS, KINDS, held_out


def scene(split: str, index: int, *, seed: int = 0) -> Scene:
    """Return scene ``index`` of a split, for any index, in any order and process.

    Raises:
        UsageError: there is no such split.
    """
    check_split(split)
    chance = Chance("scene", split, index, seed)
    while True:
        candidate = lay_out(sample_plan(chance))
        if belongs(candidate, split):
            return candidate


@cache
def looks(split: str) -> tuple[tuple[str, str], ...]:
    """Return the (colour, kind) pairs that a split's single objects may have."""
    check_split(split)
    wanted = split == "held-out"
    pairs = [(colour, kind) for kind in KINDS for colour in COLOURS]
    return tuple(pair for pair in pairs if (pair in held_out().looks) == wanted)


def portrait(split: str, index: int, *, seed: int = 0) -> Scene:
    """Return a scene with one large object near the middle and no word.

    The index cycles through kinds and colours, so a multiple of ``len(looks(split))`` scenes has each equally often.

    Raises:
        UsageError: there is no such split.
    """
    colour, kind = looks(split)[index % len(looks(split))]
    chance = Chance("portrait", split, index, seed)
    background = sample_background(chance)
    while colour not in palette(background.colour):
        background = sample_background(chance)
    look = Look(kind, colour, sample_texture(chance, kind, "large"), "large")
    return lay_out(Plan("portrait", background, (look,), key=chance.below(10**9)))

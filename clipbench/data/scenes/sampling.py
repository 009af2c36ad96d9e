"""The splits, their scenes, and captioned scenes to train on without a single file: each follows from its index."""

from functools import cache, lru_cache
from itertools import permutations

from clipbench.data.scenes.captions import STYLE_SHARES, CaptionedScene, caption
from clipbench.data.scenes.facts import relation_holds
from clipbench.data.scenes.layout import Look, Plan, lay_out, sample_background, sample_plan, sample_texture
from clipbench.data.scenes.world import BASE_RELATIONS, COLOURS, KINDS, Scene, held_out, palette
from clipbench.seeding import Sampler

SPLITS = ("train", "test", "held-out")
"""Held-out scenes have a combination of attributes that scenes of the other two never have."""

N_KEPT = 2048
"""Scenes that are kept: data sets of several tasks show the same ones."""


def novelties(scene: Scene) -> list[tuple[str, ...]]:
    """Return the held-out combinations in a scene, which train and test scenes do not have.

    A relation occurs where it clearly holds for two solids, whether or not a caption states it.
    """
    combinations = held_out()
    novel: list[tuple[str, ...]] = []
    for solid in scene.solids:
        look = (solid.colour, solid.kind)
        if look in combinations.looks:
            novel.append(look)
    for (i, first), (j, second) in permutations(enumerate(scene.solids), 2):
        for relation in BASE_RELATIONS:
            order = (first.kind, relation, second.kind)
            if order in combinations.orders and relation_holds(first, relation, second, is_nearer=i > j):
                novel.append(order)
    if scene.writing is not None and scene.writing.word in combinations.words:
        novel.append((scene.writing.word,))
    return novel


def belongs_to_split(scene: Scene, split: str) -> bool:
    """Return whether a scene belongs to a split. Only held-out scenes have a novel combination."""
    return bool(novelties(scene)) == (split == "held-out")


@lru_cache(maxsize=N_KEPT)
def scene(split: str, index: int, *, seed: int = 0) -> Scene:
    """Return scene ``index`` of a split, for any index, in any order and process."""
    assert split in SPLITS, split
    chance = Sampler("scene", split, index, seed)
    while True:
        candidate = lay_out(sample_plan(chance))
        if belongs_to_split(candidate, split):
            return candidate


@cache
def looks(split: str) -> tuple[tuple[str, str], ...]:
    """Return the (colour, kind) pairs that a split's single objects may have."""
    assert split in SPLITS, split
    is_held_out = split == "held-out"
    pairs = [(colour, kind) for kind in KINDS for colour in COLOURS]
    return tuple(pair for pair in pairs if (pair in held_out().looks) == is_held_out)


@lru_cache(maxsize=N_KEPT)
def portrait(split: str, index: int) -> Scene:
    """Return a scene with one large object near the middle and no word.

    The index cycles through kinds and colours, so a multiple of ``len(looks(split))`` scenes has each equally often.
    """
    colour, kind = looks(split)[index % len(looks(split))]
    chance = Sampler("portrait", split, index, 0)
    background = sample_background(chance)
    while colour not in palette(background.colour):
        background = sample_background(chance)
    look = Look(kind, colour, sample_texture(chance, kind, "large"), "large")
    return lay_out(Plan("portrait", background, (look,), key=chance.below(10**9)))


def training_pair(index: int) -> CaptionedScene:
    """Return pair ``index`` of the train split, for any index, in any order and process."""
    sampled_scene = scene("train", index)
    chance = Sampler("training caption", index, 0)
    return CaptionedScene(sampled_scene, caption(sampled_scene, chance.weighted(STYLE_SHARES), chance))


def primer_pair(index: int) -> CaptionedScene:
    """Return pair ``index`` of the primer: one large object of the train split, named in a few words.

    Colours, backgrounds and counts distinguish most images of a batch, so a model that starts with whole scenes takes
    long to learn kinds. In the primer, there is little else to learn.
    """
    sampled_scene = portrait("train", index)
    chance = Sampler("primer caption", index, 0)
    style = "name" if chance.bernoulli(0.2) else "short"
    return CaptionedScene(sampled_scene, caption(sampled_scene, style, chance))

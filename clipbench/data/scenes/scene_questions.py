"""Questions about scenes: twins that differ only in how their parts are combined, and words in images.

Each item of composition has two images and two captions. Each caption is true of its own image and false of the other.
With one image it is an item like SugarCrepe's, with both images an item like Winoground's. Items with words test
whether a model reads them, and whether a written name overrules the object.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from clipbench.data.dataset import Dataset
from clipbench.data.questions import Attack, Contrast
from clipbench.data.scenes.captions import (
    TEMPLATES,
    CaptionedScene,
    Mention,
    Phrase,
    indefinite,
    join_phrases,
    mention,
    related,
)
from clipbench.data.scenes.drawing import SceneImage
from clipbench.data.scenes.layout import Plan, lay_out, sample_plan
from clipbench.data.scenes.sampling import belongs_to_split, portrait
from clipbench.data.scenes.world import KINDS, OPPOSITES, SUPPORTS, WORDS, Scene, Writing, held_out
from clipbench.seeding import Sampler

Twins = tuple[CaptionedScene, CaptionedScene]
"""Each caption is true of its own scene, and false of the other."""


def composition_item(subset: str, index: int, *, split: str = "test") -> Twins:
    """Return item ``index`` of a subset, for any index."""
    chance = Sampler("composition", subset, split, index, 0)
    draw_twins = _SUBSETS[subset].draw
    while True:
        first, second = draw_twins(chance)
        if belongs_to_split(first.scene, split) and belongs_to_split(second.scene, split):
            break
    return (second, first) if chance.bernoulli(0.5) else (first, second)


class _ImageList:
    """Images of a data set, in the order in which they are added."""

    def __init__(self, split: str) -> None:
        self._split = split
        self.images: list[SceneImage] = []

    def add(self, scene: Scene, name: str) -> int:
        """Add a scene, and return the row of its image."""
        self.images.append(SceneImage(scene, f"scenes/{self._split}/{name}"))
        return len(self.images) - 1

    @property
    def ids(self) -> list[str]:
        return [image.name.removeprefix("scenes/") for image in self.images]


def composition_dataset(split: str, n: int) -> Dataset:
    """Return n items, in equal numbers of each subset: attribute swap, object swap, relation and count."""
    images = _ImageList(split)
    contrasts = []
    for position, subset in enumerate(SUBSETS):
        n_items = len(range(position, n, len(SUBSETS)))  # the subsets take the items in turn
        for index in range(n_items):
            id = f"{subset}/{index}"
            first, second = composition_item(subset, index, split=split)
            contrasts.append(
                Contrast(
                    id=id,
                    subset=subset,
                    images=(images.add(first.scene, id), images.add(second.scene, f"{id}/twin")),
                    captions=(first.caption.text, second.caption.text),
                    is_true=((True, False), (False, True)),
                )
            )
    return Dataset(
        id="scenes",
        split=split,
        images=images.images,
        image_ids=images.ids,
        contrasts=contrasts,
        subsets={name: subset.title for name, subset in _SUBSETS.items()},
    )


def _swapped_attributes(chance: Sampler) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of", "inside", "on"))
    scenes = lay_out(plan), lay_out(plan.with_colours_exchanged())
    is_listed = chance.bernoulli(0.5)

    def pair_phrase(first: Mention, second: Mention) -> Phrase:
        if is_listed:
            return join_phrases([indefinite(first), Phrase("and"), indefinite(second)])
        return related(first, plan.arrangement, second)

    return _captioned(scenes, pair_phrase)


def _swapped_objects(chance: Sampler) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of", "on"))
    while plan.arrangement == "on" and plan.looks[0].kind not in SUPPORTS:
        plan = _two_objects(chance, ("on",))
    scenes = lay_out(plan), lay_out(plan.with_objects_exchanged())
    is_inverse = plan.arrangement in OPPOSITES and chance.bernoulli(0.5)

    def pair_phrase(first: Mention, second: Mention) -> Phrase:
        if is_inverse:
            return related(second, OPPOSITES[plan.arrangement], first)
        return related(first, plan.arrangement, second)

    return _captioned(scenes, pair_phrase)


def _captioned(scenes: tuple[Scene, Scene], pair_phrase: Callable[[Mention, Mention], Phrase]) -> Twins:
    scene, twin = scenes
    return CaptionedScene(scene, pair_phrase(*_mentions(scene))), CaptionedScene(twin, pair_phrase(*_mentions(twin)))


def _mentions(scene: Scene) -> tuple[Mention, Mention]:
    first, second = scene.groups()
    return mention(first), mention(second)


def _opposed_relations(chance: Sampler) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of"))
    scene, twin = lay_out(plan), lay_out(plan.with_objects_exchanged())
    first, second = _mentions(scene)
    phrase = related(first, plan.arrangement, second)
    opposite = related(first, OPPOSITES[plan.arrangement], second)
    return CaptionedScene(scene, phrase), CaptionedScene(twin, opposite)


def _counts(chance: Sampler) -> Twins:
    plan = sample_plan(chance, arrangement="group")
    number = chance.one_of((2, 3))  # and one more: two to four, as in the captions of training
    scenes = [lay_out(replace(plan, number=count)) for count in (number, number + 1)]
    fewer, one_more = (CaptionedScene(scene, indefinite(mention(scene.solids))) for scene in scenes)
    return fewer, one_more


class _Subset(NamedTuple):
    title: str
    draw: Callable[[Sampler], Twins]


_SUBSETS: Mapping[str, _Subset] = {
    "swap_att": _Subset("Colours swapped", _swapped_attributes),
    "swap_obj": _Subset("Objects swapped", _swapped_objects),
    "relation": _Subset("Opposite relation", _opposed_relations),
    "count": _Subset("One more or one fewer", _counts),
}
SUBSETS = tuple(_SUBSETS)


def _two_objects(chance: Sampler, arrangements: tuple[str, ...]) -> Plan:
    """Return a plan of two objects that differ in kind and in colour, so that every exchange changes the image."""
    while True:
        plan = sample_plan(chance, arrangement=chance.one_of(arrangements), has_word=False)
        first, second = plan.looks
        if first.kind != second.kind and first.colour != second.colour:
            return plan


# -- words in images

N_CANDIDATES = 10
"""Words that a written one is to be found among."""
ONE_IN = 4
"""Step between the attacked objects that are also attacked in each of the other ways."""

SWEEPS: Mapping[str, tuple[float, ...]] = {
    "height": (0.03, 0.045, 0.06, 0.08, 0.11, 0.15, 0.2),
    "contrast": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    "offset": (-0.4, -0.2, 0.0, 0.2, 0.4),
}
"""Values of each property of an overlay that is varied, one property at a time. Each list holds the usual value."""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Style of an overlay, which the response curves of an attack vary."""

    height: float = 0.11
    """Height of a capital letter, in widths of the image."""
    contrast: float = 1.0
    """Strength of the ink: 0 has the colour of the paper, 1 is full ink."""
    offset: float = 0.0
    """Distance of the overlay below the middle of the image, in its widths. 0.4 is clear of most objects."""

    def writing(self, word: str) -> Writing:
        """Return the overlay with a word on it, in widths of the image."""
        y = 0.5 + self.offset
        return Writing(word, 0.5, y, self.height, OVERLAY_FONT, "lower", "black", "white", self.contrast)


OVERLAY_FONT = "sans-bold"
PLAIN_OVERLAY = Overlay()


def typographic_item(
    index: int, *, split: str = "test", overlay: Overlay = PLAIN_OVERLAY
) -> tuple[str, dict[str, Scene]]:
    """Return an attacking word and an object in four scenes: without an overlay, with a blank one, its own name, the
    word.

    The object of item ``index`` cycles through the kinds. The blank overlay is as large as the attacking one: an effect
    that remains with it is not reading.
    """
    scene = portrait(split, index)
    kind = scene.solids[0].kind
    word = Sampler("attack", split, index, 0).one_of([other for other in KINDS if other != kind])
    attacked = replace(scene, writing=overlay.writing(word))
    benign = replace(scene, writing=overlay.writing(kind))
    return word, {"clean": scene, "blank": attacked.with_blank_sign(), "benign": benign, "attacked": attacked}


def reading_item(index: int, *, split: str = "test") -> tuple[Scene, list[str], int]:
    """Return a scene with a written word, candidates for the word, and which of them it is.

    The image has only the word, or also an object that the word does not name. Candidates are distinct, in random
    order. In the held-out split, all are words that never occur in training. In other splits, none is.
    """
    words = [word for word in WORDS if (word in held_out().words) == (split == "held-out")]
    chance = Sampler("reading", split, index, 0)
    scene, word = _legible_scene(chance, split)
    distractors = chance.some_of([other for other in words if other != word], N_CANDIDATES - 1)
    candidates = chance.some_of([word, *distractors], N_CANDIDATES)
    return scene, candidates, candidates.index(word)


def _legible_scene(chance: Sampler, split: str) -> tuple[Scene, str]:
    """Return a scene with a word that belongs to the split and names no object of the scene."""
    while True:
        plan = sample_plan(chance, arrangement=chance.one_of(("word", "alone")), has_word=True)
        assert plan.lettering is not None, "a word was requested"
        word, scene = plan.lettering.word, lay_out(plan)
        if word in [look.kind for look in plan.looks] or not belongs_to_split(scene, split):
            continue
        if (word in held_out().words) == (split == "held-out"):
            return scene, word


def overlay_conditions() -> dict[str, Overlay]:
    """Return the overlays of the response curves by the name of their condition."""
    conditions = {}
    for name, values in SWEEPS.items():
        for value in values:
            conditions[f"{name}={value:g}"] = Overlay(**{name: value})
    return conditions


def varied_attacks(plain: Sequence[Attack], draw: Callable[[int, Overlay, str], int], mark: str) -> list[Attack]:
    """Return one in four attacks with overlays of other heights, contrasts and places.

    Args:
        draw: draws the attack of a number with another overlay, named after the condition, and returns the image's row.
        mark: text between the id of an attack and the condition.
    """
    varied = []
    for condition, overlay in overlay_conditions().items():
        for number in range(0, len(plain), ONE_IN):
            attack = plain[number]
            row = attack.attacked if overlay == PLAIN_OVERLAY else draw(number, overlay, condition)
            varied.append(attack._replace(id=f"{attack.id}{mark}{condition}", attacked=row, condition=condition))
    return varied


def text_in_image_dataset(split: str, n: int) -> Dataset:
    """Return ``n`` words to read and ``n`` objects to attack, one in four of them in 18 ways, as a data set."""
    images = _ImageList(split)

    def draw(index: int, overlay: Overlay, condition: str) -> int:
        _, scenes = typographic_item(index, split=split, overlay=overlay)
        return images.add(scenes["attacked"], f"label/{index}/{condition}")

    contrasts = [_reading_contrast(split, index, images) for index in range(n)]
    plain = [_plain_attack(split, index, images) for index in range(n)]
    attacks = [*plain, *varied_attacks(plain, draw, "/")]
    return Dataset(
        id="scenes",
        split=split,
        contrasts=contrasts,
        attacks=attacks,
        images=images.images,
        image_ids=images.ids,
        class_names=tuple(KINDS),
        templates=TEMPLATES,
        subsets={"word_alone": "Word alone", "with_object": "With an object"},
    )


def _reading_contrast(split: str, index: int, images: _ImageList) -> Contrast:
    scene, candidates, answer = reading_item(index, split=split)
    truth = tuple(number == answer for number in range(len(candidates)))
    return Contrast(
        id=f"{split}/word/{index}",
        subset="with_object" if scene.solids else "word_alone",
        images=(images.add(scene, f"word/{index}"),),
        captions=tuple(f'the word "{word}"' for word in candidates),
        is_true=(truth,),
    )


def _plain_attack(split: str, index: int, images: _ImageList) -> Attack:
    word, scenes = typographic_item(index, split=split)
    kinds = list(KINDS)
    rows = {name: images.add(scene, f"label/{index}/{name}") for name, scene in scenes.items()}
    id = f"{split}/label/{index}"
    return Attack(
        id=id,
        label=kinds.index(scenes["clean"].solids[0].kind),
        word=kinds.index(word),
        attacked=rows["attacked"],
        clean=rows["clean"],
        blank=rows["blank"],
        benign=rows["benign"],
        object=id,
    )

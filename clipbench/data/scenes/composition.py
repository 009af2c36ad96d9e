"""Pairs of scenes and captions that differ only in how their parts are combined.

Each item has two images and two captions; each caption is true of its own image and false of the other. With one
image it is an item in the manner of SugarCrepe, with both in that of Winoground.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.captions import related
from clipbench.data.scenes.image import SceneImage, world_note
from clipbench.data.scenes.phrases import CaptionedScene, Mention, Phrase, indefinite, joined, mention
from clipbench.data.scenes.sampling import belongs, check_split
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.layout import lay_out
from clipbench.data.scenes.world.plan import Plan, sample_plan
from clipbench.data.scenes.world.records import SCENES_VERSION, Scene
from clipbench.data.scenes.world.vocabulary import OPPOSITES, SUPPORTS
from clipbench.errors import UsageError, did_you_mean

N_ITEMS = 1_000
"""Items of the composition set: 250 of each subset."""
TITLES = {
    "swap_att": "Colours swapped",
    "swap_obj": "Objects swapped",
    "relation": "Opposite relation",
    "count": "One more or one fewer",
}
OWN = ((True, False), (False, True))
"""Each caption is true of its own image."""


class CompositionItem(NamedTuple):
    """Two images with a caption each, true of the one and false of the other."""

    subset: str
    image: SceneImage
    caption: Phrase
    twin: SceneImage
    twin_caption: Phrase
    """The false caption of ``image``."""


def composition_item(
    subset: str, index: int, *, split: str = "test", size: int | None = None, seed: int = 0
) -> CompositionItem:
    """Return item ``index`` of a subset, for any index.

    Args:
        subset: "swap_att" (the two objects' colours exchanged; the same words), "swap_obj" (the two objects
            exchanged; the same words), "relation" (turned into its opposite), "count" (one more or one fewer).
        index: from 0.
        split: split of both images.
        size: pixels of the images; by default the size of the model's input.
        seed: seed of the world.

    Raises:
        UsageError: there is no such subset or split, or no image of that size.
    """
    if subset not in _MAKERS:
        raise UsageError(f"composition of scenes has no subset '{subset}': {did_you_mean(subset, _MAKERS)}")
    check_split(split)
    chance = Chance("composition", subset, split, index, seed)
    while True:
        first, second = _MAKERS[subset](chance)
        if belongs(first.scene, split) and belongs(second.scene, split):
            break
    if chance.happens(0.5):
        first, second = second, first
    name = f"scenes/{split}/{subset}/{index}"
    image, twin = SceneImage(first.scene, size, name), SceneImage(second.scene, size, f"{name}/twin")
    return CompositionItem(subset, image, first.caption, twin, second.caption)


def _swapped_attributes(chance: Chance) -> tuple[CaptionedScene, CaptionedScene]:
    plan = _two_objects(chance, ("left of", "above", "in front of", "inside", "on"))
    scenes = lay_out(plan), lay_out(plan.with_colours_exchanged())
    is_listed = chance.happens(0.5)
    halves = []
    for scene in scenes:
        first, second = _mentions(scene)
        listed = joined([indefinite(first), Phrase("and"), indefinite(second)])
        halves.append(CaptionedScene(scene, listed if is_listed else related(first, plan.arrangement, second)))
    return halves[0], halves[1]


def _swapped_objects(chance: Chance) -> tuple[CaptionedScene, CaptionedScene]:
    plan = _two_objects(chance, ("left of", "above", "in front of", "on"))
    while plan.arrangement == "on" and plan.looks[0].kind not in SUPPORTS:
        plan = _two_objects(chance, ("on",))
    scenes = lay_out(plan), lay_out(plan.with_objects_exchanged())
    is_inverse = plan.arrangement in OPPOSITES and chance.happens(0.5)
    halves = []
    for scene in scenes:
        first, second = _mentions(scene)
        if is_inverse:
            stated = related(second, OPPOSITES[plan.arrangement], first)
        else:
            stated = related(first, plan.arrangement, second)
        halves.append(CaptionedScene(scene, stated))
    return halves[0], halves[1]


def _opposed_relations(chance: Chance) -> tuple[CaptionedScene, CaptionedScene]:
    plan = _two_objects(chance, ("left of", "above", "in front of"))
    scene, twin = lay_out(plan), lay_out(plan.with_objects_exchanged())
    first, second = _mentions(scene)
    stated, opposite = (related(first, name, second) for name in (plan.arrangement, OPPOSITES[plan.arrangement]))
    return CaptionedScene(scene, stated), CaptionedScene(twin, opposite)


def _counts(chance: Chance) -> tuple[CaptionedScene, CaptionedScene]:
    plan = sample_plan(chance, arrangement="group")
    number = chance.one_of((2, 3))  # and one more: two to four, as in the captions of training
    scenes = [lay_out(plan.with_number(number)), lay_out(plan.with_number(number + 1))]
    fewer, more = (CaptionedScene(scene, indefinite(mention(scene.solids))) for scene in scenes)
    return fewer, more


_MAKERS: Mapping[str, Callable[[Chance], tuple[CaptionedScene, CaptionedScene]]] = {
    "swap_att": _swapped_attributes,
    "swap_obj": _swapped_objects,
    "relation": _opposed_relations,
    "count": _counts,
}

SUBSETS = tuple(_MAKERS)


def _two_objects(chance: Chance, arrangements: tuple[str, ...]) -> Plan:
    """Return a plan of two objects that differ in kind and in colour, so that every exchange changes the image."""
    while True:
        plan = sample_plan(chance, arrangement=chance.one_of(arrangements), has_word=False)
        first, second = plan.looks
        if first.kind != second.kind and first.colour != second.colour:
            return plan


def _mentions(scene: Scene) -> tuple[Mention, Mention]:
    first, second = scene.groups()
    return mention(first), mention(second)


def composition_dataset(split: str, n: int, *, size: int | None = None, seed: int = 0) -> Dataset:
    """Return n items, in equal numbers of each subset: attribute swap, object swap, relation and count.

    Example:
        >>> found = composition_dataset("test", 5)
        >>> [contrast.id for contrast in found.contrasts]
        ['swap_att/0', 'swap_att/1', 'swap_obj/0', 'relation/0', 'count/0']
        >>> found.contrasts[0].captions[0] != found.contrasts[0].captions[1], found.contrasts[0].images
        (True, (0, 1))
    """
    places = [(subset, index) for subset in SUBSETS for index in range(-(-n // len(SUBSETS)))]
    kept = sorted(sorted(places, key=lambda place: place[1])[:n], key=lambda place: SUBSETS.index(place[0]))
    items = [composition_item(subset, index, split=split, size=size, seed=seed) for subset, index in kept]
    return check(
        Dataset(
            id="scenes",
            revision=str(SCENES_VERSION),
            split=split,
            images=[image for item in items for image in (item.image, item.twin)],
            image_ids=[f"{split}/{subset}/{index}{end}" for subset, index in kept for end in ("", "/twin")],
            contrasts=[
                Contrast(
                    id=f"{subset}/{index}",
                    subset=subset,
                    images=(2 * row, 2 * row + 1),
                    captions=(item.caption.text, item.twin_caption.text),
                    is_true=OWN,
                )
                for row, ((subset, index), item) in enumerate(zip(kept, items, strict=True))
            ],
            subsets=TITLES,
            notes=(world_note(size, seed),),
        )
    )

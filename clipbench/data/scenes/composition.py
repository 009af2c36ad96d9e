"""Pairs of scenes and captions that differ only in how their parts are combined.

Each item has two images and two captions; each caption is true of its own image and false of the other. With one
image it is an item in the manner of SugarCrepe, with both in that of Winoground.
"""

from collections.abc import Callable, Mapping

from clipbench.data.dataset import Dataset
from clipbench.data.questions import Contrast
from clipbench.data.scenes.captions import CaptionedScene, Mention, Phrase, indefinite, joined, mention, related
from clipbench.data.scenes.drawing import SceneImage
from clipbench.data.scenes.layout import Plan, lay_out, sample_plan
from clipbench.data.scenes.sampling import belongs
from clipbench.data.scenes.world import OPPOSITES, SUPPORTS, Scene
from clipbench.seeding import Chance

TITLES = {
    "swap_att": "Colours swapped",
    "swap_obj": "Objects swapped",
    "relation": "Opposite relation",
    "count": "One more or one fewer",
}

Twins = tuple[CaptionedScene, CaptionedScene]
"""Each caption is true of its own scene, and false of the other."""


def composition_item(subset: str, index: int, *, split: str = "test") -> Twins:
    """Return item ``index`` of a subset, for any index."""
    chance = Chance("composition", subset, split, index, 0)
    while True:
        first, second = _MAKERS[subset](chance)
        if belongs(first.scene, split) and belongs(second.scene, split):
            break
    return (second, first) if chance.happens(0.5) else (first, second)


def composition_dataset(split: str, n: int) -> Dataset:
    """Return n items, in equal numbers of each subset: attribute swap, object swap, relation and count."""
    places = [(subset, index) for subset in SUBSETS for index in range(-(-n // len(SUBSETS)))]
    kept = sorted(sorted(places, key=lambda place: place[1])[:n], key=lambda place: SUBSETS.index(place[0]))
    ids = [f"{split}/{subset}/{index}{end}" for subset, index in kept for end in ("", "/twin")]
    twins = [composition_item(subset, index, split=split) for subset, index in kept]
    scenes = [each.scene for pair in twins for each in pair]
    return Dataset(
        id="scenes",
        split=split,
        images=[SceneImage(scene, f"scenes/{id}") for scene, id in zip(scenes, ids, strict=True)],
        image_ids=ids,
        contrasts=[
            Contrast(
                id=f"{subset}/{index}",
                subset=subset,
                images=(2 * row, 2 * row + 1),
                captions=(first.caption.text, second.caption.text),
                is_true=((True, False), (False, True)),
            )
            for row, ((subset, index), (first, second)) in enumerate(zip(kept, twins, strict=True))
        ],
        subsets=TITLES,
    )


def _swapped_attributes(chance: Chance) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of", "inside", "on"))
    scenes = lay_out(plan), lay_out(plan.with_colours_exchanged())
    is_listed = chance.happens(0.5)

    def stated(first: Mention, second: Mention) -> Phrase:
        if is_listed:
            return joined([indefinite(first), Phrase("and"), indefinite(second)])
        return related(first, plan.arrangement, second)

    return _captioned(scenes, stated)


def _swapped_objects(chance: Chance) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of", "on"))
    while plan.arrangement == "on" and plan.looks[0].kind not in SUPPORTS:
        plan = _two_objects(chance, ("on",))
    scenes = lay_out(plan), lay_out(plan.with_objects_exchanged())
    is_inverse = plan.arrangement in OPPOSITES and chance.happens(0.5)

    def stated(first: Mention, second: Mention) -> Phrase:
        if is_inverse:
            return related(second, OPPOSITES[plan.arrangement], first)
        return related(first, plan.arrangement, second)

    return _captioned(scenes, stated)


def _captioned(scenes: tuple[Scene, Scene], stated: Callable[[Mention, Mention], Phrase]) -> Twins:
    first, second = (CaptionedScene(scene, stated(*map(mention, scene.groups()))) for scene in scenes)
    return first, second


def _opposed_relations(chance: Chance) -> Twins:
    plan = _two_objects(chance, ("left of", "above", "in front of"))
    scene, twin = lay_out(plan), lay_out(plan.with_objects_exchanged())
    first, second = map(mention, scene.groups())
    stated, opposite = (related(first, name, second) for name in (plan.arrangement, OPPOSITES[plan.arrangement]))
    return CaptionedScene(scene, stated), CaptionedScene(twin, opposite)


def _counts(chance: Chance) -> Twins:
    plan = sample_plan(chance, arrangement="group")
    number = chance.one_of((2, 3))  # and one more: two to four, as in the captions of training
    scenes = [lay_out(plan.with_number(number)), lay_out(plan.with_number(number + 1))]
    fewer, more = (CaptionedScene(scene, indefinite(mention(scene.solids))) for scene in scenes)
    return fewer, more


_MAKERS: Mapping[str, Callable[[Chance], Twins]] = {
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

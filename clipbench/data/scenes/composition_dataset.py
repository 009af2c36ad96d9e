"""The composition items as a data set: two images and two captions each, in four subsets."""

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.composition import SUBSETS, composition_item
from clipbench.data.scenes.image import world_note
from clipbench.data.scenes.records import SCENES_VERSION

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

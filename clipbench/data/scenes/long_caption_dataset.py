"""The long-caption set of the scenes: images with a paragraph each, and others whose paragraphs test the place of a fact."""

from collections import defaultdict

import numpy as np

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.image import world_note
from clipbench.data.scenes.long_captions import LongCaptionItem, PositionItem, long_caption_item, position_items
from clipbench.data.scenes.phrases import may_be_confused
from clipbench.data.scenes.records import SCENES_VERSION, Background

N_CAPTIONS = 500
"""Images with a paragraph; the position probe has half as many others."""


def long_caption_dataset(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    """Return ``n`` images with a caption of about 90 words that is true of no other, and n / 2 for the position probe.

    The images of the probe come last. They have no caption, but a contrast for each place: a true and a false paragraph
    that differ in one statement.
    """
    items, n_passed = _distinct_items(split, n, size=size, seed=seed)
    probes = [position_items(index, split=split, size=size, seed=seed) for index in range(n // 2)]
    ids = [f"{split}/{number}" for number in items]
    return check(
        Dataset(
            id="scenes",
            revision=str(SCENES_VERSION),
            split=split,
            images=[*(item.image for item in items.values()), *(places[0].image for places in probes)],
            image_ids=[*ids, *(f"{split}/position/{index}" for index in range(len(probes)))],
            captions=[item.caption.text for item in items.values()],
            caption_image=np.arange(n, dtype=np.int64),
            caption_ids=ids,
            contrasts=[
                _contrast(item, n + row, f"{split}/{row}") for row, places in enumerate(probes) for item in places
            ],
            notes=(
                world_note(size, seed),
                f"{n_passed} scenes were passed over because one caption would have fitted two images",
            ),
        )
    )


def _distinct_items(split: str, n: int, *, size: int | None, seed: int) -> tuple[dict[int, LongCaptionItem], int]:
    """Return the first n items whose captions tell their images apart, by number, and the number passed over.

    Every paragraph names the background, so only images with the same one can be confused.
    """
    items: dict[int, LongCaptionItem] = {}
    alike: dict[Background, list[LongCaptionItem]] = defaultdict(list)
    index = 0
    while len(items) < n:
        item = long_caption_item(index, split=split, size=size, seed=seed)
        behind = item.image.scene.background
        rivals = alike[Background(behind.colour, behind.texture, 0.0)]
        said = (item.image.scene, item.caption)
        if not any(may_be_confused(said, (rival.image.scene, rival.caption)) for rival in rivals):
            rivals.append(item)
            items[index] = item
        index += 1
    return items, index - n


def _contrast(item: PositionItem, row: int, name: str) -> Contrast:
    captions = (item.caption.text, item.false_caption.text)
    return Contrast(f"{name}/{item.place}", item.place, (row,), captions, ((True, False),))

"""The generated world as data sets of the tasks: images with labels, and images with captions."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from clipbench.data.dataset import Dataset, LabelSet, check
from clipbench.data.scenes.captions import TEMPLATES, caption
from clipbench.data.scenes.composition import N_ITEMS, composition_dataset
from clipbench.data.scenes.image import SceneImage, check_size, world_note
from clipbench.data.scenes.long_captions import N_CAPTIONS, long_caption_dataset
from clipbench.data.scenes.phrases import CaptionedScene, distinct_scenes
from clipbench.data.scenes.sampling import check_split, looks, portrait, scene
from clipbench.data.scenes.typography import N_WORDS, text_in_image_dataset
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.records import SCENES_VERSION
from clipbench.data.scenes.world.vocabulary import KINDS
from clipbench.errors import UsageError, did_you_mean

N_PORTRAITS = 1_800
"""Images of the zero-shot set: 20 of each colour and kind of the test split."""
N_PAIRS = 1_000
"""Images of the retrieval set, with a caption each."""


def scenes_dataset(
    task: str, *, split: str = "test", n: int | None = None, size: int | None = None, seed: int = 0
) -> Dataset:
    """Return the data set of a task.

    "zero-shot" has one large object an image, labelled by kind (``portrait_labels`` has the labels by colour and
    kind); "few-shot" has the same images, labelled by kind alone. "retrieval", "operating-points", "compression" and "modality-gap"
    have the same images, with one caption each that is true of no other; for "modality-gap" and "mixed-retrieval" the
    same is said once more in other words, so that there are texts that match texts.

    Args:
        task: one of TASKS.
        split: "train", "test" or "held-out".
        n: number of images; by default 1,800 for zero-shot and 1,000 pairs.
        size: pixels of the images, 64 to 512; by default the size of each model's input.
        seed: seed of the world; the bundled model was trained with 0.

    Raises:
        UsageError: an unknown task or split, or a size or number out of range.
    """
    if task not in TASKS:
        raise UsageError(f"scenes have no data for the task '{task}': {did_you_mean(task, TASKS)}")
    check_split(split)
    if size is not None:
        check_size(size)
    build, usual = TASKS[task]
    n = usual if n is None else n
    if n < 1:
        raise UsageError(f"scenes need at least 1 image, got n = {n}")
    return build(split, n, size=size, seed=seed)


def portrait_labels(split: str, n: int) -> Mapping[str, LabelSet]:
    """Return the label sets of the zero-shot images, "kind" and "colour_kind"; classes without an image are left out.

    Example:
        >>> sets = portrait_labels("test", 1800)
        >>> {name: len(labels.class_names) for name, labels in sets.items()}
        {'kind': 10, 'colour_kind': 90}
        >>> sets["colour_kind"].class_names[:2]
        ('red sphere', 'yellow sphere')
    """
    check_split(split)
    shown = [looks(split)[index % len(looks(split))] for index in range(n)]
    kinds = [kind for _, kind in shown]
    return {
        "kind": _label_set(kinds, list(KINDS)),
        "colour_kind": _label_set([" ".join(look) for look in shown], [" ".join(look) for look in looks(split)]),
    }


def _label_set(names: list[str], order: list[str]) -> LabelSet:
    class_names = tuple(name for name in order if name in set(names))
    row = {name: number for number, name in enumerate(class_names)}
    return LabelSet(np.array([row[name] for name in names], np.int64), class_names)


def _portraits(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    ids = [f"{split}/portrait/{index}" for index in range(n)]
    label_sets = portrait_labels(split, n)
    kinds = label_sets["kind"]
    return check(
        Dataset(
            id="scenes",
            revision=str(SCENES_VERSION),
            split=split,
            images=[
                SceneImage(portrait(split, index, seed=seed), size, f"scenes/{image_id}")
                for index, image_id in enumerate(ids)
            ],
            image_ids=ids,
            labels=kinds.labels,
            class_names=kinds.class_names,
            label_sets=label_sets,
            subsets={"kind": "Kind of object", "colour_kind": "Colour and kind of object"},
            templates=TEMPLATES,
            notes=(world_note(size, seed),),
        )
    )


def _portraits_by_kind(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    """Return the images of the zero-shot set with the kind as their one label, of which there are images enough to learn from."""
    return replace(_portraits(split, n, size=size, seed=seed), label_sets=None, subsets={})


def _pairs(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    pairs, n_passed = distinct_pairs(split, n, seed=seed)
    ids = [f"{split}/{index}" for index in pairs]
    notes = (
        world_note(size, seed),
        f"{n_passed} scenes were passed over because one caption would have fitted two images",
    )
    return check(
        Dataset(
            id="scenes",
            revision=str(SCENES_VERSION),
            split=split,
            images=[
                SceneImage(pair.scene, size, f"scenes/{image_id}")
                for pair, image_id in zip(pairs.values(), ids, strict=True)
            ],
            image_ids=ids,
            captions=[pair.caption.text for pair in pairs.values()],
            caption_image=np.arange(n, dtype=np.int64),
            caption_ids=ids,
            notes=notes,
        )
    )


def _pairs_said_twice(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    """Return the pairs with a second caption each, which says the same in other words where there are any."""
    once = _pairs(split, n, size=size, seed=seed)
    assert once.captions is not None and once.caption_ids is not None
    pairs, _ = distinct_pairs(split, n, seed=seed)
    again = [caption(pair.scene, "complete", Chance("again", split, index, seed)).text for index, pair in pairs.items()]
    rows = np.arange(n, dtype=np.int64)
    twice = replace(
        once,
        captions=[*once.captions, *again],
        caption_image=np.concatenate([rows, rows]),
        caption_ids=[*once.caption_ids, *(f"{each}/again" for each in once.caption_ids)],
    )
    return check(twice)


@lru_cache(maxsize=4)
def distinct_pairs(split: str, n: int, *, seed: int = 0) -> tuple[Mapping[int, CaptionedScene], int]:
    """Return the first n scenes of a split whose captions tell them apart, and the number that were passed over."""

    def captioned(index: int) -> CaptionedScene:
        shown = scene(split, index, seed=seed)
        return CaptionedScene(shown, caption(shown, "complete", Chance("pair", split, index, seed)))

    return distinct_scenes(captioned, n)


TASKS: Mapping[str, tuple[Callable[..., Dataset], int]] = MappingProxyType(
    {
        "zero-shot": (_portraits, N_PORTRAITS),
        "few-shot": (_portraits_by_kind, N_PORTRAITS),
        "retrieval": (_pairs, N_PAIRS),
        "operating-points": (_pairs, N_PAIRS),
        "compression": (_pairs, N_PAIRS),
        "modality-gap": (_pairs_said_twice, N_PAIRS),
        "mixed-retrieval": (_pairs_said_twice, N_PAIRS),
        "composition": (composition_dataset, N_ITEMS),
        "text-in-image": (text_in_image_dataset, N_WORDS),
        "long-caption": (long_caption_dataset, N_CAPTIONS),
    }
)
"""Builder of each task's data, and its default number of images or items."""

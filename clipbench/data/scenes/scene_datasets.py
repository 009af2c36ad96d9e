"""The generated world as data sets of the tasks: images with labels, with captions, and with paragraphs about one
fact.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np

from clipbench.data.dataset import Dataset, check
from clipbench.data.labels import LabelSet
from clipbench.data.questions import Contrast
from clipbench.data.scenes.captions import (
    ASIDES,
    TEMPLATES,
    CaptionedScene,
    Mention,
    Phrase,
    caption,
    count_words,
    distinct_scenes,
    indefinite,
    join_phrases,
    mention,
    paragraph,
)
from clipbench.data.scenes.drawing import LARGEST, SMALLEST, SceneImage
from clipbench.data.scenes.facts import ObjectDescription
from clipbench.data.scenes.sampling import SPLITS, looks, portrait, scene
from clipbench.data.scenes.scene_questions import composition_dataset, text_in_image_dataset
from clipbench.data.scenes.world import KINDS, SCENES_VERSION, Scene
from clipbench.errors import UsageError, did_you_mean
from clipbench.seeding import Sampler

POSITIONS: Mapping[str, int] = MappingProxyType({"early": 0, "middle": 25, "late": 45, "beyond": 100})
"""Words before the deciding sentence. At about one token per word or full stop, ``beyond`` is past 77 tokens."""


def long_caption_item(index: int, *, split: str = "test") -> CaptionedScene:
    """Return scene ``index`` of the split with a caption of at least about 90 words."""
    sampled_scene = scene(split, index)
    chance = Sampler("long caption", split, index, 0)
    return CaptionedScene(sampled_scene, paragraph(sampled_scene, chance, n_words=90))


def position_items(index: int, *, split: str = "test") -> tuple[Scene, dict[str, tuple[Phrase, Phrase]]]:
    """Return a scene, and a true and a false paragraph for each of ``POSITIONS`` of the deciding sentence.

    The deciding sentence names the object. Its false version has another colour or another kind, or both in the
    held-out split. All others are asides that are true of any image.
    """
    chance = Sampler("position", split, index, 0)
    sampled_scene = portrait(split, index)
    true = mention(sampled_scene.solids)
    # A look of the same split with another colour or another kind; with both where the split has no other.
    kind, colour, *_ = true.description
    other_looks = [look for look in looks(split) if look != (colour, kind)]
    near = [look for look in other_looks if colour in look or kind in look]
    false_colour, false_kind = chance.one_of(near or other_looks)
    false = true._replace(description=ObjectDescription(false_kind, false_colour))
    asides = [Phrase(text) for text in chance.some_of(ASIDES, len(ASIDES))]
    true_sentence, false_sentence = _existence_sentence(true), _existence_sentence(false)
    paragraphs = {}
    for position, n_words in POSITIONS.items():
        n_before = next(n for n in range(len(asides) + 1) if count_words(asides[:n]) >= n_words)
        before, after = asides[:n_before], asides[n_before:]
        true_paragraph = join_phrases([*before, true_sentence, *after])
        false_paragraph = join_phrases([*before, false_sentence, *after])
        paragraphs[position] = (true_paragraph, false_paragraph)
    return sampled_scene, paragraphs


def _existence_sentence(mentioned: Mention) -> Phrase:
    phrase = indefinite(mentioned)
    return Phrase(f"There is {phrase.text}.", phrase.facts)


def long_caption_dataset(split: str, n: int) -> Dataset:
    """Return ``n`` images with a caption of about 90 words that is true of no other, and n / 2 for the position probe.

    The images of the probe come last. They have no caption, but a contrast for each place: a true and a false paragraph
    that differ in one statement.
    """
    scenes, note = distinct_scenes(partial(long_caption_item, split=split), n)
    captioned = _captioned(split, scenes, note)
    images, image_ids = list(captioned.images), list(captioned.image_ids)
    contrasts = []
    for index in range(n // 2):
        probe_scene, paragraphs = position_items(index, split=split)
        probe_id = f"{split}/position/{index}"
        for position, (true, false) in paragraphs.items():
            contrasts.append(
                Contrast(
                    id=f"{split}/{index}/{position}",
                    subset=position,
                    images=(len(images),),
                    captions=(true.text, false.text),
                    is_true=((True, False),),
                )
            )
        images.append(SceneImage(probe_scene, f"scenes/{probe_id}"))
        image_ids.append(probe_id)
    return replace(captioned, images=images, image_ids=image_ids, contrasts=contrasts)


def scenes_dataset(
    form: str, *, split: str = "test", n: int | None = None, size: int | None = None, seed: int = 0
) -> Dataset:
    """Return the data set of a form.

    "classes" has one large object an image, labelled by kind (``portrait_labels`` has the labels by colour and kind),
    and "training" has the same images, labelled only by kind. "pairs" has one caption per image, true of no other
    image. "paraphrases" has the same images, with each caption once more in other words, so that there are texts that
    match texts.

    Args:
        n: number of images or items, by default the number in FORMS.
        size: pixels of the images, 64 to 512, by default the size of each model's input.
        seed: seed of "pairs". Other forms have the world of seed 0, with which the bundled model was trained.

    Raises:
        UsageError: an unknown form or split, or a size or number out of range.
    """
    if form not in FORMS:
        raise UsageError(f"scenes have no form '{form}': {did_you_mean(form, FORMS)}")
    if split not in SPLITS:
        raise UsageError(f"scenes have no split '{split}': {did_you_mean(split, SPLITS)}")
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise UsageError(f"scenes can be drawn {SMALLEST} to {LARGEST} pixels wide, got a size of {size}")
    build, default_n = FORMS[form]
    n = default_n if n is None else n
    if n < 1:
        raise UsageError(f"scenes need at least 1 image, got n = {n}")
    dataset = _pairs(split, n, seed=seed) if form == "pairs" else build(split, n)
    width_note = "as wide as the model's input" if size is None else f"{size} pixels wide"
    note = f"generated world, version {SCENES_VERSION}, seed {seed}, drawn {width_note}"
    if size is not None:
        images = [replace(image, size=size) for image in dataset.images]  # type: ignore[type-var]
        dataset = replace(dataset, images=images)
    return check(replace(dataset, revision=str(SCENES_VERSION), notes=(note, *dataset.notes)))


def portrait_labels(split: str, n: int) -> Mapping[str, LabelSet]:
    """Return the label sets "kind" and "colour_kind" of the zero-shot images, without empty classes.

    Example:
        >>> sets = portrait_labels("test", 1800)
        >>> {name: len(labels.class_names) for name, labels in sets.items()}
        {'kind': 10, 'colour_kind': 90}
        >>> sets["colour_kind"].class_names[:2]
        ('red sphere', 'yellow sphere')
    """
    split_looks = looks(split)
    image_looks = [split_looks[index % len(split_looks)] for index in range(n)]  # as ``portrait`` cycles through them
    both = [" ".join(look) for look in split_looks]
    return {
        "kind": _label_set([kind for _, kind in image_looks], list(KINDS)),
        "colour_kind": _label_set([" ".join(look) for look in image_looks], both),
    }


def _label_set(names: list[str], order: list[str]) -> LabelSet:
    class_names = tuple(name for name in order if name in set(names))
    row = {name: number for number, name in enumerate(class_names)}
    return LabelSet(np.array([row[name] for name in names], np.int64), class_names)


def _portraits(split: str, n: int) -> Dataset:
    ids = [f"{split}/portrait/{index}" for index in range(n)]
    label_sets = portrait_labels(split, n)
    return Dataset(
        id="scenes",
        split=split,
        images=[SceneImage(portrait(split, index), f"scenes/{id}") for index, id in enumerate(ids)],
        image_ids=ids,
        labels=label_sets["kind"].labels,
        class_names=label_sets["kind"].class_names,
        label_sets=label_sets,
        subsets={"kind": "Kind of object", "colour_kind": "Colour and kind of object"},
        templates=TEMPLATES,
    )


def _training_portraits(split: str, n: int) -> Dataset:
    """Return the portraits with the kind as the only label: it has enough images per class to learn from."""
    return replace(_portraits(split, n), label_sets=None, subsets={})


def _pairs(split: str, n: int, *, seed: int = 0) -> Dataset:
    pairs, note = distinct_pairs(split, n, seed=seed)
    return _captioned(split, pairs, note)


def _captioned(split: str, pairs: Mapping[int, CaptionedScene], note: str) -> Dataset:
    ids, images, captions = [], [], []
    for index, pair in pairs.items():
        id = f"{split}/{index}"
        ids.append(id)
        images.append(SceneImage(pair.scene, f"scenes/{id}"))
        captions.append(pair.caption.text)
    return Dataset(
        id="scenes",
        split=split,
        images=images,
        image_ids=ids,
        captions=captions,
        caption_image=np.arange(len(pairs)),
        caption_ids=ids,
        notes=(note,),
    )


def _paraphrase_pairs(split: str, n: int) -> Dataset:
    """Return the pairs with a second caption each, in other words where there are any."""
    pairs, note = distinct_pairs(split, n)
    dataset = _captioned(split, pairs, note)
    assert dataset.captions is not None and dataset.caption_ids is not None
    paraphrases = []
    for index, pair in pairs.items():
        paraphrase = caption(pair.scene, "complete", Sampler("again", split, index, 0))
        paraphrases.append(paraphrase.text)
    paraphrase_ids = [f"{caption_id}/again" for caption_id in dataset.caption_ids]
    return replace(
        dataset,
        captions=[*dataset.captions, *paraphrases],
        caption_image=np.tile(np.arange(n), 2),
        caption_ids=[*dataset.caption_ids, *paraphrase_ids],
    )


@lru_cache(maxsize=4)
def distinct_pairs(split: str, n: int, *, seed: int = 0) -> tuple[Mapping[int, CaptionedScene], str]:
    """Return the first n scenes of a split with distinguishing captions, and a note on the skipped ones."""

    def captioned(index: int) -> CaptionedScene:
        sampled_scene = scene(split, index, seed=seed)
        return CaptionedScene(sampled_scene, caption(sampled_scene, "complete", Sampler("pair", split, index, seed)))

    return distinct_scenes(captioned, n)


FORMS: Mapping[str, tuple[Callable[[str, int], Dataset], int]] = MappingProxyType(
    {
        "classes": (_portraits, 1_800),  # 20 of each colour and kind of the test split
        "training": (_training_portraits, 1_800),
        "pairs": (_pairs, 1_000),
        "paraphrases": (_paraphrase_pairs, 1_000),
        "contrasts": (composition_dataset, 1_000),  # 250 of each subset
        "attacks": (text_in_image_dataset, 300),  # words to read, and as many objects to attack
        "long-captions": (long_caption_dataset, 500),  # with a paragraph; the position probe has half as many others
    }
)
"""Builder of the data of each form, and its default number of images or items."""

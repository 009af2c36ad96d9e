"""Captions beyond 77 tokens, and paragraphs in which a single sentence at a known place is true or false."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.image import SceneImage, world_note
from clipbench.data.scenes.paragraphs import ASIDES, count_words, paragraph
from clipbench.data.scenes.phrases import CaptionedScene, Mention, Phrase, distinct_scenes, indefinite, joined, mention
from clipbench.data.scenes.sampling import looks, portrait, scene
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.facts import Description
from clipbench.data.scenes.world.records import SCENES_VERSION
from clipbench.errors import UsageError

PLACES: Mapping[str, int] = MappingProxyType({"early": 0, "middle": 25, "late": 45, "beyond": 100})
"""Words before the deciding sentence. At about one token a word and a full stop, the last lies beyond 77 tokens."""
N_CAPTIONS = 500
"""Images with a paragraph; the position probe has half as many others."""


class LongCaptionItem(NamedTuple):
    """An image and a paragraph about it."""

    image: SceneImage
    caption: Phrase
    n_words: int


class PositionItem(NamedTuple):
    """An image and a paragraph that only one sentence makes true or false."""

    image: SceneImage
    place: str
    caption: Phrase
    false_caption: Phrase
    """Differs in one word of the deciding sentence, or in two in the held-out split."""
    first_word: int
    """Number of words before the deciding sentence."""
    last_word: int
    """Number of words up to its end."""
    n_words: int
    """Words of the whole caption; the same for every place."""


def long_caption_item(
    index: int, *, split: str = "test", n_words: int = 90, size: int | None = None, seed: int = 0
) -> LongCaptionItem:
    """Return item ``index``: scene ``index`` of the split with a caption of at least about ``n_words`` words.

    Raises:
        UsageError: there is no such split, no image of that size, or the asides do not suffice.
    """
    _check_length(n_words)
    found = scene(split, index, seed=seed)
    caption = paragraph(found, Chance("long caption", split, index, seed), n_words=n_words)
    return LongCaptionItem(SceneImage(found, size, f"scenes/{split}/{index}"), caption, count_words([caption]))


def position_items(index: int, *, split: str = "test", size: int | None = None, seed: int = 0) -> list[PositionItem]:
    """Return one image with a paragraph for each of ``PLACES``: the same sentences, with the deciding one moved.

    The deciding sentence names the object; its false version has another colour or another kind. All others are asides
    that are true of any image.

    Args:
        index: from 0; it cycles through colours and kinds.
        split: split of the scene.
        size: pixels of the image; by default the size of the model's input.
        seed: seed of the world.

    Raises:
        UsageError: there is no such split, or no image of that size.
    """
    chance = Chance("position", split, index, seed)
    found = portrait(split, index, seed=seed)
    image = SceneImage(found, size, f"scenes/{split}/position/{index}")
    true = mention(found.solids)
    false = true._replace(what=_false_look(true.what, split, chance))
    asides = [Phrase(text) for text in chance.some_of(ASIDES, len(ASIDES))]
    return [
        _placed(image, place, (_there_is(true), _there_is(false)), asides, before) for place, before in PLACES.items()
    ]


def _placed(
    image: SceneImage, place: str, sentences: tuple[Phrase, Phrase], asides: list[Phrase], before: int
) -> PositionItem:
    n_asides = next(n for n in range(len(asides) + 1) if count_words(asides[:n]) >= before)
    caption, false_caption = (joined([*asides[:n_asides], each, *asides[n_asides:]]) for each in sentences)
    first_word = count_words(asides[:n_asides])
    last_word = first_word + count_words(sentences[:1])
    return PositionItem(image, place, caption, false_caption, first_word, last_word, count_words([caption]))


def _there_is(mentioned: Mention) -> Phrase:
    named = indefinite(mentioned)
    return Phrase(f"There is {named.text}.", named.facts)


def _false_look(what: Description, split: str, chance: Chance) -> Description:
    """Return a look of the same split with another colour or another kind; with both where the split has no other."""
    others = [(colour, kind) for colour, kind in looks(split) if (colour, kind) != (what.colour, what.kind)]
    near = [(colour, kind) for colour, kind in others if colour == what.colour or kind == what.kind]
    colour, kind = chance.one_of(near or others)
    return Description(kind, colour)


def _check_length(n_words: int) -> None:
    longest = count_words([Phrase(text) for text in ASIDES])
    if not 0 <= n_words <= longest:
        raise UsageError(f"captions of scenes have up to {longest} words, got a length of {n_words}")


def long_caption_dataset(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    """Return ``n`` images with a caption of about 90 words that is true of no other, and n / 2 for the position probe.

    The images of the probe come last. They have no caption, but a contrast for each place: a true and a false paragraph
    that differ in one statement.
    """

    def captioned(index: int) -> CaptionedScene:
        item = long_caption_item(index, split=split, size=size, seed=seed)
        return CaptionedScene(item.image.scene, item.caption)

    pairs, n_passed = distinct_scenes(captioned, n)
    probes = [position_items(index, split=split, size=size, seed=seed) for index in range(n // 2)]
    ids = [f"{split}/{index}" for index in pairs]
    return check(
        Dataset(
            id="scenes",
            revision=str(SCENES_VERSION),
            split=split,
            images=[
                *(SceneImage(pair.scene, size, f"scenes/{id}") for id, pair in zip(ids, pairs.values(), strict=True)),
                *(places[0].image for places in probes),
            ],
            image_ids=[*ids, *(f"{split}/position/{index}" for index in range(len(probes)))],
            captions=[pair.caption.text for pair in pairs.values()],
            caption_image=np.arange(n, dtype=np.int64),
            caption_ids=ids,
            contrasts=[
                Contrast(
                    id=f"{split}/{row}/{item.place}",
                    subset=item.place,
                    images=(n + row,),
                    captions=(item.caption.text, item.false_caption.text),
                    is_true=((True, False),),
                )
                for row, places in enumerate(probes)
                for item in places
            ],
            notes=(
                world_note(size, seed),
                f"{n_passed} scenes were passed over because one caption would have fitted two images",
            ),
        )
    )

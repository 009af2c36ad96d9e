"""Captions of many sentences, beyond the 77 tokens that a CLIP text tower reads."""

from collections.abc import Sequence

from clipbench.data.scenes.phrases import (
    NUMBERS,
    Mention,
    Phrase,
    definite,
    indefinite,
    joined,
    mention,
    verb,
    word_place,
)
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.facts import Backdrop, Count, Description, Located, Related, Written, verdict
from clipbench.data.scenes.world.records import Scene
from clipbench.data.scenes.world.vocabulary import OPPOSITES

ASIDES = (
    "The picture is square.",
    "It was drawn by a computer program.",
    "The light comes from the upper left.",
    "Nothing in it moves.",
    "There are no people to be seen anywhere.",
    "All edges are clean and sharp.",
    "It is a simple scene without any story.",
    "The view is straight from the side.",
    "No brush or pencil was ever used to make it.",
    "It could be printed on a postcard.",
    "Every shape is easy to make out.",
    "It shows no season and no time of day.",
    "Whoever looks at it will need only a moment.",
    "It was made to test how well a model sees.",
    "There is no smoke, no fog and no rain.",
    "The paint has no cracks and no dust on it.",
    "It belongs to a long series of similar pictures.",
    "Nobody has ever tried to sell it.",
    "Nobody has ever hung it on a wall.",
    "It takes up very little room on a disk.",
    "One could describe it over the telephone.",
    "It was not taken with any kind of lens.",
    "There is neither sound nor motion.",
    "It would look the same if it were larger.",
)
"""Sentences that are true of every image of this world, and tell none of them apart."""

PLACES = ("upper left", "upper right", "lower left", "lower right", "centre", "left", "right", "top", "bottom")


def paragraph(scene: Scene, chance: Chance, *, n_words: int | None = None) -> Phrase:
    """Return a sentence for each fact of a scene, with asides in between.

    Args:
        scene: content of the image.
        chance: decides the phrasing.
        n_words: least number of words, as far as the asides suffice; by default from 25 to 110.
    """
    sentences = details(scene, chance)
    n_words = n_words or 25 + chance.below(86)
    asides = chance.some_of(ASIDES, len(ASIDES))
    n_written = count_words(sentences)
    while asides and n_written < n_words:
        aside = Phrase(asides.pop())
        sentences.insert(chance.below(len(sentences) + 1), aside)
        n_written += count_words([aside])
    return joined(sentences)


def details(scene: Scene, chance: Chance) -> list[Phrase]:
    """Return a sentence for each fact of a scene, the objects first."""
    groups = scene.groups()
    mentions = [mention(group) for group in groups]
    sentences = _introduction(scene, [mention(group, size=True, texture=True) for group in groups], chance)
    sentences += [place for mentioned in mentions for place in _place(scene, mentioned, chance)]
    sentences += [_relation(mentions, scene, number, chance) for number in range(len(scene.relations))]
    sentences += _behind(scene)
    return sentences + _writing(scene, mentions)


def count_words(sentences: Sequence[Phrase]) -> int:
    """Return the number of words, separated by spaces."""
    return sum(len(sentence.text.split()) for sentence in sentences)


def _introduction(scene: Scene, mentions: Sequence[Mention], chance: Chance) -> list[Phrase]:
    n_solids = len(scene.solids)
    sentences = []
    if n_solids > 1 and chance.happens(0.6):
        text = f"There are {NUMBERS[n_solids]} objects in the picture."
        sentences.append(Phrase(text, (Count(Description(), n_solids),)))
    for mentioned in mentions:
        start = chance.one_of((f"There {verb(mentioned)}", "The picture shows", "One can see"))
        named = indefinite(mentioned)
        sentences.append(Phrase(f"{start} {named.text}.", named.facts))
    return sentences


def _place(scene: Scene, mentioned: Mention, chance: Chance) -> list[Phrase]:
    """Return a sentence on the objects' place in the image, if that is clear."""
    true = [place for place in PLACES if verdict(Located(mentioned.what, place), scene)]
    if not true:
        return []
    place = chance.one_of(true)
    where = f"in the {place}" if place == "centre" or " " in place else f"{_ON_SIDE[place]}"
    text = f"{definite(mentioned)} {verb(mentioned)} {where} of the picture."
    return [Phrase(text.capitalize(), (Located(mentioned.what, place),))]


_ON_SIDE = {"left": "on the left", "right": "on the right", "top": "near the top", "bottom": "near the bottom"}


def _relation(mentions: Sequence[Mention], scene: Scene, number: int, chance: Chance) -> Phrase:
    relation = scene.relations[number]
    first, name, second = mentions[relation.subject], relation.name, mentions[relation.object]
    if name in OPPOSITES and chance.happens(0.5):
        first, name, second = second, OPPOSITES[name], first
    text = f"{definite(first)} {verb(first)} {name} {definite(second)}."
    return Phrase(text.capitalize(), (Related(first.what, name, second.what),))


def _behind(scene: Scene) -> list[Phrase]:
    behind = scene.background
    looks = "has a gradient" if behind.texture == "gradient" else f"is {behind.texture}"
    return [
        Phrase(f"The background is {behind.colour}.", (Backdrop(colour=behind.colour),)),
        Phrase(f"The background {looks}.", (Backdrop(texture=behind.texture),)),
    ]


def _writing(scene: Scene, mentions: Sequence[Mention]) -> list[Phrase]:
    writing = scene.writing
    if writing is None:
        return []
    sentences = [
        Phrase(f'The word "{writing.word}" is written in the picture.', (Written(writing.word),)),
        Phrase(f"The letters are {writing.ink}.", (Written(writing.word, ink=writing.ink),)),
    ]
    if mentions:
        place, facts = word_place(scene, mentions[0])
        sentences.append(Phrase(f"The word is {place} {definite(mentions[0])}.", facts))
    if writing.paper is not None:
        text = f"It stands on a {writing.paper} sign."
        sentences.append(Phrase(text, (Written(writing.word, paper=writing.paper),)))
    return sentences

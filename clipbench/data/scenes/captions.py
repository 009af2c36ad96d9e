"""True captions of a scene, from three words to a paragraph beyond the 77 tokens that a CLIP text tower reads."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from clipbench.data.scenes.facts import (
    Backdrop,
    Count,
    Exists,
    Fact,
    InRegion,
    ObjectDescription,
    Related,
    Written,
    WrittenBy,
    size_name,
    verdict,
)
from clipbench.data.scenes.world import KINDS, OPPOSITES, Background, Relation, Scene, Solid, Writing
from clipbench.errors import UsageError, did_you_mean
from clipbench.seeding import Sampler

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

SYNONYMS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "below": ("below", "under"),
    "on": ("on", "on top of"),
}
"""Wordings of relations. The other relations have only their name."""


class Phrase(NamedTuple):
    """Some words, and the facts that they state."""

    text: str
    facts: tuple[Fact, ...] = ()


class Mention(NamedTuple):
    """Objects that look alike, as a caption speaks of them."""

    description: ObjectDescription
    number: int


def join_phrases(parts: Sequence[Phrase], separator: str = " ") -> Phrase:
    """Return the phrases as one."""
    text = separator.join(part.text for part in parts if part.text)
    facts: list[Fact] = []
    for part in parts:
        facts += part.facts
    return Phrase(text, tuple(facts))


def mention(group: Sequence[Solid], *, colour: bool = True, size: bool = False, texture: bool = False) -> Mention:
    """Return the mention of a group: its kind, and of the other attributes those that are asked for and not plain."""
    first = group[0]
    sizes = {size_name(solid) for solid in group}
    description = ObjectDescription(
        kind=first.kind,
        colour=first.colour if colour else None,
        size=sizes.pop() if size and len(sizes) == 1 else None,
        texture=first.texture if texture and first.texture != "plain" else None,
    )
    return Mention(description, len(group))


def indefinite(mentioned: Mention) -> Phrase:
    """Return "a small red cube" or "three red cubes".

    Example:
        >>> indefinite(Mention(ObjectDescription("cube", "red"), 3))
        Phrase(text='three red cubes', facts=(Count(description=ObjectDescription(kind='cube', colour='red', \
size=None, texture=None), number=3),))
    """
    description, number = mentioned
    if number == 1:
        return Phrase(f"a {_noun(description)}", (Exists(description),))
    return Phrase(f"{NUMBERS[number]} {_noun(description, is_plural=True)}", (Count(description, number),))


def definite(mentioned: Mention) -> str:
    """Return "the red cube" or "the red cubes"."""
    return f"the {_noun(mentioned.description, is_plural=mentioned.number > 1)}"


def verb(mentioned: Mention) -> str:
    """Return "is" or "are"."""
    return "is" if mentioned.number == 1 else "are"


def background(behind: Background) -> Phrase:
    """Return "a plain grey background", "a grey striped background"."""
    words = f"plain {behind.colour}" if behind.texture == "plain" else f"{behind.colour} {behind.texture}"
    return Phrase(f"a {words} background", (Backdrop(behind.colour, behind.texture),))


def word(writing: Writing, *, quoted: bool = True, ink: bool = False) -> Phrase:
    """Return 'the word "apple"', 'the red word "apple"'."""
    text = f'"{writing.word}"' if quoted else writing.word
    colour = f"{writing.ink} " if ink else ""
    return Phrase(f"the {colour}word {text}", (Written(writing.word, ink=writing.ink if ink else None),))


def sign(writing: Writing) -> Phrase:
    """Return 'a yellow sign that says "apple"'. The word must stand on a sign."""
    fact = Written(writing.word, paper=writing.paper)
    return Phrase(f'a {writing.paper} sign that says "{writing.word}"', (fact,))


def word_relation(scene: Scene, mentioned: Mention | None = None) -> tuple[str, tuple[Fact, ...]]:
    """Return the relation of a word to all objects, "above", "below" or "on", or "" without objects.

    With it comes the fact, of the objects that are mentioned, or of any.
    """
    assert scene.writing is not None
    if not scene.solids:
        return "", ()
    if all(scene.writing.y < solid.box.top for solid in scene.solids):
        relation = "above"
    elif all(scene.writing.y > solid.box.bottom for solid in scene.solids):
        relation = "below"
    else:
        relation = "on"
    description = mentioned.description if mentioned else ObjectDescription()
    return relation, (WrittenBy(scene.writing.word, relation, description),)


class CaptionedScene(NamedTuple):
    """A scene and a caption that is true of it."""

    scene: Scene
    caption: Phrase


def distinct_scenes(captioned: Callable[[int], CaptionedScene], n: int) -> tuple[dict[int, CaptionedScene], str]:
    """Return the first n scenes with distinguishing captions, by number, and a note on the skipped ones.

    For any two of them, the caption of each states something that is False of the other.
    """
    chosen: dict[int, CaptionedScene] = {}
    scenes_by_background: dict[Background, list[CaptionedScene]] = defaultdict(list)
    number = 0
    while len(chosen) < n:
        candidate = captioned(number)
        # Every caption names the background, so only scenes with the same one can be confused.
        rivals = scenes_by_background[replace(candidate.scene.background, scale=0.0)]
        if all(_is_refuted(candidate, rival) and _is_refuted(rival, candidate) for rival in rivals):
            rivals.append(candidate)
            chosen[number] = candidate
        number += 1
    return chosen, f"{number - n} scenes were passed over because one caption would have fitted two images"


def _is_refuted(captioned: CaptionedScene, other: CaptionedScene) -> bool:
    """Return whether a caption states something that is False of another scene."""
    return any(verdict(fact, other.scene) is False for fact in captioned.caption.facts)


def _noun(description: ObjectDescription, *, is_plural: bool = False) -> str:
    kind = description.kind or "object"
    noun = kind
    if is_plural:
        noun = KINDS.get(kind) or f"{kind}s"
    words = (description.size, description.texture, description.colour, noun)
    return " ".join(word for word in words if word)


TEMPLATES = ("a picture of a {c}", "a drawing of a {c}", "there is a {c}", "this is a {c}")
"""Prompts in which training captions name single objects, with ``{c}`` for the class name."""

STYLE_SHARES: Mapping[str, float] = {"name": 0.1, "short": 0.26, "sentence": 0.28, "full": 0.24, "paragraph": 0.12}
"""Fraction of each style among the captions of training.

Backgrounds and colours alone tell most images of a batch apart: if every caption mentioned them, a model would have
little reason to learn the kinds. So most captions leave the background out.
"""


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
"""Sentences that are true of every image of this world, and distinguish none of them."""

_REGIONS = ("upper left", "upper right", "lower left", "lower right", "centre", "left", "right", "top", "bottom")


def caption(scene: Scene, style: str, chance: Sampler) -> Phrase:
    """Return a true caption with the facts that it states.

    Args:
        style: "name" (only the kind), "short" (one thing, at least three words), "sentence" (the objects and their
            relation, or the word), "full" (the objects, mostly the background, and the word in a sentence), "complete"
            (the same with nothing left out), "paragraph".
    """
    if style not in _STYLES:
        raise UsageError(f"captions of scenes have no style '{style}': {did_you_mean(style, _STYLES)}")
    return _STYLES[style](scene, chance)


def related(first: Mention, relation: str, second: Mention, *, wording: str | None = None) -> Phrase:
    """Return "a red cube left of a blue sphere", with ``wording`` instead of the relation's name if given."""
    fact = Related(first.description, relation, second.description)
    return join_phrases([indefinite(first), Phrase(wording or relation, (fact,)), indefinite(second)])


# -- styles


def _name(scene: Scene, chance: Sampler) -> Phrase:
    """Return the kind of one object in a prompt template, in the plural only if the whole group is of that kind."""
    groups = scene.groups()
    if not groups:
        return _short(scene, chance)
    group = chance.one_of(groups)
    is_alone = sum(other[0].kind == group[0].kind for other in groups) == 1
    return _in_template(mention(group if is_alone else group[:1], colour=False), chance)


def _short(scene: Scene, chance: Sampler) -> Phrase:
    if scene.writing is not None and (not scene.solids or chance.bernoulli(0.35)):
        return word(scene.writing, quoted=chance.bernoulli(0.7))
    mentioned = mention(chance.one_of(scene.groups()), size=chance.bernoulli(0.3), texture=chance.bernoulli(0.4))
    return indefinite(mentioned) if chance.bernoulli(0.5) else _in_template(mentioned, chance)


def _sentence(scene: Scene, chance: Sampler) -> Phrase:
    if scene.writing is not None and (not scene.solids or chance.bernoulli(0.6)):
        return _word_sentence(scene, chance)
    mentions = _mentions(scene.groups(), chance, detail=0.25)
    if len(mentions) == 1:
        against = [_against_background(scene)] if chance.bernoulli(0.5) else []
        return _with_opening(join_phrases([indefinite(mentions[0]), *against]), chance)
    if chance.bernoulli(0.2):
        return _list_phrase(mentions)
    relation = chance.one_of(scene.relations)
    return _with_opening(_relation_phrase(mentions, relation, chance), chance)


def _full(scene: Scene, chance: Sampler, detail: float = 0.6) -> Phrase:
    against = [_against_background(scene)] if chance.bernoulli(detail) else []
    if not scene.solids:
        return _with_opening(join_phrases([_writing_phrase(scene, chance), *against]), chance)
    parts = [_objects_phrase(scene, chance, detail), *against]
    if scene.writing is not None:
        parts.append(join_phrases([Phrase("with"), _writing_phrase(scene, chance)]))
    return _with_opening(join_phrases(parts), chance)


# -- their parts


def _against_background(scene: Scene) -> Phrase:
    return join_phrases([Phrase("against"), background(scene.background)])


def _in_template(mentioned: Mention, chance: Sampler) -> Phrase:
    start, _, end = chance.one_of(TEMPLATES).partition("a {c}")
    if mentioned.number > 1:
        start = start.replace("there is", "there are").replace("this is", "these are")
    phrase = indefinite(mentioned)
    return Phrase(f"{start}{phrase.text}{end}", phrase.facts)


def _with_opening(phrase: Phrase, chance: Sampler) -> Phrase:
    """Return the phrase, in 40 % of cases with an opening that states nothing about the image."""
    opening = chance.weighted({"": 0.6, "a picture of ": 0.16, "a drawing of ": 0.12, "a scene with ": 0.12})
    return Phrase(opening + phrase.text, phrase.facts)


def _mentions(groups: Sequence[Sequence[Solid]], chance: Sampler, *, detail: float) -> list[Mention]:
    return [mention(group, size=chance.bernoulli(detail), texture=chance.bernoulli(detail)) for group in groups]


def _list_phrase(mentions: Sequence[Mention]) -> Phrase:
    """Return "a red cube, a blue sphere and a white star"."""
    *most, last = [indefinite(mentioned) for mentioned in mentions]
    return join_phrases([join_phrases(most, ", "), Phrase("and"), last]) if most else last


def _relation_phrase(mentions: Sequence[Mention], relation: Relation, chance: Sampler) -> Phrase:
    first, name, second = _from_either_end(mentions, relation, chance)
    return related(first, name, second, wording=chance.one_of(SYNONYMS.get(name, (name,))))


def _from_either_end(mentions: Sequence[Mention], relation: Relation, chance: Sampler) -> tuple[Mention, str, Mention]:
    """Return the parts of a relation: the cube left of the sphere, or the sphere right of the cube."""
    first, name, second = mentions[relation.subject], relation.name, mentions[relation.object]
    if name in OPPOSITES and chance.bernoulli(0.5):
        return second, OPPOSITES[name], first
    return first, name, second


def _objects_phrase(scene: Scene, chance: Sampler, detail: float) -> Phrase:
    mentions = _mentions(scene.groups(), chance, detail=detail)
    if len(scene.relations) < 2:
        return _relation_phrase(mentions, scene.relations[0], chance) if scene.relations else _list_phrase(mentions)
    subject = mentions[scene.relations[0].subject]  # all relations have the same
    links = []
    for relation in scene.relations:
        second = mentions[relation.object]
        fact = Related(subject.description, relation.name, second.description)
        wording = Phrase(chance.one_of(SYNONYMS.get(relation.name, (relation.name,))), (fact,))
        links.append(join_phrases([wording, indefinite(second)]))
    return join_phrases([indefinite(subject), join_phrases(links, " and ")])


def _writing_phrase(scene: Scene, chance: Sampler) -> Phrase:
    """Return 'the word "apple" written below', or the sign that says so."""
    assert scene.writing is not None
    relation, facts = word_relation(scene)
    if scene.writing.paper is not None and relation != "on" and chance.bernoulli(0.5):
        return join_phrases([sign(scene.writing), Phrase(relation, facts)])
    phrase = word(scene.writing, quoted=chance.bernoulli(0.8), ink=chance.bernoulli(0.3))
    ending = {"": "", "on": "written on it"}.get(relation, f"written {relation}")
    return join_phrases([phrase, Phrase(ending, facts)])


def _word_sentence(scene: Scene, chance: Sampler) -> Phrase:
    assert scene.writing is not None
    if not scene.solids:
        return join_phrases([word(scene.writing), _against_background(scene)])
    mentioned = _mentions(scene.groups(), chance, detail=0.25)[0]
    relation, facts = word_relation(scene, mentioned)
    phrase = word(scene.writing, quoted=chance.bernoulli(0.8))
    link = "written" if relation == "on" or chance.bernoulli(0.5) else ""
    return join_phrases([phrase, Phrase(link), Phrase(relation, facts), indefinite(mentioned)])


# -- paragraphs


def paragraph(scene: Scene, chance: Sampler, *, n_words: int | None = None) -> Phrase:
    """Return a sentence for each fact of a scene, with asides in between.

    Args:
        n_words: minimum number of words, as far as the asides suffice, by default from 25 to 110.
    """
    groups = scene.groups()
    detailed_mentions = [mention(group, size=True, texture=True) for group in groups]
    mentions = [mention(group) for group in groups]
    sentences = _introduction(scene, detailed_mentions, chance)
    for mentioned in mentions:
        sentences += _region_sentences(scene, mentioned, chance)
    sentences += [_relation_sentence(mentions, relation, chance) for relation in scene.relations]
    sentences += _background_sentences(scene.background)
    sentences += _writing_sentences(scene, mentions)
    n_words = n_words or 25 + chance.below(86)
    asides = chance.some_of(ASIDES, len(ASIDES))
    n_written = count_words(sentences)
    while asides and n_written < n_words:
        aside = Phrase(asides.pop())
        sentences.insert(chance.below(len(sentences) + 1), aside)
        n_written += count_words([aside])
    return join_phrases(sentences)


def count_words(sentences: Sequence[Phrase]) -> int:
    """Return the number of words, separated by spaces."""
    return sum(len(sentence.text.split()) for sentence in sentences)


def _introduction(scene: Scene, mentions: Sequence[Mention], chance: Sampler) -> list[Phrase]:
    n_solids = len(scene.solids)
    sentences = []
    if n_solids > 1 and chance.bernoulli(0.6):
        text = f"There are {NUMBERS[n_solids]} objects in the picture."
        sentences.append(Phrase(text, (Count(ObjectDescription(), n_solids),)))
    for mentioned in mentions:
        start = chance.one_of((f"There {verb(mentioned)}", "The picture shows", "One can see"))
        phrase = indefinite(mentioned)
        sentences.append(Phrase(f"{start} {phrase.text}.", phrase.facts))
    return sentences


def _region_sentences(scene: Scene, mentioned: Mention, chance: Sampler) -> list[Phrase]:
    """Return a sentence on the region of the image that the objects are in, if it is clear."""
    true = [region for region in _REGIONS if verdict(InRegion(mentioned.description, region), scene)]
    if not true:
        return []
    region = chance.one_of(true)
    where = _ON_SIDE.get(region, f"in the {region}")
    text = f"{definite(mentioned)} {verb(mentioned)} {where} of the picture."
    return [Phrase(text.capitalize(), (InRegion(mentioned.description, region),))]


_ON_SIDE = {"left": "on the left", "right": "on the right", "top": "near the top", "bottom": "near the bottom"}


def _relation_sentence(mentions: Sequence[Mention], relation: Relation, chance: Sampler) -> Phrase:
    first, name, second = _from_either_end(mentions, relation, chance)
    text = f"{definite(first)} {verb(first)} {name} {definite(second)}."
    return Phrase(text.capitalize(), (Related(first.description, name, second.description),))


def _background_sentences(behind: Background) -> list[Phrase]:
    looks = "has a gradient" if behind.texture == "gradient" else f"is {behind.texture}"
    return [
        Phrase(f"The background is {behind.colour}.", (Backdrop(colour=behind.colour),)),
        Phrase(f"The background {looks}.", (Backdrop(texture=behind.texture),)),
    ]


def _writing_sentences(scene: Scene, mentions: Sequence[Mention]) -> list[Phrase]:
    writing = scene.writing
    if writing is None:
        return []
    sentences = [
        Phrase(f'The word "{writing.word}" is written in the picture.', (Written(writing.word),)),
        Phrase(f"The letters are {writing.ink}.", (Written(writing.word, ink=writing.ink),)),
    ]
    if mentions:
        relation, facts = word_relation(scene, mentions[0])
        sentences.append(Phrase(f"The word is {relation} {definite(mentions[0])}.", facts))
    if writing.paper is not None:
        text = f"It stands on a {writing.paper} sign."
        sentences.append(Phrase(text, (Written(writing.word, paper=writing.paper),)))
    return sentences


_STYLES: Mapping[str, Callable[[Scene, Sampler], Phrase]] = {
    "name": _name,
    "short": _short,
    "sentence": _sentence,
    "full": _full,
    "complete": partial(_full, detail=1.0),
    "paragraph": paragraph,
}

"""True captions of a scene, from three words to a paragraph."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from clipbench.data.scenes.paragraphs import paragraph
from clipbench.data.scenes.phrases import (
    SYNONYMS,
    Mention,
    Phrase,
    background,
    indefinite,
    joined,
    mention,
    sign,
    word,
    word_place,
)
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.facts import Related
from clipbench.data.scenes.world.records import Relation, Scene, Solid
from clipbench.data.scenes.world.vocabulary import OPPOSITES
from clipbench.errors import UsageError, did_you_mean

TEMPLATES = ("a picture of a {c}", "a drawing of a {c}", "there is a {c}", "this is a {c}")
"""Prompts in which training captions name single objects; ``{c}`` stands for the class name."""

STYLE_SHARES: Mapping[str, float] = {"name": 0.1, "short": 0.26, "sentence": 0.28, "full": 0.24, "paragraph": 0.12}
"""Share of each style among the captions of training.

Backgrounds and colours alone tell most images of a batch apart: if every caption mentioned them, a model would have
little reason to learn the kinds. So most captions leave the background out.
"""


def caption(scene: Scene, style: str, chance: Chance) -> Phrase:
    """Return a true caption with the facts that it states.

    Args:
        scene: content of the image.
        style: "name" (the kind alone), "short" (one thing, at least three words), "sentence" (the objects and their
            relation, or the word), "full" (the objects, mostly the background, and the word in a sentence), "complete"
            (the same with nothing left out), "paragraph".
        chance: decides the phrasing.

    Raises:
        UsageError: there is no such style.
    """
    if style not in _STYLES:
        raise UsageError(f"captions of scenes have no style '{style}': {did_you_mean(style, _STYLES)}")
    return _STYLES[style](scene, chance)


def related(first: Mention, relation: str, second: Mention, *, wording: str | None = None) -> Phrase:
    """Return "a red cube left of a blue sphere"; ``wording`` replaces the relation's name."""
    fact = Related(first.what, relation, second.what)
    return joined([indefinite(first), Phrase(wording or relation, (fact,)), indefinite(second)])


# -- styles


def _name(scene: Scene, chance: Chance) -> Phrase:
    """Return the kind of one object in a prompt template; in the plural only where the group is all of that kind."""
    groups = scene.groups()
    if not groups:
        return _short(scene, chance)
    group = chance.one_of(groups)
    is_alone = sum(other[0].kind == group[0].kind for other in groups) == 1
    return _in_template(mention(group if is_alone else group[:1], colour=False), chance)


def _short(scene: Scene, chance: Chance) -> Phrase:
    if scene.writing is not None and (not scene.solids or chance.happens(0.35)):
        return word(scene.writing, quoted=chance.happens(0.7))
    mentioned = mention(chance.one_of(scene.groups()), size=chance.happens(0.3), texture=chance.happens(0.4))
    return indefinite(mentioned) if chance.happens(0.5) else _in_template(mentioned, chance)


def _sentence(scene: Scene, chance: Chance) -> Phrase:
    if scene.writing is not None and (not scene.solids or chance.happens(0.6)):
        return _worded(scene, chance)
    mentions = _mentions(scene.groups(), chance, detail=0.25)
    if len(mentions) == 1:
        parts = [indefinite(mentions[0])]
        return _opened(joined([*parts, _against(scene)] if chance.happens(0.5) else parts), chance)
    if chance.happens(0.2):
        return _listed(mentions)
    relation = chance.one_of(scene.relations)
    return _opened(_related(mentions, relation, chance), chance)


def _full(scene: Scene, chance: Chance, detail: float = 0.6) -> Phrase:
    against = [_against(scene)] if chance.happens(detail) else []
    if not scene.solids:
        return _opened(joined([_written(scene, chance), *against]), chance)
    parts = [_objects(scene, chance, detail), *against]
    if scene.writing is not None:
        parts.append(joined([Phrase("with"), _written(scene, chance)]))
    return _opened(joined(parts), chance)


_STYLES: Mapping[str, Callable[[Scene, Chance], Phrase]] = {
    "name": _name,
    "short": _short,
    "sentence": _sentence,
    "full": _full,
    "complete": partial(_full, detail=1.0),
    "paragraph": paragraph,
}

# -- their parts


def _against(scene: Scene) -> Phrase:
    return joined([Phrase("against"), background(scene.background)])


def _in_template(mentioned: Mention, chance: Chance) -> Phrase:
    start, _, end = chance.one_of(TEMPLATES).partition("a {c}")
    if mentioned.number > 1:
        start = start.replace("there is", "there are").replace("this is", "these are")
    named = indefinite(mentioned)
    return Phrase(f"{start}{named.text}{end}", named.facts)


def _opened(phrase: Phrase, chance: Chance) -> Phrase:
    """Return the phrase, in 40 % of cases with an opening that states nothing about the image."""
    opening = chance.weighted({"": 0.6, "a picture of ": 0.16, "a drawing of ": 0.12, "a scene with ": 0.12})
    return Phrase(opening + phrase.text, phrase.facts)


def _mentions(groups: Sequence[Sequence[Solid]], chance: Chance, *, detail: float) -> list[Mention]:
    return [mention(group, size=chance.happens(detail), texture=chance.happens(detail)) for group in groups]


def _listed(mentions: Sequence[Mention]) -> Phrase:
    """Return "a red cube, a blue sphere and a white star"."""
    *most, last = [indefinite(mentioned) for mentioned in mentions]
    return joined([joined(most, ", "), Phrase("and"), last]) if most else last


def _related(mentions: Sequence[Mention], relation: Relation, chance: Chance) -> Phrase:
    """Return the relation from either end: the cube left of the sphere, or the sphere right of the cube."""
    first, name, second = mentions[relation.subject], relation.name, mentions[relation.object]
    if name in OPPOSITES and chance.happens(0.5):
        first, name, second = second, OPPOSITES[name], first
    return related(first, name, second, wording=chance.one_of(SYNONYMS.get(name, (name,))))


def _objects(scene: Scene, chance: Chance, detail: float) -> Phrase:
    """Return all objects with their relations."""
    mentions = _mentions(scene.groups(), chance, detail=detail)
    if len(scene.relations) < 2:
        return _related(mentions, scene.relations[0], chance) if scene.relations else _listed(mentions)
    parts = [indefinite(mentions[scene.relations[0].subject])]  # all relations have the same subject
    for relation in scene.relations:
        first, second = mentions[relation.subject], mentions[relation.object]
        fact = Related(first.what, relation.name, second.what)
        parts += [Phrase("and")] if len(parts) > 1 else []
        parts += [Phrase(chance.one_of(SYNONYMS.get(relation.name, (relation.name,))), (fact,)), indefinite(second)]
    return joined(parts)


def _written(scene: Scene, chance: Chance) -> Phrase:
    """Return 'the word "apple" written below', or the sign that says so."""
    assert scene.writing is not None
    place, facts = word_place(scene)
    if scene.writing.paper is not None and place != "on" and chance.happens(0.5):
        named = sign(scene.writing)
        return Phrase(" ".join(part for part in (named.text, place) if part), named.facts + facts)
    named = word(scene.writing, quoted=chance.happens(0.8), ink=chance.happens(0.3))
    ending = {"": "", "on": " written on it"}.get(place, f" written {place}")
    return Phrase(named.text + ending, named.facts + facts)


def _worded(scene: Scene, chance: Chance) -> Phrase:
    """Return the word and at most one object."""
    assert scene.writing is not None
    if not scene.solids:
        return joined([word(scene.writing), _against(scene)])
    mentioned = _mentions(scene.groups(), chance, detail=0.25)[0]
    place, facts = word_place(scene, mentioned)
    named = word(scene.writing, quoted=chance.happens(0.8))
    link = "written" if place == "on" or chance.happens(0.5) else ""
    return joined([named, Phrase(link), Phrase(place, facts), indefinite(mentioned)])

"""Phrases of captions, each with the facts that it states."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.data.scenes.world.facts import Backdrop, Count, Description, Exists, Fact, Written, WrittenBy, verdict
from clipbench.data.scenes.world.geometry import size_name
from clipbench.data.scenes.world.records import Background, Scene, Solid, Writing
from clipbench.data.scenes.world.vocabulary import KINDS

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

SYNONYMS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "below": ("below", "under"),
    "on": ("on", "on top of"),
}
"""Wordings of relations; the others have only their name."""


class Phrase(NamedTuple):
    """Some words, and the facts that they state."""

    text: str
    facts: tuple[Fact, ...] = ()


class Mention(NamedTuple):
    """Objects that look alike, as a caption speaks of them."""

    what: Description
    number: int


def joined(parts: Sequence[Phrase], separator: str = " ") -> Phrase:
    """Return the phrases as one."""
    text = separator.join(part.text for part in parts if part.text)
    return Phrase(text, tuple(fact for part in parts for fact in part.facts))


def mention(group: Sequence[Solid], *, colour: bool = True, size: bool = False, texture: bool = False) -> Mention:
    """Return the mention of a group: its kind, and of the other attributes those that are asked for and not plain."""
    first = group[0]
    sizes = {size_name(solid) for solid in group}
    what = Description(
        kind=first.kind,
        colour=first.colour if colour else None,
        size=sizes.pop() if size and len(sizes) == 1 else None,
        texture=first.texture if texture and first.texture != "plain" else None,
    )
    return Mention(what, len(group))


def indefinite(mentioned: Mention) -> Phrase:
    """Return "a small red cube" or "three red cubes".

    Example:
        >>> indefinite(Mention(Description("cube", "red"), 3))
        Phrase(text='three red cubes', facts=(Count(what=Description(kind='cube', colour='red', size=None, \
texture=None), number=3),))
    """
    what, number = mentioned
    if number == 1:
        return Phrase(f"a {_noun(what)}", (Exists(what),))
    return Phrase(f"{NUMBERS[number]} {_noun(what, is_plural=True)}", (Count(what, number),))


def definite(mentioned: Mention) -> str:
    """Return "the red cube" or "the red cubes"."""
    return f"the {_noun(mentioned.what, is_plural=mentioned.number > 1)}"


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


def word_place(scene: Scene, mentioned: Mention | None = None) -> tuple[str, tuple[Fact, ...]]:
    """Return the word's place relative to the objects, such as "above", with the fact; "" and none without objects.

    Args:
        scene: a scene with a word.
        mentioned: the objects of the fact; by default any.
    """
    assert scene.writing is not None
    if not scene.solids:
        return "", ()
    what = mentioned.what if mentioned else Description()
    place = word_relation(scene.writing, scene.solids)
    return place, (WrittenBy(scene.writing.word, place, what),)


class CaptionedScene(NamedTuple):
    """A scene and a caption that is true of it."""

    scene: Scene
    caption: Phrase


def distinct_scenes(captioned: Callable[[int], CaptionedScene], n: int) -> tuple[dict[int, CaptionedScene], int]:
    """Return the first n scenes whose captions tell them apart, by number, and the number that were passed over.

    For any two of them, the caption of each states something that is False of the other.
    """
    chosen: dict[int, CaptionedScene] = {}
    alike: dict[Background, list[CaptionedScene]] = defaultdict(list)
    number = 0
    while len(chosen) < n:
        candidate = captioned(number)
        # Every caption names the background, so only scenes with the same one can be confused.
        rivals = alike[replace(candidate.scene.background, scale=0.0)]
        if not any(_may_be_confused(candidate, rival) for rival in rivals):
            rivals.append(candidate)
            chosen[number] = candidate
        number += 1
    return chosen, number - n


def _may_be_confused(first: CaptionedScene, second: CaptionedScene) -> bool:
    """Return whether the caption of either scene could be true of the other: it states nothing that is false there."""
    pairs = ((first.caption, second.scene), (second.caption, first.scene))
    return not all(any(verdict(fact, scene) is False for fact in caption.facts) for caption, scene in pairs)


def word_relation(writing: Writing, solids: Sequence[Solid]) -> str:
    """Return "above" or "below" where the word is clear of all solids, else "on"."""
    if all(writing.y < solid.box.top for solid in solids):
        return "above"
    return "below" if all(writing.y > solid.box.bottom for solid in solids) else "on"


def _noun(what: Description, *, is_plural: bool = False) -> str:
    kind = what.kind or "object"
    noun = (KINDS.get(kind) or f"{kind}s") if is_plural else kind
    return " ".join(part for part in (what.size, what.texture, what.colour, noun) if part)

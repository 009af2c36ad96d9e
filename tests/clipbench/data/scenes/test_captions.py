"""Captions say what is true: by their facts, and by their words as a reader takes them."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.data.scenes.captions import ASIDES, NUMBERS, STYLE_SHARES, TEMPLATES, caption
from clipbench.data.scenes.facts import size_name, verdict
from clipbench.data.scenes.sampling import SPLITS, scene
from clipbench.data.scenes.world import (
    BACKGROUND_COLOURS,
    BACKGROUND_TEXTURES,
    COLOURS,
    INKS,
    KINDS,
    PAPERS,
    TEXTURES,
    WORDS,
    Scene,
    Solid,
)
from clipbench.seeding import Sampler

indices = st.integers(0, 10**6)
STYLES = (*STYLE_SHARES, "complete")


@settings(derandomize=True, max_examples=250, deadline=None)
@given(index=indices, split=st.sampled_from(SPLITS), style=st.sampled_from(STYLES))
def test_every_fact_of_a_caption_is_true(index: int, split: str, style: str) -> None:
    sampled_scene = scene(split, index)
    stated = caption(sampled_scene, style, Sampler("test", index))
    assert stated.facts, stated.text
    assert [fact for fact in stated.facts if verdict(fact, sampled_scene) is not True] == [], stated.text


# -- a reader that knows nothing of facts: it takes noun phrases and relations out of the words

NOUN = re.compile(
    rf"\b(?:(?P<number>{'|'.join((*NUMBERS[1:], 'a', 'the'))}) )"
    rf"(?:(?P<size>small|large) )?(?:(?P<texture>{'|'.join(TEXTURES[1:])}) )?(?:(?P<colour>{'|'.join(COLOURS)}) )?"
    rf"(?P<kind>{'|'.join(sorted([*KINDS, *KINDS.values()], key=len, reverse=True))})\b"
)
SINGULAR = {plural: kind for kind, plural in KINDS.items()}


def read(match: re.Match[str], scene: Scene) -> list[Solid]:
    """Return the solids that a noun phrase can mean."""
    kind = SINGULAR.get(match["kind"], match["kind"])
    return [
        solid
        for solid in scene.solids
        if solid.kind == kind
        and match["colour"] in (None, solid.colour)
        and match["texture"] in (None, solid.texture)
        and match["size"] in (None, size_name(solid))
    ]


@settings(derandomize=True, max_examples=250, deadline=None)
@given(index=indices, style=st.sampled_from(STYLES))
def test_every_object_that_the_words_name_is_there_in_that_number(index: int, style: str) -> None:
    sampled_scene = scene("test", index)
    text = re.sub(r'(word|says) "?\w+"?', "", caption(sampled_scene, style, Sampler("test", index)).text.lower())
    nouns = list(NOUN.finditer(text))
    if not nouns:
        assert not sampled_scene.solids or sampled_scene.writing is not None, text
    for noun in nouns:
        solids = read(noun, sampled_scene)
        assert solids, (text, noun.group())
        if noun["number"] in NUMBERS:
            assert len(solids) == NUMBERS.index(noun["number"]), (text, noun.group())
        if noun["kind"] in SINGULAR:
            assert len(solids) > 1, (text, noun.group())


AHEAD = {
    "left of": lambda a, b: a.x < b.x,
    "right of": lambda a, b: a.x > b.x,
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
    "under": lambda a, b: a.y > b.y,
    "on top of": lambda a, b: a.y < b.y,
    "on": lambda a, b: a.y < b.y,
    "inside": lambda a, b: a.radius < b.radius,
}


@settings(derandomize=True, max_examples=250, deadline=None)
@given(index=indices, style=st.sampled_from(("sentence", "full", "complete")))
def test_a_relation_between_two_noun_phrases_is_how_they_lie(index: int, style: str) -> None:
    sampled_scene = scene("test", index)
    text = caption(sampled_scene, style, Sampler("test", index)).text
    nouns = list(NOUN.finditer(text))
    for first, second in pairwise(nouns):
        between = text[first.end() : second.start()].strip().removeprefix("to the ")
        if between in AHEAD:
            pairs = [(a, b) for a in read(first, sampled_scene) for b in read(second, sampled_scene) if a != b]
            assert pairs and all(AHEAD[between](a, b) for a, b in pairs), text


@settings(derandomize=True, max_examples=200, deadline=None)
@given(index=indices, style=st.sampled_from(STYLES))
def test_a_word_in_quotes_is_written_and_no_colour_is_named_that_is_not_there(index: int, style: str) -> None:
    sampled_scene = scene("test", index)
    text = caption(sampled_scene, style, Sampler("test", index)).text.lower()
    word = sampled_scene.writing.word if sampled_scene.writing is not None else None
    assert set(re.findall(r'"(\w+)"', text)) <= {word}
    names = set(re.findall(r"\w+", re.sub(r'(word|says) "?\w+"?', "", text)))
    there = {solid.colour for solid in sampled_scene.solids} | {sampled_scene.background.colour}
    if sampled_scene.writing is not None:
        there |= {sampled_scene.writing.ink, sampled_scene.writing.paper or ""}
    assert names & {*COLOURS, *BACKGROUND_COLOURS, *INKS, *PAPERS} <= there, text


def test_a_complete_caption_names_every_group_the_background_and_the_word() -> None:
    for index in range(200):
        sampled_scene = scene("test", index)
        text = caption(sampled_scene, "complete", Sampler("test", index)).text
        for group in sampled_scene.groups():
            assert re.search(rf"\b{group[0].colour} ({group[0].kind}|{KINDS[group[0].kind]})\b", text), text
        assert sampled_scene.background.colour in text and sampled_scene.background.texture in text
        assert sampled_scene.writing is None or sampled_scene.writing.word in text


def test_asides_name_nothing_that_images_differ_in() -> None:
    asides = {word for aside in ASIDES for word in re.findall(r"\w+", aside.lower())}
    names = {*KINDS, *KINDS.values(), *COLOURS, *BACKGROUND_COLOURS, *TEXTURES, *BACKGROUND_TEXTURES, *INKS, *PAPERS}
    assert asides & names == set()
    assert asides & {"word", "letter", "letters", "sign", "object", "objects", "background", "small", "large"} == set()
    assert asides & set(WORDS) <= {"pencil", "brush", "rain"}  # said not to be there, and never drawn


def test_single_objects_are_named_in_the_prompts_words() -> None:
    starts = tuple(template.partition("{c}")[0] for template in TEMPLATES)
    names = [caption(scene("train", index), "name", Sampler("test", index)) for index in range(100)]
    singular = [statement.text for statement in names if statement.text.endswith(tuple(KINDS))]
    assert len(singular) > 50 and all(text.startswith(starts) or text.startswith("the word") for text in singular)

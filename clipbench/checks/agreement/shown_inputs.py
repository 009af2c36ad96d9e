"""Pixels and tokens of two sides that show them: do they differ, and does one tower, fed with the other's, agree?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.checks.agreement.sides import ComparedSide, Rows
from clipbench.checks.agreement.vector_agreement import VectorAgreement, describe_difference, inputs_of
from clipbench.data.modalities import IMAGE
from clipbench.errors import ModelError
from clipbench.models.introspection.tokens import token_lengths
from clipbench.models.protocol import Preprocessing, Tokens
from clipbench.results.numbers import counted

SAME_PIXELS = 0.02
"""Difference of two inputs of an image tower, in standard deviations, up to which they are the same: one level of 255
is 0.015, and libraries round at other places.
"""
N_IDS = 6
"""Tokens that a sentence names."""
Feed = Callable[[Sequence[str]], Rows]
"""Encodes inputs by id."""


@dataclass(frozen=True, kw_only=True)
class InputDifference:
    """How the inputs of two towers differ."""

    differing: Sequence[str]
    """Ids of the inputs whose pixels or tokens differ."""
    evidence: str
    fed: VectorAgreement | None
    """The agreement of both towers on one side's pixels or tokens, or None if neither tower takes the other's."""
    feeds: tuple[Feed, Feed]
    """Runs the tower of the first and of the second side on these pixels or tokens."""


def pixel_difference(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> InputDifference | None:
    """Return how the pixels of two sides differ, or None unless both show them."""
    if not (first.shows_pixels and second.shows_pixels):
        return None
    images = [inputs_of(IMAGE)[id] for id in agreement.ids]
    pixels = (first.pixels(images), second.pixels(images))  # type: ignore[arg-type]
    if pixels[0].shape == pixels[1].shape:
        differs = np.abs(pixels[0] - pixels[1]).reshape(len(images), -1).max(axis=1) > SAME_PIXELS
    else:
        differs = np.ones(len(images), bool)
    settings = _different_settings(first.preprocessing, second.preprocessing)
    return _difference(
        (first, second),
        agreement,
        differs,
        detail=f": {settings}" if settings else "",
        encode=tuple(_pixel_feeds(side, pixels, agreement.ids) for side in (first, second)),
    )


def token_difference(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> InputDifference | None:
    """Return how the tokens of two sides differ, or None unless both show them."""
    if not (first.shows_tokens and second.shows_tokens):
        return None
    texts = [inputs_of("text")[id].text for id in agreement.ids]  # type: ignore[union-attr]
    tokens = (first.tokens(texts), second.tokens(texts))
    contents = [_contents(side, side_tokens) for side, side_tokens in zip((first, second), tokens, strict=True)]
    differs = np.array([one != other for one, other in zip(*contents, strict=True)])
    detail = ""
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        shown = [_shown_ids(side_contents[row]) for side_contents in contents]
        detail = f": '{texts[row]:.40}' has {shown[0]} in {first.name} and {shown[1]} in {second.name}"
    return _difference(
        (first, second),
        agreement,
        differs,
        detail=detail,
        encode=tuple(_token_feeds(side, tokens, agreement.ids) for side in (first, second)),
    )


def _difference(
    sides: tuple[ComparedSide, ComparedSide],
    agreement: VectorAgreement,
    differs: Bool[np.ndarray, " n"],
    *,
    detail: str,
    encode: tuple[tuple[Feed, Feed], ...],
) -> InputDifference:
    """Return the difference, with both towers fed with the first side's input, or with the second's if one fails.

    Args:
        encode: of each side, how it encodes the first's and the second's input.
    """
    noun = "pixels" if agreement.modality == IMAGE else "tokens"
    ids = [id for id, is_other in zip(agreement.ids, differs, strict=True) if is_other]
    fed, feeds = None, (encode[0][0], encode[1][0])
    for number, side in enumerate(sides):
        try:
            rows = [encode[tower][number](agreement.ids) for tower in (0, 1)]
        except ModelError:  # a tower need not take the other's pixels
            continue
        fed = VectorAgreement(agreement.modality, agreement.ids, *rows)
        feeds = (encode[0][number], encode[1][number])
        giver, taker = side, sides[1 - number]
        break
    kind = counted(len(agreement.ids), "picture" if agreement.modality == IMAGE else "text")
    pattern = describe_difference(agreement, sides[0].side_length)
    evidence = f"the {noun} of {len(ids)} of {kind} differ{detail}; {pattern}"
    if fed is not None and fed.is_same:
        evidence += f". With the {noun} of {giver.name}, {taker.name} gives its vectors"
    return InputDifference(differing=ids, evidence=evidence, fed=fed, feeds=feeds)


def _shown_ids(ids: Sequence[int]) -> str:
    """Return the first tokens of a text and their number."""
    return f"{', '.join(map(str, ids[:N_IDS]))}{', ...' * (len(ids) > N_IDS)} ({len(ids)} tokens)"


def _pixel_feeds(side: ComparedSide, pixels: tuple[np.ndarray, np.ndarray], ids: Sequence[str]) -> tuple[Feed, Feed]:
    assert side.parts.encode_pixels is not None
    encode, rows = side.parts.encode_pixels, {id: row for row, id in enumerate(ids)}
    of_first, of_second = pixels
    return (
        lambda chosen: encode(of_first[[rows[id] for id in chosen]]),
        lambda chosen: encode(of_second[[rows[id] for id in chosen]]),
    )


def _token_feeds(side: ComparedSide, tokens: tuple[Tokens, Tokens], ids: Sequence[str]) -> tuple[Feed, Feed]:
    assert side.parts.encode_tokens is not None
    encode, rows = side.parts.encode_tokens, {id: row for row, id in enumerate(ids)}

    def feed(side_tokens: Tokens) -> Feed:
        inputs = _named_as(side, side_tokens)

        def encode_some(chosen: Sequence[str]) -> Rows:
            chosen_rows = [rows[id] for id in chosen]
            return encode({name: values[chosen_rows] for name, values in inputs.items()})

        return encode_some

    of_first, of_second = tokens
    return feed(of_first), feed(of_second)


def _named_as(side: ComparedSide, tokens: Tokens) -> Tokens:
    """Return tokens under the names that the side's tower takes, with a mask of their own where it takes one."""
    facts = side.token_facts
    assert facts is not None
    taken = side.tokens(["cat"])
    if set(taken) == set(tokens):
        return tokens
    ids = tokens.get(facts.name)
    if ids is None:
        ids = next(values for name, values in tokens.items() if "mask" not in name)
    named = {}
    for name in taken:
        if name == facts.name:
            named[name] = ids
        elif name in tokens:
            named[name] = tokens[name]
        else:
            named[name] = _mask(ids, token_lengths(ids, facts)) if "mask" in name else np.zeros_like(ids)
    return named


def _mask(ids: Int64[np.ndarray, "n length"], lengths: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n length"]:
    return (np.arange(ids.shape[1])[None] < lengths[:, None]).astype(np.int64)


def _contents(side: ComparedSide, tokens: Tokens) -> list[list[int]]:
    """Return the ids of each text without its padding."""
    facts = side.token_facts
    assert facts is not None
    ids = tokens[facts.name]
    lengths = token_lengths(ids, facts)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def _different_settings(first: Preprocessing, second: Preprocessing) -> str:
    """Return the settings in which two preprocessings differ, such as ``resize crop and squash``."""
    faults = [settings.fault for settings in (first, second) if settings.fault is not None]
    if first.fault != second.fault:
        return " and ".join(faults)
    differences = []
    for name in ("size", "mean", "std", "resize", "interpolation"):
        values = [getattr(settings, name) for settings in (first, second)]
        if values[0] != values[1]:
            shown = [_setting(value) for value in values]
            differences.append(f"{name} {shown[0]} and {shown[1]}")
    return ", ".join(differences)


def _setting(value: object) -> str:
    """Return a setting in words. At the size at which it is measured, no antialiasing looks like ``nearest``."""
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return " x ".join(f"{number:g}" for number in value)
    return "nearest (or not antialiased)" if value == "nearest" else str(value)

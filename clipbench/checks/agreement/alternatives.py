"""Other ways in which a side could encode: each changes one stage, and the one that gives the other side's vectors is
the difference.

Changes of pictures and texts are made before the side's own code, so that they fit a side that shows nothing of itself.
"""

import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from PIL import Image, ImageOps

from clipbench.checks.agreement.fixed_inputs import FixedImage, FixedText, digits
from clipbench.checks.agreement.sides import ComparedSide, Rows
from clipbench.data.images import FORMATS, rgb
from clipbench.models.introspection.input_changes import image_changes
from clipbench.models.introspection.modules import vocabulary_size
from clipbench.models.introspection.preprocessing import METHODS, NOT_ANTIALIASED, make_square
from clipbench.models.introspection.tokens import TokenFacts, pad_tokens, restore_end, token_lengths, trim_tokens
from clipbench.models.introspection.tower_outputs import OtherOutput, Rounding, other_outputs, rounded_computation
from clipbench.models.introspection.variants import NORMALIZATIONS, SQUARES, canonicalize
from clipbench.models.protocol import Resize, Tokens

Stage = Literal["pixels", "tokens", "tower", "pooling", "projection", "normalization", "precision", "batch"]
COMMON_CONTEXTS = (16, 32, 64, 77, 128, 248)
"""Tokens to which usual models cut a text."""
N_SPECIAL = (2, 1, 3)
"""Tokens of a text that are not its own, such as start and end, by how usual the number is."""
ENLARGED, CUT = 256, 224
"""Sides to which ImageNet's preprocessing resizes and cuts a picture, in proportion for other models."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One stage changed on one side."""

    stage: Stage
    description: str
    """What is changed, after "with", such as ``its pictures squashed to a square``."""
    encode: Callable[[Sequence[Any]], Rows]
    """From fixed inputs to vectors."""
    applies: Callable[[Any], bool] = lambda item: True
    """Whether the change can be tried on an input."""
    concerns: Callable[[Any], bool] | None = None
    """Whether the change would explain that an input differs. None for all that it can be tried on."""

    def explains_all(self, items: Iterable[Any]) -> bool:
        """Return whether the change concerns all of these inputs."""
        return all(map(self.concerns or self.applies, items))


# -- pictures


def reading_alternatives(side: ComparedSide) -> Iterator[Alternative]:
    """Yield other ways to open pictures that are not plain RGB."""
    changes: list[tuple[str, str, Callable[[Image.Image], Image.Image]]] = [
        ("turned by EXIF", "pictures turned upright by their EXIF orientation", ImageOps.exif_transpose),
        ("transparent", "transparent pictures laid on white", partial(_on_ground, ground="white")),
        ("transparent", "transparent pictures laid on black", partial(_on_ground, ground="black")),
        ("transparent", "the alpha channel of transparent pictures dropped", lambda image: image.convert("RGB")),
        ("16 bits", "16 bits cut off at 255", _cut_off),
        ("16 bits", "16 bits scaled to 8", rgb),
        ("palette", "palettes resolved to RGB", lambda image: image.convert("RGB")),
    ]
    for reading, description, change in changes:
        yield Alternative(
            stage="pixels",
            description=description,
            encode=partial(_encode_read, side, change),
            applies=partial(_is_read, reading),
        )


def shape_alternatives(side: ComparedSide, other: ComparedSide) -> Iterator[Alternative]:
    """Yield other ways to make a picture the square input of the tower, and other channels."""
    length = side.side_length or other.side_length
    for change in image_changes(length):
        assert change.image is not None
        if change.switch != "resize" or length is not None:
            encode = partial(_encode_changed, side, change.image)
            yield Alternative(stage="pixels", description=change.setting, encode=encode)
    if length is None:
        return
    for method in ("bicubic", "bilinear"):
        middle = partial(_encode_changed, side, partial(_middle, side=length, interpolation=method))
        enlarged = length * ENLARGED // CUT
        description = f"pictures resized to {enlarged} and cut to {length} pixels, by {method} interpolation"
        yield Alternative(stage="pixels", description=description, encode=middle)
    measured = (side.preprocessing.resize, other.preprocessing.resize)
    shapes: list[Resize] = [shape for shape in SQUARES if shape in measured]
    for shape in shapes or ["crop"]:
        for method in METHODS:
            square = partial(make_square, side=length, resize=shape, interpolation=method)
            description = f"{SQUARES[shape]}, by {method} interpolation"
            yield Alternative(stage="pixels", description=description, encode=partial(_encode_changed, side, square))
        for method in ("bilinear", "bicubic"):
            rough = partial(_square_without_antialias, side=length, resize=shape, interpolation=method)
            description = f"{SQUARES[shape]}, by {NOT_ANTIALIASED.format(method)}"
            yield Alternative(stage="pixels", description=description, encode=partial(_encode_changed, side, rough))


def colour_alternatives(side: ComparedSide) -> Iterator[Alternative]:
    """Yield other means, deviations and ranges of the pixels, if the side shows its pixels."""
    settings = side.preprocessing
    if not side.shows_pixels or settings.mean is None or settings.std is None:
        return
    normalization = np.array([settings.mean, settings.std])
    for name, values in NORMALIZATIONS.items():
        if np.abs(np.array(values) - normalization).max() > 0.01:
            encode = partial(_encode_renormalized, side, normalization, np.array(values), 1.0)
            yield Alternative(stage="pixels", description=f"mean and standard deviation {name}", encode=encode)
    for name, factor in (("0 to 255", 255.0), ("0 to 1/255", 1 / 255)):
        encode = partial(_encode_renormalized, side, normalization, normalization, factor)
        yield Alternative(stage="pixels", description=f"pixels from {name} before mean and deviation", encode=encode)


def _is_read(reading: str, image: FixedImage) -> bool:
    return image.reading == reading


def _encode_read(
    side: ComparedSide, change: Callable[[Image.Image], Image.Image], images: Sequence[FixedImage]
) -> Rows:
    opened = [change(Image.open(io.BytesIO(image.data), formats=FORMATS)) for image in images]
    return side.encode_opened([_plain(image) for image in opened])


def _encode_changed(
    side: ComparedSide, change: Callable[[Image.Image], Image.Image], images: Sequence[FixedImage]
) -> Rows:
    """Return vectors of pictures that are changed after they are opened. A server gets them as RGB."""
    changed = []
    for image in images:
        opened = image.open() if side.takes_files else side.open(image)
        changed.append(change(rgb(opened)))
    return side.encode_opened(changed)


def _plain(image: Image.Image) -> Image.Image:
    """Return an image as RGB, without the EXIF data of its file."""
    return Image.fromarray(np.asarray(image.convert("RGB")))


def _on_ground(image: Image.Image, ground: str) -> Image.Image:
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture)


def _cut_off(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.minimum(np.asarray(image), 255).astype(np.uint8))


def _middle(image: Image.Image, side: int, interpolation: str) -> Image.Image:
    """Return the middle of an image that is resized to more than a square of the model's size."""
    scale = side * ENLARGED // CUT / min(image.size)
    scaled = image.resize([max(1, int(scale * length)) for length in image.size], METHODS[interpolation])
    left, top = (round((length - side) / 2) for length in scaled.size)
    return scaled.crop((left, top, left + side, top + side))


def _square_without_antialias(image: Image.Image, side: int, resize: Resize, interpolation: str) -> Image.Image:
    """Return ``make_square`` of an image, with each pixel interpolated from its neighbours only."""
    pick = max if resize == "pad" else min
    scale = side / pick(image.size)
    width, height = side, side
    if resize != "squash":
        width, height = (max(1, round(scale * length)) for length in image.size)
    box = (0, 0, *image.size)
    scaled = image.transform((width, height), Image.Transform.EXTENT, box, METHODS[interpolation])
    return make_square(scaled, side, resize, interpolation)


def _encode_renormalized(
    side: ComparedSide, normalization: np.ndarray, other: np.ndarray, factor: float, images: Sequence[FixedImage]
) -> Rows:
    assert side.parts.encode_pixels is not None
    mean, std = normalization[:, :, None, None]
    other_mean, other_std = other[:, :, None, None]
    values = (side.pixels(images) * std + mean) * factor
    return side.parts.encode_pixels(((values - other_mean) / other_std).astype(np.float32))


# -- texts


def string_alternatives(side: ComparedSide) -> Iterator[Alternative]:
    """Yield other ways to clean and to cut a text, made before the side's own tokenizer."""
    changes: list[tuple[str, Callable[[str], str]]] = [
        ("texts in lower case", str.lower),
        ("texts in lower case without punctuation", canonicalize),
        ("blanks at the ends and double ones removed", lambda text: " ".join(text.split())),
        ("texts in Unicode's form NFC", partial(unicodedata.normalize, "NFC")),
        ("texts in Unicode's form NFKC", partial(unicodedata.normalize, "NFKC")),
        ("accents removed", _without_accents),
    ]
    for description, change in changes:
        yield Alternative(
            stage="tokens",
            description=description,
            encode=partial(_encode_strings, side, change),
            applies=partial(_is_changed, change),
        )
    yield from _cut_alternatives(side)


def _cut_alternatives(side: ComparedSide) -> Iterator[Alternative]:
    """Yield other ways to cut a text that is too long, tried on texts of one token per word."""
    context = context_of(side)
    if context is not None:
        for n_special in N_SPECIAL:
            cut = partial(_last_words, n=context - n_special)
            yield _cut_alternative(side, cut, f"the beginning of a text cut off after {context} tokens, not its end")
    for n_tokens in COMMON_CONTEXTS:
        if n_tokens != context:
            cut = partial(_first_words, n=n_tokens - N_SPECIAL[0])
            yield _cut_alternative(side, cut, f"texts cut off after {n_tokens} tokens")


def context_of(side: ComparedSide) -> int | None:
    """Return the tokens that the side reads of a text, or None if it shows none."""
    if side.embedder.info.context_length is not None:
        return side.embedder.info.context_length
    return None if side.token_facts is None else side.token_facts.width


def _cut_alternative(side: ComparedSide, cut: Callable[[str], str], description: str) -> Alternative:
    return Alternative(
        stage="tokens",
        description=description,
        encode=partial(_encode_strings, side, cut),
        applies=_is_of_digits,
        concerns=_is_long,
    )


def token_alternatives(side: ComparedSide) -> Iterator[Alternative]:
    """Yield other ends and paddings of the tokens, if the side shows them."""
    facts = side.token_facts
    if not side.shows_tokens or facts is None:
        return
    width = max(context_of(side) or 0, facts.width)
    changes: list[tuple[str, Callable[[Tokens], Tokens]]] = []
    n_ids = None if side.parts.module is None else vocabulary_size(side.parts.module)
    if facts.end is None and n_ids is not None:
        changes += [("an end-of-text token after each text", partial(_with_end, facts=facts, end=n_ids - 1))]
    if facts.end is not None:
        changes += [("texts without the end-of-text token", partial(_without_end, facts=facts))]
        changes += [("the end-of-text token kept where a text is cut", partial(restore_end, facts=facts))]
    changes += [("texts without the token at their beginning", partial(_without_start, facts=facts))]
    if facts.pad is not None:
        changes += [(f"texts padded to {width} tokens", partial(pad_tokens, facts=facts, width=width))]
        changes += [("texts padded to the longest of a batch", partial(trim_tokens, facts=facts))]
    for description, change in changes:
        yield Alternative(stage="tokens", description=description, encode=partial(_encode_retokenized, side, change))


def _encode_strings(side: ComparedSide, change: Callable[[str], str], texts: Sequence[FixedText]) -> Rows:
    return side.encode_strings([change(text.text) for text in texts])


def _encode_retokenized(side: ComparedSide, change: Callable[[Tokens], Tokens], texts: Sequence[FixedText]) -> Rows:
    assert side.parts.encode_tokens is not None
    return side.parts.encode_tokens(change(side.tokens([text.text for text in texts])))


def _is_changed(change: Callable[[str], str], text: FixedText) -> bool:
    return change(text.text) != text.text


def _is_of_digits(text: FixedText) -> bool:
    return text.text == digits(len(text.text.split()))


def _is_long(text: FixedText) -> bool:
    return text.kind == "long"


def _first_words(text: str, n: int) -> str:
    return " ".join(text.split()[: max(1, n)])


def _last_words(text: str, n: int) -> str:
    return " ".join(text.split()[-max(1, n) :])


def _without_accents(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFD", text) if not unicodedata.combining(mark))


def _without_end(tokens: Tokens, facts: TokenFacts) -> Tokens:
    """Return tokens with padding instead of each end, or with one token less if all padding is the end's own id."""
    ids = np.array(tokens[facts.name])
    last = token_lengths(ids, facts) - 1
    rows = np.arange(len(ids))
    has_end = ids[rows, last] == facts.end
    ids[rows[has_end], last[has_end]] = 0 if facts.pad is None or facts.pad == facts.end else facts.pad
    return {**tokens, facts.name: ids}


def _with_end(tokens: Tokens, facts: TokenFacts, end: int) -> Tokens:
    """Return tokens with an id behind each text, or instead of its last token if there is no room."""
    ids = np.array(tokens[facts.name])
    ids[np.arange(len(ids)), np.minimum(token_lengths(ids, facts), ids.shape[1] - 1)] = end
    return {**tokens, facts.name: ids}


def _without_start(tokens: Tokens, facts: TokenFacts) -> Tokens:
    """Return tokens without the first, at the same width."""
    ids = np.array(tokens[facts.name])
    ids[:, :-1] = ids[:, 1:].copy()
    if facts.pad is not None:
        ids[:, -1] = facts.pad
    return {**tokens, facts.name: ids}


# -- towers


def output_alternatives(
    side: ComparedSide, encode: Callable[[], Rows], lengths: Int64[np.ndarray, " n"] | None
) -> list[OtherOutput]:
    """Return the vectors of inputs by other last steps of the tower, none if the side shows no module.

    Args:
        encode: runs the tower on the inputs.
        lengths: tokens of each text, None for pictures.
    """
    module = side.parts.module
    return [] if module is None else other_outputs(module, encode, lengths)


def rounded_vectors(side: ComparedSide, rounding: Rounding, encode: Callable[[], Rows]) -> Rows | None:
    """Return vectors computed with fewer bits, or None if the side shows no module."""
    if side.parts.module is None:
        return None
    with rounded_computation(side.parts.module, rounding):
        return encode()

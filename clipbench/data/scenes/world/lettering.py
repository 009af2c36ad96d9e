"""Words as masks of ink, in the fonts that matplotlib ships."""

from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from clipbench.data.scenes.world.records import Writing
from clipbench.data.scenes.world.vocabulary import FONTS

MAX_WIDTH = 0.88
"""Share of the image's width to which a wider word is squeezed; its letters keep their height."""

_CASES = {"lower": str.lower, "upper": str.upper, "title": str.title}


class Ink(NamedTuple):
    """The ink of a word, and its place."""

    mask: Float32[np.ndarray, "height width"]
    """Share of each pixel that is ink, from 0 to 1."""
    left: int
    """Column of the mask's first pixel in the image; may be negative."""
    top: int


def ink(writing: Writing, size: int) -> Ink:
    """Return the ink of a word in an image that many pixels wide.

    The word is centred on its place to a fraction of a pixel across. Its baseline is on a whole pixel, since the
    fonts' hinting, which keeps small letters legible, holds only there.
    """
    text, capital = _CASES[writing.case](writing.word), writing.height * size
    face = _face(writing.font, capital)
    left, top, right, bottom = face.getbbox(text, anchor="ls")
    width = min(right - left, MAX_WIDTH * size)
    start = writing.x * size - width / 2
    column = floor(start)
    ascent, descent = ceil(max(-top, capital)) + 1, max(ceil(bottom), 0) + 1
    mask = Image.new("L", (ceil(right - left) + 2, ascent + descent))
    ImageDraw.Draw(mask).text((start - column - left, ascent), text, font=face, fill=255, anchor="ls")
    if width < right - left:
        mask = mask.resize((round(width), mask.height), Image.Resampling.BOX)
    baseline = round(writing.y * size + capital / 2)
    return Ink(np.asarray(mask, np.float32) / 255, column, baseline - ascent)


def word_width(writing: Writing) -> float:
    """Return the width of a word in widths of the image, whatever the image's size in pixels."""
    return min(writing.height * _width(_CASES[writing.case](writing.word), writing.font), MAX_WIDTH)


def unwritable(text: str, font: str) -> str:
    """Return the characters of a text that a font lacks, each once.

    Example:
        >>> unwritable("café", "sans"), unwritable("猫 dog 猫", "sans")
        ('', '猫')
    """
    face = _load(font, _LARGE)
    unknown = bytes(face.getmask(_NO_CHARACTER))
    return "".join(char for char in dict.fromkeys(text) if char.isprintable() and bytes(face.getmask(char)) == unknown)


_NO_CHARACTER = "\uffff"
"""A noncharacter of Unicode: a font draws for a letter that it lacks the same box as for this one."""

_LARGE = 200.0
"""Pixels at which a font is measured, so large that hinting does not matter."""


@lru_cache(maxsize=4096)
def _width(text: str, font: str) -> float:
    """Return the width of a text in heights of its capitals."""
    left, _, right, _ = _load(font, _LARGE).getbbox(text, anchor="ls")
    return (right - left) / (_LARGE * _capital_share(font))


@lru_cache(maxsize=512)
def _face(font: str, capital: float) -> ImageFont.FreeTypeFont:
    return _load(font, capital / _capital_share(font))


@lru_cache(maxsize=len(FONTS))
def _capital_share(font: str) -> float:
    """Return the height of a capital letter in a font of size 1."""
    _, top, _, bottom = _load(font, _LARGE).getbbox("H", anchor="ls")
    return (bottom - top) / _LARGE


def _load(font: str, size: float) -> ImageFont.FreeTypeFont:
    # The basic layout on every machine: raqm is not in every build of Pillow, and kerns differently.
    return ImageFont.truetype(_folder() / FONTS[font], size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"

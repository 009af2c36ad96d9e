"""Disturbances of images and texts, each in five severities. A copy depends on its image or text and on nothing else.

Lengths in images are fractions of the shorter side, so that a severity means the same for images of any size. JPEG and
downscaling work on the pixels of the image. The kinds follow Hendrycks and Dietterich, ICLR 2019, whose
severities are for 224 pixels.

In texts, a larger severity changes what a smaller one changes, and more. A text in which there is nothing to change,
such as the order of one word, stays as it is.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageStat

from clipbench.data.images import DrawnImage, Examined, ImageRef, Reading, content_digest, rgb
from clipbench.seeding import Sampler

VERSION = 1
"""Raised whenever the same severity would give other pixels; part of each digest."""
GRAINS = 224
"""Grains of noise along each side: noise on single pixels of a photograph vanishes where a model reduces it."""


class Disturbance(NamedTuple):
    """A way to disturb images or texts, and what its five severities set."""

    title: str
    levels: tuple[Any, ...]
    apply: Callable[[Any, Any, Sampler], Any]
    """Takes an RGB image or a text, a level, and the stream of random choices that all levels of the item share."""


def _compress(image: Image.Image, quality: float, sampler: Sampler) -> Image.Image:
    encoded = BytesIO()
    image.save(encoded, "JPEG", quality=int(quality))
    return Image.open(encoded, formats=["JPEG"]).convert("RGB")


def _reduce(image: Image.Image, side: float, sampler: Sampler) -> Image.Image:
    factor = side / max(image.size)
    width, height = (max(1, round(factor * pixels)) for pixels in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _blur(image: Image.Image, radius: float, sampler: Sampler) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius * min(image.size)))


def _add_noise(image: Image.Image, deviation: float, sampler: Sampler) -> Image.Image:
    grains = np.random.default_rng(sampler.below(1 << 53)).standard_normal((GRAINS, GRAINS, 3), np.float32)
    noise = np.rint(255 * deviation * grains).astype(np.int16)
    rows = np.arange(image.height) * GRAINS // image.height
    columns = np.arange(image.width) * GRAINS // image.width
    pixels = np.asarray(image, np.int16) + noise[rows][:, columns]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _brighten(image: Image.Image, factor: float, sampler: Sampler) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor if sampler.bernoulli(0.5) else 1 / factor)


def _weaken_contrast(image: Image.Image, share: float, sampler: Sampler) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(share)


def _weaken_colour(image: Image.Image, share: float, sampler: Sampler) -> Image.Image:
    return ImageEnhance.Color(image).enhance(share)


def _rotate(image: Image.Image, degrees: float, sampler: Sampler) -> Image.Image:
    mean_colour = tuple(round(channel) for channel in ImageStat.Stat(image).mean)
    angle = degrees if sampler.bernoulli(0.5) else -degrees
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=mean_colour)


def _crop(image: Image.Image, share: float, sampler: Sampler) -> Image.Image:
    width, height = (max(1, round(share * side)) for side in image.size)
    left = round(sampler.between(0, 1) * (image.width - width))
    top = round(sampler.between(0, 1) * (image.height - height))
    return image.crop((left, top, left + width, top + height))


DOWNSCALE = "downscale"
IMAGE_DISTURBANCES: Mapping[str, Disturbance] = MappingProxyType(
    {
        "jpeg": Disturbance("JPEG", (60, 40, 25, 15, 7), _compress),
        DOWNSCALE: Disturbance("Downscale", (250, 200, 150, 100, 64), _reduce),
        "blur": Disturbance("Blur", (0.005, 0.01, 0.015, 0.025, 0.04), _blur),
        "noise": Disturbance("Noise", (0.05, 0.1, 0.15, 0.25, 0.4), _add_noise),
        "brightness": Disturbance("Brightness", (1.25, 1.5, 2.0, 2.5, 3.0), _brighten),
        "contrast": Disturbance("Contrast", (0.7, 0.5, 0.3, 0.15, 0.05), _weaken_contrast),
        "grey": Disturbance("Grey", (0.8, 0.6, 0.4, 0.2, 0.0), _weaken_colour),
        "rotation": Disturbance("Rotation", (5, 10, 20, 45, 90), _rotate),
        "crop": Disturbance("Crop", (0.9, 0.75, 0.6, 0.45, 0.3), _crop),
    }
)
"""JPEG quality; longer side in pixels; radius as a fraction of the shorter side; standard deviation as a fraction of
white; factor or its inverse; fraction of the contrast and of the colour that is left; degrees to either side; fraction
of each side that is left."""


@dataclass(frozen=True)
class DisturbedImage:
    """A disturbed copy of an image, made when it is opened; it meets the ImageRef protocol."""

    source: ImageRef
    source_digest: str
    disturbance: str
    severity: int

    @property
    def name(self) -> str:
        return f"{self.source.name} ({self.disturbance}, severity {self.severity})"

    @property
    def _level(self) -> float:
        return IMAGE_DISTURBANCES[self.disturbance].levels[self.severity - 1]

    def digest(self) -> str:
        """Return a hash of the source's digest and of everything that decides the pixels."""
        return content_digest(repr((VERSION, self.source_digest, self.disturbance, self._level)).encode())

    def examine(self) -> Examined:
        """Return that hash; the pixels depend on how the source is converted, whatever its mode is."""
        return Examined(self.digest(), Reading(is_converted=True))

    def open(self) -> Image.Image:
        return self._disturb(self.source.open())

    def _disturb(self, image: Image.Image) -> Image.Image:
        sampler = Sampler("perturbation", self.disturbance, self.source_digest)
        return IMAGE_DISTURBANCES[self.disturbance].apply(rgb(image, self.name), self._level, sampler)


class DisturbedDrawing(DisturbedImage):
    """A disturbed copy of an image that is drawn at the size of a model's input."""

    def open_at(self, side: int) -> Image.Image:
        """Return the copy, drawn for a square input of ``side`` pixels and then disturbed."""
        assert isinstance(self.source, DrawnImage), self.source
        return self._disturb(self.source.open_at(side))


def disturb_image(source: ImageRef, digest: str, disturbance: str, severity: int) -> ImageRef:
    """Return a disturbed copy of an image.

    Args:
        source: the image.
        digest: its content hash.
        disturbance: one of ``IMAGE_DISTURBANCES``.
        severity: from 1 to 5.
    """
    kind = DisturbedDrawing if isinstance(source, DrawnImage) else DisturbedImage
    return kind(source, digest, disturbance, severity)


# -- texts


KEYS, NEIGHBOURS = "qwertyuiopasdfghjklzxcvbnm", "wertyuioposdfghjklkxcvbnmn"
NEXT_KEY = str.maketrans(KEYS + KEYS.upper(), NEIGHBOURS + NEIGHBOURS.upper())
"""A neighbour of each key on an English keyboard; other letters have none."""
MARKS = ",.;:!?"
TEMPLATES = ("a photo of {}", "an image of {}", "a picture showing {}", "this is {}", "{}, seen in a photo")


def _count(share: float, n: int, sampler: Sampler) -> int:
    """Return a count whose mean over texts is this fraction of n, rounded up or down at random.

    The first draw of a text decides, so that a larger share never has a smaller count.
    """
    return min(n, int(share * n + sampler.between(0, 1)))


def _mistype(text: str, share: float, sampler: Sampler) -> str:
    letters = [row for row, character in enumerate(text) if character.isalpha()]
    if len(letters) < 2:
        return text
    n_typos = _count(share, len(letters), sampler)
    # All letters get a slip, so that a larger share makes the same typos and more.
    order = sampler.some_of(letters, len(letters))
    slips = [sampler.one_of(SLIPS) for _ in order]
    characters = list(text)
    for row, slip in zip(order[:n_typos], slips[:n_typos], strict=True):
        slip(characters, row)
    return "".join(characters)


def _press_neighbour(characters: list[str], row: int) -> None:
    characters[row] = characters[row].translate(NEXT_KEY)


def _press_twice(characters: list[str], row: int) -> None:
    characters[row] *= 2


def _skip(characters: list[str], row: int) -> None:
    characters[row] = ""


def _swap(characters: list[str], row: int) -> None:
    end = max(1, row)
    characters[end - 1], characters[end] = characters[end], characters[end - 1]


SLIPS: tuple[Callable[[list[str], int], None], ...] = (_press_neighbour, _press_twice, _skip, _swap)


def _split(text: str) -> tuple[list[str], list[int]]:
    """Return words and the blanks between them, and the positions of the words."""
    parts = re.split(r"(\s+)", text)
    return parts, [row for row in range(0, len(parts), 2) if parts[row]]


def _change_words(text: str, share: float, sampler: Sampler, *, change: Callable[[str, Sampler], str]) -> str:
    parts, rows = _split(text)
    n_changed = _count(share, len(rows), sampler)
    order = sampler.some_of(rows, len(rows))
    changed = [change(parts[row], sampler) for row in order]
    for row, word in zip(order[:n_changed], changed[:n_changed], strict=True):
        parts[row] = word
    return "".join(parts)


def _upper(word: str, sampler: Sampler) -> str:
    return word.upper()


def _lower(word: str, sampler: Sampler) -> str:
    return word.lower()


def _add_mark(word: str, sampler: Sampler) -> str:
    return word + sampler.one_of(MARKS)


def _reorder(text: str, share: float, sampler: Sampler) -> str:
    parts, rows = _split(text)
    n_moved = max(2, _count(share, len(rows), sampler))  # one word has no other place
    chosen = sampler.some_of(rows, len(rows))[:n_moved]
    words = [parts[row] for row in chosen]
    for row, word in zip(chosen, [*words[1:], *words[:1]], strict=True):
        parts[row] = word
    return "".join(parts)


def _truncate(text: str, share: float, sampler: Sampler) -> str:
    parts, rows = _split(text)
    n_words = max(1, _count(share, len(rows), sampler))
    return "".join(parts[: rows[n_words - 1] + 1]) if rows else text


def _fill_template(text: str, template: str, sampler: Sampler) -> str:
    return template.replace("{}", text)


SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
TEMPLATE = "template"
TEXT_DISTURBANCES: Mapping[str, Disturbance] = MappingProxyType(
    {
        "typos": Disturbance("Typos", (0.02, 0.05, 0.1, 0.2, 0.3), _mistype),
        "upper-case": Disturbance("Upper case", SHARES, partial(_change_words, change=_upper)),
        "lower-case": Disturbance("Lower case", SHARES, partial(_change_words, change=_lower)),
        "punctuation": Disturbance("Punctuation", SHARES, partial(_change_words, change=_add_mark)),
        "word-order": Disturbance("Word order", SHARES, _reorder),
        "truncation": Disturbance("Truncation", (0.8, 0.6, 0.4, 0.2, 0.1), _truncate),
        TEMPLATE: Disturbance("Template", TEMPLATES, _fill_template),
    }
)
"""Mean fraction of the letters with a typo; fraction of the words in capitals, in small letters, with a mark after
them, and in another place; fraction of the words that are left, from the first; and five templates, which have no
order."""


def disturb_text(text: str, disturbance: str, severity: int) -> str:
    """Return a disturbed text.

    Args:
        text: the text.
        disturbance: one of ``TEXT_DISTURBANCES``.
        severity: from 1 to 5.

    Example:
        >>> disturb_text("two small dogs", "truncation", 3), disturb_text("two small dogs", "upper-case", 5)
        ('two', 'TWO SMALL DOGS')
        >>> disturb_text("x", "typos", 5)
        'x'
    """
    kind = TEXT_DISTURBANCES[disturbance]
    return kind.apply(text, kind.levels[severity - 1], Sampler("perturbation", disturbance, text))

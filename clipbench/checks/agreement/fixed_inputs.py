"""The fixed inputs of ``doctor --against``: pictures of all shapes and kinds, and texts of all lengths and alphabets.

They are drawn by integer arithmetic, so that every machine has the same ones. ``write_inputs`` writes them as files,
for programs in other languages, whose vectors come back by the ids of the inputs.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from clipbench.data.images import FORMATS, ORIENTATION, EncodedImage, decode
from clipbench.errors import UsageError
from clipbench.files import write_atomic

Shape = Literal["square", "wide", "tall"]
Reading = Literal["plain", "transparent", "palette", "16 bits", "turned by EXIF", "grey", "JPEG"]
"""What a decoder has to decide about a picture. ``plain`` is RGB with 8 bits, about which libraries agree."""
TextKind = Literal["short", "long", "capitals", "punctuation", "spaces", "Unicode", "blank"]

READINGS: dict[Reading, str] = {
    "transparent": "transparent pictures",
    "palette": "pictures with a palette",
    "16 bits": "pictures of 16 bits",
    "turned by EXIF": "pictures turned by EXIF",
    "grey": "grey pictures",
    "JPEG": "JPEG pictures",
}
"""The group of pictures of each reading that is not plain."""
TEXT_KINDS: dict[TextKind, str] = {
    "short": "short texts",
    "long": "long texts",
    "capitals": "texts with capitals",
    "punctuation": "texts with punctuation or numbers",
    "spaces": "texts with blanks at their ends",
    "Unicode": "texts beyond ASCII",
    "blank": "blank texts",
}
LONG = 60
"""Words from which a text is long."""
TEXTS_FILE = "texts.jsonl"
TURNED = 6
"""The EXIF orientation of a picture that is shown after a quarter turn to the right."""
N_LONGEST = 600
"""Tokens, at least, of the longest text."""


@dataclass(frozen=True, kw_only=True)
class FixedImage(EncodedImage):
    """One picture, encoded as a file. Its id is the file's name without the suffix."""

    id: str
    width: int
    height: int
    reading: Reading
    suffix: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.id}{self.suffix}"

    @property
    def shape(self) -> Shape:
        """The shape of the picture, wider or taller than its other side."""
        if self.width == self.height:
            return "square"
        return "wide" if self.width > self.height else "tall"

    def read(self) -> bytes:
        return self.data

    def groups(self, side_length: int | None) -> list[str]:
        """Return the groups of pictures that it belongs to, the most special first.

        Args:
            side_length: side of the model's square input in pixels, None if unknown.
        """
        shorter = min(self.width, self.height)
        groups = [] if self.reading == "plain" else [READINGS[self.reading]]
        groups += ["JPEG pictures"] * (self.suffix == ".jpg") + ["pictures that are not plain RGB"] * bool(groups)
        groups += ["pictures that are not square"] * (self.shape != "square")
        if side_length is not None:
            groups += ["pictures that are made smaller"] * (shorter > side_length)
            groups += ["pictures that are resized"] * (shorter != side_length)
        return [*groups, *["pictures in colour"] * (self.reading not in ("grey", "16 bits"))]

    def thumbnail(self) -> Image.Image:
        """Return the picture as people see it, upright and on a white ground."""
        image = Image.open(io.BytesIO(self.data), formats=FORMATS)
        if self.reading == "16 bits":
            return decode(self.data, self.name).convert("RGB")
        upright = ImageOps.exif_transpose(image).convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright).convert("RGB")


class FixedText(NamedTuple):
    """One text."""

    id: str
    text: str
    kind: TextKind

    def groups(self, side_length: int | None = None) -> list[str]:
        """Return the groups of texts that it belongs to, the most special first."""
        groups = [TEXT_KINDS[self.kind]]
        groups += ["texts with capitals"] * (self.text != self.text.lower())
        groups += ["texts beyond ASCII"] * (not self.text.isascii())
        return [*groups, *["texts of 60 words or more"] * (len(self.text.split()) >= LONG)]


class FixedInputs(NamedTuple):
    """All inputs, in the order in which they are encoded."""

    images: Sequence[FixedImage]
    texts: Sequence[FixedText]


@cache
def fixed_inputs() -> FixedInputs:
    """Return the inputs, drawn once per process.

    Example:
        >>> images, texts = fixed_inputs()
        >>> images[0].id, images[0].shape, texts[0].text
        ('square-64', 'square', 'a photo of a dog')
    """
    return FixedInputs(tuple(_images()), tuple(_texts()))


def write_inputs(folder: Path) -> list[Path]:
    """Write each picture as a file and all texts to ``texts.jsonl``, and return the paths.

    Raises:
        UsageError: the folder holds other files of these names, or cannot be written.
    """
    images, texts = fixed_inputs()
    lines = [json.dumps({"id": text.id, "text": text.text}, ensure_ascii=False) for text in texts]
    contents = {folder / image.name: image.data for image in images}
    contents[folder / TEXTS_FILE] = "".join(f"{line}\n" for line in lines).encode()
    for path, data in contents.items():
        if path.exists() and path.read_bytes() != data:
            raise UsageError(f"{path} exists with other content: choose an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): expected a folder") from error
    write_atomic(contents)
    return list(contents)


# -- pictures


def _images() -> list[FixedImage]:
    """Return the pictures. Squares have the sides of usual models, so that some are not resized at all."""
    plain = [(f"square-{side}", side, side) for side in (64, 224, 256, 336, 384)]
    plain += [("wide-2-1", 480, 240), ("wide-3-1", 600, 200), ("tall-1-2", 240, 480), ("tall-1-3", 200, 600)]
    plain += [("odd-sides", 301, 199), ("tiny", 9, 7), ("large", 1200, 900)]
    images = [
        _encoded(id, "plain", Image.fromarray(draw(width, height, seed)))
        for seed, (id, width, height) in enumerate(plain)
    ]
    kinds: list[tuple[str, Reading, Callable[[], Image.Image]]] = [
        ("transparent", "transparent", _transparent),
        ("palette", "palette", _palette),
        ("sixteen-bits", "16 bits", _sixteen_bits),
        ("grey", "grey", _grey),
        ("jpeg", "JPEG", lambda: Image.fromarray(draw(256, 256, 24))),
        ("turned", "turned by EXIF", lambda: Image.fromarray(draw(256, 256, 25))),
    ]
    return [*images, *(_encoded(id, reading, make()) for id, reading, make in kinds)]


def draw(width: int, height: int, seed: int) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture without any symmetry: ramps of colour, blocks, stripes of three pixels, and a field of noise.

    Blocks and ramps survive any resize. Stripes and noise do not, so that they show the interpolation.
    """
    y, x = np.indices((height, width), np.int32)
    across, down = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    ramps = [ramp if _hashed(seed, channel) % 2 else 255 - ramp for channel, ramp in enumerate((across, down))]
    ramps.append((across + down) // 2)
    picture = np.stack([ramps[(channel + seed) % 3] for channel in range(3)], axis=-1).astype(np.uint8)
    for block in range(5):
        left, top, right, bottom = _block(width, height, seed * 7 + block)
        picture[top:bottom, left:right] = [_hashed(seed, block, channel) for channel in range(3)]
    stripes = (across > 140) & (down < 110) & ((x // 3 + seed) % 2 == 0)
    picture[stripes] = 255 - picture[stripes]
    noisy = (across < 90) & (down > 150)
    noise = (x[noisy] * 7_919 ^ y[noisy] * 104_729 ^ (seed + 1) * 1_299_709) >> 3
    picture[noisy] = np.stack([noise, noise >> 3, noise >> 6], axis=-1) % 256
    return picture


def _block(width: int, height: int, seed: int) -> tuple[int, int, int, int]:
    left, top = _hashed(seed, 1, 0) * width // 360, _hashed(seed, 2, 0) * height // 360
    wide, high = 30 + _hashed(seed, 3, 0) // 3, 30 + _hashed(seed, 4, 0) // 3
    return left, top, left + max(1, wide * width // 255), top + max(1, high * height // 255)


def _hashed(*numbers: int) -> int:
    """Return a byte that depends on all numbers."""
    return hashlib.blake2b(repr(numbers).encode(), digest_size=1).digest()[0]


def _transparent() -> Image.Image:
    """Return colours below an alpha channel from clear to opaque: dropped, on white and on black they differ."""
    y, x = np.indices((256, 256))
    alpha = np.where((x - 128) ** 2 + (y - 128) ** 2 < 100**2, 255 - y // 2, y // 4)
    return Image.fromarray(np.dstack([draw(256, 256, 20), alpha.astype(np.uint8)]), "RGBA")


def _palette() -> Image.Image:
    return Image.fromarray(draw(256, 256, 21)).quantize(32, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _sixteen_bits() -> Image.Image:
    """Return greys of 16 bits over the whole range: cut off at 255, nearly all become white."""
    grey = np.asarray(Image.fromarray(draw(256, 256, 22)).convert("L")).astype(np.uint16)
    return Image.fromarray(grey * 257)


def _grey() -> Image.Image:
    return Image.fromarray(draw(256, 256, 23)).convert("L")


def _encoded(id: str, reading: Reading, image: Image.Image) -> FixedImage:
    file = io.BytesIO()
    if reading in ("JPEG", "turned by EXIF"):
        exif = Image.Exif()
        if reading == "turned by EXIF":
            exif[ORIENTATION] = TURNED
        image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
        suffix = ".jpg"
    else:
        image.save(file, "PNG", compress_level=1)
        suffix = ".png"
    return FixedImage(
        id=id, width=image.width, height=image.height, reading=reading, suffix=suffix, data=file.getvalue()
    )


# -- texts


def _texts() -> list[FixedText]:
    texts: list[tuple[str, str, TextKind]] = [
        ("short", "a photo of a dog", "short"),
        ("word", "cat", "short"),
        ("cubes", "two red cubes on a table", "short"),
        ("sentence", "people walk along the beach at sunset while a boat leaves the harbour", "short"),
        ("rare-word", "an okapi next to a theodolite", "short"),
        ("numbers", "3 apples, 12 pears and 2048 plums", "punctuation"),
        ("full-stop", "a photo of a dog.", "punctuation"),
        ("punctuation", "isn't it (a dog), or: a wolf?", "punctuation"),
        ("capitals", "A Photo Of A RED Dog", "capitals"),
        ("spaces", "  a  photo\tof a dog\n", "spaces"),
        ("accents", "une photo d'un café à Zürich", "Unicode"),
        ("combining", "a cafe\u0301 in Zu\u0308rich", "Unicode"),
        ("chinese", "一只狗的照片", "Unicode"),
        ("emoji", "a dog 🐶 on the beach", "Unicode"),
        ("blank", "", "blank"),
        *((f"digits-{n}", digits(n), "long") for n in (60, 74, 130, N_LONGEST)),
        ("caption", CAPTION, "long"),
    ]
    return [FixedText(*text) for text in texts]


def digits(n: int) -> str:
    """Return a text of n digits, each of which is a word and, for nearly all tokenizers, a token.

    Example:
        >>> digits(6), digits(8).startswith(digits(6))
        ('6 1 0 4 3 2', True)
    """
    return " ".join(str(_hashed(position, 5) % 10) for position in range(n))


CAPTION = (
    "In the foreground a woman with a yellow umbrella crosses a wet street between two parked cars, while behind her a"
    " red tram waits at the stop and a cyclist looks over his shoulder; on the left a florist carries buckets of tulips"
    " into her shop, on the right three children press their noses against the window of a bakery, and far away, above"
    " the roofs, the towers of a cathedral and a crane stand dark against a band of orange evening light under clouds"
)
"""A caption that ends far beyond 77 tokens, with other words at its end than at its beginning."""

"""Images as references, and the one way in which encoded images become pixels. docs/images.md describes it for users.

An image is named, identified by its content, and opened only when it is needed: RGB or grey (L) with 8 bits, as
``Image.open(file).convert("RGB")`` of Pillow gives it, which is what CLIP_benchmark, torchvision and webdataset feed to
a model. Two things differ from Pillow, which cuts such values off at 255: 16 bits (12 in some TIFF) are scaled to 8,
and numbers of which no standard says which is white are refused.

Only the formats of ``FORMATS`` are opened, whatever a file is called: some of Pillow's others start programs, such as
Ghostscript for EPS, and none of those is a format of data sets.
"""

import hashlib
import io
import os
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipbench.errors import FOREIGN, BadImage, DataError, Unavailable, UsageError, option
from clipbench.untrusted.limits import too_many_pixels
from clipbench.untrusted.reading import is_file, read_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

Remark = Literal["scaled", "alpha", "first", "turned", "colours"]

NOTES: dict[Remark, str] = {
    "scaled": "with 16 bits per pixel: scaled to 8",
    "alpha": "with transparency: the alpha channel is dropped, so the colours below it are used",
    "first": "animated or of several pages: the first is read",
    "turned": (
        "with an EXIF orientation, which is not applied: rotate the images first if the model should see them upright"
    ),
    "colours": "in CMYK, YCbCr or Lab: converted to RGB without a colour profile",
}
"""Notes for a user on images that are not plain RGB or grey."""

ORIENTATION = 0x0112
UPRIGHT = 1
PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339
"""Tags of EXIF and TIFF."""
SIGNED = 2
MARKERS = 1 << 17
"""Bytes at the beginning of a JPEG in which its EXIF data and colour space stand."""
MOST_PNM_HEADER = 1 << 16
_PNM_NUMBER = rb"(?:(?:\s|#[^\r\n]*(?:[\r\n]|\Z))*\d*)"
_PNM_HEADER = re.compile(rb"P(?:[14]%b{2}|[2356]%b{3})" % (_PNM_NUMBER, _PNM_NUMBER))
"""Beginning of a PBM, PGM or PPM up to its last number, with the comments, which Pillow reads byte by byte."""
STRIP = 1 << 22
"""Pixels that are scaled at a time."""

_LOCK = threading.Lock()


class Reading(NamedTuple):
    """Facts in the header of an image that decide how it is read."""

    remarks: tuple[Remark, ...] = ()
    is_converted: bool = False
    """True where its pixels are not those that the file holds, but made from them."""


def decode(data: bytes, name: str) -> Image.Image:
    """Return the image in encoded bytes, as RGB or L.

    Raises:
        BadImage: they are not an image of ``FORMATS``, or it is damaged, has too many pixels, or has no white.
    """
    try:
        image = _open_undecoded(data)
        fault = too_many_pixels(*image.size) or _fault_of_size(image, len(data))
        if fault is None:
            image.load()
    except UsageError:
        raise
    except FOREIGN as error:  # Pillow raises many kinds of error, depending on the format
        raise BadImage(name, _decoding_fault(error)) from error
    if fault is not None:
        raise BadImage(name, fault)
    return as_rgb(image, name)


def _fault_of_bytes(data: bytes) -> str | None:
    """Return what is wrong with encoded bytes, as far as Pillow does not say it or takes a minute to."""
    if not data:
        return "it is empty"
    header = _PNM_HEADER.match(data[:MOST_PNM_HEADER])
    if header is not None and header.end() == MOST_PNM_HEADER:
        return f"its header has comments of more than {MOST_PNM_HEADER:,} bytes"
    return None


def _fault_of_size(image: Image.Image, n_bytes: int) -> str | None:
    """Return that an image cannot have the size of its header, None if it can.

    Pillow makes the missing rows of a JPEG grey. Each block of 8 x 8 pixels takes at least a bit.
    """
    width, height = image.size
    if image.format != "JPEG" or n_bytes * 8 >= width * height / 64:
        return None
    return f"its header says {width:,} x {height:,} pixels, which {n_bytes:,} bytes cannot hold: it is damaged"


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return an image of any mode as RGB, or as L if it is grey with 8 bits.

    Raises:
        BadImage: no standard says which of its numbers is white, or Pillow cannot convert it.
    """
    if image.mode in ("RGB", "L") and not _is_signed(image):
        return image
    whites = _white_level(image)
    if whites is not None:
        return _scale_to_8_bits(image, *whites)
    if image.mode in ("I", "F") or image.mode.startswith("I;") or _is_signed(image):
        kind = {"F": "floating-point numbers", "L": "signed numbers"}.get(image.mode, "32-bit or signed integers")
        raise BadImage(name, f"its pixels are {kind}, and no standard says which is white: save it with 8 or 16 bits")
    try:
        if image.mode in ("P", "PA", "La"):  # a palette with transparency, premultiplied grey: by way of their alpha
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        return image.convert("RGB")
    except FOREIGN as error:
        raise BadImage(name, f"its mode {image.mode} cannot be converted to RGB ({error})") from error


def rgb(image: Image.Image, name: str = "in memory") -> Image.Image:
    """Return an image of any mode as RGB: itself if it is that already, where ``convert`` would copy it."""
    image = as_rgb(image, name)
    return image if image.mode == "RGB" else image.convert("RGB")


def reading_of(data: bytes) -> Reading:
    """Return how an encoded image will be read, by its header, or an empty reading if it cannot be read."""
    if data.startswith(b"\xff\xd8"):  # most images are plain JPEGs, and opening one takes as long as hashing it
        head = data[:MARKERS]
        if b"Exif\0" not in head and b"Adobe" not in head:
            return Reading()
    try:
        return reading_of_image(_open_undecoded(data))
    except FOREIGN:  # decode says what is wrong
        return Reading()


def reading_of_image(image: Image.Image) -> Reading:
    """Return how an image that Pillow has opened will be read."""
    return Reading(tuple(_remarks(image)), image.mode not in ("RGB", "L"))


def reading_notes(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """Return a note for each kind of remark, with the number of images that have it.

    Example:
        >>> for note in reading_notes(["alpha", "scaled", "alpha"]):
        ...     print(note)
        1 image with 16 bits per pixel: scaled to 8
        2 images with transparency: the alpha channel is dropped, so the colours below it are used
    """
    remark_counts = Counter(remarks)
    counts = [(remark_counts[remark], note) for remark, note in NOTES.items() if remark_counts[remark]]
    return tuple(f"{n:,} image{'s' * (n != 1)} {note}" for n, note in counts)


def _decoding_fault(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own text holds a memory address, different at each run
        return f"it is not an image of a supported format ({', '.join(FORMATS)})"
    return str(error) or type(error).__name__


def _open_undecoded(data: bytes) -> Image.Image:
    """Open an image without decoding it or checking its size, which Pillow would only warn about at first.

    Raises:
        Exception: of many kinds, if the bytes are not an image.
        ValueError: the header has a comment that Pillow would read for a minute.
    """
    if (fault := _fault_of_bytes(data)) is not None:
        raise ValueError(fault)
    with _LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()  # else a format that Pillow was built without is a KeyError
            return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _remarks(image: Image.Image) -> Iterable[Remark]:
    if _white_level(image) is not None:
        yield "scaled"
    if image.has_transparency_data:
        yield "alpha"
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photograph with its previews
        yield "first"
    if image.format != "TIFF" and "exif" in image.info and image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
        yield "turned"
    if image.mode in ("CMYK", "YCbCr", "LAB"):
        yield "colours"


def _white_level(image: Image.Image) -> tuple[int, bool] | None:
    """Return the number that is white in an image of more than 8 bits, and whether 0 is white instead of it."""
    tags = getattr(image, "tag_v2", {})
    if _is_signed(image):
        return None
    if image.mode.startswith("I;16"):
        bits = tags.get(BITS, (16,))
        return (1 << (bits[0] if isinstance(bits, tuple) else bits)) - 1, tags.get(PHOTOMETRIC, 1) == 0
    return (65_535, False) if image.mode == "I" and image.format == "PPM" else None


def _is_signed(image: Image.Image) -> bool:
    sample_formats = getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, ())
    return SIGNED in (sample_formats if isinstance(sample_formats, tuple) else (sample_formats,))


def _scale_to_8_bits(image: Image.Image, white: int, is_inverted: bool) -> Image.Image:
    """Return an image of up to 16 bits with 8, rounded, a strip at a time: the whole would take eight bytes a pixel."""
    pixels = np.asarray(image)
    scaled = np.empty(pixels.shape, np.uint8)
    step = max(1, STRIP // max(1, pixels.shape[1]))
    for start in range(0, len(pixels), step):
        strip = np.clip(pixels[start : start + step].astype(np.int64), 0, white)
        rounded = (strip * 255 + white // 2) // white
        scaled[start : start + step] = 255 - rounded if is_inverted else rounded
    return Image.fromarray(scaled)


N_SHOWN = 3
"""Missing images that an error names."""


@runtime_checkable
class ImageRef(Protocol):
    """A small and picklable object with a name and a content hash, which opens an image."""

    @property
    def name(self) -> str:
        """Name for messages: a path, a row of a table, a member of an archive."""
        ...

    def digest(self) -> str:
        """Return 32 hex digits that are equal for equal content, and only then."""
        ...

    def open(self) -> Image.Image:
        """Return the decoded image, RGB or L, or raise BadImage when that fails."""
        ...


@runtime_checkable
class DrawnImage(ImageRef, Protocol):
    """An image without pixels of its own: it is drawn at the size of the model's input."""

    def open_at(self, side: int) -> Image.Image:
        """Return the image for a square input of ``side`` pixels, or the nearest size that can be drawn."""
        ...


def open_image(ref: ImageRef, side: int | None) -> Image.Image:
    """Return the decoded image, drawn for a square input of ``side`` pixels if it is a DrawnImage."""
    return ref.open_at(side) if side is not None and isinstance(ref, DrawnImage) else ref.open()


def image_size(ref: ImageRef) -> tuple[int, int]:
    """Return width and height in pixels: of an encoded image by its header, of a drawn one for the smallest input.

    Raises:
        BadImage: the image cannot be read.
    """
    if not isinstance(ref, EncodedImage):
        return open_image(ref, 1).size
    data = ref.read()
    try:
        return _open_undecoded(data).size
    except FOREIGN as error:
        raise BadImage(ref.name, _decoding_fault(error)) from error


def content_digest(data: bytes) -> str:
    """Return the 128-bit BLAKE2b of some bytes, as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Examined(NamedTuple):
    """An image as it is known without being decoded."""

    digest: str
    reading: Reading = Reading()


def examine(ref: ImageRef) -> Examined:
    """Return the content hash of an image and, where it has a method ``examine`` that says it, how it will be read."""
    return ref.examine() if hasattr(ref, "examine") else Examined(ref.digest())


class EncodedImage(ABC):
    """An image that is stored encoded. Subclasses give its name and its bytes."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def read(self) -> bytes:
        """Return the encoded image, or raise BadImage when it cannot be read."""

    @property
    def media_type(self) -> str:
        """Type of the file, such as ``image/png``, or raise BadImage if it is not an image."""
        try:
            return Image.MIME[_open_undecoded(self.read()).format or ""]
        except FOREIGN as error:
            raise BadImage(self.name, _decoding_fault(error)) from error

    def digest(self) -> str:
        return content_digest(self.read())

    def examine(self) -> Examined:
        data = self.read()
        return Examined(content_digest(data), reading_of(data))

    def open(self) -> Image.Image:
        return decode(self.read(), self.name)

    def open_unchanged(self, is_known: Callable[[str], bool]) -> Image.Image:
        """Return the decoded image, or raise BadImage if it cannot be read, or its content hash is not the known one.

        The bytes that are hashed are the bytes that are decoded.

        Args:
            is_known: returns whether a content hash is the known one.
        """
        data = self.read()
        if not is_known(content_digest(data)):
            raise BadImage(self.name, "its content changed during the run (run again when no program writes to it)")
        return decode(data, self.name)


@dataclass(frozen=True)
class FileImage(EncodedImage):
    """An image in a file of its own."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        try:
            return read_bytes(self.path)
        except OSError as error:
            raise BadImage(self.name, error.strerror or str(error)) from error


def check_ids(ids: Sequence[str], kind: str, data: str) -> None:
    """Raise DataError if an id occurs twice."""
    if len(set(ids)) == len(ids):
        return
    distinct_ids: set[str] = set()
    for id in ids:
        if id in distinct_ids:
            raise DataError(f"data set {data} has the {kind} '{id}' twice: expected distinct ids")
        distinct_ids.add(id)


def existing_files(
    files: Iterable[Path], folder: Path, data: str, advice: str, *, allow_partial: bool
) -> tuple[set[Path], tuple[str, ...]]:
    """Return the existing images of a table, and notes on images that are missing or outside the folder.

    Raises Unavailable if images are missing, with ``allow_partial`` only if all are missing.

    Args:
        folder: the folder to which their names are relative.
    """
    distinct = dict.fromkeys(files)
    existing = {file for file in distinct if is_file(file)}
    missing = [file for file in distinct if file not in existing]
    advice += f", and {option('allow_partial', True)} scores the others" if existing else ""
    note = missing_note(missing, len(distinct), data, is_allowed=allow_partial and bool(existing), advice=advice)
    return existing, (*([note] if note else []), *outside_notes(existing, [folder], data))


def missing_note(missing: Sequence[object], n_images: int, data: str, *, is_allowed: bool, advice: str) -> str:
    """Return a note that counts missing images, empty where there are none, or raise Unavailable if none may be
    missing.
    """
    if not missing:
        return ""
    count = f"{len(missing):,} of {n_images:,} images"
    if not is_allowed:
        names = ", ".join([*map(str, missing[:N_SHOWN]), *(["..."] if len(missing) > N_SHOWN else [])])
        raise Unavailable(f"{count} of {data} are missing: {names} ({advice})")
    return f"{count} are missing and were left out"


def outside_notes(files: Collection[Path], folders: Iterable[Path], data: str) -> tuple[str, ...]:
    """Return a note on the images outside the folders, as a table from the web may name any local image."""
    inside = [os.path.abspath(folder) for folder in folders]
    n_outside = 0
    for file in files:
        path = Path(os.path.abspath(file))
        if not any(path.is_relative_to(root) for root in inside):
            n_outside += 1
    return (f"{n_outside:,} of {len(files):,} images are outside the folder of {data}",) if n_outside else ()

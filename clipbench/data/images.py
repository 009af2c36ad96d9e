"""Images as references: named, told apart by their content, and opened only when they are needed."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from PIL import Image

from clipbench.data.decoding import Reading, decode, reading_of
from clipbench.errors import BadImage, Unavailable
from clipbench.untrusted.reading import is_file, read_bytes

N_SHOWN = 3
"""Missing images that an error names."""


@runtime_checkable
class ImageRef(Protocol):
    """An image that has a name and a content hash, and can be opened; small and picklable."""

    @property
    def name(self) -> str:
        """Name for messages: a path, a row of a table, a member of an archive."""
        ...

    def digest(self) -> str:
        """Return 32 hex digits that are equal for equal content, and only then."""
        ...

    def open(self) -> Image.Image:
        """Return the decoded image, RGB or L; raise BadImage when that fails."""
        ...


@runtime_checkable
class DrawnImage(ImageRef, Protocol):
    """An image without pixels of its own: it is drawn at the size of the model's input."""

    def open_at(self, side: int) -> Image.Image:
        """Return the image for a square input of ``side`` pixels, or the nearest size that can be drawn."""
        ...


def opened(ref: ImageRef, side: int | None) -> Image.Image:
    """Return the decoded image, drawn for a square input of ``side`` pixels where it has no pixels of its own."""
    return ref.open_at(side) if side is not None and isinstance(ref, DrawnImage) else ref.open()


def content_digest(data: bytes) -> str:
    """Return the 128-bit BLAKE2b of some bytes, as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Examined(NamedTuple):
    """An image as it is known without being decoded."""

    digest: str
    reading: Reading = Reading()


@runtime_checkable
class ExaminedImage(ImageRef, Protocol):
    """An image that says, when it is read for its hash, how it will be decoded."""

    def examine(self) -> Examined:
        """Return the content hash, as ``digest`` does, and how the image will be read; raise BadImage likewise."""
        ...


def examine(ref: ImageRef) -> Examined:
    """Return the content hash of an image and, where the image says it, how it will be read."""
    # Asking for the protocol takes longer than hashing.
    return ref.examine() if hasattr(ref, "examine") else Examined(ref.digest())


class EncodedImage(ABC):
    """An image that is stored encoded; subclasses give its name and its bytes."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def read(self) -> bytes:
        """Return the encoded image; raise BadImage when it cannot be read."""

    def digest(self) -> str:
        return content_digest(self.read())

    def examine(self) -> Examined:
        data = self.read()
        return Examined(content_digest(data), reading_of(data))

    def open(self) -> Image.Image:
        return decode(self.read(), self.name)


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


def existing_files(
    files: Iterable[Path], folder: Path, data: str, *, allow_partial: bool, advice: str
) -> tuple[set[Path], tuple[str, ...]]:
    """Return those of the images that a table names that exist, and notes on those that are missing or lie elsewhere.

    Args:
        files: the images.
        folder: the folder to which their names are relative.
        data: the table or data set, for messages.
        allow_partial: leave missing images out, unless all are missing.
        advice: what to do about missing images.

    Raises:
        Unavailable: images are missing.
    """
    distinct = dict.fromkeys(files)
    existing = {file for file in distinct if is_file(file)}
    missing = [file for file in distinct if file not in existing]
    advice += "; --allow-partial scores the others" if existing else ""
    note = missing_note(missing, len(distinct), data, is_allowed=allow_partial and bool(existing), advice=advice)
    return existing, (*([note] if note else []), *outside_notes(existing, [folder], data))


def missing_note(missing: Sequence[object], n_images: int, data: str, *, is_allowed: bool, advice: str) -> str:
    """Return a note that counts missing images, empty where there are none; raise Unavailable where none may be missing."""
    if not missing:
        return ""
    count = f"{len(missing):,} of {n_images:,} images"
    if not is_allowed:
        names = ", ".join([*map(str, missing[:N_SHOWN]), *(["..."] if len(missing) > N_SHOWN else [])])
        raise Unavailable(f"{count} of {data} are missing: {names}; {advice}")
    return f"{count} are missing and were left out"


def outside_notes(files: Collection[Path], folders: Iterable[Path], data: str) -> tuple[str, ...]:
    """Return a note on the images that lie in none of the folders: a stranger's table may name any image of this machine."""
    inside = [os.path.abspath(folder) for folder in folders]
    n_outside = sum(not any(Path(os.path.abspath(file)).is_relative_to(each) for each in inside) for file in files)
    return (f"{n_outside:,} of {len(files):,} images lie outside of the folder of {data}",) if n_outside else ()

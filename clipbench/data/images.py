"""Images as references: named, told apart by their content, and opened only when they are needed."""

import hashlib
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image, UnidentifiedImageError

from clipbench.errors import BadImage


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
        """Return the decoded image in its own mode; raise BadImage when that fails."""
        ...


@runtime_checkable
class DrawnImage(ImageRef, Protocol):
    """An image without pixels of its own: it is drawn at the size of the model's input."""

    def open_at(self, side: int) -> Image.Image:
        """Return the image for a square input of ``side`` pixels, or the nearest size that can be drawn."""
        ...


def content_digest(data: bytes) -> str:
    """Return the 128-bit BLAKE2b of some bytes, as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode(data: bytes, name: str) -> Image.Image:
    """Return the image that some bytes encode.

    Raises:
        BadImage: they are no image, or a damaged one.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:  # its own text holds a memory address, different at each run
        raise BadImage(name, "it is no image of a format that Pillow knows") from error
    except Exception as error:  # Pillow raises many kinds of error, depending on the format
        raise BadImage(name, str(error) or type(error).__name__) from error
    return image


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
            return self.path.read_bytes()
        except OSError as error:
            raise BadImage(self.name, error.strerror or str(error)) from error

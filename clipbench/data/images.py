"""Images as references: named, told apart by their content, and opened only when they are needed."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from PIL import Image

from clipbench.data.decoding import Reading, decode, reading_of
from clipbench.errors import BadImage
from clipbench.untrusted.reading import read_bytes


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
    return ref.examine() if isinstance(ref, ExaminedImage) else Examined(ref.digest())


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

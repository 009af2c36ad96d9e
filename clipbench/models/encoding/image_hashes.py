"""Hashes of images by their content: each image is read once for its hash, whichever model needs it first."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image

from clipbench.data.images import EncodedImage, ImageRef, Remark, content_digest, examine, open_image
from clipbench.data.modalities import IMAGE
from clipbench.errors import BadImage
from clipbench.models.encoding.bars import progress_bar

CONVERSION = b"conversion 2 "
"""Changed whenever images of other modes than RGB and L would be read otherwise: their vectors are encoded again."""
THREADS = 8
"""Images that are hashed at once: reading and hashing release the interpreter lock."""


class ImageHash(NamedTuple):
    """An image by its content."""

    digest: str
    key: bytes
    """A hash of its content and of how it is read."""
    remarks: tuple[Remark, ...]


class ImageHashes:
    """Hashes of the images that were read so far, shared by several models."""

    def __init__(self) -> None:
        self._hashes: dict[ImageRef, ImageHash] = {}
        self.causes: dict[ImageRef, str] = {}
        """The reasons why images cannot be read."""

    def stored(self, images: Sequence[ImageRef]) -> list[ImageHash | None]:
        """Return the hash of each image, None for one that was not read, or cannot be."""
        return [*map(self._hashes.get, images)]

    def read(self, images: Sequence[ImageRef], *, shows_bar: bool) -> list[ImageHash | None]:
        """Return the hash of each image, None for one that cannot be read."""
        missing = [ref for ref in dict.fromkeys(images) if ref not in self._hashes]
        if not missing:
            return self.stored(images)
        with (
            progress_bar("hashing", IMAGE, len(missing), is_shown=shows_bar) as bar,
            ThreadPoolExecutor(max_workers=THREADS) as pool,
        ):
            for ref, result in zip(missing, pool.map(_hash_image, missing), strict=True):
                if isinstance(result, BadImage):
                    self.causes[ref] = result.cause
                else:
                    self._hashes[ref] = result
                bar.update()
        return self.stored(images)


def key_of(content: bytes) -> bytes:
    """Return the key in the store that stands for some content."""
    return bytes.fromhex(content_digest(content))


def open_hashed_image(ref: ImageRef, side: int | None, key: bytes) -> Image.Image:
    """Return the decoded image, as ``open_image`` does, if it still has the content that was hashed.

    Otherwise the store would keep the vector of one image under the hash of another, for all later runs.

    Args:
        key: the hash of its content and of how it is read.

    Raises:
        BadImage: the image cannot be read, or has other content by now.
    """
    if not isinstance(ref, EncodedImage):
        return open_image(ref, side)
    return ref.open_unchanged(lambda digest: key in (bytes.fromhex(digest), _converted_key(bytes.fromhex(digest))))


def _converted_key(content: bytes) -> bytes:
    return key_of(CONVERSION + content)


def _hash_image(ref: ImageRef) -> ImageHash | BadImage:
    try:
        examined = examine(ref)
    except BadImage as error:
        return error
    content = bytes.fromhex(examined.digest)
    key = _converted_key(content) if examined.reading.is_converted else content
    return ImageHash(examined.digest, key, examined.reading.remarks)

"""Items: whatever is encoded, known by its content, named for messages, and opened when it is needed."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clipbench.data.images import content_digest, opened
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.models.protocol import Role
from clipbench.untrusted.reading import MOST_SHOWN, shortened

CONVERSION = b"conversion 2 "
"""Changed whenever images of other modes than RGB and L would be read otherwise: their vectors are encoded again."""
JOINT = "image+text"
"""The modality of an image with a text, which are encoded as one."""


class Item(NamedTuple):
    """An item of a modality."""

    modality: str
    key: bytes
    """Its 16 bytes in the store: a hash of its content, and of its role where it has one."""
    source: Any
    """A text, a reference to an image, an item of the data, or an image and a text."""

    @property
    def is_stored(self) -> bool:
        """False for what has no content that can be hashed: it is encoded each time."""
        return self.modality in (IMAGE, TEXT, JOINT) or self.source.content is not None

    @property
    def name(self) -> str:
        """The item as messages name it."""
        if self.modality == TEXT:
            return f"text '{shortened(self.source, MOST_SHOWN)}'"
        if self.modality == JOINT:
            image, text = self.source
            return f"image {image.name} with the text '{shortened(text, MOST_SHOWN)}'"
        return f"{self.modality} {self.source.name}"

    def open(self, side: int | None = None) -> Any:
        """Return what the model is given: a decoded image, a text, the value of an item, or an image and a text.

        Args:
            side: pixels of the model's square input, for images that are drawn to fit; None where it is not known.

        Raises:
            BadImage: the image cannot be decoded.
        """
        if self.modality == TEXT:
            return self.source
        if self.modality == IMAGE:
            return opened(self.source, side)
        if self.modality == JOINT:
            image, text = self.source
            return opened(image, side), text
        return self.source.value


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Items of one modality that are to be encoded."""

    modality: str
    items: Sequence[Item]
    role: Role = None
    is_strict: bool = True
    """An image that cannot be read is an error."""
    workers: int = 0
    """Processes that decode images ahead of the models."""


def text_item(text: str, role: Role = None) -> Item:
    """Return a text as an item."""
    return Item(TEXT, _in_role(bytes.fromhex(content_digest(text.encode())), role), text)


def image_item(image: Any, key: bytes, role: Role = None) -> Item:
    """Return an image as an item.

    Args:
        image: a reference to it.
        key: a hash of its content and of how it is read.
    """
    return Item(IMAGE, _in_role(key, role), image)


def joint_item(image: Any, key: bytes, text: str, role: Role = None) -> Item:
    """Return an image with a text as one item; ``key`` is the image's."""
    both = content_digest(b"joint " + key + text.encode())
    return Item(JOINT, _in_role(bytes.fromhex(both), role), (image, text))


def other_item(modality: str, item: Any, role: Role = None) -> Item:
    """Return an item of another modality. What has no content that can be hashed gets a key of its own each time."""
    key = uuid.uuid4().bytes if item.content is None else bytes.fromhex(item.content)
    return Item(modality, _in_role(key, role), item)


def _in_role(key: bytes, role: Role) -> bytes:
    """Return the key of an item on one side of a search: a model may encode the sides differently."""
    return key if role is None else bytes.fromhex(content_digest(f"role {role} ".encode() + key))

"""A scene as a picture of a data set: drawn when it is opened, known by what it would show."""

import hashlib
from dataclasses import dataclass

from PIL import Image

from clipbench.data.scenes.drawing import LARGEST, SMALLEST, draw
from clipbench.data.scenes.records import SCENES_VERSION, Scene
from clipbench.errors import UsageError


@dataclass(frozen=True)
class SceneImage:
    """A reference to a picture that is nowhere stored; it meets the ImageRef protocol."""

    scene: Scene
    size: int
    """Pixels, across and down."""
    name: str
    """What a person calls it; the content does not depend on it."""

    def __post_init__(self) -> None:
        check_size(self.size)

    def digest(self) -> str:
        """Return a hash of the generator's version, the scene and the size, without drawing."""
        content = repr((SCENES_VERSION, self.scene, self.size))
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def open(self) -> Image.Image:
        """Return the picture, RGB."""
        return draw(self.scene, self.size)


def check_size(size: int) -> None:
    """Raise UsageError unless pictures of that size can be drawn."""
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"scenes can be drawn {SMALLEST} to {LARGEST} pixels wide, got a size of {size}")

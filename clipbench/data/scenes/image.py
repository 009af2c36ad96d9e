"""A scene as an image of a data set: drawn when it is opened, identified by its content."""

from dataclasses import dataclass

from PIL import Image

from clipbench.data.images import content_digest
from clipbench.data.scenes.world.drawing import LARGEST, SMALLEST, draw
from clipbench.data.scenes.world.records import SCENES_VERSION, Scene
from clipbench.errors import UsageError

DEFAULT_SIZE = 224
"""Pixels of most models' input."""


@dataclass(frozen=True)
class SceneImage:
    """A reference to an image that is not stored anywhere; it meets the DrawnImage protocol.

    Its content is the same at every size, so its digest, and with it the data set's fingerprint, is that of the scene:
    results of a 64-pixel model and of a 224-pixel one are comparable. In the store, a vector's key also holds the
    model's fingerprint, and so the input size.
    """

    scene: Scene
    size: int | None
    """Pixels, across and down, for every model; None for the size of each model's input, or 224 where unknown."""
    name: str
    """Name for messages; the content does not depend on it."""

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(self.size)

    def __hash__(self) -> int:
        return hash(self.name)  # not of the scene with all its parts: images are looked up a hundred thousand times

    def digest(self) -> str:
        """Return a hash of the generator's version, the scene and, if it is fixed, the size, without drawing."""
        return content_digest(repr((SCENES_VERSION, self.scene, self.size)).encode())

    def open(self) -> Image.Image:
        """Return the image, RGB, at 224 pixels unless the size is fixed."""
        return self.open_at(DEFAULT_SIZE)

    def open_at(self, side: int) -> Image.Image:
        """Return the image, RGB, at the size of a model's square input, unless the size is fixed."""
        return draw(self.scene, self.size or min(max(side, SMALLEST), LARGEST))


def world_note(size: int | None, seed: int) -> str:
    """Return the note of a result on how the images were made.

    Example:
        >>> world_note(None, 0)
        "generated world, version 1, seed 0, drawn as wide as the model's input"
    """
    drawn = "as wide as the model's input" if size is None else f"{size} pixels wide"
    return f"generated world, version {SCENES_VERSION}, seed {seed}, drawn {drawn}"


def check_size(size: int) -> None:
    """Raise UsageError unless images of that size can be drawn."""
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"scenes can be drawn {SMALLEST} to {LARGEST} pixels wide, got a size of {size}")

"""A scene as an image of a data set: drawn when it is opened, known by what it would show."""

import hashlib
from dataclasses import dataclass

from PIL import Image

from clipbench.data.scenes.drawing import LARGEST, SMALLEST, draw
from clipbench.data.scenes.records import SCENES_VERSION, Scene
from clipbench.errors import UsageError

USUAL = 224
"""Pixels of most models' input."""


@dataclass(frozen=True)
class SceneImage:
    """A reference to an image that is nowhere stored; it meets the DrawnImage protocol.

    What it shows is the same at every size, so that its digest, and with it the data set's fingerprint, is that of the
    scene: results of a 64-pixel model and of a 224-pixel one are of the same data. A vector's key holds the model's
    fingerprint, and so its input size, too.
    """

    scene: Scene
    size: int | None
    """Pixels, across and down, for every model alike; None for each model's own, where it is known, or 224."""
    name: str
    """Name for messages; the content does not depend on it."""

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(self.size)

    def digest(self) -> str:
        """Return a hash of the generator's version, the scene and, where it is fixed, the size, without drawing."""
        content = repr((SCENES_VERSION, self.scene, self.size))
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def open(self) -> Image.Image:
        """Return the image, RGB, as a model of unknown size and a person see it."""
        return self.open_at(USUAL)

    def open_at(self, side: int) -> Image.Image:
        """Return the image, RGB, for a model's square input; a size that is fixed stays as it is."""
        return draw(self.scene, self.size or min(max(side, SMALLEST), LARGEST))


def world_note(size: int | None, seed: int) -> str:
    """Return what a result says of the images.

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

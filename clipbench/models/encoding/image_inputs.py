"""Measured inputs of images: size, brightness, contrast and sharpness, taken where an image is decoded for a model.

They are kept in the cache by the key that the image has in the store, and cost next to nothing there: an image is
reduced to about 200 pixels first.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from clipbench.data.images import FileImage, ImageRef, as_rgb
from clipbench.errors import BadImage, MachineError
from clipbench.files import default_root
from clipbench.models.encoding.image_hashes import CONVERSION, key_of
from clipbench.models.encoding.store import Shelf

NAMES = ("brightness", "contrast", "sharpness", "width", "height", "bytes per pixel")
"""The first are the easiest to see. If two make nearly the same groups, the first gives the name."""
VERSION = "image-inputs-1"
"""The number goes up when the same image gives other numbers."""
SIDE = 128
"""Pixels of the longer side after reducing, up to nearly twice this number."""
LEVELS = np.arange(256) / 255
"""The values of a grey pixel. A histogram of them costs a fifth of a mean and a standard deviation of all pixels."""
Measures = Float32[np.ndarray, " 6"]
"""The numbers of ``NAMES``."""


def measure_image(image: Image.Image, n_bytes: float = np.nan) -> Measures:
    """Return the numbers of ``NAMES``.

    Brightness and contrast are mean and standard deviation of the grey values, in [0, 1]. Sharpness is the mean size of
    the difference of a pixel and the mean of its four neighbours, over the contrast, so that a dark image is not a
    blurred one.

    Args:
        n_bytes: size of the encoded image, NaN if it is unknown.

    Raises:
        BadImage: no standard says which of its numbers is white.

    Example:
        >>> measure_image(Image.new("RGB", (8, 4), "white"), 64.0).tolist()
        [1.0, 0.0, 0.0, 8.0, 4.0, 2.0]
    """
    width, height = image.size
    reduced = as_rgb(image, "in memory").reduce(max(1, max(width, height) // SIDE)).convert("L")
    shares = np.array(reduced.histogram()) / (reduced.width * reduced.height)
    brightness = float(shares @ LEVELS)
    contrast = float(np.sqrt(shares @ (LEVELS - brightness) ** 2))
    grey = np.asarray(reduced).astype(np.int16)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    sharpness = 0.0
    if contrast > 1e-3 and edges.size:
        sharpness = float(np.abs(edges).mean()) / (4 * 255 * contrast)
    return np.array([brightness, contrast, sharpness, width, height, n_bytes / (width * height)], np.float32)


def measure_decoded(ref: ImageRef, image: Image.Image) -> Measures | None:
    """Return the numbers of an image that has just been decoded, or None if it cannot be measured."""
    with suppress(BadImage, OSError, ValueError):
        return measure_image(image, float(os.path.getsize(ref.path)) if isinstance(ref, FileImage) else np.nan)
    return None


def store_measures(measures: Mapping[bytes, Measures]) -> None:
    """Keep measured inputs by the key of their image, unless the cache cannot be written to: nothing depends on it."""
    if measures:
        with suppress(MachineError, OSError):
            _shelf().put([*measures], np.stack([*measures.values()]))


def stored_image_inputs(digests: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Return the measured inputs of images by content hash, without images that have no measurements."""
    return {
        digest: dict(zip(NAMES, row.tolist(), strict=True)) for digest, row in stored_rows(_shelf(), digests).items()
    }


def stored_rows(shelf: Shelf, digests: Sequence[str]) -> dict[str, Float32[np.ndarray, " dim"]]:
    """Return what a shelf has of images, by content hash, without images that are not there."""
    keys = {digest: bytes.fromhex(digest) for digest in set(digests) if digest}
    missing = shelf.missing(keys.values())
    keys = {digest: key_of(CONVERSION + key) if key in missing else key for digest, key in keys.items()}
    missing = shelf.missing(keys.values())
    keys = {digest: key for digest, key in keys.items() if key not in missing}
    if not keys:
        return {}
    return dict(zip(keys, shelf.get([*keys.values()]), strict=True))


def _shelf() -> Shelf:
    return Shelf(Path(default_root()) / "inputs", VERSION, "measures", len(NAMES))

"""From an image of any size and mode to the input of the image tower, with a light random crop in training."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from clipbench.data.decoding import rgb
from clipbench.training.clip.config import ClipConfig

CROP_AREA = (0.9, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
"""Ranges of random crops: share of the image's area, and width over height (open_clip's defaults)."""


@dataclass(frozen=True)
class ClipPreprocess:
    """Resizes the shorter side to the model's, crops the middle and normalizes colours; picklable."""

    config: ClipConfig

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        return normalized(self.square(image), self.config)

    def square(self, image: Image.Image) -> UInt8[np.ndarray, "channels height width"]:
        """Return the square of pixels that the model sees, before normalization."""
        side = self.config.image_size
        whole = rgb(image)
        short = min(whole.size)
        if short != side:
            width, height = (int(side * length / short) for length in whole.size)
            whole = whole.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (round((length - side) / 2) for length in whole.size)
        return _planes(whole.crop((left, top, left + side, top + side)))

    def random_crop(self, image: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "channels height width"]:
        """Return the pixels of a random crop, resized to the model's square without keeping its aspect."""
        whole = rgb(image)
        side = self.config.image_size
        return _planes(whole.resize((side, side), Image.Resampling.BICUBIC, box=random_box(whole.size, rng)))


def random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop of random area, aspect and position.

    If ten draws do not fit into the image, the whole image is returned.
    """
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    return 0, 0, width, height


def normalized(
    pixels: UInt8[np.ndarray, "*batch channels height width"], config: ClipConfig
) -> Float32[np.ndarray, "*batch channels height width"]:
    """Return pixels as (value / 255 - mean) / std of each channel."""
    mean = np.array(config.mean, np.float32)[:, None, None]
    std = np.array(config.std, np.float32)[:, None, None]
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std


def _planes(image: Image.Image) -> UInt8[np.ndarray, "channels height width"]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

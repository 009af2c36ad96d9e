"""Images like photographs, made of noise: JPEGs with the size of files and the cost of decoding that photographs
have.
"""

from pathlib import Path

import numpy as np
from PIL import Image

WIDTHS = (500, 375, 333, 480)
HEIGHTS = (375, 500, 500, 360)
OCTAVES = ((3, 60.0), (9, 35.0), (40, 22.0), (140, 10.0))
"""Cells across the image and strength of each layer: a photograph has less contrast the finer its detail."""
GRAIN = 10.0
QUALITY = 92
"""With it a file has about 90 kB, much as those of Flickr30k and ImageNet do."""


def photo(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return an RGB image of layers of smooth noise and some grain."""
    pixels = np.full((height, width, 3), 118.0, np.float32)
    for cells, strength in OCTAVES:
        small = rng.standard_normal((max(2, cells * height // width), cells, 3), np.float32)
        for channel in range(3):
            layer = Image.fromarray(small[..., channel]).resize((width, height), Image.Resampling.BILINEAR)
            pixels[..., channel] += strength * np.asarray(layer)
    pixels += GRAIN * rng.standard_normal((height, width, 1), np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_photos(folder: Path, n: int, *, seed: int = 0) -> list[Path]:
    """Write n distinct JPEGs of about 500 x 375 pixels, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(n):
        rng = np.random.default_rng((seed, number))
        path = folder / f"{number:06d}.jpg"
        photo(rng, WIDTHS[number % 4], HEIGHTS[number % 4]).save(path, quality=QUALITY)
        paths.append(path)
    return paths

"""The settings of an image preprocessing, measured from its outputs for flat, graded and noisy images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from clipbench.errors import FOREIGN, BadImage
from clipbench.models.protocol import Preprocessing, Resize
from clipbench.untrusted.limits import too_many_resized

Preprocess = Callable[[Image.Image], np.ndarray]

OVERSIZE = 3
"""Width of the noise that distinguishes interpolations, as a multiple of the width of the model's input."""
MAX_RESIDUAL = 2.5 / 255
"""Mean difference up to which a known interpolation explains the noise: libraries round at other places."""
LONG = 64
"""Images that are more times as long as wide are looked at before they are resized."""
LARGE = 50_000_000
"""Images of more pixels are resized here if that makes the same of them, because processors of transformers copy them
three times.
"""
MARGIN = 4
"""Pixels that an interpolation reads next to its position, or one more, if it does not make images smaller."""
UNKNOWN_SIDE = 512
"""Pixels to which the shorter side of an image is taken to be resized where nobody knows."""
LIGHT, DARK = 168, 88
"""Grey values of the pixels of a checkerboard, far enough from black and white to be neither clipped nor lost."""
EDGE = 0.06
"""Fraction of an image's side by which a measured border may be off: a filter smooths the last pixels."""

METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
NOT_ANTIALIASED = "{} without antialiasing"


def measure_preprocessing(preprocess: Preprocess, *, with_interpolation: bool = True) -> Preprocessing:
    """Return the settings of a preprocessing, measured on test images, with None for settings that do not show.

    Args:
        with_interpolation: find the interpolation too, which takes nine tenths of the time.

    Example:
        >>> side = lambda image: np.asarray(image.convert("RGB").resize((16, 16)), np.float32).transpose(2, 0, 1) / 255
        >>> settings = measure_preprocessing(side)
        >>> settings.size, settings.mean, settings.resize
        ((16, 16), (0.0, 0.0, 0.0), 'squash')
    """
    black, white = (_flat(preprocess, (value,) * 3) for value in (0, 255))
    if black is None or white is None or len(black) != 3:
        return Preprocessing(fault="an image of one colour does not become an image of one colour in three channels")
    height, width = preprocess(Image.fromarray(np.zeros((64, 64, 3), np.uint8))).shape[-2:]
    size = int(height), int(width)
    if not (white > black).all():
        return Preprocessing(size=size, fault="black and white images become the same input")
    std = 1 / (white - black)
    fault = _fault(preprocess, black, white)
    settings = Preprocessing(size=size, mean=_rounded(-black * std), std=_rounded(std), fault=fault)
    if fault is not None:
        return settings

    def to_unit(grey: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, "side_1 side_2"]:
        """Return the input that a grey image becomes, in [0, 1] again."""
        pixels = np.asarray(preprocess(Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))), np.float32)
        return (pixels[0] - black[0]) / (white[0] - black[0])

    interpolation = _interpolation(to_unit, size) if with_interpolation else None
    return replace(settings, resize=_resize(to_unit), interpolation=interpolation)


def remaining_detail(preprocess: Preprocess, size: tuple[int, int]) -> float:
    """Return the fraction of the contrast of a checkerboard of single pixels that a preprocessing leaves.

    1 where an image of the model's size is taken as it is, and a third to a half where it is enlarged a little and then
    cropped. About 0 where images are reduced below the model's size before.

    Args:
        size: height and width of the model's input.

    Example:
        >>> def reduced(image):
        ...     return np.asarray(image.convert("RGB").reduce(2).resize(image.size), np.float32).transpose(2, 0, 1)
        >>> round(remaining_detail(reduced, (32, 32)), 2)
        0.0
    """

    def preprocessed(greys: np.ndarray) -> np.ndarray:
        pixels = np.repeat(greys[:, :, None], 3, axis=2).astype(np.uint8)
        return np.asarray(preprocess(Image.fromarray(pixels)), np.float64)

    is_light = np.indices(size).sum(axis=0) % 2 == 1
    board = preprocessed(np.where(is_light, LIGHT, DARK))
    light, dark = preprocessed(np.full(size, LIGHT)), preprocessed(np.full(size, DARK))
    contrast = float(np.abs(light - dark).mean()) / 2
    return float(board.std(axis=(-2, -1)).mean()) / contrast if contrast > 0 else 0.0


def make_square(image: Image.Image, side: int, resize: Resize, interpolation: str) -> Image.Image:
    """Return an image as a square of the model's size, so that the model's preprocessing does not resize it.

    Example:
        >>> make_square(Image.new("RGB", (20, 10), "red"), 4, "pad", "bilinear").getpixel((2, 0))
        (0, 0, 0)
    """
    rgb, method = image.convert("RGB"), METHODS[interpolation]
    if resize == "squash":
        return rgb.resize((side, side), method)
    pick = min if resize == "crop" else max
    scale = side / pick(rgb.size)
    width, height = (max(1, round(length * scale)) for length in rgb.size)
    scaled = rgb.resize((width, height), method)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return scaled.crop((left, top, left + side, top + side))  # outside of the image a crop is black


def limit_size(
    image: Image.Image, preprocess: Callable[[Image.Image], Any] | None, side: int | None, name: str
) -> Image.Image:
    """Return an image small enough for its preprocessing: a large one resized, the middle of a long and narrow one.

    Args:
        preprocess: None where a model takes images as they are.
        side: pixels of the model's square input, None where it is not known.
        name: of the image, for the message.

    Raises:
        BadImage: it would have too many pixels, as far as anyone knows.
    """
    short, is_long = min(image.size), max(image.size) > LONG * min(image.size)
    is_large = image.width * image.height > LARGE
    if not is_long and not is_large:
        return image
    side, measured = side or UNKNOWN_SIDE, Preprocessing()
    if preprocess is not None:
        with suppress(*FOREIGN):  # of one that gives several arrays, say
            measured = measure_preprocessing(preprocess)
    if measured.interpolation in METHODS:
        if measured.resize == "crop" and is_long:
            return crop_middle(image, side, measured.interpolation)
        if measured.resize in ("crop", "squash") and is_large and measured.size == (side, side):
            resized = [side, side] if measured.resize == "squash" else [side * length // short for length in image.size]
            return image.resize(resized, METHODS[measured.interpolation])
    if not is_long:
        return image
    fault = too_many_resized(*image.size, side)
    if fault is not None and measured.resize not in ("squash", "pad"):
        raise BadImage(name, fault)
    return image


def crop_middle(image: Image.Image, side: int, interpolation: str) -> Image.Image:
    """Return the middle of an image, its shorter side resized to ``side`` pixels.

    A preprocessing that resizes and crops the middle returns the same for it as for the full image.

    Example:
        >>> crop_middle(Image.new("L", (70, 10)), 4, "bicubic").size
        (8, 4)
    """
    short, long = sorted(image.size)
    resized_length = side * long // short
    kept_length = 2 * side + resized_length % 4  # so that the whole and the part are cropped at the same place
    end = (resized_length - kept_length) // 2 * long / resized_length
    # Pillow's box has 24 bits a number: of a short piece, with a margin for the filter, that is enough.
    cut = max(0, int(end) - MARGIN * -(-short // side))
    is_wide = image.width > image.height
    box: tuple[float, float, float, float]
    if is_wide:
        piece, kept_size = image.crop((cut, 0, long - cut, short)), (kept_length, side)
        box = (end - cut, 0, long - cut - end, short)
    else:
        piece, kept_size = image.crop((0, cut, short, long - cut)), (side, kept_length)
        box = (0, end - cut, short, long - cut - end)
    return piece.resize(kept_size, METHODS[interpolation], box=box)


def _fault(preprocess: Preprocess, black: Float32[np.ndarray, " 3"], white: Float32[np.ndarray, " 3"]) -> str | None:
    red = _flat(preprocess, (255, 0, 0))
    if red is None:
        return None
    shares = (red - black) / (white - black)
    if shares[0] < 0.5 < shares[2]:
        return "the channels are in the order blue, green, red"
    if np.ptp(shares) < 0.1:
        return "the colours are lost: a red image becomes a grey one"
    return None


def _resize(to_unit: Callable[[np.ndarray], np.ndarray]) -> Resize | None:
    """Return how a wide image becomes a square, by the part of a ramp from left to right that remains."""
    ramp = np.tile(np.linspace(0, 255, 256).round().astype(np.uint8), (128, 1))
    pixels = to_unit(ramp)
    middle = pixels[pixels.shape[0] // 2]
    left, right = float(middle[0]), float(middle[-1])
    if abs(left - 0.25) < EDGE and abs(right - 0.75) < EDGE:
        return "crop"
    if left > EDGE or right < 1 - EDGE:
        return None
    height = pixels.shape[0]
    is_flat = [np.ptp(pixels[row]) < EDGE for row in (height // 10, height - 1 - height // 10)]
    return "pad" if all(is_flat) else "squash"


def _interpolation(to_unit: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]) -> str | None:
    """Return the method whose output for a noise image matches the measured input, or None if none matches."""
    if size[0] != size[1]:
        return None
    side = size[0]
    noise = np.random.default_rng(0).integers(0, 256, (OVERSIZE * side, OVERSIZE * side), np.uint8)
    pixels = to_unit(noise)
    residuals = {name: float(np.abs(pixels - resized).mean()) for name, resized in _candidates(noise, side)}
    best = min(residuals, key=residuals.__getitem__)
    return best if residuals[best] < MAX_RESIDUAL else None


def _candidates(noise: UInt8[np.ndarray, "height width"], side: int) -> Iterator[tuple[str, np.ndarray]]:
    import torch

    image = Image.fromarray(noise)
    for name, method in METHODS.items():
        yield name, np.asarray(image.resize((side, side), method), np.float32) / 255
    tensor = torch.from_numpy(noise.astype(np.float32) / 255)[None, None]
    for name in ("bilinear", "bicubic"):
        resized = torch.nn.functional.interpolate(tensor, (side, side), mode=name, antialias=False)
        yield NOT_ANTIALIASED.format(name), resized[0, 0].clamp(0, 1).numpy()


def _flat(preprocess: Preprocess, colour: Sequence[int]) -> Float32[np.ndarray, " channels"] | None:
    pixels = np.asarray(preprocess(Image.fromarray(np.full((64, 64, 3), colour, np.uint8))), np.float32)
    if pixels.ndim != 3 or not np.isfinite(pixels).all():
        return None
    flat = pixels.reshape(len(pixels), -1)
    return flat[:, 0] if np.allclose(flat, flat[:, :1], atol=1e-3) else None


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 4) + 0.0 for value in values)

"""Drawing a scene as an image of any size."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image

from clipbench.data.scenes.world.lettering import ink, word_width
from clipbench.data.scenes.world.records import Background, Scene, Solid, Writing
from clipbench.data.scenes.world.shapes import Field, shape, step
from clipbench.data.scenes.world.vocabulary import BACKGROUND_COLOURS, COLOURS, INKS, PAPERS, RGB

SMALLEST, LARGEST = 64, 512

Canvas = Float32[np.ndarray, "height width 3"]
Part = Float32[np.ndarray, "#height #width"]
"""A field, or one row or column of it where the rows or columns are all alike."""


def draw(scene: Scene, size: int) -> Image.Image:
    """Return the image, RGB, ``size`` pixels wide and high.

    The same scene looks the same at every size: nothing is drawn in whole pixels but the letters' outlines.
    """
    canvas = _background(scene.background, size)
    for solid in scene.solids:
        _paint_solid(canvas, solid)
    if scene.writing is not None:
        paint_writing(canvas, scene.writing)
    return Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))


def coverage(solid: Solid, size: int) -> Field:
    """Return the share of each pixel of an image that a solid covers when nothing hides it."""
    covered = np.zeros((size, size), np.float32)
    patch = _patch(solid, size)
    covered[patch.rows, patch.columns] = step(
        shape(solid.kind, *_turned(patch, solid), pixel=patch.pixel).distance, patch.pixel
    )
    return covered


# -- backgrounds


def _background(background: Background, size: int) -> Canvas:
    base = _colour(BACKGROUND_COLOURS[background.colour])
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = base
    if background.texture != "plain":
        at = (np.arange(size, dtype=np.float32) + 0.5) / size
        share = _pattern(background, at[None, :], at[:, None], 1 / size)
        canvas += share[..., None] * (_second_tone(base) - base)
    return canvas


def _second_tone(base: Float32[np.ndarray, " 3"]) -> Float32[np.ndarray, " 3"]:
    """Return a tone of the same name: a little darker, or lighter where the colour is dark."""
    return base * np.float32(0.82) if base.mean() > 90 else base + (255 - base) * np.float32(0.16)


def _pattern(background: Background, u: Part, v: Part, pixel: float) -> Part:
    """Return how much of the second tone each point has."""
    period = background.scale
    match background.texture:
        case "gradient":
            return 1.6 * v + 0 * u
        case "striped":
            return _bars(u + v, period * 1.4142, pixel * 1.4142)
        case "checkered":
            across, down = _bars(u, 2 * period, pixel), _bars(v, 2 * period, pixel)
            return across + down - 2 * across * down
        case _:
            return _dots(u, v, period, pixel=pixel, radius=0.28 * period)


def _bars(along: Part, period: float, pixel: float) -> Part:
    """Return bars half a period wide."""
    turns = along * np.float32(1 / period)
    return step((np.abs(turns - np.floor(turns) - 0.5) - 0.25) * np.float32(period), pixel)


def _dots(u: Part, v: Part, period: float, *, pixel: float, radius: float) -> Field:
    """Return discs, one in each cell of a grid."""
    x, y = u * np.float32(1 / period), v * np.float32(1 / period)
    x, y = x - np.floor(x) - 0.5, y - np.floor(y) - 0.5
    return step(np.sqrt(x * x + y * y) * np.float32(period) - np.float32(radius), pixel)


# -- solids


class _Patch(NamedTuple):
    """The part of the canvas that an object may touch, in the object's own coordinates."""

    rows: slice
    columns: slice
    u: Float32[np.ndarray, "1 width"]
    v: Float32[np.ndarray, "height 1"]
    pixel: float


def _patch(solid: Solid, size: int) -> _Patch:
    reach = solid.radius * 1.06 + 2 / size  # a tilted corner, and the rim that slopes are taken on
    left, right = max(int((solid.x - reach) * size), 0), min(int((solid.x + reach) * size) + 1, size)
    top, bottom = max(int((solid.y - reach) * size), 0), min(int((solid.y + reach) * size) + 1, size)
    pixel = 1 / (size * solid.radius)
    u = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - solid.x * size)) * np.float32(pixel)
    v = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - solid.y * size)) * np.float32(pixel)
    return _Patch(slice(top, bottom), slice(left, right), u[None, :], v[:, None], pixel)


def _turned(patch: _Patch, solid: Solid) -> tuple[Field, Field]:
    """Return the coordinates as full fields, turned against the object's tilt."""
    sine, cosine = solid.tilt, 1 - solid.tilt**2 / 2  # tilts are small
    return patch.u * cosine + patch.v * sine, patch.v * cosine - patch.u * sine


def _paint_solid(canvas: Canvas, solid: Solid) -> None:
    patch = _patch(solid, len(canvas))
    u, v = _turned(patch, solid)
    outline = shape(solid.kind, u, v, pixel=patch.pixel)
    paint = _colour(COLOURS[solid.colour])
    painted = paint if solid.texture == "plain" else _textured(paint, solid.texture, u, v, patch.pixel)
    light = outline.light[..., None]
    bright = np.maximum(light - 1, 0)
    surface = painted * np.minimum(light, 1) + (255 - painted) * bright
    under = canvas[patch.rows, patch.columns]
    under += step(outline.distance, patch.pixel)[..., None] * (surface - under)


def _textured(paint: Float32[np.ndarray, " 3"], texture: str, u: Field, v: Field, pixel: float) -> Canvas:
    """Return the paint at each point: its own colour, and marks of a lighter or darker tone."""
    match texture:
        case "striped":
            marks = _bars(u + 0.35 * v, 0.46, pixel)
        case "spotted":
            marks = _dots(u + 0.25, v + 0.25, 0.5, pixel=pixel, radius=0.14)
        case _:
            across, down = _bars(u, 0.8, pixel), _bars(v, 0.8, pixel)
            marks = across + down - 2 * across * down
    tone = paint * np.float32(0.42) if paint.mean() > 140 else paint + (255 - paint) * np.float32(0.62)
    return paint + marks[..., None] * (tone - paint)


# -- words


def paint_writing(canvas: Canvas, writing: Writing) -> None:
    """Paint a word, with its sign if it has one, into a square image with values from 0 to 255."""
    size = len(canvas)
    colour = _colour(INKS[writing.ink])
    if writing.paper is not None:
        paper = _colour(PAPERS[writing.paper])
        _paint_sign(canvas, writing, paper)
        colour = paper + np.float32(writing.contrast) * (colour - paper)
    if not writing.is_blank:
        mask, left, top = ink(writing, size)
        part = mask[max(-top, 0) : size - top, max(-left, 0) : size - left]  # what lies outside is cut off
        top, left = max(top, 0), max(left, 0)
        under = canvas[top : top + part.shape[0], left : left + part.shape[1]]
        under += part[..., None] * (colour - under)


def _paint_sign(canvas: Canvas, writing: Writing, paper: Float32[np.ndarray, " 3"]) -> None:
    """Paint the sign that a word stands on: as wide as the word asks for, even where it is blank."""
    size = len(canvas)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = step(np.abs(at - writing.x) - (word_width(writing) / 2 + 0.35 * writing.height), 1 / size)
    down = step(np.abs(at - writing.y) - 0.8 * writing.height, 1 / size)
    rows, columns = np.flatnonzero(down), np.flatnonzero(across)
    area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    canvas[area] += (down[area[0], None] * across[None, area[1]])[..., None] * (paper - canvas[area])


def _colour(rgb: RGB) -> Float32[np.ndarray, " 3"]:
    return np.array(rgb, np.float32)

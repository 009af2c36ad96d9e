"""Scenes as images of a data set, drawn at any size when they are opened, with words in the fonts that matplotlib
ships.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from clipbench.data.images import content_digest
from clipbench.data.scenes import world
from clipbench.data.scenes.world import SCENES_VERSION, Background, Scene, Solid, Writing

SMALLEST, LARGEST = 64, 512
DEFAULT_SIZE = 224
"""Pixels of most models' input."""
MAX_WIDTH = 0.88
"""Fraction of the image's width to which a wider word is squeezed, with the same height of its letters."""

Canvas = Float32[np.ndarray, "height width 3"]
Field = Float32[np.ndarray, "height width"]
Part = Float32[np.ndarray, "#height #width"]
"""A field, or one row or column of it where the rows or columns are all alike."""


@dataclass(frozen=True)
class SceneImage:
    """A reference to an image that is not stored anywhere, as a DrawnImage.

    Its content is the same at every size, so its digest, and with it the data set's fingerprint, depends only on the
    scene: results of a 64-pixel model and of a 224-pixel model are comparable. In the store, a vector's key also holds
    the model's fingerprint, and so the input size.
    """

    scene: Scene
    name: str
    """Name for messages, without effect on the content."""
    size: int | None = None
    """Pixels, across and down, for every model, or None for the size of each model's input, or 224 where unknown."""

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
    """Return the fraction of each pixel of an image that a solid covers when nothing hides it."""
    covered = np.zeros((size, size), np.float32)
    patch = _patch(solid, size)
    u, v = _rotate(patch, solid)
    outline = SHAPES[solid.kind](u, v, patch.pixel)
    covered[patch.rows, patch.columns] = step(outline.distance, patch.pixel)
    return covered


# -- backgrounds


def _background(background: Background, size: int) -> Canvas:
    base = _colour(world.BACKGROUND_COLOURS[background.colour])
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = base
    if background.texture != "plain":
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        share = _pattern(background, centres[None, :], centres[:, None], 1 / size)
        # A tone of the same name: a little darker, or lighter where the colour is dark.
        tone = base * np.float32(0.82) if base.mean() > 90 else base + (255 - base) * np.float32(0.16)
        canvas += share[..., None] * (tone - base)
    return canvas


def _pattern(background: Background, u: Part, v: Part, pixel: float) -> Part:
    """Return how much of the second tone each point has."""
    period = background.scale
    match background.texture:
        case "gradient":
            return 1.6 * v + 0 * u
        case "striped":
            return _bars(u + v, period * 1.4142, pixel * 1.4142)
        case "checkered":
            return _checks(u, v, 2 * period, pixel)
        case _:
            return _dots(u, v, period, pixel=pixel, radius=0.28 * period)


def _bars(along: Part, period: float, pixel: float) -> Part:
    turns = along * np.float32(1 / period)
    return step((np.abs(turns - np.floor(turns) - 0.5) - 0.25) * np.float32(period), pixel)


def _checks(u: Part, v: Part, period: float, pixel: float) -> Field:
    across, down = _bars(u, period, pixel), _bars(v, period, pixel)
    return across + down - 2 * across * down


def _dots(u: Part, v: Part, period: float, *, pixel: float, radius: float) -> Field:
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
    pixel = 1 / (size * solid.radius)
    columns, u = _extent(solid.x, solid.radius, size, pixel)
    rows, v = _extent(solid.y, solid.radius, size, pixel)
    return _Patch(rows, columns, u[None, :], v[:, None], pixel)


def _extent(centre: float, radius: float, size: int, pixel: float) -> tuple[slice, Float32[np.ndarray, " side"]]:
    """Return the pixels along one axis that an object may touch, and their coordinates in its own."""
    reach = radius * 1.06 + 2 / size  # a tilted corner, and the rim that slopes are taken on
    start, end = max(int((centre - reach) * size), 0), min(int((centre + reach) * size) + 1, size)
    coordinates = (np.arange(start, end, dtype=np.float32) + np.float32(0.5 - centre * size)) * np.float32(pixel)
    return slice(start, end), coordinates


def _rotate(patch: _Patch, solid: Solid) -> tuple[Field, Field]:
    """Return the coordinates as full fields, turned against the object's tilt."""
    sine, cosine = solid.tilt, 1 - solid.tilt**2 / 2  # tilts are small
    return patch.u * cosine + patch.v * sine, patch.v * cosine - patch.u * sine


def _paint_solid(canvas: Canvas, solid: Solid) -> None:
    patch = _patch(solid, len(canvas))
    u, v = _rotate(patch, solid)
    outline = SHAPES[solid.kind](u, v, patch.pixel)
    paint = _colour(world.COLOURS[solid.colour])
    painted = paint if solid.texture == "plain" else _apply_texture(paint, solid.texture, u, v, patch.pixel)
    light = outline.light[..., None]
    bright = np.maximum(light - 1, 0)
    surface = painted * np.minimum(light, 1) + (255 - painted) * bright
    under = canvas[patch.rows, patch.columns]
    under += step(outline.distance, patch.pixel)[..., None] * (surface - under)


def _apply_texture(paint: Float32[np.ndarray, " 3"], texture: str, u: Field, v: Field, pixel: float) -> Canvas:
    """Return the paint at each point: its own colour, and marks of a lighter or darker tone."""
    match texture:
        case "striped":
            marks = _bars(u + 0.35 * v, 0.46, pixel)
        case "spotted":
            marks = _dots(u + 0.25, v + 0.25, 0.5, pixel=pixel, radius=0.14)
        case _:
            marks = _checks(u, v, 0.8, pixel)
    tone = paint * np.float32(0.42) if paint.mean() > 140 else paint + (255 - paint) * np.float32(0.62)
    return paint + marks[..., None] * (tone - paint)


# -- words


def paint_writing(canvas: Canvas, writing: Writing) -> None:
    """Paint a word, with its sign if it has one, into a square image with values from 0 to 255."""
    size = len(canvas)
    colour = _colour(world.INKS[writing.ink])
    if writing.paper is not None:
        paper = _colour(world.PAPERS[writing.paper])
        _paint_sign(canvas, writing, paper)
        colour = paper + np.float32(writing.contrast) * (colour - paper)
    if not writing.is_blank:
        mask, left, top = ink(writing, size)
        part = mask[max(-top, 0) : size - top, max(-left, 0) : size - left]  # what lies outside is cut off
        top, left = max(top, 0), max(left, 0)
        under = canvas[top : top + part.shape[0], left : left + part.shape[1]]
        under += part[..., None] * (colour - under)


def _paint_sign(canvas: Canvas, writing: Writing, paper: Float32[np.ndarray, " 3"]) -> None:
    """Paint the sign of a word, as wide as the word needs, even if it is blank."""
    size = len(canvas)
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = step(np.abs(centres - writing.x) - (word_width(writing) / 2 + 0.35 * writing.height), 1 / size)
    down = step(np.abs(centres - writing.y) - 0.8 * writing.height, 1 / size)
    rows, columns = np.flatnonzero(down), np.flatnonzero(across)
    area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    covered = down[area[0], None] * across[None, area[1]]
    canvas[area] += covered[..., None] * (paper - canvas[area])


def _colour(rgb: world.RGB) -> Float32[np.ndarray, " 3"]:
    return np.array(rgb, np.float32)


_CASES = {"lower": str.lower, "upper": str.upper, "title": str.title}


class Ink(NamedTuple):
    """The ink of a word, and its place."""

    mask: Float32[np.ndarray, "height width"]
    """Fraction of each pixel that is ink, from 0 to 1."""
    left: int
    """Column of the mask's first pixel in the image, possibly negative."""
    top: int


def ink(writing: Writing, size: int) -> Ink:
    """Return the ink of a word in an image that many pixels wide.

    The word is centred on its place to a fraction of a pixel across. Its baseline is on a whole pixel, since the
    fonts' hinting, which keeps small letters legible, holds only there.
    """
    text, capital = _CASES[writing.case](writing.word), writing.height * size
    face = _face(writing.font, capital)
    left, top, right, bottom = face.getbbox(text, anchor="ls")
    width = min(right - left, MAX_WIDTH * size)
    start = writing.x * size - width / 2
    column = floor(start)
    ascent, descent = ceil(max(-top, capital)) + 1, max(ceil(bottom), 0) + 1
    mask = Image.new("L", (ceil(right - left) + 2, ascent + descent))
    ImageDraw.Draw(mask).text((start - column - left, ascent), text, font=face, fill=255, anchor="ls")
    if width < right - left:
        mask = mask.resize((round(width), mask.height), Image.Resampling.BOX)
    baseline = round(writing.y * size + capital / 2)
    return Ink(np.asarray(mask, np.float32) / 255, column, baseline - ascent)


def word_width(writing: Writing) -> float:
    """Return the width of a word in widths of the image, whatever the image's size in pixels."""
    return min(writing.height * _width(_CASES[writing.case](writing.word), writing.font), MAX_WIDTH)


def missing_characters(text: str, font: str) -> str:
    """Return the characters of a text that a font lacks, each once.

    Example:
        >>> missing_characters("café", "sans"), missing_characters("猫 dog 猫", "sans")
        ('', '猫')
    """
    face = _load(font, _LARGE)
    unknown = bytes(face.getmask(_NO_CHARACTER))
    missing = ""
    for character in dict.fromkeys(text):
        if character.isprintable() and bytes(face.getmask(character)) == unknown:
            missing += character
    return missing


_NO_CHARACTER = "\uffff"
"""A noncharacter of Unicode: a font draws for a letter that it lacks the same box as for this one."""

_LARGE = 200.0
"""Pixels at which a font is measured, so large that hinting does not matter."""


@lru_cache(maxsize=4096)
def _width(text: str, font: str) -> float:
    """Return the width of a text in heights of its capitals."""
    left, _, right, _ = _load(font, _LARGE).getbbox(text, anchor="ls")
    return (right - left) / (_LARGE * _capital_share(font))


@lru_cache(maxsize=512)
def _face(font: str, capital: float) -> ImageFont.FreeTypeFont:
    return _load(font, capital / _capital_share(font))


@cache
def _capital_share(font: str) -> float:
    """Return the height of a capital letter in a font of size 1."""
    _, top, _, bottom = _load(font, _LARGE).getbbox("H", anchor="ls")
    return (bottom - top) / _LARGE


def _load(font: str, size: float) -> ImageFont.FreeTypeFont:
    # The basic layout on every machine: raqm is not in every build of Pillow, and kerns differently.
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / world.FONTS[font]
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


# -- kinds of object as signed distance fields with shading, at any resolution and without aliasing
#
# Coordinates are local: the object spans -1 to 1 (u to the right, v down). A distance is negative inside. Only
# additions, products, square roots and comparisons are used: they are the same to the last bit on every platform, which
# sin and exp are not.


class Shape(NamedTuple):
    """An object without its paint."""

    distance: Field
    """Distance to the outline, negative inside."""
    light: Field
    """Brightness of the surface: 1 as painted, less in shade, more towards white."""


SUN = (-0.48, -0.58, 0.66)
"""Direction of the light: upper left, in front."""


def step(distance: Float32[np.ndarray, "*shape"], pixel: float) -> Float32[np.ndarray, "*shape"]:
    """Return the fraction of each pixel that is inside, from 0 to 1."""
    return np.clip(0.5 - distance * np.float32(1 / pixel), 0, 1)


def _light(x: Field, y: Field, z: Field) -> Field:
    facing = x * np.float32(SUN[0]) + y * np.float32(SUN[1]) + z * np.float32(SUN[2])
    return 0.5 + 0.68 * np.maximum(facing + 0.25, 0) * np.float32(0.8)  # the light wraps around: no hard shadow line


def _sphere(u: Field, v: Field, pixel: float) -> Shape:
    square = u * u + v * v
    return Shape(np.sqrt(square) - 1, _light(u, v, np.sqrt(np.maximum(1 - square, 0))))


def _cube(u: Field, v: Field, pixel: float) -> Shape:
    size, edge = 0.94, 0.40  # the front face spans (-size, -edge) to (edge, size)
    diagonal = np.abs(u + v) - (size + edge)
    distance = np.maximum(np.maximum(np.abs(u), np.abs(v)) - size, diagonal * np.float32(0.7071))
    front = step(np.maximum(u - edge, -edge - v), pixel)
    top = step((u + v) * np.float32(0.7071), pixel)
    return Shape(distance, front * 0.92 + (1 - front) * (0.55 + 0.68 * top))


def _cylinder(u: Field, v: Field, pixel: float) -> Shape:
    across = np.clip(u / np.float32(0.72), -1, 1)
    depth = np.sqrt(1 - across * across)
    lid = 0.2 * depth  # half the height of the lid's ellipse above u
    body = np.maximum(np.abs(u) - 0.72, np.abs(v) - 0.8 - lid)
    is_lid = step(np.abs(v + 0.8) - lid, pixel)
    wall = _light(across, np.float32(-0.1) + 0 * v, depth)
    return Shape(body, wall + is_lid * (1.22 - wall))


def _cone(u: Field, v: Field, pixel: float) -> Shape:
    half = (v + 1) * np.float32(0.86 / 1.78)
    across = np.clip(u / np.maximum(half, np.float32(1e-3)), -1, 1)
    foot = np.sqrt(np.maximum(1 - (u / np.float32(0.86)) ** 2, 0))
    distance = np.maximum((np.abs(u) - half) * 0.9, v - 0.78 - 0.22 * foot)
    depth = np.sqrt(1 - across * across)
    return Shape(distance, _light(across, np.float32(-0.3) + 0 * v, depth))


def _ring(u: Field, v: Field, pixel: float) -> Shape:
    radius = np.sqrt(u * u + v * v)
    middle, thickness = np.float32((1 + world.HOLE) / 2), np.float32((1 - world.HOLE) / 2)
    across = (radius - middle) / thickness
    away = np.clip(across, -1, 1) / np.maximum(radius, np.float32(1e-3))
    depth = np.sqrt(np.maximum(1 - across * across, 0))
    return Shape(np.abs(radius - middle) - thickness, _light(away * u, away * v, depth))


def _frame(u: Field, v: Field, pixel: float) -> Shape:
    size = 0.94
    reach = np.maximum(np.abs(u), np.abs(v))
    distance = np.maximum(reach - size, np.float32(world.HOLE) - reach)
    lower = step(-(u + v) * np.float32(0.7071), pixel)  # mitred: the lower right half is in shade
    return Shape(distance, 1.14 - 0.5 * lower)


def _star(u: Field, v: Field, pixel: float) -> Shape:
    # Symmetry folds the plane onto one half of one arm (I. Quilez, 2D distance functions).
    cosine, sine, inner = np.float32(0.809017), np.float32(0.587785), np.float32(0.48)
    x, y = np.abs(u), 0.095 - v
    for side in (1, -1):
        beyond = 2 * np.maximum(side * cosine * x - sine * y, 0)
        x, y = x - side * cosine * beyond, y + sine * beyond
    x, y = np.abs(x), y - 1
    edge = (inner * sine, inner * cosine - 1)
    along = np.clip((x * edge[0] + y * edge[1]) / (edge[0] ** 2 + edge[1] ** 2), 0, 1)
    gap = np.sqrt((x - edge[0] * along) ** 2 + (y - edge[1] * along) ** 2)
    return _bevel(np.where(y * edge[0] > x * edge[1], gap, -gap), pixel, 0.4)


def _heart(u: Field, v: Field, pixel: float) -> Shape:
    # a corner below, two discs above (I. Quilez, 2D distance functions), scaled to the box
    scale = np.float32(1.66)
    x, y = np.abs(u) / scale, (0.92 - v) / scale
    disc = np.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - np.float32(0.353553)
    foot = 0.5 * np.maximum(x + y, 0)
    corner = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - foot) ** 2 + (y - foot) ** 2))
    distance = np.where(x + y > 1, disc, np.where(x > y, corner, -corner))
    return _bevel(distance * scale, pixel, 0.5)


def _cross(u: Field, v: Field, pixel: float) -> Shape:
    size, arm = 0.96, 0.33
    a, b = np.abs(u), np.abs(v)
    bars = np.minimum(np.maximum(a - size, b - arm), np.maximum(a - arm, b - size))
    return _bevel(bars, pixel, 0.26)


def _moon(u: Field, v: Field, pixel: float) -> Shape:
    disc = np.sqrt((u - 0.16) ** 2 + v * v) - 1
    bite = np.sqrt((u - 0.62) ** 2 + (v + 0.06) ** 2) - np.float32(0.8)
    return _bevel(np.maximum(disc, -bite), pixel, 0.32)


def _bevel(distance: Field, pixel: float, width: float) -> Shape:
    """Return a flat shape with a rounded rim, shaded by its slope."""
    x, y = np.zeros_like(distance), np.zeros_like(distance)
    x[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * np.float32(0.5 / pixel)
    y[1:-1] = (distance[2:] - distance[:-2]) * np.float32(0.5 / pixel)
    slope = np.clip(1 + distance / np.float32(width), 0, 1)
    x, y = x * slope, y * slope
    return Shape(distance, _light(x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))))


SHAPES: dict[str, Callable[[Field, Field, float], Shape]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "ring": _ring,
    "frame": _frame,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "moon": _moon,
}

"""Kinds of object as signed distance fields with shading, at any resolution and without aliasing.

Coordinates are local: the object spans -1 to 1 (u to the right, v down). A distance is negative inside. Only
additions, products, square roots and comparisons are used: they are the same to the last bit on every platform, which
sin and exp are not.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.data.scenes.world.records import HOLE

Field = Float32[np.ndarray, "height width"]
Row = Float32[np.ndarray, "1 width"]
Column = Float32[np.ndarray, "height 1"]


class Shape(NamedTuple):
    """An object without its paint."""

    distance: Field
    """Distance to the outline, negative inside."""
    light: Field
    """Brightness of the surface: 1 as painted, less in shade, more towards white."""


SUN = (-0.48, -0.58, 0.66)
"""Direction of the light: upper left, in front."""


def shape(kind: str, u: Field, v: Field, *, pixel: float) -> Shape:
    """Return the distance and light of an object at points of the image.

    Args:
        kind: one of KINDS.
        u: to the right.
        v: down.
        pixel: width of a pixel.
    """
    return _SHAPES[kind](u, v, pixel)


def step(distance: Float32[np.ndarray, "*shape"], pixel: float) -> Float32[np.ndarray, "*shape"]:
    """Return the share of each pixel that lies inside, from 0 to 1."""
    return np.clip(0.5 - distance * np.float32(1 / pixel), 0, 1)


def _lit(x: Field, y: Field, z: Field) -> Field:
    """Return the light on a surface with that normal."""
    facing = x * np.float32(SUN[0]) + y * np.float32(SUN[1]) + z * np.float32(SUN[2])
    return 0.5 + 0.68 * np.maximum(facing + 0.25, 0) * np.float32(0.8)  # the light wraps around: no hard shadow line


def _sphere(u: Field, v: Field, pixel: float) -> Shape:
    square = u * u + v * v
    return Shape(np.sqrt(square) - 1, _lit(u, v, np.sqrt(np.maximum(1 - square, 0))))


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
    wall = _lit(across, np.float32(-0.1) + 0 * v, depth)
    return Shape(body, wall + is_lid * (1.22 - wall))


def _cone(u: Field, v: Field, pixel: float) -> Shape:
    half = (v + 1) * np.float32(0.86 / 1.78)
    across = np.clip(u / np.maximum(half, np.float32(1e-3)), -1, 1)
    foot = np.sqrt(np.maximum(1 - (u / np.float32(0.86)) ** 2, 0))
    distance = np.maximum((np.abs(u) - half) * 0.9, v - 0.78 - 0.22 * foot)
    depth = np.sqrt(1 - across * across)
    return Shape(distance, _lit(across, np.float32(-0.3) + 0 * v, depth))


def _ring(u: Field, v: Field, pixel: float) -> Shape:
    radius = np.sqrt(u * u + v * v)
    middle, thickness = np.float32((1 + HOLE) / 2), np.float32((1 - HOLE) / 2)
    across = (radius - middle) / thickness
    away = np.clip(across, -1, 1) / np.maximum(radius, np.float32(1e-3))
    depth = np.sqrt(np.maximum(1 - across * across, 0))
    return Shape(np.abs(radius - middle) - thickness, _lit(away * u, away * v, depth))


def _frame(u: Field, v: Field, pixel: float) -> Shape:
    size = 0.94
    reach = np.maximum(np.abs(u), np.abs(v))
    distance = np.maximum(reach - size, np.float32(HOLE) - reach)
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
    return _bevelled(np.where(y * edge[0] > x * edge[1], gap, -gap), pixel, 0.4)


def _heart(u: Field, v: Field, pixel: float) -> Shape:
    # a corner below, two discs above (I. Quilez, 2D distance functions), scaled to the box
    scale = np.float32(1.66)
    x, y = np.abs(u) / scale, (0.92 - v) / scale
    disc = np.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - np.float32(0.353553)
    foot = 0.5 * np.maximum(x + y, 0)
    corner = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - foot) ** 2 + (y - foot) ** 2))
    distance = np.where(x + y > 1, disc, np.where(x > y, corner, -corner))
    return _bevelled(distance * scale, pixel, 0.5)


def _cross(u: Field, v: Field, pixel: float) -> Shape:
    size, arm = 0.96, 0.33
    a, b = np.abs(u), np.abs(v)
    bars = np.minimum(np.maximum(a - size, b - arm), np.maximum(a - arm, b - size))
    return _bevelled(bars, pixel, 0.26)


def _moon(u: Field, v: Field, pixel: float) -> Shape:
    disc = np.sqrt((u - 0.16) ** 2 + v * v) - 1
    bite = np.sqrt((u - 0.62) ** 2 + (v + 0.06) ** 2) - np.float32(0.8)
    return _bevelled(np.maximum(disc, -bite), pixel, 0.32)


def _bevelled(distance: Field, pixel: float, width: float) -> Shape:
    """Return a flat shape with a rounded rim, shaded by its slope."""
    x, y = np.zeros_like(distance), np.zeros_like(distance)
    x[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * np.float32(0.5 / pixel)
    y[1:-1] = (distance[2:] - distance[:-2]) * np.float32(0.5 / pixel)
    slope = np.clip(1 + distance / np.float32(width), 0, 1)
    x, y = x * slope, y * slope
    return Shape(distance, _lit(x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))))


_SHAPES: dict[str, Callable[[Field, Field, float], Shape]] = {
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

"""Scenes as records: solids back to front on a background, and perhaps a written word.

Positions and lengths are in widths of the image, from its upper left corner: a scene has no resolution.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

SCENES_VERSION = 1
"""Raised whenever any scene, caption or image changes. The digest of every image holds it, and the repr of the records
below: to rename a record or a field changes every digest too."""

WIDTHS = {"cylinder": 0.72, "cone": 0.86, "cube": 0.94, "frame": 0.94, "cross": 0.96, "moon": 0.84, "star": 0.95}
HEIGHTS = {"cube": 0.94, "frame": 0.94, "star": 0.905, "heart": 0.92, "cross": 0.96}
"""Half the width and height in radii, where they are not 1."""

SEATS = {"cube": 0.27, "cylinder": 0.2}
"""Depth, in radii below an object's top, at which another object rests on it, where that is not 0."""

HOLE = 0.62
"""The inner radius of a hollow object, in radii."""


class Box(NamedTuple):
    """A rectangle that stands upright."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Solid:
    """One object."""

    kind: str
    colour: str
    texture: str
    x: float
    y: float
    radius: float
    tilt: float = 0.0
    """Turn to the right, in radians; small, so that the box hardly changes."""
    group: int = 0
    """Solids of a group look alike and are spoken of together: three red cubes."""

    @property
    def box(self) -> Box:
        half_width = self.radius * WIDTHS.get(self.kind, 1.0)
        half_height = self.radius * HEIGHTS.get(self.kind, 1.0)
        return Box(self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height)

    @property
    def seat(self) -> float:
        """The height at which another object rests on this one."""
        return self.box.top + self.radius * SEATS.get(self.kind, 0.0)


@dataclass(frozen=True, slots=True)
class Background:
    """The surface behind all objects."""

    colour: str
    texture: str
    scale: float
    """The period of a pattern."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A word, on a sign or straight on what is behind it."""

    word: str
    x: float
    y: float
    """The middle of its capitals."""
    height: float
    """Height of a capital letter."""
    font: str
    case: str
    ink: str
    paper: str | None = None
    """Colour of the sign that it stands on; None without one."""
    contrast: float = 1.0
    """Strength of the ink, from 0 (the colour of the paper) to 1; below 1 for signs only."""
    is_blank: bool = False
    """True for a sign without text."""


@dataclass(frozen=True, slots=True)
class Relation:
    """The relation of two groups: each solid of the one stands so to each of the other."""

    subject: int
    name: str
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """An image's whole content."""

    background: Background
    solids: tuple[Solid, ...] = ()
    """Back to front."""
    relations: tuple[Relation, ...] = ()
    """If there are several, they have the same subject."""
    writing: Writing | None = None

    def groups(self) -> list[list[Solid]]:
        """Return the solids of each group, in the order of their numbers."""
        n_groups = max((solid.group for solid in self.solids), default=-1) + 1
        return [[solid for solid in self.solids if solid.group == number] for number in range(n_groups)]

    def with_blank_sign(self) -> "Scene":
        """Return the scene with the same sign and nothing on it. It must have a sign."""
        assert self.writing is not None and self.writing.paper is not None, f"no sign in {self.writing}"
        return replace(self, writing=replace(self.writing, is_blank=True))

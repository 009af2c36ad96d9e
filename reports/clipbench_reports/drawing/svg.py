"""Elements of SVG: text and attributes are escaped, numbers are short."""

from collections.abc import Iterable

import numpy as np
from markupsafe import Markup, escape

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import PlanePoint

DOT = 4
"""Radius of a dot."""

SHAPES = {
    "m1": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "m2": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "m3": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "m4": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "m5": (
        (-0.4, -1.2),
        (0.4, -1.2),
        (0.4, -0.4),
        (1.2, -0.4),
        (1.2, 0.4),
        (0.4, 0.4),
        (0.4, 1.2),
        (-0.4, 1.2),
        (-0.4, 0.4),
        (-1.2, 0.4),
        (-1.2, -0.4),
        (-0.4, -0.4),
    ),
}
"""Corners of the dots of roles that are not discs, in radii: as in print, shape shows the same as colour."""


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an SVG element. ``css`` gives its class, and ``_`` in an attribute's name stands for ``-``.

    Example:
        >>> str(element("text", "a < b", x=1.0, css="soft"))
        '<text x="1" class="soft">a &lt; b</text>'
    """
    parts = [tag]
    for attribute, value in attributes.items():
        if value is not None:
            name = "class" if attribute == "css" else attribute.replace("_", "-")
            parts.append(f'{name}="{escape(_plain(value))}"')
    head = " ".join(parts)
    if not children:
        return Markup(f"<{head}/>")
    return Markup(f"<{head}>{Markup('').join(children)}</{tag}>")


def drawing(children: Iterable[str], *, height: Number, width: Number, alt: str | None = None) -> Markup:
    """Return a complete SVG, with alternative text if no element around it has one."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        width=width,
        height=height,
        role="img" if alt is not None else None,
        aria_label=alt,
        aria_hidden=None if alt is not None else "true",
    )


def text(words: str, x: Number, y: Number, *, css: str = "", anchor: str | None = None) -> Markup:
    """Return one line of text, kept apart from its surroundings whichever way it is written."""
    return element("text", words, x=x, y=y, css=css or None, text_anchor=anchor)


def dot(x: Number, y: Number, role: str, *, radius: Number = DOT) -> Markup:
    """Return the dot of a role at a point: a disc, or the shape of the role."""
    if role == "text":
        side = 1.8 * radius
        return element("rect", x=x - side / 2, y=y - side / 2, width=side, height=side, css=f"dot {role}")
    if role in SHAPES:
        corners = path((x + radius * a, y + radius * b) for a, b in SHAPES[role])
        return element("path", d=f"{corners}Z", css=f"dot {role}")
    return element("circle", cx=x, cy=y, r=radius, css=f"dot {role}")


def path(points: Iterable[PlanePoint]) -> str:
    """Return the data of a line through points.

    Example:
        >>> path([(0, 1.25), (2, 3)])
        'M0 1.2L2 3'
    """
    return "M" + "L".join(f"{_plain(x)} {_plain(y)}" for x, y in points)


def specks(points: Iterable[PlanePoint]) -> str:
    """Return the data of a path that, drawn with a broad cap, is a dot at each point: the shortest way to many."""
    # PDF draws no square cap on a line without any length: in print the dots would be gone.
    return "".join(f"M{_plain(x)} {_plain(y)}h.1" for x, y in points)


def _plain(value: object) -> str:
    """Return a number with at most one decimal, other values unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    rounded = f"{float(value):.1f}"
    return rounded.removesuffix(".0") if rounded != "-0.0" else "0"

"""Colours that can be told apart: objects from their background, words from their paper."""

from functools import cache

from clipbench.data.scenes.world.vocabulary import BACKGROUND_COLOURS, COLOURS, INKS, RGB

LEAST_DIFFERENCE = 34
"""Minimum distance of an object's colour from the background's (CIE 1976; about 2 can just be told apart)."""

LEAST_LIGHTNESS = 38
"""Minimum difference in lightness of ink and paper (0-100): thin strokes are read by lightness, not by hue."""


@cache
def palette(background: str) -> tuple[str, ...]:
    """Return the colours of objects that stand out from a background.

    Example:
        >>> [name for name in COLOURS if name not in palette("mint")]
        ['cyan', 'white']
    """
    behind = BACKGROUND_COLOURS[background]
    return tuple(name for name, rgb in COLOURS.items() if difference(rgb, behind) >= LEAST_DIFFERENCE)


@cache
def legible_inks(paper: RGB) -> tuple[str, ...]:
    """Return the inks that can be read on a paper.

    Example:
        >>> legible_inks((0, 0, 0)), legible_inks((255, 255, 255))
        (('white', 'red', 'green'), ('black', 'red', 'blue', 'green'))
    """
    return tuple(name for name, rgb in INKS.items() if abs(_lab(rgb)[0] - _lab(paper)[0]) >= LEAST_LIGHTNESS)


def difference(first: RGB, second: RGB) -> float:
    """Return how far two colours look apart: their distance in L*a*b* (CIE 1976)."""
    pairs = zip(_lab(first), _lab(second), strict=True)
    return sum((a - b) ** 2 for a, b in pairs) ** 0.5


@cache
def _lab(rgb: RGB) -> tuple[float, float, float]:
    # sRGB to linear light (IEC 61966-2-1; 3294.6 is 255 * 12.92), then CIE's L*a*b*.
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    rows = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))  # to XYZ over D65 white
    shares = (sum(w * c for w, c in zip(row, linear, strict=True)) for row in rows)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)

"""A flat map of the space that images and texts share, or do not."""

import numpy as np
from jaxtyping import Float64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._cosines import pairs
from clipbench_reports.figures._figure import Figure, figure, spread
from clipbench_reports.svg import WIDTH, element, path, specks, text

MAX_DOTS, MAX_LINES = 500, 150
"""Pairs that are drawn, and those of them that are joined by a line: evenly spread over the sample."""
HEIGHT, EDGE, FOOT = 300, 14, 30


def vector_map(evidence: Evidence) -> Figure:
    """Return images and texts on the two directions in which all vectors together vary most (PCA).

    Raises:
        Lacking: the run kept no vectors, fewer than two pairs, or vectors that are all equal.
    """
    images, texts = pairs(evidence)
    flat, shares = _project(np.concatenate([images, texts]).astype(np.float64))
    rows = np.array(spread(len(images), MAX_DOTS))
    shown = len(rows)
    places = _place(np.concatenate([flat[rows], flat[rows + len(images)]]))
    left, right = places[:shown].tolist(), places[shown:].tolist()
    drawn = f" ({fmt.count(shown)} of them drawn)" if shown < len(images) else ""
    return figure(
        f"Two directions hold {fmt.percent(sum(shares))} % of all variation of images and texts; the first alone "
        f"{fmt.percent(shares[0])} %.",
        [*_lines(left, right), *_dots(left, right)],
        height=HEIGHT + FOOT,
        reading=f"Principal components of {fmt.count(len(images))} pairs{drawn}, both axes to the same scale. "
        "A grey line joins an image and its text. Two clouds apart are a modality gap; distances in the full space "
        "are in the table of metrics.",
        detail="Scatter of image and text vectors with lines between pairs.",
    )


def _project(vectors: Float64[np.ndarray, "n dim"]) -> tuple[Float64[np.ndarray, "n 2"], list[float]]:
    """Return the first two principal components, images to the left, and their shares of the variance."""
    centred = vectors - vectors.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    if variances[-1] <= 1e-12 * len(vectors) or len(variances) < 2:
        raise Lacking("all kept vectors are equal, so there is nothing to map")
    flat = centred @ directions[:, [-1, -2]]
    # A component's sign is arbitrary: images lie left, and the first of them not below the middle.
    half = len(vectors) // 2
    flat *= np.array([1 if flat[:half, 0].mean() <= flat[half:, 0].mean() else -1, 1 if flat[0, 1] >= 0 else -1])
    total = float(np.maximum(variances, 0).sum())
    return flat, [max(0.0, float(variances[k])) / total for k in (-1, -2)]


def _place(flat: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Return places in the picture, to one scale in both directions."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scale = float((room / np.maximum(high - low, 1e-12)).min())
    placed = (flat - (low + high) / 2) * scale
    return np.array([WIDTH / 2, HEIGHT / 2]) + placed * np.array([1, -1])


def _lines(left: list[list[float]], right: list[list[float]]) -> list[str]:
    ends = (((left[row][0], left[row][1]), (right[row][0], right[row][1])) for row in spread(len(left), MAX_LINES))
    return [element("path", d="".join(path(pair) for pair in ends), css="thread pair")]


def _dots(left: list[list[float]], right: list[list[float]]) -> list[str]:
    return [
        element("path", d=specks((x, y) for x, y in left), css="specks image"),
        element("path", d=specks((x, y) for x, y in right), css="specks text"),
        element("circle", cx=WIDTH / 2 - 96, cy=HEIGHT + 15.5, r=4, css="dot image"),
        text("images", WIDTH / 2 - 86, HEIGHT + 20, css="name image"),
        element("circle", cx=WIDTH / 2 + 46, cy=HEIGHT + 15.5, r=4, css="dot text"),
        text("texts", WIDTH / 2 + 56, HEIGHT + 20, css="name text"),
    ]

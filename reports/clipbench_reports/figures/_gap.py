"""A flat map of the space that images and texts share, or do not."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.errors import UsageError
from clipbench.results import numbers as fmt
from clipbench.results.points import MAX_POINTS, evenly_spaced
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Panel, Role, Threads, nice_axis
from clipbench_reports.figures._figure import pairs
from clipbench_reports.page.evidence import Evidence, MissingEvidence

MAX_LINES = 150
"""Pairs that are joined by a line, of those that are drawn: evenly spread over them."""
NEIGHBOURS, MIN_DISTANCE = 15, 0.1
"""Parameters of UMAP, its own defaults."""

Vectors = Float64[np.ndarray, "n dim"]


class Flat(NamedTuple):
    """Places on a plane: all images, then all texts, and what the plane is."""

    places: Float64[np.ndarray, "n 2"]
    axes: tuple[str, str]
    claim: str
    reading: str
    subject: str
    value: str
    """The claim in two parts, for several models."""
    is_to_scale: bool = True


def gap(evidence: Evidence, *, projection: str = "pca", seed: int = 0) -> Chart:
    """Return images and texts as points of a plane, with lines between pairs.

    Args:
        projection: one of ``PROJECTIONS``.
        seed: of UMAP; the others have no chance in them.

    Raises:
        MissingEvidence: the run kept no vectors, fewer than two pairs, or vectors that are all equal.
    """
    images, texts, ids = pairs(evidence, MAX_POINTS)
    flat = PROJECTIONS[projection](np.concatenate([images, texts]).astype(np.float64), seed)
    n = len(images)
    left, right = flat.places[:n], flat.places[n:]
    lines = evenly_spaced(n, MAX_LINES)
    x, y = (_axis(flat, place) for place in (0, 1))
    return Chart(
        title=flat.claim,
        panels=[
            Panel(
                x=x,
                y=y,
                marks=[
                    Threads(starts=left[lines], ends=right[lines], name="pair"),
                    _cloud(left, "image", ids),
                    _cloud(right, "text", ids),
                ],
                aspect=_aspect(flat),
                is_to_scale=flat.is_to_scale,
                has_grid=False,
            )
        ],
        reading=f"{flat.reading} {fmt.count(n)} pairs; a grey line joins an image and its text, for "
        f"{fmt.count(len(lines))} of them.",
        detail="Scatter of image and text vectors with lines between pairs.",
        subject=flat.subject,
        value=flat.value,
    )


def _cloud(places: Float64[np.ndarray, "n 2"], role: Role, ids: list[str]) -> Dots:
    xs, ys = places.T.tolist()
    return Dots(xs=xs, ys=ys, role=role, name=role, ids=ids, is_dense=True)


def _axis(flat: Flat, place: int) -> Axis:
    """Return an axis that ends a little beyond the points, with round marks where it is to scale."""
    low, high = float(flat.places[:, place].min()), float(flat.places[:, place].max())
    room = 0.03 * (high - low) or 1.0
    made = nice_axis([low, high], n_steps=4)
    ticks = [tick for tick in made.ticks if low - room <= tick <= high + room] if flat.is_to_scale else []
    return Axis(low=low - room, high=high + room, ticks=ticks, label=flat.axes[place])


def _aspect(flat: Flat) -> float:
    """Return the shape of the plane: that of the cloud, if it is neither flat nor high."""
    wide, high = np.ptp(flat.places, axis=0)
    return float(np.clip(high / max(wide, 1e-12), 0.6, 1.0)) if flat.is_to_scale else 0.75


def _pca(vectors: Vectors, seed: int) -> Flat:
    """Project on the two directions in which all vectors together vary most."""
    places, shares = _components(vectors - vectors.mean(axis=0))
    first, both = fmt.percent(shares[0]), fmt.percent(sum(shares))
    return Flat(
        places,
        ("First principal component", "Second"),
        f"Two directions hold {both} % of all variation of images and texts; the first alone {first} %.",
        "Principal components of images and texts together, both axes to the same scale. Two clouds apart are a "
        "modality gap; its length in the full space is the metric gap.",
        "Share of all variation of images and texts that two directions hold",
        f"{both} %",
    )


def _svd(vectors: Vectors, seed: int) -> Flat:
    """Project on the two first right singular vectors, nothing subtracted."""
    places, shares = _components(vectors)
    both = fmt.percent(sum(shares))
    return Flat(
        places,
        ("First singular direction", "Second"),
        f"Two singular directions hold {both} % of the squared length of images and texts.",
        "Singular value decomposition of images and texts together, nothing subtracted, both axes to the same scale.",
        "Share of the squared length of images and texts that two singular directions hold",
        f"{both} %",
    )


def _gap_axis(vectors: Vectors, seed: int) -> Flat:
    """Put the gap vector on x and the first principal component of the rest on y."""
    half = len(vectors) // 2
    difference = vectors[half:].mean(axis=0) - vectors[:half].mean(axis=0)
    length = float(np.linalg.norm(difference))
    if length < 1e-9:
        raise MissingEvidence("the means of images and texts are equal, so there is no gap vector to lay an axis along")
    along = vectors @ (difference / length)
    rest = vectors - np.outer(along, difference / length)
    across, shares = _components(rest - rest.mean(axis=0))
    places = np.column_stack([along, across[:, 0]])
    return Flat(
        places,
        ("Along the gap vector", "First component of the rest"),
        f"Along the gap vector, the mean image and the mean text lie {fmt.number(length, 'distance')} apart.",
        "Across: the coordinate along the line from the mean image to the mean text of the pairs shown. Upwards: the "
        "first principal component of what is left, which holds "
        f"{fmt.percent(shares[0])} % of its variation. Both axes to the same scale.",
        "How far apart the mean image and the mean text lie along the gap vector",
        fmt.number(length, "distance"),
    )


def _umap(vectors: Vectors, seed: int) -> Flat:
    """Embed images and texts together by UMAP."""
    import warnings

    if len(vectors) <= NEIGHBOURS:
        raise MissingEvidence(f"UMAP looks at {NEIGHBOURS} neighbours, and the run kept {len(vectors)} vectors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and umap warn of their own internals
        try:
            import umap
        except ModuleNotFoundError as error:
            raise UsageError("--projection umap needs umap-learn: pip install umap-learn") from error
        model = umap.UMAP(n_neighbors=NEIGHBOURS, min_dist=MIN_DISTANCE, metric="cosine", random_state=seed, n_jobs=1)
        places = np.asarray(model.fit_transform(vectors.astype(np.float32)), np.float64)
    return Flat(
        places,
        ("UMAP 1", "UMAP 2"),
        "Images and texts as UMAP lays them out by their nearest neighbours.",
        f"UMAP fitted to images and texts together ({NEIGHBOURS} neighbours, minimal distance {MIN_DISTANCE}, cosine, "
        f"seed {seed}). Distances in it are not to scale: how far two clouds lie apart says nothing about the gap.",
        "Images and texts as UMAP lays them out by their nearest neighbours",
        "",
        is_to_scale=False,
    )


PROJECTIONS: dict[str, Callable[[Vectors, int], Flat]] = {
    "pca": _pca,
    "svd": _svd,
    "gap-axis": _gap_axis,
    "umap": _umap,
}
"""Ways to lay vectors out on a plane."""


def _components(vectors: Vectors) -> tuple[Float64[np.ndarray, "n 2"], list[float]]:
    """Return the two components of the largest squared length, images to the left, and their shares of it."""
    squares, directions = np.linalg.eigh(vectors.T @ vectors)
    if squares[-1] <= 1e-12 * len(vectors) or len(squares) < 2:
        raise MissingEvidence("all kept vectors are equal, so there is nothing to map")
    flat = vectors @ directions[:, [-1, -2]]
    # A component's sign is arbitrary: images lie left, and the first of them not below the middle.
    half = len(vectors) // 2
    flat *= np.array([1 if flat[:half, 0].mean() <= flat[half:, 0].mean() else -1, 1 if flat[0, 1] >= 0 else -1])
    total = float(np.maximum(squares, 0).sum())
    return flat, [max(0.0, float(squares[k])) / total for k in (-1, -2)]

"""A flat map of the space that images and texts share, or do not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.errors import UsageError
from clipbench.results import numbers as fmt
from clipbench.results.even_spacing import MAX_POINTS, evenly_spaced
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Mark, Panel, Threads, nice_axis
from clipbench_reports.drawing.models import Statement, beside, chart
from clipbench_reports.figures._figure import pairs
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

MAX_LINES = 150
"""Pairs that are joined by a line, of those that are drawn: evenly spread over them."""
NEIGHBOURS, MIN_DISTANCE = 15, 0.1
"""Parameters of UMAP, its own defaults."""

Vectors = Float64[np.ndarray, "n dim"]


class Flat(NamedTuple):
    """Places on a plane: all images, then all texts, and the words on that plane."""

    places: Float64[np.ndarray, "n 2"]
    axes: tuple[str, str]
    statement: Statement
    reading: str
    is_to_scale: bool = True


def gap(models: Sequence[ModelEvidence], *, projection: str = "pca", seed: int = 0) -> Chart:
    """Return images and texts as points of a plane, with lines between pairs.

    Args:
        projection: one of ``PROJECTIONS``.
        seed: of UMAP; the others have no chance in them.

    Raises:
        MissingEvidence: no run kept vectors of two pairs or more that are not all equal.
    """

    def read(evidence: Evidence) -> tuple[Flat, list[str]]:
        images, texts, ids = pairs(evidence, MAX_POINTS)
        return PROJECTIONS[projection](np.concatenate([images, texts]).astype(np.float64), seed), ids

    by_model = read_each(models, read)
    flats = [flat for flat, _ in by_model.values.values()]
    empty = plane(flats)
    return chart(
        [beside(by_model.map(lambda each: [replace(empty, marks=_cloud(*each))]), by_model)],
        by_model.map(lambda each: _state(*each)),
        by_model,
        reading=flats[0].reading,
    )


def plane(flats: Sequence[Flat]) -> Panel:
    """Return the plane that holds the points of all models."""
    return Panel(
        x=_axis(flats, 0),
        y=_axis(flats, 1),
        aspect=max(map(_aspect, flats)),
        is_to_scale=flats[0].is_to_scale,
        has_grid=False,
    )


def _cloud(flat: Flat, ids: list[str]) -> list[Mark]:
    images, texts = flat.places[: len(ids)], flat.places[len(ids) :]
    joined = evenly_spaced(len(ids), MAX_LINES)
    return [
        Threads(starts=images[joined], ends=texts[joined], name="pair"),
        Dots(xs=images[:, 0].tolist(), ys=images[:, 1].tolist(), role="image", name="image", ids=ids, is_dense=True),
        Dots(xs=texts[:, 0].tolist(), ys=texts[:, 1].tolist(), role="text", name="text", ids=ids, is_dense=True),
    ]


def _state(flat: Flat, ids: list[str]) -> Statement:
    n_joined = len(evenly_spaced(len(ids), MAX_LINES))
    drawn = f"{fmt.count(len(ids))} pairs; a grey line joins an image and its text, for {fmt.count(n_joined)} of them."
    return flat.statement._replace(
        detail="Scatter of image and text vectors with lines between pairs.",
        reading=" ".join(filter(None, [flat.statement.reading, drawn])),
    )


def _axis(flats: Sequence[Flat], place: int) -> Axis:
    """Return an axis that ends a little beyond the points, with round marks where it is to scale."""
    values = np.concatenate([flat.places[:, place] for flat in flats])
    low, high = float(values.min()), float(values.max())
    room = 0.03 * (high - low) or 1.0
    made = nice_axis([low, high], n_steps=4)
    is_marked = flats[0].is_to_scale
    ticks = [tick for tick in made.ticks if low - room <= tick <= high + room] if is_marked else []
    return Axis(low=low - room, high=high + room, ticks=ticks, label=flats[0].axes[place])


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
        Statement(
            title=f"Two directions hold {both} % of all variation of images and texts; the first alone {first} %.",
            subject="Share of all variation of images and texts that two directions hold",
            value=f"{both} %",
        ),
        "Principal components of images and texts together, both axes to the same scale. Two clouds apart are a "
        "modality gap; its length in the full space is the metric gap.",
    )


def _svd(vectors: Vectors, seed: int) -> Flat:
    """Project on the two first right singular vectors, nothing subtracted."""
    places, shares = _components(vectors)
    both = fmt.percent(sum(shares))
    return Flat(
        places,
        ("First singular direction", "Second"),
        Statement(
            title=f"Two singular directions hold {both} % of the squared length of images and texts.",
            subject="Share of the squared length of images and texts that two singular directions hold",
            value=f"{both} %",
        ),
        "Singular value decomposition of images and texts together, nothing subtracted, both axes to the same scale.",
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
        Statement(
            title=f"Along the gap vector, the mean image and the mean text lie {fmt.number(length, 'distance')} apart.",
            subject="How far apart the mean image and the mean text lie along the gap vector",
            value=fmt.number(length, "distance"),
            reading=f"The first component of the rest holds {fmt.percent(shares[0])} % of its variation.",
        ),
        "Across: the coordinate along the line from the mean image to the mean text of the pairs shown. Upwards: the "
        "first principal component of what is left. Both axes to the same scale.",
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
        Statement(
            title="Images and texts as UMAP lays them out by their nearest neighbours.",
            subject="Images and texts as UMAP lays them out by their nearest neighbours",
            value="",
        ),
        f"UMAP fitted to images and texts together ({NEIGHBOURS} neighbours, minimal distance {MIN_DISTANCE}, cosine, "
        f"seed {seed}). Distances in it are not to scale: how far two clouds lie apart says nothing about the gap.",
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
